"""The grammar: what is an event, and that nothing else is."""

import pytest

from contract.events import MAX_SEQUENCE, is_user_id, malformed, parse

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
        b"1|B|\n",
        b"1|B|2\n",
        b"1|b\n",
        b"1|X|1|2\n",
        b"1|S\n",
        b"1|S|\n",
        b"1|S|01\n",
        b"1|S|0\n",
        b"1|S|1|2\n",
        b"1|S|1" + b"0" * 20 + b"\n",
        b"1|F|1\n",
        b"1|F|1|2|3\n",
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
