"""Ordering releases each number once, in order, and refuses what it must."""

from collections import Counter
from typing import NoReturn

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.events import MAX_SEQUENCE, Event, parse, parse_unnumbered
from sequencer.ordering import TOO_MUCH_WAITS, Ordering, numbered


def numbers(events: list[Event]) -> list[int]:
    return [int(event[1]) for event in events]


def test_a_queue_of_1_2_4_5_releases_1_and_2_and_waits_for_3() -> None:
    ordering = Ordering(1, 100)
    counts: Counter[str] = Counter()
    assert ordering.accept(parse(b"5|B\n1|B\n4|B\n2|B\n"), counts) == []
    assert numbers(ordering.release(10)) == [1, 2]
    assert ordering.newly_waiting() == [(4, b"4|B\n"), (5, b"5|B\n")]
    ordering.accept(parse(b"3|B\n"), counts)
    assert numbers(ordering.release(10)) == [3, 4, 5]
    assert ordering.newly_waiting() == []
    assert ordering.next == 6


@given(st.lists(st.lists(st.integers(1, 40), min_size=1)), st.integers(1, 7))
def test_at_most_one_release_of_each_number(chunks: list[list[int]], limit: int) -> None:
    ordering = Ordering(1, 30)
    counts: Counter[str] = Counter()
    released: list[int] = []
    stored: set[int] = set()
    refused = 0
    for chunk in chunks:
        refused += len(ordering.accept(parse(b"".join(b"%d|B\n" % n for n in chunk)), counts))
        events = ordering.release(limit)
        if len(events) > 1:  # a batch can be cut short by its budget
            ordering.put_back(events[1:])
        released += numbers(events[:1])
        assert ordering.next == len(released) + 1
        stored = {number for number in stored if number >= ordering.next}
        newly = {number for number, _ in ordering.newly_waiting()}
        assert not newly & stored, "each is written once"
        stored |= newly
        assert stored == ordering.waiting.keys()
    assert released == list(range(1, len(released) + 1))
    sent = sum(map(len, chunks))
    assert counts["received"] == sent
    assert sent == len(released) + len(ordering.waiting) + counts["late"] + counts["duplicate"] + refused


def test_late_duplicate_conflict_and_too_far() -> None:
    ordering = Ordering(10, 5)
    counts: Counter[str] = Counter()
    refused = ordering.accept(parse(b"9|B\n12|B\n12|B\n12|S|1\n15|B\n16|B\n"), counts)
    assert [line for _, line in refused] == [b"12|S|1\n", b"16|B\n"]
    assert counts == Counter(received=6, late=1, duplicate=1, conflict=1, rejected=2)
    assert sorted(ordering.waiting) == [12, 15]


@pytest.mark.parametrize("lines", [[b"7|B\n", b"7|S|1\n"], [b"7|S|1\n", b"7|B\n"]])
def test_the_first_of_two_with_one_number_wins(lines: list[bytes]) -> None:
    ordering = Ordering(1, 100)
    refused = ordering.accept(parse(b"".join(lines)), Counter())
    assert refused == [("another event has this sequence number", lines[1])]
    assert ordering.waiting[7][0] == lines[0]


@pytest.mark.parametrize("number", [12, 15, 17])
def test_a_number_within_reach_waits_and_the_next_one_does_not(number: int) -> None:
    ordering = Ordering(12, 5)
    assert ordering.accept(parse(b"%d|B\n" % number), Counter()) == []
    assert len(ordering.accept(parse(b"18|B\n"), Counter())) == 1
    assert ordering.waiting.keys() == {number}


class Whole(Ordering):
    """Takes in chunks as a whole only."""

    def _accept_each(self, *_: object) -> NoReturn:
        raise AssertionError("each event was looked at")


def test_a_chunk_of_new_events_is_taken_in_without_looking_at_each() -> None:
    ordering, counts = Whole(300, 500), Counter[str]()
    for numbers_sent in ([300, 302], [301, 304], [800], []):
        ordering.accept(parse(b"".join(b"%d|B\n" % number for number in numbers_sent)), counts)
    assert counts == {"received": 5}
    assert ordering.waiting.keys() == {300, 301, 302, 304, 800}


@pytest.mark.parametrize("limit", [1, 3, 300])
def test_a_release_has_its_limit_of_events_and_no_more(limit: int) -> None:
    ordering = Ordering(301, 10_000)
    ordering.accept(parse(b"".join(b"%d|B\n" % number for number in range(301, 1301))), Counter())
    assert numbers(ordering.release(limit)) == list(range(301, 301 + limit))
    assert numbers(ordering.release(limit)) == list(range(301 + limit, 301 + 2 * limit))


@pytest.mark.parametrize("limit", [3, 300])
def test_giving_up_goes_no_further_than_the_release(limit: int) -> None:
    ordering = Ordering(1, 10_000)
    sent = [2, *range(4, 2 + limit), *range(3000, 4000)]
    ordering.accept(parse(b"".join(b"%d|B\n" % number for number in sent)), Counter())
    ordering.skip(5000)
    assert numbers(ordering.release(limit)) == sent[:limit]
    assert ordering.next == sent[limit - 1] + 1
    assert ordering.take_skipped() == [(1, 1), (3, 3), (2 + limit, 2999)]


def test_lines_that_are_no_events_do_not_hide_the_others() -> None:
    ordering = Ordering(1, 5)
    counts: Counter[str] = Counter()
    ordering.accept(parse(b"2|B\nrubbish\n1|B\n"), counts)
    assert numbers(ordering.release(9)) == [1, 2]
    assert counts["received"] == 2


def test_the_end_of_the_numbers() -> None:
    ordering = Ordering(MAX_SEQUENCE, 5)
    counts: Counter[str] = Counter()
    lines = b"%d|B\n%d|B\n" % (MAX_SEQUENCE, MAX_SEQUENCE + 1)
    assert len(ordering.accept(parse(lines), counts)) == 1
    assert numbers(ordering.release(9)) == [MAX_SEQUENCE]


def test_giving_up_everything_ends_at_the_last_number() -> None:
    ordering = Ordering(MAX_SEQUENCE - 3, 5)
    ordering.skip(MAX_SEQUENCE + 100)
    assert ordering.release(9) == []
    assert (ordering.next, ordering.ready) == (MAX_SEQUENCE + 1, False)
    assert ordering.take_skipped() == [(MAX_SEQUENCE - 3, MAX_SEQUENCE)]


class Untouched(dict[int, Event]):
    """What waits, and must not be gone through: 600,000 can wait, and a release takes a thousand."""

    def __iter__(self) -> NoReturn:
        raise AssertionError("all that waits was gone through")


@pytest.mark.parametrize(("skipped_to", "limit"), [(0, 2), (1, 2), (1, 10), (5, 10), (7, 2), (8, 10)])
def test_work_goes_by_what_is_released_and_not_by_what_waits(skipped_to: int, limit: int) -> None:
    ordering = Ordering(5, 1000, parse(b"".join(b"%d|B\n" % number for number in range(100, 600))), skipped_to)
    ordering.waiting = Untouched(ordering.waiting)
    ordering.accept(parse(b"5|B\n6|B\n7|B\n99|B\n"), Counter())
    released = ordering.release(limit)
    assert numbers(released) == [5, 6, 7][:limit]
    ordering.put_back(released[1:])
    ordering.settle()
    assert ordering.newly_waiting() == [(6, b"6|B\n"), (7, b"7|B\n"), (99, b"99|B\n")]


def test_what_was_waiting_before_is_not_written_again_after_a_release_that_puts_it_back() -> None:
    ordering, counts = Ordering(1, 10_000), Counter[str]()
    ordering.accept(parse(b"".join(b"%d|B\n" % number for number in range(2, 3002))), counts)
    assert len(ordering.newly_waiting()) == 3000
    ordering.accept(parse(b"1|B\n"), counts)
    written = 0
    while ordering.ready:
        released = ordering.release(1000)
        ordering.put_back(released[100:])
        written += len(ordering.newly_waiting())
    assert (ordering.next, written) == (3002, 0)


def test_waiting_events_are_taken_over_from_the_store() -> None:
    ordering = Ordering(1, 100, parse(b"2|B\n3|B\n"))
    counts: Counter[str] = Counter()
    ordering.accept(parse(b"3|B\n1|B\n"), counts)
    assert counts["duplicate"] == 1
    assert numbers(ordering.release(9)) == [1, 2, 3]


def test_missing_numbers_below_a_limit_are_given_up() -> None:
    ordering = Ordering(3, 100)
    ordering.accept(parse(b"5|B\n6|B\n9|B\n12|B\n"), Counter())
    assert ordering.release(10) == []
    ordering.skip(10)
    assert [event[0] for event in ordering.release(10)] == [b"5|B\n", b"6|B\n", b"9|B\n"]
    assert ordering.next == 10
    assert ordering.take_skipped() == [(3, 4), (7, 8)]
    assert ordering.take_skipped() == []
    counts: Counter[str] = Counter()
    ordering.accept(parse(b"4|B\n10|B\n"), counts)
    assert counts["late"] == 1
    assert [event[0] for event in ordering.release(10)] == [b"10|B\n"]
    assert not ordering.ready


def test_giving_up_stops_at_the_limit_of_a_batch_and_goes_on() -> None:
    ordering = Ordering(1, 100)
    ordering.accept(parse(b"2|B\n4|B\n6|B\n8|B\n"), Counter())
    ordering.skip(7)
    released = ordering.release(3)
    assert [event[0] for event in released] == [b"2|B\n", b"4|B\n", b"6|B\n"]
    ordering.put_back(released[1:])
    assert (ordering.next, ordering.take_skipped()) == (4, [(1, 1), (3, 3)])
    assert ordering.ready
    again = Ordering(ordering.next, 100, ordering.waiting.values(), ordering.skip_to)
    assert [event[0] for event in again.release(10)] == [b"4|B\n", b"6|B\n"]
    assert (again.next, again.take_skipped()) == (7, [(5, 5)])


def test_giving_up_what_nobody_waits_for() -> None:
    ordering = Ordering(3, 100)
    ordering.skip(2)
    assert not ordering.ready
    ordering.skip(8)
    assert ordering.ready
    assert ordering.release(10) == []
    assert (ordering.next, ordering.take_skipped()) == (8, [(3, 7)])
    assert not ordering.ready


# Bounded by bytes

LINE = 100


def lines(*wanted: int) -> bytes:
    return b"".join((b"%d|B|" % n).ljust(LINE - 1, b"x") + b"\n" for n in wanted)


def take(ordering: Ordering, limit: int, *wanted: int) -> list[tuple[str, bytes]]:
    """Accept as `sequencer/assembly.py` does."""
    raw = lines(*wanted)
    ordering.take_in(len(raw))
    ordering.close(ordering.holds_more_than(limit))
    return ordering.accept(parse(raw), Counter())


def test_what_waits_is_bounded_and_what_closes_the_gap_comes_in_nevertheless() -> None:
    ordering, limit = Ordering(1, 10_000), 50 * LINE
    assert take(ordering, limit, *range(10, 50)) == []
    refused: list[tuple[str, bytes]] = []
    for first in range(50, 150, 10):
        refused += take(ordering, limit, *range(first, first + 10))
    assert {reason for reason, _ in refused} == {TOO_MUCH_WAITS}
    assert len(ordering.waiting) <= 50 * 5 // 4 + 10
    highest = max(ordering.waiting)
    assert take(ordering, limit, *range(1, 10)) == [], "they come before all that waits"
    assert len(ordering.release(1000)) == highest
    assert take(ordering, limit, highest + 2) == [], "there is room again"
    assert ordering.waiting.keys() == {highest + 2}


def test_bytes_are_counted_seldom_and_what_is_released_is_forgotten() -> None:
    ordering, limit = Ordering(1, 10_000), 20 * LINE
    for first in range(1, 2001, 10):
        assert take(ordering, limit, *range(first, first + 10)) == []
        assert len(ordering.release(1000)) == 10
    assert not ordering.holds_more_than(limit)


def test_in_heavy_releases_each_byte_is_taken_off() -> None:
    ordering = Ordering(1, 10_000)
    ordering.take_in(len(lines(*range(2, 102))))
    ordering.accept(parse(lines(*range(2, 102))), Counter())
    assert ordering.holds_more_than(99 * LINE)
    ordering.take_in(len(lines(1)))
    ordering.accept(parse(lines(1)), Counter())
    released = ordering.release(51)
    ordering.let_go(sum(len(event[0]) for event in released))
    assert (ordering.holds_more_than(49 * LINE), ordering.holds_more_than(50 * LINE)) == (True, False)


def test_what_waited_before_a_term_counts() -> None:
    ordering = Ordering(1, 10_000, parse(lines(*range(2, 52))))
    assert (ordering.holds_more_than(49 * LINE), ordering.holds_more_than(50 * LINE)) == (True, False)


def test_once_full_it_stays_so_until_the_gap_is_closed() -> None:
    ordering = Ordering(1, 10_000)
    take(ordering, LINE, *range(5, 10))
    ordering.close(True)
    ordering.close(False)  # a count may turn out smaller than what was taken for granted
    assert [reason for reason, _ in take(ordering, 100 * LINE, 10, 11)] == [TOO_MUCH_WAITS] * 2
    assert take(ordering, 100 * LINE, 1, 2, 3, 4) == []
    assert len(ordering.release(100)) == 9
    assert take(ordering, 100 * LINE, 11) == []


# Numbers by Parade


def test_events_get_the_numbers_behind_all_that_wait() -> None:
    ordering = Ordering(5, 100)
    assert ordering.last == 4
    events = numbered(parse_unnumbered(b"*|B\n*|P|1|2|*|x\nrubbish\n*|S|3\r\n"), ordering.last)
    assert [event[0] for event in events] == [b"5|B\n", b"6|P|1|2|*|x\n", b"7|S|3\r\n"]
    assert events == parse(b"5|B\n6|P|1|2|*|x\n7|S|3\r\n"), "as if they had come with it"
    counts: Counter[str] = Counter()
    assert ordering.accept(events, counts) == []
    assert ordering.last == 7
    assert numbers(ordering.release(2)) == [5, 6]
    assert ordering.last == 7, "one of them waits still"
    assert numbers(ordering.release(2)) == [7]
    assert ordering.last == 7
    ordering.skip(20)
    ordering.release(10)
    assert ordering.last == 19


@given(
    st.lists(st.lists(st.integers(1, 5), min_size=1, max_size=4), min_size=1),
    st.integers(1, 6),
    st.integers(0, 20),
    st.integers(0, 5),
)
def test_a_successor_gives_each_event_the_same_number(
    chunks: list[list[int]], limit: int, taken_over_after: int, waits: int
) -> None:
    """It knows what is committed, the next number and what waits, and reads the stream on from there."""

    def lines_of(chunk: list[int]) -> bytes:
        return b"".join(b"*|S|%d\n" % user for user in chunk)

    def run(take_over_after: int | None) -> list[bytes]:
        gap = parse(b"".join(b"%d|B\n" % number for number in range(3, 3 + waits)))
        ordering, released = Ordering(1, 1000, gap, skip_to=2 + bool(waits)), []
        for at, chunk in enumerate(chunks):
            if at == take_over_after:
                ordering = Ordering(ordering.next, 1000, list(ordering.waiting.values()), ordering.skip_to)
            while ordering.ready:
                released += ordering.release(limit)
            ordering.accept(numbered(parse_unnumbered(lines_of(chunk)), ordering.last), Counter())
            released += ordering.release(limit)
        while ordering.ready:
            released += ordering.release(limit)
        return [event[0] for event in released]

    straight = run(None)
    assert run(taken_over_after) == straight
    users = [b"%d" % user for chunk in chunks for user in chunk]
    mine = [line for line in straight if not line.endswith(b"B\n")]
    assert [line.rstrip(b"\n").rpartition(b"|")[2] for line in mine] == users, "each once, in the order of the stream"
    got = [int(line.partition(b"|")[0]) for line in straight]
    assert got == list(range(got[0], got[0] + len(got)))
