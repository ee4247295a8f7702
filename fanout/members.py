"""Who is connected to this node, and from which batch on each is served. Pure.

Rules kept here:

- A user's connections are live from the first frame whose cursor has reached the user's join entry; that
  batch begins with the join, so they get all of it and all that follows.
- A further connection of a live user is live from the next frame on, for the same reason: what was
  gathered for the user in the open batch is complete.
- A user without connections is forgotten at once; coming back is a new join.
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
    """A user with at least one connection here."""

    id: bytes
    connections: list[Connection] = field(default_factory=list)
    live: bool = False
    announced: bool = False


class Members:
    """The users of one node, and the joins and leaves that the stream has yet to be told."""

    def __init__(self) -> None:
        self.users: dict[bytes, User] = {}
        self.live: dict[bytes, User] = {}
        self.connections = 0
        self._to_join: dict[bytes, User] = {}
        self._to_leave: dict[bytes, None] = {}
        self._leaving: list[bytes] = []
        self._joining: deque[tuple[StreamId, list[User]]] = deque()

    def add(self, user_id: bytes, connection: Connection) -> None:
        """A client registered."""
        user = self.users.get(user_id)
        if user is None:
            user = self.users[user_id] = self._to_join[user_id] = User(user_id)
        user.connections.append(connection)
        self.connections += 1

    def remove(self, user_id: bytes, connection: Connection) -> None:
        """A client is gone; after its last connection the user leaves."""
        user = self.users[user_id]
        user.connections.remove(connection)
        self.connections -= 1
        if user.connections:
            return
        del self.users[user_id]
        self.live.pop(user_id, None)
        user.live = False
        self._to_join.pop(user_id, None)
        if user.announced:
            self._to_leave[user_id] = None

    @property
    def has_news(self) -> bool:
        return bool(self._to_join or self._to_leave)

    def take_news(self, limit: int) -> tuple[list[bytes], list[User]]:
        """(ids that left, users that came) to be told next, at most `limit` of each.

        A user in both has left and come back: leaves go before joins.
        """
        leaves = list(islice(self._to_leave, limit))
        joins = list(islice(self._to_join.values(), limit))
        for user_id in leaves:
            del self._to_leave[user_id]
        self._leaving = leaves
        for user in joins:
            # A leave that has to wait for its turn holds back the join that follows it.
            if user.id not in self._to_leave:
                del self._to_join[user.id]
                user.announced = True
        return leaves, [user for user in joins if user.announced]

    def tell_again(self) -> None:
        """Nobody knows whether the last news arrived. A repeated join or leave is harmless."""
        self._to_leave |= dict.fromkeys(self._leaving)
        self._joining.clear()
        for user in self.users.values():
            if not user.live:
                self._to_join[user.id] = user

    def joined(self, users: list[User], entry: StreamId) -> None:
        """The users' join was appended to the stream as `entry`."""
        self._leaving = []
        self._joining.append((entry, users))

    def reach(self, cursor: StreamId) -> None:
        """A batch consumed the stream up to `cursor`: users whose join it covers are live."""
        while self._joining and self._joining[0][0] <= cursor:
            for user in self._joining.popleft()[1]:
                if user.connections and self.users.get(user.id) is user:
                    user.live = True
                    self.live[user.id] = user
