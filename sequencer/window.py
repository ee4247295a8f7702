"""Flow control towards the fanout nodes. Pure.

Nodes report the batch they have written. What was published after it weighs on the window. While the window is full
the sequencer waits, the stream fills and the sources are slowed down.
"""

from collections import deque
from collections.abc import Collection


class Window:
    """Batches that were published and that some node has not written yet.

    The bytes bound memory. The batches bound delay: a node's cost is mostly per batch, so when nodes fall
    behind, waiting makes the next batches larger and fewer.
    """

    def __init__(self, limit_bytes: int, limit_batches: int) -> None:
        self._limit_bytes = limit_bytes
        self._limit_batches = limit_batches
        self._has_nodes = False
        self._sizes: deque[tuple[int, int]] = deque()
        self.unwritten_bytes = 0

    def publish(self, batch: int, size: int) -> None:
        """A batch of `size` bytes was published; without nodes it is owed to none."""
        if self._has_nodes:
            self._sizes.append((batch, size))
            self.unwritten_bytes += size

    def settle(self, written: Collection[int]) -> None:
        """The last batch that each node has written: what all have written weighs no more."""
        self._has_nodes = bool(written)
        by_all = min(written, default=None)
        while self._sizes and (by_all is None or self._sizes[0][0] <= by_all):
            self.unwritten_bytes -= self._sizes.popleft()[1]

    @property
    def full(self) -> bool:
        """Nothing may be published."""
        return self.unwritten_bytes >= self._limit_bytes or len(self._sizes) >= self._limit_batches

    @property
    def held_batch(self) -> int | None:
        """The batch that a full window waits for; None while there is room."""
        return self._sizes[0][0] if self.full and self._sizes else None
