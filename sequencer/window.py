"""Flow control towards the fanout nodes: how much may be published that a node has not written yet. Pure.

Nodes report the batch they have written. What was published after it weighs on the window. While the window is full
for a node that is waited for (`sequencer/standings.py`), nothing more is published, the stream fills and the sources
are slowed down.
"""

from collections import deque


class Window:
    """The sizes of the batches published last. `batch` is the last one of the term before, which weigh nothing.

    The bytes bound memory. The batches bound delay: a node's cost is mostly per batch, so when nodes fall
    behind, waiting makes the next batches larger and fewer.
    """

    def __init__(self, limit_bytes: int, limit_batches: int, batch: int = 0) -> None:
        self._limit_bytes = limit_bytes
        self._limit_batches = limit_batches
        self._before_term = batch
        self._first = batch
        # The bytes published up to each batch from `_first` on: no more of them than a full window has.
        self._totals = deque([0], maxlen=limit_batches + 1)

    @property
    def last(self) -> int:
        """The last batch published."""
        return self._first + len(self._totals) - 1

    def publish(self, size: int) -> None:
        """The next batch was published, of `size` bytes."""
        self._first += len(self._totals) == self._totals.maxlen
        self._totals.append(self._totals[-1] + size)

    def unwritten_bytes(self, written: int) -> int:
        """The bytes published after a batch; of more batches than fit into the window, those that do."""
        at = max(written, self._before_term) - self._first
        return self._totals[-1] - self._totals[max(0, min(at, len(self._totals) - 1))]

    def is_full(self, written: int) -> bool:
        """Whether a node that has written this batch has as much to write as is allowed."""
        return self.batches(written) >= self._limit_batches or self.unwritten_bytes(written) >= self._limit_bytes

    def is_close(self, written: int) -> bool:
        """Whether a node that has written this batch has half of that to write, or less.

        Or just one batch: right after a commit each node has that.
        """
        batches, size = self.batches(written), self.unwritten_bytes(written)
        return batches <= 1 or (2 * batches <= self._limit_batches and 2 * size <= self._limit_bytes)

    def batches(self, written: int) -> int:
        """How many batches of this term were published after a batch."""
        return self.last - max(written, self._before_term)
