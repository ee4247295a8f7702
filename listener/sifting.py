"""Cutting the bytes of an acknowledged source into events and refused lines. Pure.

Such a source is told which of its lines are refused, so the listener has to look at them; of other sources it looks at
line ends only (`listener/framing.py`).

Rules kept here:

- Every line comes out once, in order: as one of the events of a piece, or refused.
- What is refused here is what the sequencer would refuse for its form, and a line over the limit.
- One piece comes out at a time, so who asks can stop in the middle; nothing is lost, and what is held is at most what
  was put in last, and a line.
"""

from dataclasses import dataclass
from typing import Final

from contract.entries import NOT_AN_EVENT, NUMBERED, UNNUMBERED, why_refused
from contract.events import NUMBER_ROOM, SAMPLE_BYTES, numbered_run, unnumbered_run

LINE_TOO_LONG: Final = "line too long"
WORDS: Final = {
    NOT_AN_EVENT: b"malformed",
    LINE_TOO_LONG: b"too-long",
    NUMBERED: b"numbered",
    UNNUMBERED: b"unnumbered",
}
"""A reason as it is recorded → the word for it that the source is told."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Whole lines that are events; or, with a `reason`, the beginning of one line that is refused."""

    lines: bytes
    reason: str = ""


def longest_line(line_bytes: int, gives_numbers: bool) -> int:
    """How long a line may be that comes in: where it is given a number, that one must fit too."""
    return line_bytes - NUMBER_ROOM if gives_numbers else line_bytes


class Sifter:
    """Sifts one connection's bytes."""

    def __init__(self, limit: int, gives_numbers: bool) -> None:
        self._limit = limit
        self._run = unnumbered_run if gives_numbers else numbered_run
        self._other = (numbered_run, NUMBERED) if gives_numbers else (unnumbered_run, UNNUMBERED)
        self._data = b""
        self._at = self._whole = 0
        """How far `_data` has been dealt with, and where its last whole line ends."""
        self._skipping = False

    def put(self, data: bytes) -> None:
        """Bytes came."""
        self._data = self._data[self._at :] + data
        self._at, self._whole = 0, self._data.rfind(b"\n") + 1

    def next(self) -> Piece | None:
        """The next piece; None: nothing more before the next bytes come."""
        if self._skipping and not self._skip():
            return None
        if self._at < self._whole:
            return self._events() or self._refused()
        if len(self._data) - self._at < self._limit:
            return None
        sample = self._data[self._at : self._at + SAMPLE_BYTES]
        self._at, self._skipping = len(self._data), True
        return Piece(sample, LINE_TOO_LONG)

    def close(self) -> bytes:
        """The bytes of a last line that never got its end; empty when there is none."""
        return b"" if self._skipping else self._data[max(self._at, self._whole) :]

    def _skip(self) -> bool:
        """Pass over the rest of a line that was refused; whether its end has come."""
        end = self._data.find(b"\n", self._at) + 1
        self._at, self._skipping = end or len(self._data), end == 0
        return end > 0

    def _events(self) -> Piece | None:
        found = self._run(self._data, self._at)
        end = self._before_long_line(found.end() if found else self._at)
        if end == self._at:
            return None
        lines, self._at = self._data[self._at : end], end
        return Piece(lines)

    def _before_long_line(self, end: int) -> int:
        # Leaps from line end to line end, as `LineFramer` does.
        at = self._at
        while at + self._limit < end:
            line_end = self._data.rfind(b"\n", at, at + self._limit) + 1
            if line_end == 0:
                return at
            at = line_end
        return end

    def _refused(self) -> Piece:
        line = self._data[self._at : self._data.find(b"\n", self._at) + 1]
        self._at += len(line)
        reason = LINE_TOO_LONG if len(line) > self._limit else why_refused(line, *self._other)
        return Piece(line[:SAMPLE_BYTES], reason)
