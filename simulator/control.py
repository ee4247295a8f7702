"""The control lines of the protocol as a peer outside reads them: fixed words, then `name=value` pairs. Pure.

An event line begins with a digit, a control line with a capital letter. Written from docs/protocol.md, and shared with
no service: what both understood wrongly would not be noticed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

MOST_BYTES = 128 * 1024
"""Twice the longest line that a deployment can allow."""

_CONTROL = re.compile(rb"^[A-Z].*\n", re.MULTILINE)
_POSITION = re.compile(r"([0-9A-Za-z]+)@(0|[1-9][0-9]*)")


class Position(NamedTuple):
    """A place in the order: behind the event with this number, in this history."""

    history: str
    number: int

    def __str__(self) -> str:
        return f"{self.history}@{self.number}"


@dataclass(frozen=True, slots=True)
class Control:
    """One control line, without its end."""

    word: str
    arguments: list[str]
    pairs: dict[str, str]
    text: str = ""
    """All that stands behind the word."""

    @property
    def position(self) -> Position:
        """The first argument as a position. ValueError when it is none."""
        found = _POSITION.fullmatch(self.argument(0))
        if not found:
            raise ValueError(f"{self.argument(0)!r} is not a position")
        return Position(found[1], int(found[2]))

    @property
    def number(self) -> int:
        """The first argument as a number. ValueError when it is none."""
        text = self.argument(0)
        if not (text.isascii() and text.isdigit()):
            raise ValueError(f"{text!r} is not a number")
        return int(text)

    def argument(self, index: int) -> str:
        """That fixed word after the first; empty when there is none."""
        return self.arguments[index] if index < len(self.arguments) else ""


def parse(line: bytes) -> Control:
    """Parse a control line, with or without its end."""
    words: list[str] = []
    pairs: dict[str, str] = {}
    text = line.decode("latin-1").rstrip("\r\n")
    for part in text.split(" "):
        name, equals, value = part.partition("=")
        if equals:
            pairs.setdefault(name, value)
        else:
            words.append(part)
    return Control(words[0] if words else "", words[1:], pairs, text.partition(" ")[2])


class Lines:
    """Puts whole lines together. Runs of event lines stay together, so that they cost next to nothing."""

    def __init__(self) -> None:
        self.part = b""
        """The beginning of a line whose end has not come yet."""

    def feed(self, data: bytes) -> Iterator[bytes | Control]:
        """What is whole now, in order: event lines, as many together as there are, and each control line.

        ValueError when a line does not end.
        """
        end = data.rfind(b"\n") + 1
        if not end:
            self.part += data
            if len(self.part) > MOST_BYTES:
                raise ValueError(f"a line of over {MOST_BYTES:,} bytes: {self.part[:60]!r}")
            return
        whole, self.part = self.part + data[:end], data[end:]
        done = 0
        for found in _CONTROL.finditer(whole):
            if found.start() > done:
                yield whole[done : found.start()]
            yield parse(found[0])
            done = found.end()
        if done < len(whole):
            yield whole[done:]
