"""Control lines and runs of event lines, however the bytes are split."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.control import MOST_BYTES, Control, Lines, Position, parse

TEXT = (
    b"OK 9f31c2@1201 reach=1000000 received=340\n1|B\n2|B|RESET in a payload\r\nAT 70\nBYE drain 5000\r\n"
    b"3|P|1|2|\xff\x00 BYE\n"
)


def together(parts: list[bytes | Control]) -> list[bytes | Control]:
    """Runs of event lines that follow each other as one."""
    joined: list[bytes | Control] = []
    for part in parts:
        if joined and isinstance(part, bytes) and isinstance(joined[-1], bytes):
            joined[-1] += part
        else:
            joined.append(part)
    return joined


WHOLE: list[bytes | Control] = [
    Control(
        "OK",
        ["9f31c2@1201"],
        {"reach": "1000000", "received": "340"},
        "9f31c2@1201 reach=1000000 received=340",
    ),
    b"1|B\n2|B|RESET in a payload\r\n",
    Control("AT", ["70"], {}, "70"),
    Control("BYE", ["drain", "5000"], {}, "drain 5000"),
    b"3|P|1|2|\xff\x00 BYE\n",
]


@pytest.mark.parametrize("size", [*range(1, 20), len(TEXT)])
def test_lines_are_the_same_however_they_are_split(size: int) -> None:
    lines = Lines()
    found = [part for at in range(0, len(TEXT), size) for part in lines.feed(TEXT[at : at + size])]
    assert together(found) == WHOLE
    assert lines.part == b""


def test_event_lines_that_come_together_stay_together() -> None:
    lines = Lines()
    assert list(lines.feed(b"1|B\n2|B\n3|")) == [b"1|B\n2|B\n"]
    assert list(lines.feed(b"B\n4|B\nAT 9\n5|B\n")) == [b"3|B\n4|B\n", Control("AT", ["9"], {}, "9"), b"5|B\n"]


def test_a_line_that_never_ends_is_not_kept() -> None:
    lines = Lines()
    list(lines.feed(b"x" * MOST_BYTES))
    with pytest.raises(ValueError, match="a line of over 131,072 bytes"):
        list(lines.feed(b"x"))


def test_of_two_pairs_with_one_name_the_first_counts() -> None:
    assert parse(b"OK 1 a=1 a=2 b= =c\n") == Control("OK", ["1"], {"a": "1", "b": "", "": "c"}, "1 a=1 a=2 b= =c")


@pytest.mark.parametrize("text", ["", "9f31c2", "@1", "a@", "a@-1", "a@01", "a-b@1", "a@1x"])
def test_what_is_not_a_position(text: str) -> None:
    with pytest.raises(ValueError, match="is not a position"):
        parse(f"OK {text}".encode()).position  # noqa: B018


@pytest.mark.parametrize("text", ["", "x", "-1", "1.5", "\xb2"])
def test_what_is_not_a_number(text: str) -> None:
    with pytest.raises(ValueError, match="is not a number"):
        parse(f"AT {text}".encode("latin-1")).number  # noqa: B018


@given(st.integers(0, 2**53 - 1))
def test_a_position_reads_back(number: int) -> None:
    place = Position("9f31c2", number)
    assert parse(f"RESUMED {place}\n".encode()).position == place
