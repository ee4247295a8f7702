"""Whom the online users follow, while that is still being read from Redis. Pure.

A user can follow half a million others, and eighteen thousand users can come at once. Reading all of that takes
seconds, and no other user should wait for it. So a new user is *loading* at first: the set in Redis is read piece by
piece between batches (`sequencer/loading.py`). Until that is done, Redis is asked about an author before one of the
author's status updates is routed: which of the loading users follow the author?

Both kinds of answer come from a Redis that has the batches up to the last one sent, while this index is at the event
to be routed next. What lies between is known here: a follow is entered as it is routed, and an unfollow of a loading
user is remembered, so that an older answer does not bring it back.

Rules kept here:

- A user enters before the first event of a batch, when Redis has every change up to that event.
- For each user who is not loading the index is whole and exact at every event.
- For a loading user it is exact for each author who was asked about since the user came.
- No call takes longer than its argument allows: large sets are entered and left in pieces.
"""

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import islice

from contract.events import Event

Outbox = list[bytes]


@dataclass(slots=True)
class Loading:
    """A user whose set is not all here yet."""

    number: int
    """Counts up from user to user, in the order in which they came."""
    unfollowed: set[bytes] = field(default_factory=set)
    """Authors unfollowed since the user came, whatever Redis says of them."""
    cursor: bytes = b""
    """Where a scan of the set goes on; empty: none has begun."""


class Follows:
    """The index from author to online followers, and what is missing of it."""

    def __init__(self) -> None:
        self.followers: dict[bytes, dict[bytes, Outbox]] = {}
        """author → {follower: outbox}. Appending to each costs 15 ns a delivery; looking the outbox up and checking
        it for each delivery cost ten times that."""
        self.loading: dict[bytes, Loading] = {}
        self._following: dict[bytes, set[bytes]] = {}
        self._outboxes: dict[bytes, Outbox] = {}
        self._entered = 0
        self._asked: dict[bytes, int] = {}
        """author → the number of the newest user for whom the author was asked about."""
        self._left: deque[tuple[bytes, Outbox, set[bytes]]] = deque()

    # Users

    def enter(self, user: bytes, outbox: Outbox) -> None:
        """A user came; nothing of the set is known."""
        self._entered += 1
        self.loading[user] = Loading(self._entered)
        self._following[user] = set()
        self._outboxes[user] = outbox

    def leave(self, user: bytes) -> None:
        """A user is offline; `forget` takes the edges out, piece by piece."""
        self.loading.pop(user, None)
        self._left.append((user, self._outboxes.pop(user), self._following.pop(user)))

    # The graph, event by event

    def follow(self, follower: bytes, followee: bytes) -> None:
        """An online user follows an author from here on."""
        self._link(follower, followee)
        if follower in self.loading:
            self.loading[follower].unfollowed.discard(followee)

    def unfollow(self, follower: bytes, followee: bytes) -> None:
        """An online user no longer follows an author."""
        if follower in self.loading:
            self.loading[follower].unfollowed.add(followee)
        if followee in self._following[follower]:
            self._following[follower].discard(followee)
            self._unlink(followee, follower, self._outboxes[follower])

    # Loading

    def learn(self, user: bytes, authors: Iterable[bytes]) -> None:
        """Redis has these among the authors whom a loading user follows."""
        unfollowed = self.loading[user].unfollowed
        for author in authors:
            if author not in unfollowed:
                self._link(user, author)

    def loaded(self, user: bytes) -> None:
        """All of the user's set has been learnt."""
        del self.loading[user]
        if not self.loading:
            self._asked.clear()

    def first_loading(self, limit: int) -> list[bytes]:
        """The users who came first of those still loading."""
        return list(islice(self.loading, limit))

    def known(self, events: Sequence[Event]) -> int:
        """How many of the events, from the first on, can be routed without asking about their authors."""
        if self.loading:
            asked, newest = self._asked.get, self._newest()
            for at, event in enumerate(events):
                if event[2] and asked(event[2], 0) < newest:
                    return at
        return len(events)

    def unasked(self, events: Iterable[Event], limit: int) -> dict[bytes, list[bytes]]:
        """The authors to ask about before these events are routed, the first ones first.

        Each with its candidates: the loading users who may follow the author or not, as far as is known here.
        """
        asked, newest = self._asked.get, self._newest()
        authors = (event[2] for event in events if event[2] and asked(event[2], 0) < newest)
        found, candidates = {}, cache(self._loading_after)
        for author in islice(dict.fromkeys(authors), limit):
            found[author] = candidates(asked(author, 0))
        return found

    def answered(self, author: bytes, followers: Iterable[bytes]) -> None:
        """Of all candidates, Redis has these as the author's followers."""
        for user in followers:
            if user in self.loading:
                self.learn(user, (author,))
        self._asked[author] = self._entered

    # Forgetting

    @property
    def forgetting(self) -> bool:
        return bool(self._left)

    def forget(self, edges: int) -> None:
        """Remove about this many edges of users who left."""
        while self._left and edges > 0:
            user, outbox, authors = self._left[0]
            while authors and edges > 0:
                self._unlink(authors.pop(), user, outbox)
                edges -= 1
            if not authors:
                self._left.popleft()
                edges -= 1

    def _newest(self) -> int:
        return next(reversed(self.loading.values())).number

    def _loading_after(self, number: int) -> list[bytes]:
        return [user for user, loading in self.loading.items() if loading.number > number]

    def _link(self, user: bytes, author: bytes) -> None:
        self._following[user].add(author)
        fans = self.followers.get(author)
        if fans is None:
            fans = self.followers[author] = {}
        fans[user] = self._outboxes[user]

    def _unlink(self, author: bytes, user: bytes, outbox: Outbox) -> None:
        fans = self.followers.get(author)
        # A user who came back has another outbox, and it stays.
        if fans is not None and fans.get(user) is outbox:
            del fans[user]
            if not fans:
                del self.followers[author]
