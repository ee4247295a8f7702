"""Consecutive batches as one larger batch, for clients that come back. Pure.

Rules kept here:

- What a user gets of a stretch is what it would have got of its batches one by one: the same lines in the same order,
  those above a number.
- A kept stretch is bounded: with one batch too many it drops all of them, and says so.
"""

from collections.abc import Iterable

from contract.frames import Frame, Messages
from fanout.merge import Broadcasts
from fanout.upstream.reading import size_of

Batch = tuple[Frame, Messages]


class Stretch:
    """Batches in a row; `after` is the number before their first one, and they end below `next`."""

    def __init__(self, batches: Iterable[Batch], after: int) -> None:
        self.after = self.upto = after
        """Its numbers are above the one and up to the other."""
        self.last = 0
        """The last batch."""
        lines: list[bytes] = []
        own: dict[bytes, list[bytes]] = {}
        for frame, messages in batches:
            self.upto, self.last = frame.next - 1, frame.batch
            if frame.lines:
                lines.append(frame.lines)
            for user_id, of_user in messages.items():
                own.setdefault(user_id, []).append(of_user)
        self.broadcasts = Broadcasts(b"".join(lines))
        self.own = {user_id: b"".join(parts) for user_id, parts in own.items()}

    def lines(self, user_id: bytes, number: int) -> bytes:
        """The lines of a user that are above a number."""
        merged = self.broadcasts.merged_with(self.own.get(user_id, b""))
        return above(merged, number) if number > self.after else merged


class Kept:
    """The batches that a node writes while a sweep of the journal runs, up to a bound."""

    def __init__(self, last: int, upto: int, most_bytes: int) -> None:
        self.last, self.upto = last, upto
        """The batch before the first one that is kept, and the number up to which that goes."""
        self.is_whole = True
        """No batch had to be dropped."""
        self._most_bytes = most_bytes
        self._bytes = 0
        self._batches: list[Batch] = []
        self._stretch: Stretch | None = None

    def add(self, frame: Frame, messages: Messages) -> None:
        """A batch was written."""
        self._bytes += size_of(frame, messages)
        self.is_whole = self.is_whole and self._bytes <= self._most_bytes
        if self.is_whole:
            self._batches.append((frame, messages))
        else:
            self._batches.clear()
        self._stretch = None

    def stretch(self) -> Stretch:
        """All of them."""
        if self._stretch is None:
            self._stretch = Stretch(self._batches, self.upto)
        return self._stretch


def above(lines: bytes, number: int) -> bytes:
    """The lines with a larger number; `lines` are whole and in order."""
    low, high = 0, len(lines)
    # Both are beginnings of lines: all lines before `low` are too small, those from `high` on are not.
    while low < high:
        middle = lines.rfind(b"\n", low, (low + high) // 2) + 1 or low
        if int(lines[middle : lines.index(b"|", middle)]) > number:
            high = middle
        else:
            low = lines.index(b"\n", middle) + 1
    return lines[low:]
