"""Which nodes are alive, how far each has written, and which are to be expelled. Pure: times are monotonic seconds.

A node is expelled when it is silent, or when it holds a full window for too long, so that one node can't hold up all
others forever.

A node is silent for as long as this process has *looked and seen no change*: the time between two looks counts up to
`look_s`. So a restart of Redis, a slow commit or a pause of this process makes no node look dead: what the nodes have
reported meanwhile is seen at the next look, before anything is decided.
"""

from dataclasses import dataclass

from contract.reports import parse_heartbeat

JUNK = "junk in its report"
"""Why a node is expelled whose heartbeat another program has overwritten. The answer to its next heartbeat says so."""


@dataclass(slots=True)
class _Node:
    heartbeat: bytes
    batch: int | None
    """The last batch that it has written; None while its heartbeat makes no sense, so that it holds up nothing."""
    silent_s: float = 0.0
    """How long its heartbeat has been seen not to change."""
    still_s: float = 0.0
    """How long it has been seen to write nothing."""


class Liveness:
    """The nodes, as their heartbeats show them."""

    def __init__(self, silence_s: float, patience_s: float, look_s: float) -> None:
        self._silence_s = silence_s
        self._patience_s = patience_s
        self._look_s = look_s
        self._looked_s: float | None = None
        self._nodes: dict[bytes, _Node] = {}

    def observe(self, heartbeats: dict[bytes, bytes], now_s: float) -> None:
        """Take in the heartbeats of all nodes."""
        passed_s = min(now_s - self._looked_s, self._look_s) if self._looked_s is not None else 0.0
        self._looked_s = now_s
        for name in self._nodes.keys() - heartbeats.keys():
            del self._nodes[name]
        for name, heartbeat in heartbeats.items():
            node = self._nodes.get(name)
            if node is None:
                self._nodes[name] = _Node(heartbeat, _batch(heartbeat))
            elif heartbeat == node.heartbeat:
                node.silent_s += passed_s
                node.still_s += passed_s
            else:
                batch = _batch(heartbeat)
                node.still_s = node.still_s + passed_s if batch == node.batch else 0.0
                node.heartbeat, node.batch, node.silent_s = heartbeat, batch, 0.0

    @property
    def nodes(self) -> int:
        """How many there are."""
        return len(self._nodes)

    def written(self) -> list[int]:
        """The last batch that each node has written."""
        return [node.batch for node in self._nodes.values() if node.batch is not None]

    def behind(self, batch: int) -> int:
        """How many batches the slowest node is behind this one."""
        return max((batch - written for written in self.written()), default=0)

    def heartbeat_of(self, node: bytes) -> bytes:
        """A node's last heartbeat."""
        return self._nodes[node].heartbeat

    def to_expel(self, held_batch: int | None) -> dict[bytes, tuple[str, float]]:
        """The nodes that are to be expelled, by the last look: the reason, and for how many seconds it has held.

        `held_batch` is the batch that a full window waits for; None while the window has room.
        """
        found = {}
        for name, node in self._nodes.items():
            if node.batch is None:
                found[name] = (JUNK, node.still_s)
            elif node.silent_s > self._silence_s:
                found[name] = ("silent", node.silent_s)
            elif held_batch is not None and node.batch < held_batch and node.still_s > self._patience_s:
                found[name] = ("held the window", node.still_s)
        return found


def _batch(heartbeat: bytes) -> int | None:
    try:
        return parse_heartbeat(heartbeat).batch
    except ValueError:
        return None
