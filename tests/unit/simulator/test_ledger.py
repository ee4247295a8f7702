"""A source with acknowledgements: nothing is lost or forgotten too soon, and wrong answers are found."""

import re
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.ledger import KEPT_BYTES, KEPT_IN_CASE_BYTES, PROBLEMS, Ledger, ProducerLedger
from simulator.pieces import Piece, cut

OK = b"OK 9f31c2@101 reach=1000000\n"


def piece(first: int, count: int, due_s: float | None = None) -> Piece:
    """The numbers in descending order, for a source sends in any order."""
    numbers = range(first + count - 1, first - 1, -1)
    return Piece(first, first + count, b"".join(b"%d|B\n" % number for number in numbers), due_s)


def opened(answer: bytes = OK) -> Ledger:
    ledger = Ledger()
    answered(ledger, answer)
    assert ledger.hello == b"HELLO acks=1\n"
    return ledger


def answered(ledger: Ledger, answer: bytes, now_s: float = 0.0) -> None:
    ledger.begin()
    ledger.receive(answer, now_s)


def taken(ledger: Ledger) -> Iterator[bytes]:
    while data := ledger.take():
        yield data


def test_nothing_is_sent_before_ok() -> None:
    ledger = Ledger()
    ledger.pieces.add(piece(101, 2))
    assert not ledger.has_more
    assert ledger.take() == b""
    ledger.receive(OK[:-1], 0.0)
    assert not ledger.has_more
    ledger.receive(OK[-1:], 0.0)
    assert ledger.next == 101
    assert list(taken(ledger)) == [b"102|B\n101|B\n"]


def test_what_is_acknowledged_is_forgotten_when_next_has_passed_it() -> None:
    ledger = opened()
    ledger.pieces.add(piece(101, 2))
    ledger.pieces.add(piece(103, 2))
    list(taken(ledger))
    for answer, unacknowledged, kept in (
        (b"ACK 1\n", 3, 2), (b"ACK 2\n", 2, 2), (b"NEXT 102\n", 2, 2), (b"NEXT 103\n", 2, 1), (b"NEXT 105\n", 2, 1),
        (b"ACK 4\n", 0, 0),
    ):  # fmt: skip
        ledger.receive(answer, 0.0)
        assert (ledger.pieces.unacknowledged, len(ledger.pieces.kept)) == (unacknowledged, kept)
    assert ledger.problems == []


def test_what_is_not_acknowledged_is_sent_again_and_nothing_else() -> None:
    ledger = opened()
    for first in (101, 104, 107):
        ledger.pieces.add(piece(first, 3))
    list(taken(ledger))
    ledger.receive(b"ACK 4\n", 0.0)
    answered(ledger, b"OK 9f31c2@102 reach=9\n")
    assert list(taken(ledger)) == [b"105|B\n104|B\n", b"109|B\n108|B\n107|B\n"]
    assert ledger.pieces.again == 5
    ledger.receive(b"ACK 5\nNEXT 110\n", 0.0)
    assert (ledger.pieces.unacknowledged, ledger.problems) == (0, [])


def test_a_cr_in_a_payload_does_not_end_a_line() -> None:
    ledger = opened()
    ledger.pieces.add(Piece(101, 104, b"101|B|a\rb\n102|B|c\rd\r\n103|B|\r\n"))
    assert list(taken(ledger)) == [b"101|B|a\rb\n102|B|c\rd\r\n103|B|\r\n"]
    ledger.receive(b"ACK 1\n", 0.0)
    answered(ledger, OK)
    assert list(taken(ledger)) == [b"102|B|c\rd\r\n103|B|\r\n"]


def test_what_is_released_counts_as_acknowledged() -> None:
    ledger = opened()
    for first in (101, 104, 107):
        ledger.pieces.add(piece(first, 3))
    list(taken(ledger))
    answered(ledger, b"OK 9f31c2@107 reach=9\n")
    assert list(taken(ledger)) == [b"109|B\n108|B\n107|B\n"]
    assert ledger.pieces.unacknowledged == 3


def test_the_lines_of_a_connection_are_counted_from_its_hello() -> None:
    ledger = opened()
    ledger.pieces.add(piece(101, 3))
    list(taken(ledger))
    ledger.receive(b"ACK 3\n", 0.0)
    answered(ledger, b"OK 9f31c2@101 reach=9\n")
    ledger.pieces.add(piece(104, 2))
    list(taken(ledger))
    ledger.receive(b"ACK 2\n", 0.0)
    assert (ledger.pieces.unacknowledged, ledger.problems) == (0, [])


def test_after_a_reset_what_was_acknowledged_is_sent_again_and_old_acknowledgements_are_void() -> None:
    ledger = opened()
    for first in (101, 104, 107):
        ledger.pieces.add(piece(first, 3))
    list(taken(ledger))
    ledger.receive(b"ACK 6\nNEXT 103\nRESET 77aa01@103\n", 0.0)
    assert (ledger.resets, ledger.problems) == (["77aa01@103"], [])
    assert list(taken(ledger)) == [b"103|B\n102|B\n101|B\n", b"106|B\n105|B\n104|B\n", b"109|B\n108|B\n107|B\n"]
    ledger.receive(b"ACK 9\n", 0.0)
    assert ledger.pieces.unacknowledged == 9, "those 3 lines were sent before the reset"
    ledger.receive(b"ACK 18\nNEXT 110\n", 0.0)
    assert (ledger.pieces.unacknowledged, ledger.problems) == (0, [])


def test_ok_with_another_history_says_what_reset_says() -> None:
    ledger = opened()
    for first in (101, 104, 107):
        ledger.pieces.add(piece(first, 3))
    list(taken(ledger))
    ledger.receive(b"ACK 6\nNEXT 103\n", 0.0)
    answered(ledger, b"OK 77aa01@103 reach=9\n")
    assert (ledger.resets, ledger.problems) == (["77aa01@103"], [])
    assert list(taken(ledger)) == [b"103|B\n102|B\n101|B\n", b"106|B\n105|B\n104|B\n", b"109|B\n108|B\n107|B\n"]


def test_a_reset_to_what_was_forgotten_is_a_problem() -> None:
    ledger = opened()
    ledger.pieces.add(piece(101, 2))
    ledger.pieces.add(piece(103, 2))
    list(taken(ledger))
    ledger.receive(b"ACK 4\nNEXT 104\nRESET 77aa01@102\n", 0.0)
    assert ledger.problems == ["number 102 is wanted again, and lines below 103 are forgotten"]


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        (b"ACK 4\n", "ACK 4 came when 3 lines were sent"),
        (b"ACK 2\nACK 2\n", "ACK 2 came after ACK 2"),
        (b"ACK 2\nACK 1\n", "ACK 1 came after ACK 2"),
        (b"NEXT 103\nNEXT 102\n", "NEXT 102 came after 103"),
        (b"NEXT 105\n", "NEXT 105 came when only numbers below 104 were sent"),
        (b"NAK 2 malformed\n", "line 2 of a connection was refused: malformed"),
        (b"OK 9f31c2@101\n", "a second OK"),
        (b"ERROR HELLO needs acks=1\n", "the answer ERROR HELLO needs acks=1"),
        (b"101|B\n", "an answer that is no word: b'101|B\\n'"),
        (b"ACK -1\n", "'-1' is not a number"),
        (b"NEXT\n", "'' is not a number"),
    ],
)
def test_wrong_answers_are_found(answers: bytes, problem: str) -> None:
    for size in (1, 100):
        ledger = opened()
        ledger.pieces.add(piece(101, 3))
        list(taken(ledger))
        for at in range(0, len(answers), size):
            ledger.receive(answers[at : at + size], 0.0)
        assert ledger.problems == [problem]


def test_an_answer_before_ok_is_found() -> None:
    ledger = Ledger()
    ledger.receive(b"ACK 1\n", 0.0)
    assert ledger.problems == ["ACK 1 came before OK"]
    for _ in range(PROBLEMS):
        ledger.receive(b"HOW\n", 0.0)
    assert len(ledger.problems) == PROBLEMS


def test_what_is_only_counted() -> None:
    ledger = opened()
    ledger.receive(b"GAP 7\nSKIPPED 7-9\nSKIPPED 12-12\nBYE drain\nNEXT 101\nOK", 0.0)
    assert ledger.skipped == ["7-9", "12-12"]
    assert dict(ledger.goodbyes) == {"drain": 1}
    assert ledger.answers["GAP"] == 1
    assert ledger.problems == []


def test_what_was_acknowledged_and_is_missing_is_lost() -> None:
    ledger = opened()
    ledger.pieces.add(piece(101, 2))
    ledger.pieces.add(piece(103, 2))
    list(taken(ledger))
    for answer, lost in (
        (b"GAP 101\n", 0), (b"ACK 2\n", 101), (b"NEXT 103\n", 0), (b"GAP 104\n", 0), (b"GAP 103\n", 0),
        (b"ACK 3\n", 0), (b"ACK 4\n", 103), (b"NEXT 105\n", 0),
    ):  # fmt: skip
        ledger.receive(answer, 0.0)
        assert ledger.lost == lost


def test_latency_is_from_the_due_time_to_the_acknowledgement_of_the_last_line() -> None:
    ledger = opened()
    ledger.pieces.add(piece(101, 2, 10.0))
    ledger.pieces.add(piece(103, 2, 11.0))
    ledger.pieces.add(piece(105, 2))
    list(taken(ledger))
    ledger.receive(b"ACK 1\n", 10.5)
    assert list(ledger.pieces.latencies) == []
    ledger.receive(b"ACK 6\n", 12.0)
    assert list(ledger.pieces.latencies) == [2.0, 1.0]


def test_what_is_kept_is_bounded() -> None:
    ledger = opened()
    line = b"x" * (1024 * 1024 - 1) + b"\n"
    number = 101
    while ledger.may_add:
        ledger.pieces.add(Piece(number, number + 1, line))
        number += 1
    assert number - 101 == KEPT_BYTES // len(line)
    list(taken(ledger))
    ledger.receive(b"ACK 1\n", 0.0)
    assert not ledger.may_add
    ledger.receive(b"NEXT 102\n", 0.0)
    assert ledger.may_add


def test_pieces_cover_all_numbers() -> None:
    arrival = [(b"2|B\n1|B\n4|B\n3|B\n", [8, 8]), (b"5|B\n", [4])]
    found = list(cut(1, 6, 2, arrival))
    assert [(each.first, each.end, each.data, each.lines) for each in found] == [
        (1, 3, b"2|B\n1|B\n", 2), (3, 5, b"4|B\n3|B\n", 2), (5, 6, b"5|B\n", 1),
    ]  # fmt: skip


def test_numbers_of_others_may_be_wanted_again() -> None:
    ledger = opened()
    ledger.pieces.add(piece(101, 2))
    ledger.pieces.add(piece(107, 2))
    list(taken(ledger))
    ledger.receive(b"ACK 2\nNEXT 107\nRESET 77aa01@103\n", 0.0)
    assert ledger.problems == []
    assert list(taken(ledger)) == [b"108|B\n107|B\n"]


# A producer


def producing(received: int = 0) -> ProducerLedger:
    ledger = ProducerLedger("sim-1")
    assert ledger.hello == b"HELLO acks=1 producer=sim-1\n"
    answered(ledger, b"OK 9f31c2@101 reach=9 received=%d\n" % received)
    return ledger


def ordinals(first: int, count: int) -> Piece:
    return Piece(first, first + count, b"".join(b"*|B|%d\n" % ordinal for ordinal in range(first, first + count)))


def test_a_producer_goes_on_behind_what_was_received() -> None:
    ledger = producing()
    ledger.pieces.add(ordinals(0, 3))
    ledger.pieces.add(ordinals(3, 3))
    list(taken(ledger))
    ledger.receive(b"ACK 2\nNEXT 900\n", 0.0)
    answered(ledger, b"OK 9f31c2@903 reach=9 received=4\n")
    assert list(taken(ledger)) == [b"*|B|4\n*|B|5\n"]
    ledger.receive(b"ACK 2\n", 0.0)
    assert (ledger.pieces.unacknowledged, ledger.problems) == (0, [])


@pytest.mark.parametrize(
    ("received", "problem"),
    [
        (b" received=1", "line 2 was acknowledged, and received=1"),
        (b" received=7", "OK says received=7, and 6 were sent and the first 0 forgotten"),
        (b"", "OK has no received="),
    ],
)
def test_a_count_that_can_not_be_is_a_problem(received: bytes, problem: str) -> None:
    ledger = producing()
    ledger.pieces.add(ordinals(0, 3))
    ledger.pieces.add(ordinals(3, 3))
    list(taken(ledger))
    ledger.receive(b"ACK 2\n", 0.0)
    answered(ledger, b"OK 9f31c2@101 reach=9" + received + b"\n")
    assert ledger.problems == [problem]


def test_a_producer_keeps_its_last_lines() -> None:
    ledger = producing()
    line = b"*|B|" + b"x" * 1019 + b"\n"
    for ordinal in range(2000):
        ledger.pieces.add(Piece(ordinal, ordinal + 1, line))
    list(taken(ledger))
    ledger.receive(b"ACK 2000\n", 0.0)
    assert sum(len(each.data) for each in ledger.pieces.kept) == KEPT_IN_CASE_BYTES
    answered(ledger, b"OK 9f31c2@9 received=10\n")
    assert ledger.problems[0] == "OK says received=10, and 2000 were sent and the first 976 forgotten"


class Listener:
    """Takes lines as the protocol says: counts those of a connection, keeps what came in `stream`."""

    def __init__(self) -> None:
        self.stream: list[bytes] = []

    def connected(self, is_producer: bool) -> bytes:
        self.lines = 0
        self.next = 101
        have = {int(line.split(b"|")[0]) for line in self.stream} if not is_producer else set()
        while self.next in have:
            self.next += 1
        received = b" received=%d" % len(self.stream) if is_producer else b""
        return b"OK 9f31c2@%d reach=9%b\n" % (self.next, received)

    def take(self, data: bytes) -> bytes:
        lines = data.splitlines(keepends=True)
        self.stream += lines
        self.lines += len(lines)
        return b"ACK %d\n" % self.lines


CUTS = st.lists(st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(0, 60)), max_size=12)
"""For each connection: how many lines are read, how many pieces are offered, and how many bytes of answers arrive."""


@given(CUTS, st.lists(st.integers(1, 5), min_size=1, max_size=12), st.booleans())
def test_every_line_arrives_whatever_is_cut(
    cuts: list[tuple[int, int, int]], sizes: list[int], is_producer: bool
) -> None:
    ledger = ProducerLedger("p") if is_producer else Ledger()
    listener, first, waiting = Listener(), 0 if is_producer else 101, []
    for size in sizes:
        waiting.append(ordinals(first, size) if is_producer else piece(first, size))
        first += size
    everything = b"".join(each.data for each in waiting)
    for most_lines, most_pieces, most_bytes in [*cuts, (1000, 1000, 100_000)]:
        answers = listener.connected(is_producer)
        ledger.begin()
        ledger.receive(answers, 0.0)
        for _ in range(min(most_pieces, len(waiting))):
            ledger.pieces.add(waiting.pop(0))
        sent = b"".join(list(taken(ledger)))
        for line in sent.splitlines(keepends=True)[:most_lines]:
            answers = listener.take(line)[:most_bytes]
            ledger.receive(answers, 0.0)
            if not answers.endswith(b"\n"):
                break
    assert (ledger.pieces.unacknowledged, ledger.problems) == (0, [])
    if is_producer:
        assert b"".join(listener.stream) == everything, "each once, in their order"
    else:
        assert set(listener.stream) == set(re.findall(rb".*\n", everything))


def test_what_is_kept_and_acknowledged_is_known_to_the_number() -> None:
    ledger = opened()
    ledger.pieces.add(piece(101, 2))
    ledger.pieces.add(piece(103, 2))
    list(taken(ledger))
    ledger.receive(b"ACK 2\n", 0.0)
    assert [number for number in range(99, 107) if ledger.pieces.has_acknowledged(number)] == [101, 102]
    assert (ledger.gap, ledger.lost, ledger.skipped, ledger.resets) == (0, 0, [], [])
    assert (ledger.pieces.again, ledger.pieces.forgotten_end, ledger.pieces.end) == (0, 0, 105)


def test_pieces_of_several_blocks_and_sizes() -> None:
    arrival = [(b"aaa\nb\ncc\n", [4, 2, 3]), (b"d\nee\n", [2, 3])]
    found = [(each.first, each.end, each.data) for each in cut(11, 20, 2, arrival)]
    assert found == [(11, 13, b"aaa\n"), (13, 15, b"b\n"), (15, 17, b"cc\n"), (17, 19, b"d\n"), (19, 20, b"ee\n")]
