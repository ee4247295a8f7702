"""What a source keeps, sends and sends again."""

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parade_client import FencedError, LostError, ProtocolError
from parade_client.kept import SPARE_BYTES
from parade_client.outbox import Outbox
from parade_client.way import PIECE_BYTES

MOST_BYTES = 100


def opened(answer: str = "OK 9f31c2@1", producer: str = "", most_bytes: int = MOST_BYTES) -> Outbox:
    """A source whose HELLO was answered."""
    box = Outbox(producer, most_bytes)
    again(box, answer)
    return box


def again(box: Outbox, answer: str) -> bytes:
    """The connection is made again; returns what is sent then."""
    box.hello()
    assert box.take() == b""
    told(box, answer)
    return box.take()


def told(box: Outbox, *lines: str) -> list[tuple[int, str]]:
    """The numbers (of a producer, ordinals) that are done by these lines, and why they were refused."""
    return [(entry.seq or entry.ordinal, entry.refusal) for entry in box.receive(("\n".join(lines) + "\n").encode())]


def add(box: Outbox, numbers: Iterable[int]) -> None:
    for number in numbers:
        box.add(b"%d|B\n" % number, number)


def count(box: Outbox, numbers: Iterable[int]) -> None:
    for number in numbers:
        box.add(b"*|B|%d\n" % number, None)


def wire(numbers: Iterable[int]) -> bytes:
    return b"".join(b"%d|B\n" % number for number in numbers)


def star(numbers: Iterable[int]) -> bytes:
    return b"".join(b"*|B|%d\n" % number for number in numbers)


def test_what_a_source_says_first() -> None:
    assert Outbox("", 1).hello() == b"HELLO acks=1\n"
    assert Outbox("orders-7", 1).hello() == b"HELLO acks=1 producer=orders-7\n"


def test_nothing_is_sent_before_ok() -> None:
    box = Outbox("", MOST_BYTES)
    add(box, [1])
    box.hello()
    assert box.take() == b""
    told(box, "OK 9f31c2@1 reach=5")
    assert box.take() == b"1|B\n"
    assert box.take() == b""


def test_an_acknowledgement_counts_the_lines_of_the_connection_in_the_order_in_which_they_were_sent() -> None:
    box = opened()
    add(box, [3, 1, 2])
    assert box.take() == b"3|B\n1|B\n2|B\n"
    assert box.awaits_answers
    assert told(box, "ACK 1") == [(3, "")]
    assert told(box, "ACK 3") == [(1, ""), (2, "")]
    assert not box.awaits_answers


def test_a_refused_line_is_done_before_the_acknowledgement_that_counts_it() -> None:
    box = opened()
    add(box, [1, 2, 3])
    box.take()
    assert told(box, "ACK 1", "NAK 3 too-long") == [(1, ""), (3, "too-long")]
    assert told(box, "ACK 3") == [(2, "")]
    assert again(box, "OK 9f31c2@2") == b"", "a refused line is not sent again"


def test_after_a_break_what_is_neither_acknowledged_nor_passed_is_sent_again() -> None:
    box = opened()
    add(box, range(1, 7))
    box.take()
    told(box, "ACK 2", "NEXT 2")
    add(box, [7])
    assert again(box, "OK 9f31c2@4") == wire([4, 5, 6, 7])


def test_what_ok_has_passed_is_done() -> None:
    box = opened()
    add(box, [1, 2, 3])
    box.take()
    box.hello()
    assert told(box, "OK 9f31c2@3") == [(1, ""), (2, "")]


def test_after_reset_acknowledged_lines_are_sent_again_and_old_acknowledgements_say_nothing() -> None:
    box = opened()
    add(box, [1, 2, 3, 4])
    box.take()
    assert told(box, "ACK 3", "NEXT 2") == [(1, ""), (2, ""), (3, "")]
    assert told(box, "RESET ab12cd@2") == []
    assert box.take() == wire([2, 3, 4])
    assert told(box, "ACK 4") == []
    assert told(box, "ACK 5") == [(2, "")]
    assert told(box, "ACK 7") == [(3, ""), (4, "")]


def test_ok_with_another_history_says_what_reset_says() -> None:
    box = opened()
    add(box, [1, 2, 3])
    box.take()
    told(box, "ACK 3", "NEXT 2")
    assert again(box, "OK ab12cd@2") == wire([2, 3])


def test_what_was_passed_is_spare_for_when_redis_comes_back_older() -> None:
    box = opened()
    add(box, [1, 2, 3])
    box.take()
    told(box, "ACK 3", "NEXT 4")
    assert box.has_room(b"x" * MOST_BYTES)
    told(box, "RESET ab12cd@2")
    assert box.take() == wire([2, 3])


def test_what_is_wanted_and_forgotten_is_said() -> None:
    box = opened(most_bytes=10 * SPARE_BYTES)
    for number in (1, 2, 3):
        box.add(b"%d|B|%b\n" % (number, b"x" * (SPARE_BYTES // 2)), number)
        assert box.take()
    told(box, "ACK 3", "NEXT 4")
    with pytest.raises(LostError, match="send from number 2 on what your own store has") as lost:
        told(box, "RESET ab12cd@2")
    assert lost.value.wanted == 2


def test_room_is_bounded_until_every_number_is_passed_and_one_line_always_fits() -> None:
    box = opened(most_bytes=12)
    assert box.has_room(b"x" * 1000)
    add(box, [2, 3, 4])
    assert not box.has_room(b"5|B\n")
    box.take()
    told(box, "ACK 3", "GAP 1")
    assert box.gap == 1
    assert not box.has_room(b"5|B\n"), "number 1 is missing, so Redis may want them again"
    told(box, "NEXT 3")
    assert box.gap is None
    assert box.has_room(b"5|B\n")


def test_a_missing_number_that_was_acknowledged_is_sent_again_and_one_on_its_way_is_not() -> None:
    box = opened()
    add(box, [1, 2])
    box.take()
    told(box, "ACK 1", "GAP 1")
    assert box.take() == wire([1])
    told(box, "GAP 2")
    assert box.take() == b""
    assert told(box, "ACK 3") == [(2, "")]


def test_a_number_that_was_given_up_before_it_was_acknowledged_is_refused() -> None:
    box = opened()
    add(box, [1, 2, 3])
    box.take()
    assert told(box, "ACK 1", "SKIPPED 1-2") == [(1, ""), (2, "skipped")]
    assert told(box, "ACK 3") == [(3, "")]


def test_the_lines_are_taken_in_pieces_that_are_as_large_as_they_may_be() -> None:
    box = opened(most_bytes=10 * PIECE_BYTES)
    sizes = (PIECE_BYTES - 100, 60, 40, 1000, 2 * PIECE_BYTES, 10)
    for number, size in enumerate(sizes, 1):
        box.add(b"%d|B|" % number + b"x" * (size - 5) + b"\n", number)
    taken = [box.take() for _ in range(5)]
    assert [len(piece) for piece in taken] == [PIECE_BYTES, 1000, 2 * PIECE_BYTES, 10, 0]


def test_after_reset_what_was_not_sent_yet_is_sent_once() -> None:
    box = opened()
    add(box, [1, 2])
    told(box, "RESET ab12cd@1")
    assert box.take() == wire([1, 2])


@pytest.mark.parametrize(
    "lines",
    [
        *(
            ["ACK 3"],
            ["ACK 0"],
            ["ACK 1", "ACK 1"],
            ["ACK x"],
            ["ACK"],
            ["NAK 3 malformed"],
            ["ACK 1", "NAK 1 malformed"],
        ),
        *(["OK 9f31c2@1"], ["RESET 9f31c2"], ["NEXT x"], ["GAP"], ["SKIPPED 3-x"], ["1|B"], [""]),
    ],
)
def test_what_the_protocol_does_not_allow_is_an_error(lines: list[str]) -> None:
    box = opened()
    add(box, [1, 2])
    box.take()
    with pytest.raises(ProtocolError):
        told(box, *lines)


@pytest.mark.parametrize("line", ["ACK 1", "NEXT 1", "GAP 1", "SKIPPED 1-1", "NAK 1 malformed", "RESET 9f31c2@1"])
def test_an_answer_before_ok_is_an_error(line: str) -> None:
    box = Outbox("", MOST_BYTES)
    box.hello()
    with pytest.raises(ProtocolError, match=re.escape("before OK")):
        told(box, line)


def test_a_producer_goes_on_by_the_count_of_its_lines() -> None:
    box = opened("OK 9f31c2@1201 received=340", "orders-7")
    assert box.received == 340
    count(box, [341, 342, 343])
    assert box.take() == star([341, 342, 343])
    assert told(box, "ACK 1", "NEXT 9999") == [(341, "")]
    assert box.received == 341
    assert again(box, "OK 9f31c2@1203 received=342") == star([343])
    assert box.received == 342


def test_lines_of_a_producer_that_redis_has_lost_are_sent_again() -> None:
    box = opened("OK 9f31c2@1 received=0", "orders-7")
    count(box, [1, 2, 3, 4])
    box.take()
    told(box, "NAK 3 malformed", "ACK 3", "RESET ab12cd@2 received=1")
    assert again(box, "OK ab12cd@2 received=1") == star([2, 3, 4])
    assert told(box, "NAK 2 malformed", "ACK 3")[-1] == (4, "")
    assert box.received == 4


def test_lines_of_a_producer_that_are_wanted_and_forgotten_are_said() -> None:
    box = opened("OK 9f31c2@1 received=0", "orders-7", 10 * SPARE_BYTES)
    for _ in range(3):
        box.add(b"*|B|%b\n" % (b"x" * (SPARE_BYTES // 2)), None)
        assert box.take()
    told(box, "ACK 3")
    box.hello()
    with pytest.raises(LostError, match="go on with line 2 of your own store") as lost:
        told(box, "OK ab12cd@1 received=1")
    assert lost.value.wanted == 1


def test_room_for_a_producer_is_there_again_once_lines_are_acknowledged() -> None:
    box = opened("OK 9f31c2@1 received=0", "orders-7", 14)
    count(box, [1, 2])
    assert not box.has_room(b"*|B|3\n")
    box.take()
    told(box, "ACK 1")
    assert box.has_room(b"*|B|3\n")


def test_a_name_that_another_sender_uses_is_an_error() -> None:
    box = opened("OK 9f31c2@1 received=0", "orders-7")
    count(box, [1])
    box.take()
    count(box, [2])
    box.hello()
    with pytest.raises(FencedError, match="give each sender a name of its own".capitalize()):
        told(box, "OK 9f31c2@3 received=2")


def test_a_source_that_is_fenced_stops_unless_a_hello_of_its_own_was_left_unanswered() -> None:
    box = opened("OK 9f31c2@1 received=0", "orders-7")
    with pytest.raises(FencedError, match="has taken over"):
        told(box, "BYE fenced")
    box = Outbox("orders-7", MOST_BYTES)
    box.hello()
    box.hello()
    told(box, "OK 9f31c2@1 received=0", "BYE fenced")
    assert again(box, "OK 9f31c2@1 received=0") == b""
    with pytest.raises(FencedError, match="has taken over"):
        told(box, "BYE fenced")


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 5), st.integers(0, 5), st.booleans()), max_size=12))
def test_a_producer_has_each_line_taken_once_whatever_breaks(steps: list[tuple[int, int, int, bool]]) -> None:
    """Against a server that takes any part of what is sent, and acknowledges any part of that."""
    box = Outbox("orders-7", 1000)
    store: list[bytes] = []
    done: list[int] = []
    arrived = acked = added = 0
    is_broken = True
    for new, taken, said, breaks in [*steps, (0, 0, 0, True), (1, 100, 100, False)]:
        if is_broken:
            box.hello()
            done += [at for at, _ in told(box, f"OK 9f31c2@{len(store) + 1} received={len(store)}")]
            arrived = acked = 0
        count(box, range(added + 1, added + new + 1))
        added += new
        sent = box.take().splitlines(keepends=True)
        store += sent[:taken]
        arrived += len(sent[:taken])
        if acked < min(acked + said, arrived):
            acked = min(acked + said, arrived)
            done += [at for at, _ in told(box, f"ACK {acked}")]
        is_broken = breaks or len(sent) > taken
    assert b"".join(store) == star(range(1, added + 1))
    assert sorted(done) == list(range(1, added + 1))


@given(st.data())
def test_a_source_with_numbers_has_each_released_whatever_breaks_and_whatever_redis_loses(data: st.DataObject) -> None:
    total = data.draw(st.integers(1, 10))
    numbers = data.draw(st.permutations(range(1, total + 1)))
    box = Outbox("", 1000)
    have: set[int] = set()
    history, given_out = 0, 0

    def wanted() -> int:
        return next(number for number in range(1, total + 2) if number not in have)

    for _ in range(100):
        if len(have) == total and given_out == total:
            break
        box.hello()
        told(box, f"OK h{history}@{wanted()}")
        sent_lines, acked = 0, 0
        for _ in range(data.draw(st.integers(1, 4))):
            new = data.draw(st.integers(0, total - given_out))
            add(box, numbers[given_out : given_out + new])
            given_out += new
            sent = box.take().splitlines()
            arrived = sent[: data.draw(st.integers(len(sent) // 2, len(sent)))]
            have |= {int(line.split(b"|")[0]) for line in arrived}
            sent_lines += len(arrived)
            if sent_lines > acked:
                acked = sent_lines
                told(box, f"ACK {acked}", f"NEXT {wanted()}")
            if len(arrived) < len(sent):
                break
            if data.draw(st.integers(0, 9)) == 0:
                history += 1
                have -= set(data.draw(st.lists(st.integers(1, total), max_size=3)))
                have = {number for number in have if number < wanted()}
                told(box, f"RESET h{history}@{wanted()}")
    else:
        box.hello()
        told(box, f"OK h{history}@{wanted()}")
        add(box, numbers[given_out:])
        have |= {int(line.split(b"|")[0]) for line in box.take().splitlines()}
    assert have == set(range(1, total + 1))
