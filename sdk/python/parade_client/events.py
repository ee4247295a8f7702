"""The events of Parade as typed values, and their lines. Pure.

    Follow(60, 50, seq=666)                        666|F|60|50
    Unfollow(12, 9, seq=1)                         1|U|12|9
    Broadcast(b"maintenance at 10", seq=7)         7|B|maintenance at 10
    PrivateMessage(32, 56, b"hi")                  *|P|32|56|hi
    StatusUpdate(32, seq=634)                      634|S|32

Without `seq` the deployment gives the number. `line` is the line as it came, byte for byte, or as it will be sent.
"""

import re
from dataclasses import dataclass, field
from typing import ClassVar

from parade_client.errors import ProtocolError
from parade_client.lines import MAX_NUMBER

MAX_ID = 10**20 - 1

_LINE = re.compile(
    rb"([1-9][0-9]{0,15}|\*)\|"
    rb"(?:(B)|(S)\|([1-9][0-9]{0,19})|([FUP])\|([1-9][0-9]{0,19})\|([1-9][0-9]{0,19}))"
    rb"(?:\|([^\n]*)|\r?)\n"
)


class _Loaded:
    payload: bytes | None
    """Any bytes but LF; None: the line has no such field. Each kind has it behind its users."""


@dataclass(frozen=True)
class Event(_Loaded):
    """What all events have. Make one of the five kinds below it."""

    KIND: ClassVar[str] = ""

    seq: int | None = field(default=None, kw_only=True)
    """The sequence number, 1 to 2^53-1; None: Parade gives it."""
    line: bytes = field(default=b"", kw_only=True, repr=False, compare=False)
    """The whole line with its end."""

    def __post_init__(self) -> None:
        if not self.line:
            self._check()
            fields = [str(self.seq or "*"), self.KIND, *map(str, self._users())]
            tail = b"" if self.payload is None else b"|" + self.payload
            object.__setattr__(self, "line", "|".join(fields).encode() + tail + b"\n")

    def _users(self) -> tuple[int, ...]:
        return ()

    def _check(self) -> None:
        if not self.KIND:
            raise TypeError("make a Follow, Unfollow, Broadcast, PrivateMessage or StatusUpdate")
        if any(not 1 <= user <= MAX_ID for user in self._users()):
            raise ValueError(f"a user id has 1 to 20 digits and is not 0: {self._users()}")
        if self.seq is not None and not 1 <= self.seq <= MAX_NUMBER:
            raise ValueError(f"a sequence number is 1 to 2^53-1, and not {self.seq}; leave it out if Parade gives it")
        if self.payload is not None and b"\n" in self.payload:
            raise ValueError("a payload can't have a line end (LF): encode it, for example as Base64")


@dataclass(frozen=True)
class _Change(Event):
    """Of whom a user follows."""

    follower: int
    followed: int
    payload: bytes | None = None

    def _users(self) -> tuple[int, ...]:
        return self.follower, self.followed


@dataclass(frozen=True)
class Follow(_Change):
    """One user follows another, who is notified."""

    KIND = "F"


@dataclass(frozen=True)
class Unfollow(_Change):
    """One user no longer follows another; nobody is notified."""

    KIND = "U"


@dataclass(frozen=True)
class Broadcast(Event):
    """For every user."""

    KIND = "B"
    payload: bytes | None = None


@dataclass(frozen=True)
class PrivateMessage(Event):
    """For one user."""

    KIND = "P"
    sender: int
    recipient: int
    payload: bytes | None = None

    def _users(self) -> tuple[int, ...]:
        return self.sender, self.recipient


@dataclass(frozen=True)
class StatusUpdate(Event):
    """For those who follow its author at this point of the sequence."""

    KIND = "S"
    author: int
    payload: bytes | None = None

    def _users(self) -> tuple[int, ...]:
        return (self.author,)


def parse_event(line: bytes) -> Event:
    """The event in a whole line. Raises ProtocolError when it is none."""
    found = _LINE.fullmatch(line)
    if not found:
        raise ProtocolError(f"{line[:80]!r} is no event: is this a port of Parade?")
    number, broadcast, status, author, kind, origin, target, payload = found.groups()
    seq = None if number == b"*" else int(number)
    if broadcast:
        return Broadcast(payload, seq=seq, line=line)
    if status:
        return StatusUpdate(int(author), payload, seq=seq, line=line)
    if kind == b"P":
        return PrivateMessage(int(origin), int(target), payload, seq=seq, line=line)
    change = Follow if kind == b"F" else Unfollow
    return change(int(origin), int(target), payload, seq=seq, line=line)
