"""Ordering releases each number once, in order, and refuses what it must."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from contract.events import MAX_SEQUENCE, Event, parse
from sequencer.ordering import Ordering


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
    refused = stored = 0
    for chunk in chunks:
        refused += len(ordering.accept(parse(b"".join(b"%d|B\n" % n for n in chunk)), counts))
        events = ordering.release(limit)
        if len(events) > 1:  # a batch can be cut short by its budget
            ordering.put_back(events[1:])
        released += numbers(events[:1])
        stored += len(ordering.newly_waiting())
        assert ordering.next == len(released) + 1
    assert released == list(range(1, len(released) + 1))
    sent = sum(map(len, chunks))
    assert counts["received"] == sent
    assert sent == len(released) + len(ordering.waiting) + counts["late"] + counts["duplicate"] + refused
    assert stored >= len(ordering.waiting)


def test_late_duplicate_conflict_and_too_far() -> None:
    ordering = Ordering(10, 5)
    counts: Counter[str] = Counter()
    refused = ordering.accept(parse(b"9|B\n12|B\n12|B\n12|S|1\n15|B\n16|B\n"), counts)
    assert [line for _, line in refused] == [b"12|S|1\n", b"16|B\n"]
    assert counts == Counter(received=6, late=1, duplicate=1, conflict=1, rejected=2)
    assert sorted(ordering.waiting) == [12, 15]


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
