"""Flow control towards the fanout nodes. Pure.

Nodes report the batch they have written. What was published after it weighs on the window, and while the
window is full the sequencer waits, the stream fills and the sources are slowed down. A node that is
silent, or holds a full window for too long, is to be expelled, so that one node can't hold up all others
for ever. Times are the caller's monotonic seconds.

A node is silent for as long as this process has *looked and seen no change*: the time between two looks counts up
to `look_s`. So a restart of Redis, a commit that takes long or a pause of this process makes no node look dead: what
the nodes reported meanwhile is seen at the next look, before anything is judged.
"""

from collections import deque
from dataclasses import dataclass

from contract.reports import parse_heartbeat

JUNK = "junk in its report"
"""Why a node is expelled whose report somebody else has overwritten; it gets the same answer to its next heartbeat."""


@dataclass(slots=True)
class _Node:
    report: bytes
    batch: int | None
    """The last batch that it has written; None while its report makes no sense, so that it holds nobody up."""
    silent_s: float = 0.0
    """How long its report has been seen not to change."""
    still_s: float = 0.0
    """How long it has been seen to write nothing."""


class Window:
    """Published and not yet written batches, and the nodes that owe them.

    The bytes bound memory. The batches bound delay: a node's cost is mostly per batch, so when nodes fall
    behind, waiting makes the next batches larger and fewer.
    """

    def __init__(
        self, limit_bytes: int, limit_batches: int, silence_s: float, patience_s: float, look_s: float
    ) -> None:
        self._limit_bytes = limit_bytes
        self._limit_batches = limit_batches
        self._silence_s = silence_s
        self._patience_s = patience_s
        self._look_s = look_s
        self._looked_s: float | None = None
        self._sizes: deque[tuple[int, int]] = deque()
        self._unwritten_bytes = 0
        self._nodes: dict[bytes, _Node] = {}

    def publish(self, batch: int, size: int) -> None:
        """A batch of `size` bytes was published."""
        if self._nodes:
            self._sizes.append((batch, size))
            self._unwritten_bytes += size

    def observe(self, reports: dict[bytes, bytes], now_s: float) -> None:
        """Take in the nodes' reports (`<batch> …`), all that there are."""
        passed_s = min(now_s - self._looked_s, self._look_s) if self._looked_s is not None else 0.0
        self._looked_s = now_s
        for name in self._nodes.keys() - reports.keys():
            del self._nodes[name]
        for name, report in reports.items():
            node = self._nodes.get(name)
            if node is None:
                self._nodes[name] = _Node(report, _batch(report))
            elif report == node.report:
                node.silent_s += passed_s
                node.still_s += passed_s
            else:
                batch = _batch(report)
                node.still_s = node.still_s + passed_s if batch == node.batch else 0.0
                node.report, node.batch, node.silent_s = report, batch, 0.0
        self._settle()

    @property
    def full(self) -> bool:
        return self._unwritten_bytes >= self._limit_bytes or len(self._sizes) >= self._limit_batches

    @property
    def unwritten_bytes(self) -> int:
        return self._unwritten_bytes

    @property
    def nodes(self) -> int:
        return len(self._nodes)

    def behind(self, batch: int) -> int:
        """How many batches the slowest node is behind this one."""
        return max((batch - written for written in self._written()), default=0)

    def report_of(self, node: bytes) -> bytes:
        """What a node has reported last."""
        return self._nodes[node].report

    def to_expel(self) -> dict[bytes, tuple[str, float]]:
        """The nodes that are to be expelled, by the last look: the reason, and for how many seconds it holds."""
        verdicts = {}
        written_by_all = self._sizes[0][0] - 1 if self._sizes else 0
        for name, node in self._nodes.items():
            if node.batch is None:
                verdicts[name] = (JUNK, node.still_s)
            elif node.silent_s > self._silence_s:
                verdicts[name] = ("silent", node.silent_s)
            elif self.full and node.batch <= written_by_all and node.still_s > self._patience_s:
                verdicts[name] = ("held the window", node.still_s)
        return verdicts

    def _settle(self) -> None:
        written = min(self._written(), default=None)
        while self._sizes and (written is None or self._sizes[0][0] <= written):
            self._unwritten_bytes -= self._sizes.popleft()[1]

    def _written(self) -> list[int]:
        return [node.batch for node in self._nodes.values() if node.batch is not None]


def _batch(report: bytes) -> int | None:
    try:
        return parse_heartbeat(report).batch
    except ValueError:
        return None
