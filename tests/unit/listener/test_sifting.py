"""Sifting finds the events and the refused lines that framing and parsing find, whatever the read boundaries are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.entries import NOT_AN_EVENT, NUMBERED, UNNUMBERED
from contract.events import NUMBER_ROOM, SAMPLE_BYTES, parse, parse_unnumbered
from listener.sifting import LINE_TOO_LONG, WORDS, Piece, Sifter, longest_line

LIMIT = 100


def sifted(pieces: list[bytes], gives_numbers: bool = False) -> tuple[list[tuple[str, bytes]], bytes]:
    """(reason, line) of each line in order; events have no reason. And the tail."""
    sifter = Sifter(LIMIT, gives_numbers)
    found: list[tuple[str, bytes]] = []
    for data in pieces:
        sifter.put(data)
        while piece := sifter.next():
            if piece.reason:
                found.append((piece.reason, piece.lines))
            else:
                assert piece.lines.endswith(b"\n")
                found += [("", line) for line in piece.lines.splitlines(keepends=True) if line]
    return found, sifter.close()


def expected(lines: list[bytes], gives_numbers: bool) -> list[tuple[str, bytes]]:
    """The same by the grammar of the sequencer, line by line."""
    mine, other = (parse_unnumbered, parse) if gives_numbers else (parse, parse_unnumbered)
    found = []
    for line in lines:
        if len(line) > LIMIT:
            found.append((LINE_TOO_LONG, line[:SAMPLE_BYTES]))
        elif mine(line)[0][1]:
            found.append(("", line))
        else:
            other_reason = NUMBERED if gives_numbers else UNNUMBERED
            found.append((other_reason if other(line)[0][1] else NOT_AN_EVENT, line[:SAMPLE_BYTES]))
    return found


bodies = st.one_of(
    st.sampled_from([b"1|B", b"*|B", b"12|P|3|4", b"*|S|7|hi", b"9|F|1|2|a b c", b"0|B", b"", b"x", b"*|X", b"1|B|\r"]),
    st.binary(max_size=20).map(lambda body: body.replace(b"\n", b"").replace(b"\r", b"")),
    st.integers(LIMIT - 6, LIMIT + 3).map(lambda size: b"5|B|" + b"y" * size),
)


@given(st.lists(bodies), st.booleans(), st.lists(st.integers(1, 300)), st.booleans())
def test_any_read_boundaries_give_what_the_grammar_says(
    lines: list[bytes], crlf: bool, cuts: list[int], gives_numbers: bool
) -> None:
    whole = [line + (b"\r\n" if crlf else b"\n") for line in lines]
    data = b"".join(whole) + b"tail"
    pieces = []
    for size in cuts:
        pieces.append(data[:size])
        data = data[size:]
    assert split_at_line_ends(sifted([*pieces, data], gives_numbers)) == (expected(whole, gives_numbers), b"tail")


def split_at_line_ends(found: tuple[list[tuple[str, bytes]], bytes]) -> tuple[list[tuple[str, bytes]], bytes]:
    """`splitlines` also splits at a CR; LF alone ends a line."""
    lines: list[tuple[str, bytes]] = []
    for reason, line in found[0]:
        if not reason and lines and not lines[-1][0] and not lines[-1][1].endswith(b"\n"):
            lines[-1] = ("", lines[-1][1] + line)
        else:
            lines.append((reason, line))
    return lines, found[1]


def test_byte_by_byte_with_a_tail() -> None:
    data = b"1|B\nrubbish\n" + b"y" * 300 + b"\n2|B\r\n*|B\n3|"
    told = [("", b"1|B\n"), (NOT_AN_EVENT, b"rubbish\n"), (LINE_TOO_LONG, b"y" * SAMPLE_BYTES), ("", b"2|B\r\n")]
    assert sifted([data]) == ([*told, (UNNUMBERED, b"*|B\n")], b"3|")
    assert sifted([data[at : at + 1] for at in range(len(data))]) == sifted([data])


def test_events_up_to_a_refused_line_are_one_piece_and_nothing_is_lost_between_two() -> None:
    sifter = Sifter(LIMIT, False)
    sifter.put(b"1|B\n2|B\nx\n3|B\n4|")
    assert sifter.next() == Piece(b"1|B\n2|B\n")
    sifter.put(b"B\n")
    assert [sifter.next(), sifter.next(), sifter.next()] == [Piece(b"x\n", NOT_AN_EVENT), Piece(b"3|B\n4|B\n"), None]


def test_a_line_over_the_limit_is_refused_before_its_end_and_takes_no_memory() -> None:
    sifter = Sifter(LIMIT, False)
    sifter.put(b"5|B|".ljust(LIMIT - 1, b"y"))
    assert sifter.next() is None
    sifter.put(b"y")
    assert sifter.next() == Piece(b"5|B|".ljust(SAMPLE_BYTES, b"y"), LINE_TOO_LONG)
    for _ in range(1000):
        sifter.put(b"y" * 1000)
        assert sifter.next() is None
        assert len(sifter._data) - sifter._at == 0
    assert sifter.close() == b"", "it was refused already"
    sifter.put(b"\n1|B\n")
    assert sifter.next() == Piece(b"1|B\n")


@pytest.mark.parametrize("size", [LIMIT, LIMIT + 1])
def test_a_line_of_so_many_bytes_is_a_line_and_a_longer_one_is_not(size: int) -> None:
    line = b"5|B|".ljust(size - 1, b"y") + b"\n"
    for data in (line, b"1|B\n" + line, line + b"1|B\n"):
        found, _ = sifted([data])
        assert (("", line) in found) == (size == LIMIT)


def test_a_number_that_is_put_in_must_fit_as_well() -> None:
    assert longest_line(4096, gives_numbers=False) == 4096
    assert longest_line(4096, gives_numbers=True) + NUMBER_ROOM == 4096
    assert len(b"9007199254740991") - len(b"*") == NUMBER_ROOM


def test_each_reason_has_a_word() -> None:
    words = {NOT_AN_EVENT: b"malformed", LINE_TOO_LONG: b"too-long", NUMBERED: b"numbered", UNNUMBERED: b"unnumbered"}
    assert words == WORDS
