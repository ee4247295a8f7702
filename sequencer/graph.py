"""Answers what computing a batch asks of Redis (`sequencer/questions.py`).

All commands go over the connection of the commits, so Redis answers with the graph of the last batch sent.
"""

import asyncio
from itertools import compress
from typing import Any

from contract.keys import Keys
from runtime.redis.link import Calls
from sequencer.questions import (
    Asking,
    FollowerCounts,
    FollowersAmong,
    Following,
    FollowingCounts,
    KnownNodes,
    Question,
    ScanFollowing,
    T,
)


class Graph:
    """The follow graph, and who belongs to the deployment, as of the last batch sent."""

    def __init__(self, calls: Calls, keys: Keys) -> None:
        self._calls = calls
        self._nodes = keys.nodes
        self._followers = keys.followers.encode()
        self._following = keys.following.encode()

    async def answered(self, computation: Asking[T]) -> T:
        """Run a computation to its end. RedisUnavailableError ends it where it is."""
        try:
            question = next(computation)
            while True:
                question = computation.send(await self.answer(question))
        except StopIteration as end:
            result: T = end.value
            return result

    async def step(self, computation: Asking[None]) -> None:
        """Run a step of loading. Lets others run, even when there was nothing to ask, so that steps can follow each
        other."""
        await self.answered(computation)
        await asyncio.sleep(0)

    async def answer(self, question: Question) -> Any:
        """Ask Redis. What comes back stands in the question's docstring."""
        match question:
            case KnownNodes(nodes):
                found = await self._calls.call_all([("HEXISTS", self._nodes, node) for node in nodes])
                return list(compress(nodes, found))
            case FollowingCounts(users):
                return await self._calls.call_all([("SCARD", self._following + user) for user in users])
            case Following(users):
                return await self._calls.call_all([("SMEMBERS", self._following + user) for user in users])
            case ScanFollowing(user, cursor, count):
                return tuple(await self._calls.call("SSCAN", self._following + user, cursor, "COUNT", count))
            case FollowerCounts(authors):
                return await self._calls.call_all([("SCARD", self._followers + author) for author in authors])
            case FollowersAmong(pairs):
                return await self._followers_among(pairs)

    async def _followers_among(self, pairs: Any) -> list[list[bytes]]:
        answers = await self._calls.call_all(
            ("SMEMBERS", self._followers + author)
            if users is None
            else ("SMISMEMBER", self._followers + author, *users)
            for author, users in pairs
        )
        return [
            answer if users is None else list(compress(users, answer))
            for (_, users), answer in zip(pairs, answers, strict=True)
        ]
