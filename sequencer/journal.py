"""How much of the journal is kept. Pure.

The journal is for nodes that missed something. It is bounded by bytes. The sizes of what an earlier term wrote are
unknown here; all of it counts as half the limit.
"""

from collections import deque

ENTRY_BYTES = 200
"""About what an entry costs in Redis beside its contents."""


class Journal:
    """The sizes of the batches that this term has journalled."""

    def __init__(self, limit_bytes: int) -> None:
        self._limit_bytes = limit_bytes
        self._sizes: deque[tuple[int, int]] = deque([(0, limit_bytes // 2)])
        self._bytes = limit_bytes // 2

    def add(self, batch: int, size: int) -> int:
        """A batch of `size` bytes is written; returns the oldest batch to keep."""
        self._sizes.append((batch, size + ENTRY_BYTES))
        self._bytes += size + ENTRY_BYTES
        while self._bytes > self._limit_bytes and len(self._sizes) > 1:
            self._bytes -= self._sizes.popleft()[1]
        return self._sizes[0][0]
