"""Reads from Redis whom the online users follow, in bounded steps between and within batches (`sequencer/follows.py`).

All commands go over the connection of the commits, so Redis answers them with the graph of the last batch sent.
"""

import asyncio
from collections.abc import Sequence

from contract.events import Event
from sequencer.follows import Follows
from sequencer.store import Store

EDGES_A_QUESTION = 50
"""What it costs to ask for the size of a set, in edges read; so many fewer questions are asked together."""
EDGES_A_LOOK = 1000
"""While there are so many times fewer candidates than a batch may read edges, they are named, each and all; else it
pays to look first how many followers the author has."""


class Loader:
    """Fills the index of a term."""

    def __init__(self, store: Store, follows: Follows, batch_edges: int) -> None:
        self._store = store
        self._follows = follows
        self._questions = max(1, batch_edges // EDGES_A_QUESTION)
        self._few = batch_edges // EDGES_A_LOOK

    @property
    def busy(self) -> bool:
        """There is something left to do between batches."""
        return bool(self._follows.loading) or self._follows.forgetting

    async def step(self, edges: int) -> None:
        """Read about so many edges of the users who came first, and forget as many of those who left.

        Lets others run, whatever there is to do, so that steps can follow each other.
        """
        follows = self._follows
        follows.forget(edges)
        users = follows.first_loading(self._questions)
        if not users:
            await asyncio.sleep(0)
        elif follows.loading[users[0]].cursor:
            await self._scan(users[0], edges)
        else:
            await self._read(users, edges)

    async def _read(self, users: list[bytes], edges: int) -> None:
        """Read the whole sets of the first users, or the first piece of one that is too large for that."""
        follows = self._follows
        fitting = _fitting(users, await self._store.following_counts(users), edges)
        if not fitting:
            await self._scan(users[0], edges)
            return
        some = [user for user, size in fitting.items() if size]
        for user, authors in zip(some, await self._store.following(some), strict=True):
            follows.learn(user, authors)
        for user in fitting:
            follows.loaded(user)

    async def ask(self, events: Sequence[Event], edges: int) -> int:
        """Ask who of the loading users follows the authors of these events, the first ones first.

        Stops at about `edges` answers, but not before the first author. Returns how many there were.
        """
        follows, store = self._follows, self._store
        candidates = follows.unasked(events, self._questions)
        many = [author for author, users in candidates.items() if len(users) > self._few]
        counts = dict(zip(many, await store.follower_counts(many), strict=True))
        questions: list[tuple[bytes, list[bytes] | None]] = []
        cost = 0
        for author, users in candidates.items():
            all_of_them = counts.get(author, len(users)) < len(users)
            size = counts[author] if all_of_them else len(users)
            if questions and cost + size > edges:
                break
            questions.append((author, None if all_of_them else users))
            cost += size + 1
        for (author, _), followers in zip(questions, await store.followers_among(questions), strict=True):
            follows.answered(author, followers)
        return cost

    async def _scan(self, user: bytes, edges: int) -> None:
        """Read a piece of a large set. It may change meanwhile: what is there all the time is found (SSCAN promises
        that), what comes or goes is routed here."""
        follows = self._follows
        loading = follows.loading[user]
        loading.cursor, authors = await self._store.scan_following(user, loading.cursor or b"0", edges)
        follows.learn(user, authors)
        if loading.cursor == b"0":
            follows.loaded(user)


def _fitting(users: list[bytes], sizes: list[int], edges: int) -> dict[bytes, int]:
    """The first users whose sets together have no more than `edges` members, and how many each has."""
    fitting = {}
    for user, size in zip(users, sizes, strict=True):
        edges -= size
        if edges < 0:
            break
        fitting[user] = size
    return fitting
