"""Who is connected to this node, and from which batch on each user is served. Pure: the caller passes the time.

A user passes through these states; the way up to *live* is told from end to end in `fanout/upstream/presence.py`:

    pending ──posted──▶ joining ──reached──▶ live
       │ gone              │ last connection ends   │
       ▼                   ▼                        ▼
    forgotten          lingering ──linger_s over──▶ left, the leave is pending

Rules kept here:

- A user's connections are live from the first frame whose cursor has reached the user's join entry. That
  batch begins with the join, so they get all of it and all that follows.
- A further connection of a live user is live from the next frame on, for the same reason: the lines gathered
  for the user in the open batch are complete.
- A user without connections lingers: subscribed, online, and live if it was live before. Coming back costs nothing.
- A leave is posted only for a user who is no longer here. It is never in one entry with, or posted after, a pending
  join of the same user: the join alone is right, whether the sequencer has the user online or not. So no channel
  is ever unsubscribed that a user here needs.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from contract.frames import StreamId


class Connection(Protocol):
    """A client connection that bytes can be written to."""

    @property
    def write(self) -> Callable[[bytes], None]: ...


@dataclass(slots=True, eq=False)
class User:
    """A user with at least one connection here, or a lingering one."""

    id: bytes
    connections: dict[Connection, None] = field(default_factory=dict)
    """In the order in which they came; a dict, since a user may have thousands and end them in any order."""
    live: bool = False
    joining: bool = False
    """The join is being posted, or is in the stream and not reached yet."""
    announced: bool = False
    """The stream may have a join of this user, so it needs the leave as well."""


class Users:
    """The users of one node, and the joins and leaves that are not in the stream yet. Times are monotonic seconds."""

    def __init__(self, linger_s: float = 0.0) -> None:
        self.by_id: dict[bytes, User] = {}
        self.live: dict[bytes, User] = {}
        self.connections = 0
        self._linger_s = linger_s
        self._lingering: dict[bytes, float] = {}
        """user → when the leave takes effect; the first one first."""
        self._to_join: dict[bytes, User] = {}
        self._to_leave: dict[bytes, None] = {}
        """Users who left and whose leave may not have arrived."""
        self._posting: tuple[list[bytes], list[User]] = ([], [])
        self._joining: deque[tuple[StreamId, list[User]]] = deque()

    # Connections

    def add(self, user_id: bytes, connection: Connection) -> None:
        """A client registered."""
        user = self.by_id.get(user_id)
        if user is None:
            user = self.by_id[user_id] = User(user_id)
            if user_id in self._to_leave:
                # The leave may have arrived or not; the join that follows is right in both cases.
                del self._to_leave[user_id]
                user.announced = True
        self._lingering.pop(user_id, None)
        if not user.live and not user.joining:
            self._to_join[user_id] = user
        user.connections[connection] = None
        self.connections += 1

    def remove(self, user_id: bytes, connection: Connection, now_s: float) -> None:
        """A client is gone. `linger_s` after the last connection the user leaves."""
        user = self.by_id[user_id]
        del user.connections[connection]
        self.connections -= 1
        if user.connections:
            return
        self._to_join.pop(user_id, None)
        if user.announced:
            self._lingering[user_id] = now_s + self._linger_s
        else:
            del self.by_id[user_id]

    @property
    def lingering(self) -> int:
        """Users without connections who have not left yet."""
        return len(self._lingering)

    # Joins and leaves for the stream

    @property
    def entries_ahead(self) -> int:
        """Entries posted that no frame has covered yet."""
        return len(self._joining)

    def pending_in_s(self, now_s: float) -> float | None:
        """Seconds until there is something to post; None: not until a client comes or goes."""
        if self._to_join or self._to_leave:
            return 0.0
        return max(0.0, next(iter(self._lingering.values())) - now_s) if self._lingering else None

    def take_pending(self, limit: int, now_s: float) -> tuple[list[bytes], list[User]]:
        """(ids that left, users that came) to post next, at most `limit` of each; no user is in both."""
        leaves = list(islice(self._to_leave, limit))
        for user_id in leaves:
            del self._to_leave[user_id]
        for user_id, due_s in list(islice(self._lingering.items(), limit - len(leaves))):
            if due_s > now_s:
                break
            self._forget(user_id)
            leaves.append(user_id)
        joins = list(islice(self._to_join.values(), limit))
        for user in joins:
            del self._to_join[user.id]
            user.announced = user.joining = True
        self._posting = leaves, joins
        return leaves, joins

    def posted(self, entry: StreamId) -> None:
        """What was taken last was appended to the stream as `entry`."""
        self._joining.append((entry, self._posting[1]))
        self._posting = [], []

    def not_posted(self) -> None:
        """What was taken last did not get into the stream, or may not have; it is pending again.

        A repeated join or leave is harmless.
        """
        (leaves, joins), self._posting = self._posting, ([], [])
        for user in joins:
            user.joining = False
            if user.connections:
                self._to_join[user.id] = user
        # A user who has come back by now has a pending join, and the leave is dropped.
        self._to_leave |= dict.fromkeys(user_id for user_id in leaves if user_id not in self.by_id)
        for user_id in leaves:
            if user_id in self.by_id:
                self.by_id[user_id].announced = True

    def post_again(self) -> None:
        """The node has a new connection to Redis: how much of the last posts arrived is unknown."""
        self.not_posted()
        self._joining.clear()
        for user in self.by_id.values():
            user.joining = False
            if not user.live and user.connections:
                self._to_join[user.id] = user

    # Batches

    def reach(self, cursor: StreamId) -> None:
        """A batch consumed the stream up to `cursor`: users whose join it covers are live."""
        while self._joining and self._joining[0][0] <= cursor:
            for user in self._joining.popleft()[1]:
                user.joining = False
                if self.by_id.get(user.id) is user:
                    user.live = True
                    self.live[user.id] = user

    def _forget(self, user_id: bytes) -> None:
        del self._lingering[user_id]
        del self.by_id[user_id]
        self.live.pop(user_id, None)
