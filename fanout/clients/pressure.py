"""When slow clients make a node wait, which of them it no longer waits for, and which are closed. Pure.

Rules kept here:

- One client never holds up the others: it is closed when its unsent bytes pass the client limit.
- Many slow clients together do hold the node up, and through it the source: unsent bytes count towards
  the node limit, each client for at most four times its equal share, so the node waits when about a
  quarter of its clients are behind.
- A client that then accepts next to nothing is *set aside* until it has caught up: its unsent bytes no longer
  count, so that the clients that keep up are served. When none keeps up, waiting harms none, and the node waits.
- Unsent bytes that don't count (of clients set aside, and above the fourfold share) have a limit together. Over
  it, the clients that have accepted nothing for longest are closed; the node waits until one may be.
- A client that accepts nothing at all for the stall time meanwhile is closed.
- An offender, a client that was slow before (`offenders.py`), is set aside at once, and closed first and soon.
"""

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

ASIDE_S = 0.25
"""How long a client may accept next to nothing and be waited for: an honest one seldom pauses longer."""
PATIENCE_S = 0.5
"""How long a client may accept next to nothing when there is no room: a pause is no offence. Twice as long when at
least as many are slow as keep up: then it may be the network, and waiting harms fewer."""
OFFENDER_STALL_S = 1.0
"""The stall time of offenders."""
NEXT_TO_NOTHING_BYTES = 16 * 1024
"""Accepting less than this, or than a sixteenth of the unsent bytes, within ASIDE_S is no progress."""

TOO_FAR_BEHIND, ACCEPTS_NOTHING, AGAIN, NO_ROOM = REASONS = (
    "too far behind",
    "accepts nothing",
    "accepts nothing again",
    "no room for its unsent bytes",
)
"""Why a slow client is closed."""


@dataclass(slots=True)
class Standing:
    """A client's progress since it fell behind. `offender`: its user or address was slow before."""

    offender: bool = False
    aside: bool = False
    behind_since_s: float | None = None
    moved_s: float = 0.0
    _accepted_bytes: int = 0
    _step_bytes: int = 0

    def look(self, unsent_bytes: int, accepted_bytes: int, now_s: float) -> None:
        """Check whether it has made progress."""
        if self.behind_since_s is None:
            self.behind_since_s = now_s
        elif accepted_bytes - self._accepted_bytes < self._step_bytes:
            return
        self.moved_s, self._accepted_bytes = now_s, accepted_bytes
        self._step_bytes = max(1, min(unsent_bytes // 16, NEXT_TO_NOTHING_BYTES))

    def behind_s(self, now_s: float) -> float:
        """How long it has been behind, in seconds."""
        return 0.0 if self.behind_since_s is None else now_s - self.behind_since_s


class Lagging(Protocol):
    """A client with unsent bytes."""

    standing: Standing

    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not accepted yet."""

    def accepted_bytes(self) -> int:
        """Bytes that the kernel has accepted since `hold`."""

    def hold(self) -> None:
        """Its progress is checked from now on, until it has caught up and has a new standing."""

    def set_aside(self) -> None:
        """Mark it in its standing; called once."""


Client = TypeVar("Client", bound=Lagging)


@dataclass(slots=True)
class Tally(Generic[Client]):
    """Unsent bytes at one check: `wanted` would count if no client were set aside, `counted` do count."""

    share: float
    wanted: float = 0.0
    counted: float = 0.0
    uncounted: float = 0.0
    stalled: int = 0
    holders: list[tuple[Client, float]] = field(default_factory=list)
    """Clients with bytes that do not count, and how many."""


class Pressure:
    """Checks the clients that are behind. Times are the caller's monotonic seconds."""

    def __init__(self, client_limit_bytes: int, node_limit_bytes: int, stall_s: float) -> None:
        self._client_limit_bytes = client_limit_bytes
        self._node_limit_bytes = node_limit_bytes
        # A lone client may fill all of its own limit, and many slow ones as much as makes a node wait.
        self._uncounted_limit_bytes = max(client_limit_bytes, node_limit_bytes)
        # In any fast stream clients are behind for a moment; below this, they are not looked at one by one.
        self._harmless_bytes = min(client_limit_bytes, node_limit_bytes) // 8
        self._stall_s = stall_s
        self._pressed_since_s: float | None = None
        self.waiting_since_s: float | None = None

    def check(self, behind: Collection[Client], clients: int, now_s: float) -> list[tuple[Client, str]]:
        """The clients to close, with the reason; `waiting_since_s` says whether the node must wait."""
        if sum([client.unsent_bytes() for client in behind]) < self._harmless_bytes:
            self._pressed_since_s = self.waiting_since_s = None
            return []
        tally: Tally[Client] = Tally(4 * self._node_limit_bytes / max(4, clients))
        to_close: list[tuple[Client, str]] = []
        for client in behind:
            unsent = client.unsent_bytes()
            if client.standing.behind_since_s is None:
                client.hold()
            client.standing.look(unsent, client.accepted_bytes(), now_s)
            reason = self._reason_to_close(client.standing, unsent, now_s)
            if reason:
                to_close.append((client, reason))
            else:
                self._count(tally, client, unsent, now_s)
        keeping_up = max(0, clients - tally.stalled)
        if tally.uncounted > self._uncounted_limit_bytes and keeping_up:
            to_close += self._make_room(tally, keeping_up, now_s)
        self._decide(tally, keeping_up, now_s)
        return to_close

    def _reason_to_close(self, standing: Standing, unsent: int, now_s: float) -> str | None:
        if unsent > self._client_limit_bytes:
            return TOO_FAR_BEHIND
        if self._pressed_since_s is None:
            return None
        stalled_s = now_s - max(standing.moved_s, self._pressed_since_s)
        if stalled_s > self._stall_s:
            return ACCEPTS_NOTHING
        return AGAIN if standing.offender and stalled_s > OFFENDER_STALL_S else None

    def _count(self, tally: Tally[Client], client: Client, unsent: int, now_s: float) -> None:
        standing = client.standing
        stalled_s = now_s - standing.moved_s
        stalled = stalled_s > (0.0 if standing.offender else ASIDE_S)
        if stalled and self._pressed_since_s is not None and not standing.aside:
            client.set_aside()
        tally.stalled += stalled or standing.aside
        part = min(unsent, tally.share)
        tally.wanted += part
        if not standing.aside:
            tally.counted += part
        uncounted = unsent if standing.aside else unsent - part
        if uncounted:
            tally.uncounted += uncounted
            tally.holders.append((client, uncounted))

    def _make_room(self, tally: Tally[Client], keeping_up: int, now_s: float) -> list[tuple[Client, str]]:
        patience_s = PATIENCE_S * (1 + (tally.stalled >= keeping_up))
        closed: list[tuple[Client, str]] = []
        for client, uncounted in sorted(tally.holders, key=_worst_first):
            if tally.uncounted <= self._uncounted_limit_bytes:
                break
            if self._may_be_closed(client.standing, patience_s, now_s):
                closed.append((client, NO_ROOM))
                tally.uncounted -= uncounted
        return closed

    def _may_be_closed(self, standing: Standing, patience_s: float, now_s: float) -> bool:
        if standing.offender and standing.aside:
            return True
        # A client that moves but never catches up takes others' room as well, only more slowly.
        return now_s - standing.moved_s > patience_s or standing.behind_s(now_s) > self._stall_s

    def _decide(self, tally: Tally[Client], keeping_up: int, now_s: float) -> None:
        pressed = tally.wanted >= self._node_limit_bytes
        if not pressed:
            self._pressed_since_s = None
        elif self._pressed_since_s is None:
            self._pressed_since_s = now_s
        counted = tally.counted if keeping_up else tally.wanted
        if counted < self._node_limit_bytes and tally.uncounted <= self._uncounted_limit_bytes:
            self.waiting_since_s = None
        elif self.waiting_since_s is None:
            self.waiting_since_s = now_s


def _worst_first(holder: tuple[Lagging, float]) -> tuple[bool, float, float]:
    client, uncounted = holder
    return not client.standing.offender, client.standing.moved_s, -uncounted
