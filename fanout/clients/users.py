"""Who is connected to this node, and from which batch on each user is served. Pure: the caller passes the time.

A user passes through these states; the way up to *live* is told from end to end in `fanout/upstream/presence.py`:

    pending ──posted──▶ joining ──reached──▶ live
       │ gone              │ last connection ends   │
       ▼                   ▼                        ▼
    forgotten          lingering ──linger_s over──▶ left, the leave is pending

A connection that opted in is a *newcomer* until `fanout/resume.py` has given it what it missed: its user is here, and
no batch is written to it. It is *ready* for that once a batch has consumed a join of its user with `keep`.

Rules kept here:

- A user's connections are live from the first frame whose cursor has reached the user's join entry. That
  batch begins with the join, so they get all of it and all that follows.
- A further connection of a live user is live from the next frame on, for the same reason: the lines gathered
  for the user in the open batch are complete.
- A user without connections lingers: subscribed, online, and live if it was live before. Coming back costs nothing.
- A user who opted in is joined with `keep`; if it is live already without a kept place, it is joined again, and its
  other connections go on meanwhile. What is kept stays so until the user leaves.
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
from fanout.clients.newcomer import Newcomer


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
    newcomers: dict[Connection, Newcomer] = field(default_factory=dict)
    """Connections that opted in and are not among those yet."""
    live: bool = False
    joining: bool = False
    """The join is being posted, or is in the stream and not reached yet."""
    announced: bool = False
    """The stream may have a join of this user, so it needs the leave as well."""
    keep: bool = False
    """A connection opted in: its joins are posted with `keep`."""
    keep_posted: bool = False
    """Such a join is being posted, is in the stream, or has been reached."""
    kept: bool = False
    """Such a join has been reached."""
    forget: bool = False
    """Its last connection said BYE: the leave is posted with `forget`."""

    @property
    def is_here(self) -> bool:
        """It has a connection."""
        return bool(self.connections or self.newcomers)

    @property
    def needs_join(self) -> bool:
        """Its join, or one with `keep`, has to be posted."""
        return self.is_here and (not (self.live or self.joining) or (self.keep and not self.keep_posted))


@dataclass(slots=True)
class Pending:
    """What is posted in one entry; no user is in both halves."""

    leaves: dict[bytes, bool] = field(default_factory=dict)
    """user → whether it said BYE."""
    joins: list[User] = field(default_factory=list)
    keep: list[User] = field(default_factory=list)
    """Of those who join, the users who opted in."""


class Users:
    """The users of one node, and the joins and leaves that are not in the stream yet. Times are monotonic seconds."""

    def __init__(self, linger_s: float = 0.0) -> None:
        self.by_id: dict[bytes, User] = {}
        self.live: dict[bytes, User] = {}
        self.ready: dict[Connection, Newcomer] = {}
        """Newcomers whose user's place is kept."""
        self.connections = 0
        """All of them, newcomers included."""
        self._linger_s = linger_s
        self._lingering: dict[bytes, float] = {}
        """user → when the leave takes effect; the first one first."""
        self._to_join: dict[bytes, User] = {}
        self._to_leave: dict[bytes, bool] = {}
        """Users who left and whose leave may not have arrived → whether they said BYE."""
        self.posting = Pending()
        """What was taken last, and is not known to be in the stream."""
        self._joining: deque[tuple[StreamId, Pending]] = deque()

    # Connections

    def add(self, user_id: bytes, connection: Connection) -> None:
        """A client registered with a bare line."""
        user = self._coming(user_id)
        user.connections[connection] = None
        self._post_if_needed(user)

    def add_newcomer(self, newcomer: Newcomer) -> None:
        """A client registered and opted in."""
        user = self._coming(newcomer.user_id)
        user.keep, user.forget = True, False
        user.newcomers[newcomer.connection] = newcomer
        if user.kept:
            self.ready[newcomer.connection] = newcomer
        self._post_if_needed(user)

    def make_live(self, newcomer: Newcomer) -> None:
        """A newcomer that is ready has all its lines of the batches that were written: the next one is its first."""
        connection, user = newcomer.connection, self.by_id[newcomer.user_id]
        del self.ready[connection], user.newcomers[connection]
        user.connections[connection] = None

    def remove(self, user_id: bytes, connection: Connection, now_s: float, forget: bool = False) -> None:
        """A client is gone. `linger_s` after the last connection the user leaves; `forget`: it said BYE."""
        user = self.by_id[user_id]
        if user.newcomers.pop(connection, None) is None:
            del user.connections[connection]
        self.ready.pop(connection, None)
        self.connections -= 1
        if user.is_here:
            return
        user.forget = user.forget or forget
        self._to_join.pop(user_id, None)
        if user.announced:
            self._lingering[user_id] = now_s + self._linger_s
        else:
            del self.by_id[user_id]

    def _coming(self, user_id: bytes) -> User:
        user = self.by_id.get(user_id)
        if user is None:
            user = self.by_id[user_id] = User(user_id)
            if user_id in self._to_leave:
                # The leave may have arrived or not; the join that follows is right in both cases.
                user.announced, user.forget = True, self._to_leave.pop(user_id)
        self._lingering.pop(user_id, None)
        self.connections += 1
        return user

    def _post_if_needed(self, user: User) -> None:
        if user.needs_join:
            self._to_join[user.id] = user

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
        """(ids that left, users that came) to post next, at most `limit` of each; `posting` says more about them."""
        leaves = dict(islice(self._to_leave.items(), limit))
        for user_id in leaves:
            del self._to_leave[user_id]
        for user_id, due_s in list(islice(self._lingering.items(), limit - len(leaves))):
            if due_s > now_s:
                break
            del self._lingering[user_id]
            self.live.pop(user_id, None)
            leaves[user_id] = self.by_id.pop(user_id).forget
        joins = list(islice(self._to_join.values(), limit))
        for user in joins:
            del self._to_join[user.id]
            user.announced = user.joining = True
            user.keep_posted = user.keep
        self.posting = Pending(leaves, joins, [user for user in joins if user.keep])
        return list(leaves), joins

    def posted(self, entry: StreamId) -> None:
        """What was taken last was appended to the stream as `entry`."""
        self._joining.append((entry, self.posting))
        self.posting = Pending()

    def not_posted(self) -> None:
        """What was taken last did not get into the stream, or may not have; it is pending again.

        A repeated join or leave is harmless.
        """
        pending, self.posting = self.posting, Pending()
        for user in pending.joins:
            user.joining, user.keep_posted = False, user.kept
            self._post_if_needed(user)
        # A user who has come back by now has a pending join, and the leave is dropped.
        self._to_leave |= {user_id: bye for user_id, bye in pending.leaves.items() if user_id not in self.by_id}
        for user_id in pending.leaves:
            if user_id in self.by_id:
                self.by_id[user_id].announced = True

    def post_again(self) -> None:
        """The node has a new connection to Redis: how much of the last posts arrived is unknown."""
        self.not_posted()
        self._joining.clear()
        for user in self.by_id.values():
            user.joining, user.keep_posted = False, user.kept
            self._post_if_needed(user)

    def ask_again(self) -> None:
        """The history has been renewed: newcomers go on under its name."""
        for user in self.by_id.values():
            for newcomer in user.newcomers.values():
                newcomer.ask_again()

    # Batches

    def reach(self, cursor: StreamId) -> None:
        """A batch consumed the stream up to `cursor`: users whose join it covers are live."""
        while self._joining and self._joining[0][0] <= cursor:
            reached = self._joining.popleft()[1]
            for user in reached.joins:
                user.joining = False
                if self.by_id.get(user.id) is user:
                    user.live = True
                    self.live[user.id] = user
            for user in reached.keep:
                user.kept = True
                if self.by_id.get(user.id) is user:
                    self.ready |= user.newcomers
