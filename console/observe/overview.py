"""What an overview consists of, ready to show and to be written as JSON. Only data: `compare.py` works it out.

Units are in the names; rates are per second and None as long as there is only one snapshot.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

from console.observe.snapshot import Rejection

CRITICAL, WARNING, NOTICE = "critical", "warning", "notice"
"""Severities: the system does not work; it will stop working soon, or needs a look; good to know."""


@dataclass(frozen=True, slots=True)
class Concern:
    """Something that is not as it should be: a short stable name, what it is, and what to do."""

    severity: str
    name: str
    text: str
    advice: str


@dataclass(frozen=True, slots=True)
class Totals:
    """Events since the deployment began."""

    received: int
    released: int
    late: int
    duplicate: int
    conflict: int
    malformed: int
    rejected: int
    skipped: int


@dataclass(frozen=True, slots=True)
class Rates:
    """What flows at each step of the way, per second. The first two are the listeners', the last two the nodes'."""

    lines_in: float
    bytes_in: float
    received: float
    released: float
    published_bytes: float
    notifications: float
    bytes_out: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is in the stream and not consumed; `age_s` is the age of the oldest entry."""

    bytes: int
    entries: int
    age_s: float
    is_stuck: bool
    """Nothing of it was consumed since the snapshot before."""


@dataclass(frozen=True, slots=True)
class Gap:
    """Numbers that others wait for: all from `first` to `last` are missing, and more may be behind them."""

    first: int
    last: int
    waiting: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Listener:
    name: str
    sources: int
    lines_per_s: float | None
    is_paused: bool
    not_ready: list[str]


@dataclass(frozen=True, slots=True)
class Sequencer:
    name: str
    token: str
    is_leader: bool
    not_ready: list[str]


@dataclass(frozen=True, slots=True)
class Node:
    """A fanout node. `name` is that of its reports; empty while it has made none."""

    id: str
    name: str
    connections: int
    users: int
    batches_behind: int
    is_stalled: bool
    """It owes batches and has written none since the snapshot before."""
    silent_s: float
    notifications_per_s: float | None
    bytes_per_s: float | None
    unsent_bytes: int
    slow_clients: int
    slow_closed: int
    """Clients closed for being slow since the snapshot before."""
    is_waiting: bool
    not_ready: list[str]


@dataclass(frozen=True, slots=True)
class Lost:
    """A service that stopped reporting and has not said that it ends."""

    name: str
    silent_s: float


@dataclass(frozen=True, slots=True)
class Memory:
    """Redis's memory; `most_bytes` is 0 when it is not limited."""

    used_bytes: int
    most_bytes: int
    policy: str


@dataclass(frozen=True, slots=True)
class Overview:
    """One deployment at one moment of Redis time."""

    time_ms: int
    next: int
    batch: int
    epoch: str
    totals: Totals
    rates: Rates | None
    latency_p50_ms: float | None
    latency_p99_ms: float | None
    backlog: Backlog
    waiting: int
    gap: Gap | None
    lease: str | None
    sequencers: list[Sequencer]
    listeners: list[Listener]
    nodes: list[Node]
    lost: list[Lost]
    memory: Memory | None
    rejected_entries: int
    rejected: list[Rejection]
    warnings: list[Concern] = field(default_factory=list)

    @property
    def connections(self) -> int:
        return sum(node.connections for node in self.nodes)

    @property
    def sources(self) -> int:
        return sum(listener.sources for listener in self.listeners)

    @property
    def is_well(self) -> bool:
        """Nothing is wrong; notices do not count."""
        return all(concern.severity == NOTICE for concern in self.warnings)

    def as_json(self) -> dict[str, Any]:
        """For a script."""
        return {"is_well": self.is_well} | asdict(self)
