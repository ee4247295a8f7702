"""HELLO is taken whole, byte by byte and with lines behind it; what is wrong is said; every answer is a line."""

import pytest

from contract.control import Position
from listener import hello
from listener.hello import HELLO_BYTES, FirstLine, Hello, greets, parse_hello


def fed(pieces: list[bytes]) -> tuple[Hello, bytes] | None:
    first, found = FirstLine(), None
    for at, piece in enumerate(pieces):
        found = first.feed(piece)
        assert found is None or at == len(pieces) - 1 or b"\n" in b"".join(pieces[: at + 1])
        if found is not None:
            return found[0], found[1] + b"".join(pieces[at + 1 :])
    return found


@pytest.mark.parametrize(
    ("line", "producer"),
    [
        (b"HELLO acks=1", ""),
        (b"HELLO producer=orders-7 acks=1", "orders-7"),
        (b"HELLO acks=1 token=a=b later=", ""),
        (b"HELLO acks=1 producer=" + b"a.B_9-" * 10 + b"abcd", "a.B_9-" * 10 + "abcd"),
    ],
)
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_hello_whole_byte_by_byte_and_with_lines_behind_it(line: bytes, producer: str, end: bytes) -> None:
    data = line + end + b"1|B\nrest"
    whole = (Hello(producer), b"1|B\nrest")
    assert fed([data]) == whole
    assert fed([data[at : at + 1] for at in range(len(data))]) == whole
    assert fed([line]) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b"HELLO", hello.NO_ACKS),
        (b"HELLO acks=0", hello.NO_ACKS),
        (b"HELLO acks=", hello.NO_ACKS),
        (b"HELLO there acks=1", hello.NO_ACKS),
        (b"HELLO  acks=1", hello.NO_ACKS),
        (b"HELLOacks=1", hello.NO_ACKS),
        (b"HELLO acks=1 producer=", hello.NO_NAME),
        (b"HELLO acks=1 producer=a:b", hello.NO_NAME),
        (b"HELLO acks=1 producer=" + b"a" * 65, hello.NO_NAME),
        (b"HELLO acks=1 producer=\xff", hello.NO_NAME),
    ],
)
def test_what_is_wrong_is_said(line: bytes, reason: str) -> None:
    with pytest.raises(ValueError, match=reason.replace(".", "\\.")) as problem:
        parse_hello(line)
    assert str(problem.value) == reason


def test_a_hello_line_has_so_many_bytes_and_no_more() -> None:
    longest = b"HELLO acks=1 x=".ljust(HELLO_BYTES - 1, b"y")
    assert FirstLine().feed(longest + b"\n") == (Hello(), b"")
    for too_long in (longest + b"y", longest + b"y\n"):
        with pytest.raises(ValueError, match="at most 4096 bytes"):
            FirstLine().feed(too_long)


def test_who_greets() -> None:
    for first in (b"HELLO", b"HELLO acks=1", b"HELLOX"):
        assert greets(first) is True
    for first in (b"", b"H", b"HELL"):
        assert greets(first) is None
    for first in (b"1|B\n", b"HELP", b"hello", b"\n", b" HELLO"):
        assert greets(first) is False


def test_each_line_that_a_source_is_told() -> None:
    wanted = Position(b"9f31c2", 1201)
    assert hello.ok(wanted, 1_000_000, None) == b"OK 9f31c2@1201 reach=1000000\n"
    assert hello.ok(wanted, 1_000_000, 0) == b"OK 9f31c2@1201 reach=1000000 received=0\n"
    assert hello.ack(340) == b"ACK 340\n"
    assert hello.next_number(1500) == b"NEXT 1500\n"
    assert hello.gap(1500) == b"GAP 1500\n"
    assert hello.skipped(b"1500-1502") == b"SKIPPED 1500-1502\n"
    assert hello.nak(341, b"too-long") == b"NAK 341 too-long\n"
    assert hello.reset(wanted, None) == b"RESET 9f31c2@1201\n"
    assert hello.reset(wanted, 300) == b"RESET 9f31c2@1201 received=300\n"
    assert hello.bye(b"fenced") == b"BYE fenced\n"
    assert hello.error(hello.NO_ACKS) == b"ERROR HELLO needs acks=1\n"
