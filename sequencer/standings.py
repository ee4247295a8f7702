"""How each node stands, and why. Pure: times are monotonic seconds.

    waited for ──gone, stalled or slow──▶ left behind ──close again──▶ waited for
        │                                     │
        └──────── silent, stuck, junk ────────┴──▶ to be expelled

- *Waited for*: nothing is published while it has a full window to write (`sequencer/window.py`).
- *Left behind*: the others go on without it. Its users stay online, and what is published for them is in the journal;
  it catches up from what its subscription holds, or from there.
- *Expelled*: it is no node any more, and its connections must end.

A node is left behind

- when it is *gone*: nothing has subscribed to its channel in two looks in a row. The kernel closes the sockets of a
  process that dies at once;
- when it is *stalled*: it has kept nodes with clients waiting for `STALL_S`, or twice as long as it has just needed for
  a batch, and written nothing in that time;
- when it is *slow*: it has kept the others waiting for `SLOW_S` in any `MEMORY_S`, although it moves.

Flow control for all nodes together stays, since others wait for a node only while they have written everything. Nodes
that are slow alike, because the machine or the sources' pace is too much for them, have something to write nearly all
the time. A node's work grows with its connections, so the one that judges whether another is slow is the largest of the
others, and it may be idle in proportion to how much smaller it is; the fewer connections it has, the longer it waits.

Rules kept here:

- Of all nodes at least one is waited for, the one that has written most; one that is alive, if any is.
- A node is silent, or stalled, for as long as this process has *looked and seen no change*: the time between two looks
  counts up to a limit. So a restart of Redis, a slow commit or a pause of this process makes no node look dead: what
  the nodes have reported meanwhile is seen at the next look, before anything is decided.
"""

from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from contract.reports import parse_heartbeat
from sequencer.window import Window

GONE, STALLED, SLOW = LEFT_BEHIND = ("gone", "stalled", "slow")
"""Why a node is left behind."""
SILENT, HELD, JUNK = EXPELLED = ("silent", "held the window", "junk in its report")
"""Why a node is expelled. JUNK: another program has overwritten its heartbeat; the answer to its next one says so."""

LOOK_S = 0.1
"""The time between two looks at the subscriptions; also the most that one look adds to a stall."""
STALL_S = 0.25
"""Longer than most nodes need for their largest batch, shorter than a pause that users notice."""
PACE_KEPT, LONGEST_PACE_S = 0.9, 1.0
"""A node's pace is that of its slowest batch of late, forgotten by a tenth with each batch; a longer one is a stall."""
SLOW_S = 0.5
"""What one slow node may cost the others in `MEMORY_S`."""
MEMORY_S = 10.0
MOVING_S = 1.0
"""A node that has written something within this time may be catching up."""


class Change(NamedTuple):
    """A node was left behind, or has caught up again: then `reason` is empty."""

    node: bytes
    reason: str
    batches: int
    """How many batches it has to write."""


class Waits:
    """How long the others have waited for a node in the last `MEMORY_S`, in slots of a second."""

    def __init__(self) -> None:
        self._slots: deque[tuple[int, float, float]] = deque()

    def add(self, now_s: float, idle_s: float, busy_s: float) -> None:
        """`idle_s`: while another one had written everything; `busy_s`: while none had."""
        slot = int(now_s)
        if self._slots and self._slots[-1][0] == slot:
            _, idle, busy = self._slots.pop()
            idle_s, busy_s = idle_s + idle, busy_s + busy
        self._slots.append((slot, idle_s, busy_s))

    def idle_and_busy_s(self, now_s: float) -> tuple[float, float]:
        while self._slots and self._slots[0][0] <= now_s - MEMORY_S - 1:
            self._slots.popleft()
        return sum(idle for _, idle, _ in self._slots), sum(busy for _, _, busy in self._slots)


@dataclass(slots=True)
class _Node:
    heartbeat: bytes
    batch: int | None
    """The last batch that it has written; None while its heartbeat makes no sense, so that it holds up nothing."""
    connections: int
    has_channel: bool
    """Whether it ever subscribes to a channel; a node of an older version does not."""
    left: str = ""
    """Why it is left behind; empty while it is waited for."""
    silent_s: float = 0.0
    """How long its heartbeat has been seen not to change."""
    still_s: float = 0.0
    """How long it has been seen to write nothing."""
    stalled_s: float = 0.0
    """How much of that time it has kept the others waiting."""
    holds: bool = False
    """It had a full window to write at the last look."""
    waits: Waits = field(default_factory=Waits)
    pace_s: float = 0.0
    """How long it has just needed for a batch, when it had a full window to write."""
    absent: int = 0
    """Looks in a row at which its subscription was not there."""

    @property
    def is_gone(self) -> bool:
        return self.has_channel and self.absent >= 2

    def hear(self, heartbeat: bytes, passed_s: float) -> None:
        """Its heartbeat, so long after the last look."""
        if heartbeat == self.heartbeat:
            self.silent_s += passed_s
            self.still_s += passed_s
            return
        batch, self.connections, self.has_channel = _progress(heartbeat)
        self.still_s += passed_s
        if batch != self.batch:
            if (self.holds or self.left) and self.still_s < LONGEST_PACE_S:
                self.pace_s = max(self.still_s, PACE_KEPT * self.pace_s)
            self.still_s = self.stalled_s = 0.0
        self.heartbeat, self.batch, self.silent_s = heartbeat, batch, 0.0

    @property
    def may_stall_s(self) -> float:
        """How long it may write nothing while others wait."""
        return max(STALL_S, 2 * self.pace_s)


class Standings:
    """All nodes, as their heartbeats and subscriptions show them."""

    def __init__(self, window: Window, silence_s: float, patience_s: float, look_s: float) -> None:
        self._window = window
        self._silence_s = silence_s
        self._patience_s = patience_s
        self._look_s = look_s
        self._looked_s: float | None = None
        self._nodes: dict[bytes, _Node] = {}

    # Looking

    def observe(self, heartbeats: Mapping[bytes, bytes], now_s: float) -> list[Change]:
        """Take in the heartbeats of all nodes, and judge."""
        passed_s = now_s - self._looked_s if self._looked_s is not None else 0.0
        self._looked_s = now_s
        for name in self._nodes.keys() - heartbeats.keys():
            del self._nodes[name]
        for name, heartbeat in heartbeats.items():
            if node := self._nodes.get(name):
                node.hear(heartbeat, min(passed_s, self._look_s))
            else:
                self._nodes[name] = _Node(heartbeat, *_progress(heartbeat))
        self._charge(min(passed_s, LOOK_S), now_s)
        return list(self._judge(now_s))

    def subscribed(self, counts: Mapping[bytes, int]) -> None:
        """Take in a look at the nodes' channels: how many connections have subscribed to each."""
        for name, count in counts.items():
            if node := self._nodes.get(name):
                node.absent = 0 if count else node.absent + 1

    def _charge(self, passed_s: float, now_s: float) -> None:
        """What was waited since the last look is put down to the nodes that have been waited for."""
        for node in self._waited_for():
            held, node.holds = node.holds, self._window.is_full(node.batch or 0)
            if held and node.holds:
                others = self._others(node)
                if any(self._is_ready(other) and (other.connections or not node.connections) for other in others):
                    node.stalled_s += passed_s
                is_idle = bool(others) and self._is_ready(_largest(others))
                node.waits.add(now_s, passed_s * is_idle, passed_s * (not is_idle))

    def _is_ready(self, node: _Node) -> bool:
        return node.batch == self._window.last

    def _others(self, node: _Node) -> list[_Node]:
        """The other nodes that are waited for and alive."""
        return [other for other in self._waited_for() if other is not node and not other.is_gone]

    # Judging

    def _judge(self, now_s: float) -> Iterator[Change]:
        for name, node in self._nodes.items():
            if node.left and node.batch is not None and self._is_back(node, now_s):
                yield self._set(name, "")
        if not any(not node.is_gone for node in self._waited_for()):
            yield from self._wait_for_the_best()
        for name, node in self._nodes.items():
            if node.left or node.batch is None or self._is_the_last(node):
                continue
            if reason := self._reason(node, now_s):
                yield self._set(name, reason)

    def _is_the_last(self, node: _Node) -> bool:
        return not self._others(node)

    def _wait_for_the_best(self) -> Iterator[Change]:
        known = {name: node.batch for name, node in self._nodes.items() if node.batch is not None}
        alive = {name: batch for name, batch in known.items() if not self._nodes[name].is_gone}
        best = max(alive or known, key=lambda name: known[name], default=None)
        if best is not None and self._nodes[best].left:
            yield self._set(best, "")

    def _reason(self, node: _Node, now_s: float) -> str:
        """Why to leave a node behind; empty: there is no reason."""
        if node.is_gone:
            return GONE
        if not node.holds:
            return ""
        if node.stalled_s >= node.may_stall_s:
            return STALLED
        share = min(1.0, (_largest(self._others(node)).connections + 1) / (node.connections + 1))
        idle_s, busy_s = node.waits.idle_and_busy_s(now_s)
        # If they are slow alike, the other one is busy for this share of the time.
        if idle_s * share >= SLOW_S and busy_s < share / 2 * (idle_s + busy_s):
            return SLOW
        return ""

    def _is_back(self, node: _Node, now_s: float) -> bool:
        if node.is_gone or not self._window.is_close(node.batch or 0):
            return False
        # A slow node would be left behind again at once; but now another one may have to be.
        return node.left != SLOW or self.is_full or node.waits.idle_and_busy_s(now_s)[0] <= SLOW_S / 2

    def _set(self, name: bytes, reason: str) -> Change:
        node = self._nodes[name]
        node.left, node.stalled_s, node.holds = reason, 0.0, False
        return Change(name, reason, self._window.batches(node.batch or 0))

    def to_expel(self) -> dict[bytes, tuple[str, float]]:
        """The nodes that are to be expelled, by the last look: the reason, and for how many seconds it has held."""
        found = {}
        for name, node in self._nodes.items():
            if node.batch is None:
                found[name] = (JUNK, node.still_s)
            elif node.silent_s > self._silence_s:
                found[name] = (SILENT, node.silent_s)
            elif self._window.is_full(node.batch) and node.still_s > self._patience_s:
                found[name] = (HELD, node.still_s)
        return found

    # What it shows

    @property
    def names(self) -> list[bytes]:
        """All nodes."""
        return list(self._nodes)

    @property
    def is_full(self) -> bool:
        """Nothing may be published: a node that is waited for has a full window to write."""
        return any(self._window.is_full(node.batch or 0) for node in self._waited_for())

    @property
    def is_catching_up(self) -> bool:
        """A node that is left behind writes, and gains on the others if they go a little slower."""
        return any(node.left and not node.is_gone and node.still_s < MOVING_S for node in self._nodes.values())

    @property
    def unwritten_bytes(self) -> int:
        """The bytes that the slowest node that is waited for has to write."""
        return max((self._window.unwritten_bytes(node.batch or 0) for node in self._waited_for()), default=0)

    @property
    def left_behind(self) -> dict[bytes, str]:
        """The nodes that are left behind, and why."""
        return {name: node.left for name, node in self._nodes.items() if node.left}

    def behind(self, batch: int) -> int:
        """How many batches the slowest node is behind this one."""
        return max((batch - node.batch for node in self._nodes.values() if node.batch is not None), default=0)

    def heartbeat_of(self, node: bytes) -> bytes:
        """A node's last heartbeat."""
        return self._nodes[node].heartbeat

    def _waited_for(self) -> Iterator[_Node]:
        return (node for node in self._nodes.values() if not node.left and node.batch is not None)


def _largest(nodes: list[_Node]) -> _Node:
    return max(nodes, key=lambda node: node.connections)


def _progress(heartbeat: bytes) -> tuple[int | None, int, bool]:
    """(the last batch written, connections, whether it subscribes to a channel)."""
    try:
        found = parse_heartbeat(heartbeat)
    except ValueError:
        return None, 0, False
    return found.batch, found.connections, bool(found.has_channel)
