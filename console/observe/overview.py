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
    """Missing numbers that other events wait for: all from `first` to `last`; behind them more may be missing."""

    first: int
    last: int
    waiting: int
    age_s: float


@dataclass(frozen=True, slots=True)
class Listener:
    """A listener that reports."""

    name: str
    sources: int
    lines_per_s: float | None
    is_paused: bool
    not_ready: list[str]


@dataclass(frozen=True, slots=True)
class Sequencer:
    """A sequencer that reports, leading or standing by. `token` is what it puts into the lease."""

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
    """It is behind, and has written no batch since the snapshot before."""
    left_behind: str
    """Why the others go on without it (`gone`, `stalled`, `slow`); empty while they wait for it."""
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
    """A service that stopped reporting without withdrawing its report."""

    name: str
    silent_s: float


@dataclass(frozen=True, slots=True)
class Difference:
    """A setting in which services disagree; `values` has each value with one process that has it."""

    setting: str
    values: list[tuple[float, str]]


@dataclass(frozen=True, slots=True)
class Memory:
    """Redis's memory; `most_bytes` is 0 when it is not limited."""

    used_bytes: int
    most_bytes: int
    policy: str


@dataclass(frozen=True, slots=True)
class Places:
    """The users whose place is kept, and whether the journal reaches back as far as they may be away."""

    away: int
    kept: int
    away_s: float
    """How long a place is kept."""
    journal_s: float
    """How far the journal reaches back."""
    journal_is_full: bool
    """It gives batches up for their bytes, and not for their age."""

    @property
    def are_short(self) -> bool:
        """Users who come back in time may find that the journal is too short. One that is only young will grow."""
        return self.kept > 0 and self.journal_is_full and self.journal_s < self.away_s


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
    differences: list[Difference]
    places: Places | None
    """None while no sequencer leads, or one of an older version."""
    memory: Memory | None
    is_volatile: bool
    """Redis writes no append-only file, although a sequencer's settings want one."""
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
