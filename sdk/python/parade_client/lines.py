"""Cuts what comes over a connection into lines, and reads control lines. Pure.

    1|F|60|50                      an event: it begins with a digit
    RESET 9f31c2@1400 received=3   a control line: words first, then pairs in any order

Rules kept here:

- A line counts when its end has come; what is without one is dropped with its connection.
- A line is at most `LINE_BYTES` long, so a server that sends no line end costs no more than that.
- Further words and unknown pairs are for later versions: they are read and mean nothing.
"""

import re
from collections import deque
from typing import NamedTuple

from parade_client.errors import ProtocolError

LINE_BYTES = 65_536
"""The longest line of any deployment (the largest PARADE_LINE_BYTES), with its end."""
MAX_NUMBER = 2**53 - 1

_position = re.compile(r"([0-9A-Za-z]{1,64})@(0|[1-9][0-9]{0,15})").fullmatch
_number = re.compile(r"0|[1-9][0-9]{0,15}").fullmatch

LASTING = (
    *("a user id", "a registration line", "after is", "this port takes"),
    *("HELLO needs", "the name of a producer", "a HELLO line"),
)
"""How the reasons of an ERROR begin that are still there at the next try."""


class Position(NamedTuple):
    """`9f31c2@70000`: for a subscriber just behind this number, for a source the number that is wanted next."""

    history: str
    number: int

    def __str__(self) -> str:
        return f"{self.history}@{self.number}"

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Parse `9f31c2@70000`. ValueError when it is none."""
        found = _position(text)
        if not found or int(found[2]) > MAX_NUMBER:
            raise ValueError(f"{text[:80]!r} is no position such as '9f31c2@70000': give what `cursor` was, or None")
        return cls(found[1], int(found[2]))


class Control(NamedTuple):
    """A control line; `text` is what stands behind its first word."""

    word: str
    arguments: tuple[str, ...]
    pairs: dict[str, str]
    text: str

    def argument(self, index: int) -> str:
        """A word behind the first one; empty when it is not there."""
        return self.arguments[index] if index < len(self.arguments) else ""

    def number(self) -> int:
        """The first argument as a number. Raises ProtocolError."""
        return number(self.argument(0), self)

    def position(self) -> Position:
        """The first argument as a position. Raises ProtocolError."""
        try:
            return Position.parse(self.argument(0))
        except ValueError:
            raise ProtocolError(f"the server said {self}, which has no position") from None

    def __str__(self) -> str:
        return repr(f"{self.word} {self.text}".rstrip()[:120])


def number(text: str, line: Control) -> int:
    """A number in a control line. Raises ProtocolError."""
    if not _number(text):
        raise ProtocolError(f"the server said {line}, which lacks a number")
    return int(text)


def parse_control(line: bytes) -> Control:
    """Read a whole line that begins with a capital letter."""
    text = line.decode("utf-8", "replace").rstrip("\r\n")
    word, _, rest = text.partition(" ")
    arguments: list[str] = []
    pairs: dict[str, str] = {}
    for part in rest.split():
        name, equals, value = part.partition("=")
        if equals:
            pairs.setdefault(name, value)
        else:
            arguments.append(part)
    return Control(word, tuple(arguments), pairs, rest)


def is_control(line: bytes) -> bool:
    """Whether a line begins with a capital letter."""
    return b"A" <= line[:1] <= b"Z"


class Lines:
    """Bytes in, whole lines out, one at a time."""

    def __init__(self) -> None:
        self._rest = b""
        self._lines: deque[bytes] = deque()

    def __bool__(self) -> bool:
        return bool(self._lines)

    def put(self, data: bytes) -> None:
        """Bytes came. Raises ProtocolError when a line is too long."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        self._lines.extend(line + b"\n" for line in lines)
        if len(self._rest) >= LINE_BYTES:
            raise ProtocolError(f"the server sent {LINE_BYTES} bytes without a line end: is this a port of Parade?")

    def take(self) -> bytes:
        """The next whole line, with its end."""
        return self._lines.popleft()
