"""The grammar: what is an event, and that nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.events import (
    BARE_BYTES,
    MAX_SEQUENCE,
    is_user_id,
    malformed,
    malformed_unnumbered,
    numbered_run,
    parse,
    parse_unnumbered,
    unnumbered_run,
)

TWENTY = b"1" + b"0" * 19


@pytest.mark.parametrize(
    ("line", "fields"),
    [
        (b"666|F|60|50\n", (b"666", b"", b"", b"F", b"60", b"50")),
        (b"1|U|12|9\n", (b"1", b"", b"", b"U", b"12", b"9")),
        (b"542532|B\n", (b"542532", b"", b"", b"", b"", b"")),
        (b"43|P|32|56\n", (b"43", b"", b"56", b"", b"", b"")),
        (b"634|S|32\n", (b"634", b"32", b"", b"", b"", b"")),
        (b"634|S|32\r\n", (b"634", b"32", b"", b"", b"", b"")),
        (b"1|S|" + TWENTY + b"\n", (b"1", TWENTY, b"", b"", b"", b"")),
    ],
)
def test_events(line: bytes, fields: tuple[bytes, ...]) -> None:
    assert parse(line) == [(line, *fields)]
    assert malformed(line) == []


ANY_BYTES = bytes(byte for byte in range(256) if byte != 10)


@pytest.mark.parametrize(
    "payload",
    [b"", b"2", b"|", b"a|b", b'{"text":"hi"}', "über €".encode(), b"\r", b"\rx", b"\x00", b"\x0b\x0c\x85", ANY_BYTES],
)
@pytest.mark.parametrize("bare", [b"1|F|60|50", b"1|U|12|9", b"1|B", b"1|P|32|56", b"1|S|32"])
def test_each_event_may_carry_any_bytes(bare: bytes, payload: bytes) -> None:
    for end in (b"\n", b"\r\n"):
        line = bare + b"|" + payload + end
        ((found, *fields),) = parse(line)
        assert (found, fields) == (line, list(parse(bare + b"\n")[0][1:]))
        assert malformed(line) == []


def test_no_bare_line_is_longer_than_is_said() -> None:
    longest = b"%d|F|%b|%b\r\n" % (MAX_SEQUENCE, TWENTY, TWENTY)
    assert parse(longest)[0][1]
    assert len(longest) <= BARE_BYTES


@pytest.mark.parametrize(
    "line",
    [
        b"\n",
        b"\r\n",
        b"|\n",
        b"0|B\n",
        b"01|B\n",
        b"-1|B\n",
        b"1|B",
        b"1|b\n",
        b"1|X|1|2\n",
        b"1|S\n",
        b"1|S|\n",
        b"1|S|01\n",
        b"1|S|0\n",
        b"1|S|1" + b"0" * 20 + b"\n",
        b"1|F|1\n",
        b"1|F|1|\n",
        b"1|F|1|x\n",
        b"1|P|1|x|2\n",
        b"1|B payload\n",
        b"1|B|no end",
        b"1|P||2\n",
        b" 1|B\n",
        b"1|B \n",
        b"1|B\r\r\n",
        b"1|B\r\n\r\n",
        b"\xff\xfe\n",
        b"1" + b"0" * 16 + b"|B\n",
        b"\xd9\xa1|B\n",
    ],
)
def test_everything_else_is_refused(line: bytes) -> None:
    refused = malformed(line)
    assert b"".join(refused) == line.removeprefix(b"1|B\r\n")
    assert [event for event in parse(line) if event[1]] == ([] if line != b"1|B\r\n\r\n" else parse(b"1|B\r\n"))


def test_valid_events_around_rubbish_still_count() -> None:
    chunk = b"2|B\nrubbish\n1|B\r\nno end"
    assert [event[0] for event in parse(chunk)] == [b"2|B\n", b"", b"1|B\r\n", b""]
    assert malformed(chunk) == [b"rubbish\n", b"no end"]


def test_the_largest_number_fits_a_double() -> None:
    assert MAX_SEQUENCE == 9_007_199_254_740_991
    assert int(float(MAX_SEQUENCE)) == MAX_SEQUENCE
    assert int(float(MAX_SEQUENCE + 2)) != MAX_SEQUENCE + 2


@pytest.mark.parametrize("text", [b"", b"0", b"01", b"-1", b"1" + b"0" * 20, b"1 ", b"1\n", b"a", b"\xb2"])
def test_not_user_ids(text: bytes) -> None:
    assert not is_user_id(text)


def test_user_ids() -> None:
    assert is_user_id(b"1")
    assert is_user_id(TWENTY)


@pytest.mark.parametrize("line", [b"*|B\n", b"*|F|60|50\r\n", b"*|U|12|9\n", b"*|P|32|56|hi\n", b"*|S|32|\xff|\r\n"])
def test_events_without_a_number(line: bytes) -> None:
    ((found, number, *fields),) = parse_unnumbered(line)
    assert (found, number) == (line, b"*")
    assert fields == list(parse(b"7" + line[1:])[0][2:])
    assert malformed_unnumbered(line) == []
    assert malformed(line) == [line], "where sources give the numbers it is none"


@pytest.mark.parametrize("line", [b"1|B\n", b"|B\n", b"**|B\n", b"*1|B\n", b"*|X\n", b"*|B", b"*\n", b"* |B\n"])
def test_what_is_no_event_without_a_number(line: bytes) -> None:
    assert [event for event in parse_unnumbered(line) if event[1]] == []
    assert malformed_unnumbered(line) == [line]


pieces = st.lists(
    st.sampled_from(
        [b"1", b"*", b"0", b"12", b"|", b"B", b"S", b"P", b"F", b"U", b"\r", b"\n", b"x", b"|B\n", b"1|S|7"]
    )
)


@given(pieces.map(b"".join))
def test_a_run_ends_where_the_first_line_comes_that_is_no_event(chunk: bytes) -> None:
    for run, all_of in ((numbered_run, parse), (unnumbered_run, parse_unnumbered)):
        length = 0
        for event in all_of(chunk):
            if not event[1]:
                break
            length += len(event[0])
        found = run(chunk)
        assert found is not None
        assert found.end() == length
