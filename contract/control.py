"""Control lines: what peers and services say to each other beside events. Pure.

An event line begins with a digit or `*`, a control line with a capital letter: fixed words, then `name=value` pairs in
any order, separated by single blanks. The registration line of a client is the user id and such pairs.

    50 after=9f31c2@70000              HELLO acks=1 producer=orders-7
    RESUMED 9f31c2@70000               OK 9f31c2@1201 reach=1000000 received=340

A *position* is a place in the order of one deployment: `9f31c2@70000` is just behind the event with that number. What
stands before the @ is the history (`contract/frames.py`): numbers of another history mean something else.

Rules kept here:

- A reader ignores pairs that it does not know, so that later versions can add some.
- A line is control line or not by its first byte, so that peers that know none of this never meet one.
"""

import re
from dataclasses import dataclass
from typing import Self

from contract.events import MAX_SEQUENCE

_POSITION = re.compile(rb"([0-9A-Za-z]{1,64})@(0|[1-9][0-9]{0,15})")


@dataclass(frozen=True, slots=True)
class Position:
    """A place in the order of the deployment with this history, behind `number`; 0 is before the first event."""

    history: bytes
    number: int

    def __bytes__(self) -> bytes:
        return b"%b@%d" % (self.history, self.number)

    @classmethod
    def parse(cls, text: bytes) -> Self:
        """Parse `9f31c2@70000`. ValueError when it is not a position."""
        found = _POSITION.fullmatch(text)
        if not found or int(found[2]) > MAX_SEQUENCE:
            raise ValueError(f"not a position: {text[:80]!r}")
        return cls(found[1], int(found[2]))


def split(line: bytes) -> tuple[list[bytes], dict[bytes, bytes]]:
    """The fixed words of a line without its end, and its pairs; of two pairs with one name the first counts."""
    words: list[bytes] = []
    pairs: dict[bytes, bytes] = {}
    for part in line.split(b" "):
        name, equals, value = part.partition(b"=")
        if equals:
            pairs.setdefault(name, value)
        else:
            words.append(part)
    return words, pairs
