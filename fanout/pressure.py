"""When slow clients make a node wait, and which are closed. Pure.

Rules kept here:

- One client never holds up the others: it is closed when its unsent bytes pass the client limit.
- Many slow clients together do hold the node up, and through it the source: unsent bytes count towards
  the node limit, each client for at most four times its equal share, so the node waits when about a
  quarter of its clients are behind.
- While the node waits, a client that accepts nothing at all for the stall time is closed.
"""

from collections.abc import Iterable
from typing import Protocol, TypeVar


class Lagging(Protocol):
    """A client with unsent bytes; the two fields belong to `Pressure`."""

    unsent_seen: int
    moved_s: float

    def unsent_bytes(self) -> int: ...


Client = TypeVar("Client", bound=Lagging)


class Pressure:
    """Judges the clients that are behind. Times are the caller's monotonic seconds."""

    def __init__(self, client_limit_bytes: int, node_limit_bytes: int, stall_s: float) -> None:
        self._client_limit_bytes = client_limit_bytes
        self._node_limit_bytes = node_limit_bytes
        self._stall_s = stall_s
        self.waiting_since_s: float | None = None

    def judge(self, behind: Iterable[Client], clients: int, now_s: float) -> list[tuple[Client, str]]:
        """The clients to close, with the reason; `waiting_since_s` says whether the node must wait."""
        share = 4 * self._node_limit_bytes / max(4, clients)
        counted = 0.0
        to_close, stalled = [], []
        for client in behind:
            unsent = client.unsent_bytes()
            counted += min(unsent, share)
            if unsent > self._client_limit_bytes:
                to_close.append((client, "too far behind"))
            elif self._is_stalled(client, unsent, now_s):
                stalled.append((client, "accepts nothing"))
        if counted < self._node_limit_bytes:
            self.waiting_since_s = None
            return to_close
        if self.waiting_since_s is None:
            self.waiting_since_s = now_s
        return to_close + stalled

    def _is_stalled(self, client: Lagging, unsent: int, now_s: float) -> bool:
        # Only a waiting node writes nothing, so only then do fewer unsent bytes mean progress.
        if self.waiting_since_s is None or unsent < client.unsent_seen:
            client.moved_s = now_s
        client.unsent_seen = unsent
        return now_s - client.moved_s > self._stall_s
