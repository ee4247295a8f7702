"""How much of the journal is kept. Pure: times are monotonic seconds.

The journal is for nodes that missed something, and for users who come back. It is bounded by bytes and by seconds. The
sizes and times of what an earlier term wrote are unknown here; all of it counts as half the limit, and as written when
this term began.
"""

from collections import deque

ENTRY_BYTES = 200
"""About what an entry costs in Redis beside its contents."""


class Journal:
    """The sizes and times of the batches that this term has journalled."""

    def __init__(self, limit_bytes: int, limit_s: float = float("inf"), now_s: float = 0.0) -> None:
        self._limit_bytes = limit_bytes
        self._limit_s = limit_s
        self._batches: deque[tuple[int, int, float]] = deque([(0, limit_bytes // 2, now_s)])
        self._bytes = limit_bytes // 2
        self.is_full = False
        """The last batch that was given up had to go for its bytes, and not for its age."""

    def add(self, batch: int, size: int, now_s: float = 0.0) -> int:
        """A batch of `size` bytes is written; returns the oldest batch to keep."""
        batches = self._batches
        batches.append((batch, size + ENTRY_BYTES, now_s))
        self._bytes += size + ENTRY_BYTES
        while len(batches) > 1 and self._is_old(now_s):
            self._give_up()
            self.is_full = False
        while len(batches) > 1 and self._bytes > self._limit_bytes:
            self._give_up()
            self.is_full = True
        return batches[0][0]

    def reach_s(self, now_s: float) -> float:
        """For how long the oldest batch has been there."""
        return now_s - self._batches[0][2]

    def _is_old(self, now_s: float) -> bool:
        return self.reach_s(now_s) > self._limit_s

    def _give_up(self) -> None:
        self._bytes -= self._batches.popleft()[1]
