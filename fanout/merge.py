"""Merging a user's own lines with a batch's broadcasts by sequence number. Pure.

Rules kept here:

- Both sides are whole lines in sequence order; so is the result, byte for byte the same lines.
- A number appears on one side only.

Numbers of one width sort as text, without a key, which is three times faster; a batch that crosses a power of ten is
rare. There are two ways to merge: a few lines are spliced between slices of the broadcasts (0.2 µs a line, however
many broadcasts there are); many lines are sorted together with them (20 ns for each line of either side). Both work
on str, since the interpreter compares its strings without a call each, but not bytes: 12 % less CPU time for a node
when each user follows half of all others.

A payload can hold any byte but LF. So the text is Latin-1, in which each byte is a character and back, and only LF ends
a line (`splitlines` would also split at CR, form feeds, NEL and others).
"""

from bisect import bisect
from itertools import accumulate

SPLICE_BELOW = 12
"""Splice while there are this many times more broadcasts than own lines; measured, not critical."""
END = "\n"


def number(line: str) -> int:
    """The sequence number of an event line."""
    return int(line[: line.index("|")])


class Broadcasts:
    """One batch's broadcasts. They are indexed on first use, since most connections get them as they are."""

    def __init__(self, lines: bytes) -> None:
        self.bytes = lines
        self._text = ""
        self._lines: list[str] = []
        self._offsets: list[int] = []
        """Where each line begins, without the line ends before it."""

    def merged_with(self, own: bytes) -> bytes:
        """The broadcasts and `own`, in sequence order."""
        if not self.bytes:
            return own
        if not own:
            return self.bytes
        if not self._lines:
            self._text = self.bytes.decode("latin-1")
            self._lines = _lines_of(self._text)
            self._offsets = [0, *accumulate(map(len, self._lines))]
        own_lines, lines = _lines_of(own.decode("latin-1")), self._lines
        # In order, so the widths of first and last are those of all.
        one_width = lines[0].index("|") == lines[-1].index("|") == own_lines[0].index("|") == own_lines[-1].index("|")
        if one_width and len(own_lines) * SPLICE_BELOW < len(lines):
            return self._spliced(own_lines)
        merged = lines + own_lines
        merged.sort(key=None if one_width else number)
        merged.append("")
        return END.join(merged).encode("latin-1")

    def _spliced(self, own_lines: list[str]) -> bytes:
        pieces: list[str] = []
        done = 0
        for line in own_lines:
            at = bisect(self._lines, line)
            offset = self._offsets[at] + at
            pieces += (self._text[done:offset], line, END)
            done = offset
        pieces.append(self._text[done:])
        return "".join(pieces).encode("latin-1")


def _lines_of(text: str) -> list[str]:
    """Whole lines, without their LF."""
    lines = text.split(END)
    lines.pop()
    return lines
