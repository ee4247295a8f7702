"""The sequencer's Redis commands: loading the state of a deployment, committing a batch."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import compress
from pathlib import Path

from contract.events import Event
from contract.frames import SAFE, Lineage, last_of, stream_id
from runtime.redis.checks import parse_info
from runtime.redis.data import event_in, number_in, position_in
from runtime.redis.link import Calls, RedisRefusedError, Reply, Script, wait_for_replicas
from runtime.settings import Settings
from sequencer.batch import Batch, Stamp
from sequencer.journal import Journal

ACQUIRE = Script(Path(__file__).with_name("acquire.lua"))
RENEW = Script(Path(__file__).with_name("renew.lua"))
COMMIT = Script(Path(__file__).with_name("commit.lua"))
CHUNK = 1000
"""How much is asked for at a time while loading, so that no answer is huge."""


class LeaseLostError(Exception):
    """Another process sequences now; this one must not."""


@dataclass(slots=True)
class State:
    """Where a deployment stands."""

    next: int
    batch: int
    cursor: bytes
    skip_to: int
    waiting: list[Event]
    online: dict[bytes, list[bytes]]


class Store:
    """Commands of one sequencer process, known by `token` in the lease."""

    def __init__(
        self, calls: Calls, settings: Settings, token: str, on_commit: Callable[[], None] = lambda: None
    ) -> None:
        self._calls = calls
        self._on_commit = on_commit
        self._settings = settings
        self._token = token
        self._lease_ms = int(settings.lease_s * 1000)
        self._journal = Journal(settings.journal_bytes)
        self._lineage = Lineage(b"", b"")
        self._safe = 0
        keys = settings.keys
        self._keys = keys
        self._commit_keys = (
            *(keys.state, keys.lease, keys.waiting, keys.events, keys.rejected, keys.nodes, keys.broadcast),
            *(keys.followers, keys.following, keys.online, keys.user, keys.deliveries),
        )

    async def prepare(self) -> None:
        """Load the scripts; once per connection."""
        for script in (ACQUIRE, RENEW, COMMIT):
            await self._calls.call("SCRIPT", "LOAD", script.text)

    async def keep_lease(self) -> None:
        """Renew the lease until cancelled, whatever else is going on. LeaseLostError when it is gone."""
        while True:
            await asyncio.sleep(self._settings.lease_s / 4)
            await self._holding(
                self._calls.call("EVALSHA", RENEW.sha, 1, self._keys.lease, self._token, self._lease_ms)
            )

    async def acquire(self) -> bool:
        """Take the lease if it is free (or still ours)."""
        arguments = (self._keys.lease, self._token, self._lease_ms)
        return bool(await self._calls.call("EVALSHA", ACQUIRE.sha, 1, *arguments))

    async def load(self) -> State:
        """Begin a term, an epoch of its own: read position, waiting events, who is online."""
        # A process that is paused here can wake up when another one sequences: what it writes must change nothing
        # then. So the journal is looked at before the state, which is never behind it, and `next` is set once.
        key, journalled = self._keys.state, await self._last_in_journal()
        stored = position_in(key, _pairs(await self._calls.call("HGETALL", key)))
        next_number = stored.next
        if next_number is None:
            next_number = self._settings.first_sequence
            await self._calls.call("HSETNX", key, "next", next_number)
        self._lineage = Lineage(secrets.token_hex(3).encode(), last_of(stored.epoch, stored.batch))
        self._safe = 0
        if journalled > stored.batch:
            # It belongs to another past (keys were deleted by hand), and its ids would refuse the batches to come.
            await self._calls.call("DEL", self._keys.deliveries)
        waiting: list[Event] = []
        while lines := await self._calls.call("ZRANGE", self._keys.waiting, len(waiting), len(waiting) + CHUNK - 1):
            waiting += [event_in(self._keys.waiting, line) for line in lines]
        nodes = await self._calls.call("HKEYS", self._keys.nodes)
        online = {node: await self._calls.call("SMEMBERS", self._keys.online.encode() + node) for node in nodes}
        return State(next_number, stored.batch, stored.cursor, stored.skip_to, waiting, online)

    async def _last_in_journal(self) -> int:
        last = await self._calls.call("XREVRANGE", self._keys.deliveries, "+", "-", "COUNT", 1)
        return stream_id(last[0][0])[0] if last else 0

    # The graph, as of the last batch sent on this connection

    async def following_counts(self, users: Sequence[bytes]) -> list[int]:
        """How many authors each user follows."""
        prefix = self._keys.following.encode()
        return await self._calls.call_all([("SCARD", prefix + user) for user in users])

    async def following(self, users: Sequence[bytes]) -> list[list[bytes]]:
        """The authors whom each user follows."""
        prefix = self._keys.following.encode()
        return await self._calls.call_all([("SMEMBERS", prefix + user) for user in users])

    async def scan_following(self, user: bytes, cursor: bytes, count: int) -> tuple[bytes, list[bytes]]:
        """About `count` of the authors whom a user follows, and the cursor to go on from (`0`: that was all)."""
        key = self._keys.following.encode() + user
        next_cursor, authors = await self._calls.call("SSCAN", key, cursor, "COUNT", count)
        return next_cursor, authors

    async def follower_counts(self, authors: Sequence[bytes]) -> list[int]:
        """How many followers each author has."""
        prefix = self._keys.followers.encode()
        return await self._calls.call_all([("SCARD", prefix + author) for author in authors])

    async def followers_among(self, questions: Sequence[tuple[bytes, list[bytes] | None]]) -> list[list[bytes]]:
        """For each (author, users) those of the users who follow the author; for None all who do."""
        prefix = self._keys.followers.encode()
        answers = await self._calls.call_all(
            ("SMEMBERS", prefix + author) if users is None else ("SMISMEMBER", prefix + author, *users)
            for author, users in questions
        )
        return [
            answer if users is None else list(compress(users, answer))
            for (_, users), answer in zip(questions, answers, strict=True)
        ]

    async def known(self, nodes: Sequence[bytes]) -> list[bytes]:
        """Those nodes that are part of the system (one may have been expelled since it wrote)."""
        answers = await self._calls.call_all([("HEXISTS", self._keys.nodes, node) for node in nodes])
        return list(compress(nodes, answers))

    async def reports(self) -> dict[bytes, bytes]:
        """The nodes' last heartbeats."""
        return _pairs(await self._calls.call("HGETALL", self._keys.nodes))

    async def backlog(self) -> tuple[int, int, float]:
        """What is not consumed yet: bytes, entries, and the age of the oldest entry in seconds."""
        key = self._keys.state
        held = number_in(key, "backlog", await self._calls.call("HGET", key, "backlog"), 0)
        entries = await self._calls.call("XLEN", self._keys.events)
        oldest = await self._calls.call("XRANGE", self._keys.events, "-", "+", "COUNT", 1)
        if not oldest:
            return held, entries, 0.0
        seconds, microseconds = await self._calls.call("TIME")
        return held, entries, max(0.0, int(seconds) + int(microseconds) / 1e6 - stream_id(oldest[0][0])[0] / 1000)

    async def memory(self) -> tuple[int, int]:
        """What Redis uses, and may use (0: no limit), in bytes."""
        info = parse_info(await self._calls.call("INFO", "memory"))
        return int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))

    async def commit(self, number: int, batch: Batch, *, last: bool = False) -> dict[bytes, bytes]:
        """Make a batch true and return the nodes' reports; the `last` one gives the lease back.

        LeaseLostError when another process sequences now. Any other error leaves it open whether the
        batch was committed; only loading anew tells.
        """
        replicas, keys = self._settings.wait_replicas, self._commit_keys
        stamp = Stamp(
            number,
            self._token,
            lease_ms=0 if last else self._lease_ms,
            lineage=self._lineage,
            safe=self._safe if replicas else number,
            journal_first=self._journal.add(number, batch.published_bytes),
            rejected_entries=self._settings.rejected_entries,
            rejected_per_batch=self._settings.rejected_per_batch,
            journal_part_users=self._settings.journal_part_users,
        )
        commit = self._calls.call("EVALSHA", COMMIT.sha, len(keys), *keys, *batch.arguments(stamp))
        reports = _pairs(await self._holding(commit))
        self._on_commit()
        if replicas:
            await wait_for_replicas(self._calls, self._settings)
            self._safe = number
            await self._calls.call("PUBLISH", self._keys.broadcast, SAFE + b"%d" % number)
        return reports

    async def _holding(self, answer: Awaitable[Reply]) -> Reply:
        """The answer of a script that needs the lease. LeaseLostError when we do not hold it."""
        try:
            return await answer
        except RedisRefusedError as refusal:
            if str(refusal).startswith("LEASE"):
                raise LeaseLostError(str(refusal)) from None
            raise


def _pairs(flat: list[bytes]) -> dict[bytes, bytes]:
    return dict(zip(flat[::2], flat[1::2], strict=True))
