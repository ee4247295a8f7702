"""Users whose place is kept while they are away: routing and journalling go on for them. Pure.

    online ──the last connection ends──▶ away ──the time is over, or too many are──▶ offline
       ◀──────────── a join ──────────────┘

A user's place is kept once a join has asked for it. `since` has the number from which routing has been unbroken for
such a user: the events from there on, as far as they concern the user, are in the journal or were published. When a
user whose place is not kept, or who gives it up, has no connection any more, the user is offline as ever.

Rules kept here:

- Away users are those of the pseudo node AWAY in `Routing`, so each has an outbox, and the loaded follow set stays. A
  user enters a node before leaving AWAY, and AWAY before leaving the last node: routing has no hole in between.
- Away users have no connection, and `since` has each of them. What `since` says of a user never changes while the user
  is in it.
- No more than `limit` are away: the oldest go first. All stay away for the same time, so the order in which they went
  is that of their deadlines.
- Who never asks costs one look at an empty `since`.
"""

from collections.abc import Collection, Iterable, Mapping
from itertools import islice
from typing import Final

from sequencer.routing import Routing

AWAY: Final = b""
"""In place of a node; no node has an empty name."""
EXPIRED_A_STEP = 2_000
"""Users whose time is over and who are let go in one step: a node's users are away for the same time."""


class Places:
    """Who comes to which node and leaves it, and whose place is kept. Times are monotonic seconds."""

    def __init__(self, routing: Routing, away_s: float, limit: int) -> None:
        self.since: dict[bytes, int] = {}
        """user whose place is kept → the number from which routing has been unbroken"""
        self._routing = routing
        self._away_s = away_s
        self._limit = limit
        self._now_s = 0.0
        self._deadlines: dict[bytes, float] = {}
        """user who is away → when that ends; the next one first"""
        self._changed: set[bytes] = set()

    @property
    def away(self) -> Collection[bytes]:
        """The users who are away."""
        return self._deadlines.keys()

    @property
    def online_users(self) -> int:
        """How many users have a connection."""
        return self._routing.online_users - len(self._deadlines)

    def load(self, since: Mapping[bytes, int], away_s: Mapping[bytes, float], now_s: float) -> None:
        """Begin with what the last commit left; all who are online have joined. `away_s`: for how long each stays away,
        the shortest first.

        Who has a place and is neither online nor away was about to go: a node was expelled, and the batch with the next
        word of that user was never committed. Nothing has been released since then, so the user is away from now on.
        """
        self._now_s, self.since = now_s, dict(since)
        here = {user for user in since if self._routing.is_online(user)}
        self._changed |= {user for user in away_s if user in here or user not in since}
        for user, left_s in away_s.items():
            if user in since and user not in here:
                self._goes_away(user, now_s + min(left_s, self._away_s))
        for user in since.keys() - here - away_s.keys():
            self._changed.add(user)
            self._goes_away(user, now_s + self._away_s)
        self._let_go_beyond_the_limit()

    # Who comes and goes

    def join(self, node: bytes, user: bytes) -> None:
        """A user came to a node."""
        self._routing.join(node, (user,))
        if user in self._deadlines:
            del self._deadlines[user]
            self._routing.leave(AWAY, (user,))
            self._changed.add(user)

    def keep(self, user: bytes, number: int) -> None:
        """The place of a user who is online is kept from now on; `number` is the next to be released."""
        if user not in self.since:
            self.since[user] = number
            self._changed.add(user)

    def leave(self, node: bytes, users: Iterable[bytes], forget: Collection[bytes] = ()) -> None:
        """Users left a node. Those of `forget` give their place up, unless they are on another node."""
        if self.since:
            users = list(users)
            for user in users:
                if user in self.since and not self._routing.is_elsewhere(user, (node, AWAY)):
                    self._ends(user, user in forget)
            self._let_go_beyond_the_limit()
        self._routing.leave(node, users)

    def drop_node(self, node: bytes) -> None:
        """A node is gone with all its users."""
        self.leave(node, sorted(self._routing.nodes.get(node, ())))
        self._routing.drop_node(node)

    def expire(self, now_s: float) -> None:
        """It is `now_s`: let those go whose time is over, as many as one step may."""
        self._now_s = now_s
        over = []
        for user, deadline_s in islice(self._deadlines.items(), EXPIRED_A_STEP):
            if deadline_s > now_s:
                break
            over.append(user)
        for user in over:
            self._let_go(user)

    def take_changed(self) -> set[bytes]:
        """The users whose place has changed since the last call."""
        changed, self._changed = self._changed, set()
        return changed

    def _ends(self, user: bytes, forgotten: bool) -> None:
        """The user has no connection any more."""
        if not forgotten:
            if user not in self._deadlines:
                self._changed.add(user)
                self._goes_away(user, self._now_s + self._away_s)
        elif user in self._deadlines:
            self._let_go(user)
        else:
            del self.since[user]
            self._changed.add(user)

    def _goes_away(self, user: bytes, deadline_s: float) -> None:
        self._routing.join(AWAY, (user,))
        self._deadlines[user] = deadline_s

    def _let_go_beyond_the_limit(self) -> None:
        for user in list(islice(self._deadlines, max(0, len(self._deadlines) - self._limit))):
            self._let_go(user)

    def _let_go(self, user: bytes) -> None:
        """The user is offline, and the place is gone."""
        del self._deadlines[user], self.since[user]
        self._routing.leave(AWAY, (user,))
        self._changed.add(user)
