"""The control lines of acknowledged sources: their first one, and all that they are told. Pure.

    C: HELLO acks=1 [producer=orders-7] [name=value…]
    S: OK 9f31c2@1201 reach=1000000 [received=340]

`contract/control.py` says what a control line is. All functions return whole lines, with their end.
"""

import re
from dataclasses import dataclass
from typing import Final

from contract.control import Position, split

HELLO: Final = b"HELLO"
HELLO_BYTES: Final = 4096
"""The longest first line, with its end."""
NO_ACKS: Final = "HELLO needs acks=1"
NO_NAME: Final = "the name of a producer is 1 to 64 of A-Z a-z 0-9 . _ -"
TOO_LONG: Final = f"a HELLO line has at most {HELLO_BYTES} bytes"

is_name = re.compile(rb"[A-Za-z0-9._-]{1,64}").fullmatch


@dataclass(frozen=True, slots=True)
class Hello:
    """What a source wants; `producer` is empty when it has no name.

    `generation` is one that was given out for the producer before: if there is no newer one, it goes on under that.
    """

    producer: str = ""
    generation: int = 0


def greets(first: bytes) -> bool | None:
    """Whether a source whose first bytes these are says HELLO; None: too few to tell."""
    if first.startswith(HELLO):
        return True
    return None if HELLO.startswith(first) else False


def parse_hello(line: bytes) -> Hello:
    """Parse a first line without its end. ValueError says what is wrong, in words for the source."""
    words, pairs = split(line)
    if words != [HELLO] or pairs.get(b"acks") != b"1":
        raise ValueError(NO_ACKS)
    name = pairs.get(b"producer")
    if name is not None and not is_name(name):
        raise ValueError(NO_NAME)
    return Hello((name or b"").decode())


class FirstLine:
    """Collects the bytes of a HELLO line until it is whole."""

    def __init__(self) -> None:
        self.bytes = b""

    def feed(self, data: bytes) -> tuple[Hello, bytes] | None:
        """The HELLO and the bytes behind it, once its end has come. ValueError as in `parse_hello`."""
        self.bytes += data
        line, end, rest = self.bytes.partition(b"\n")
        if len(line) >= HELLO_BYTES:
            raise ValueError(TOO_LONG)
        return (parse_hello(line.removesuffix(b"\r")), rest) if end else None


def ok(wanted: Position, reach: int, received: int | None) -> bytes:
    """Lines are taken from now on; `received` of a producer: as many were taken before."""
    return b"OK %b reach=%d%b\n" % (bytes(wanted), reach, _received(received))


def ack(lines: int) -> bytes:
    """The first lines after HELLO are in Redis."""
    return b"ACK %d\n" % lines


def next_number(number: int) -> bytes:
    """Everything below is released or given up."""
    return b"NEXT %d\n" % number


def gap(number: int) -> bytes:
    """This number has been missing for a while, and others wait for it."""
    return b"GAP %d\n" % number


def skipped(numbers: bytes) -> bytes:
    """These numbers, `1500-1502`, are given up."""
    return b"SKIPPED %b\n" % numbers


def nak(line: int, word: bytes) -> bytes:
    """That line after HELLO was refused; `word` says why."""
    return b"NAK %d %b\n" % (line, word)


def reset(wanted: Position, received: int | None) -> bytes:
    """What Redis had confirmed may be lost: send again from here."""
    return b"RESET %b%b\n" % (bytes(wanted), _received(received))


def bye(word: bytes) -> bytes:
    """The connection ends."""
    return b"BYE %b\n" % word


def error(reason: str) -> bytes:
    """The HELLO is not accepted, and the connection ends."""
    return f"ERROR {reason}\n".encode()


def _received(count: int | None) -> bytes:
    return b"" if count is None else b" received=%d" % count
