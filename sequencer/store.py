"""The sequencer's Redis commands: loading the state of a deployment, committing a batch."""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from pathlib import Path

from contract.events import Event
from contract.frames import SAFE, Lineage, last_of, stream_id
from runtime.redis.checks import parse_info
from runtime.redis.data import event_in, number_in, position_in
from runtime.redis.link import Calls, RedisRefusedError, Reply, Script, wait_for_replicas
from runtime.settings import Settings
from sequencer.batch import Batch, Stamp
from sequencer.journal import Journal
from sequencer.state import State

ACQUIRE = Script(Path(__file__).with_name("acquire.lua"))
RENEW = Script(Path(__file__).with_name("renew.lua"))
COMMIT = Script(Path(__file__).with_name("commit.lua"))
CHUNK = 1000
"""Waiting events per answer while loading, so that no answer is huge."""


class LeaseLostError(Exception):
    """Another process sequences now; this one must not."""


class Store:
    """Commands of one sequencer process, known by `token` in the lease."""

    def __init__(
        self,
        calls: Calls,
        settings: Settings,
        token: str,
        *,
        random_hex: Callable[[int], str] = secrets.token_hex,
        on_commit: Callable[[], None] = lambda: None,
    ) -> None:
        self.calls = calls
        self._random_hex = random_hex
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
            await self.calls.call("SCRIPT", "LOAD", script.text)

    async def keep_lease(self) -> None:
        """Renew the lease until cancelled, beside the work. LeaseLostError when it is gone."""
        while True:
            await asyncio.sleep(self._settings.lease_s / 4)
            await self._holding(self.calls.call("EVALSHA", RENEW.sha, 1, self._keys.lease, self._token, self._lease_ms))

    async def acquire(self) -> bool:
        """Take the lease if it is free (or still ours)."""
        arguments = (self._keys.lease, self._token, self._lease_ms)
        return bool(await self.calls.call("EVALSHA", ACQUIRE.sha, 1, *arguments))

    async def load(self) -> State:
        """Begin a term with a new epoch: read the position, the waiting events and the online users."""
        # A process that is paused here can wake up while another one sequences, and what it writes then must change
        # nothing. So the journal is read before the state, which is never behind it, and `next` is set only once.
        key, journalled = self._keys.state, await self._last_in_journal()
        stored = position_in(key, _pairs(await self.calls.call("HGETALL", key)))
        next_number = stored.next
        if next_number is None:
            next_number = self._settings.first_sequence
            await self.calls.call("HSETNX", key, "next", next_number)
        self._lineage = Lineage(self._random_hex(3).encode(), last_of(stored.epoch, stored.batch))
        self._safe = 0
        if journalled > stored.batch:
            # The journal outlived deleted state; its higher ids would make Redis reject our batches.
            await self.calls.call("DEL", self._keys.deliveries)
        waiting: list[Event] = []
        while lines := await self.calls.call("ZRANGE", self._keys.waiting, len(waiting), len(waiting) + CHUNK - 1):
            waiting += [event_in(self._keys.waiting, line) for line in lines]
        nodes = await self.calls.call("HKEYS", self._keys.nodes)
        online = {node: await self.calls.call("SMEMBERS", self._keys.online.encode() + node) for node in nodes}
        return State(next_number, stored.batch, stored.cursor, stored.skip_to, waiting, online)

    async def _last_in_journal(self) -> int:
        last = await self.calls.call("XREVRANGE", self._keys.deliveries, "+", "-", "COUNT", 1)
        return stream_id(last[0][0])[0] if last else 0

    async def heartbeats(self) -> dict[bytes, bytes]:
        """The nodes' last heartbeats."""
        return _pairs(await self.calls.call("HGETALL", self._keys.nodes))

    async def backlog(self) -> tuple[int, int, float]:
        """What no batch has consumed yet: bytes, entries, and the age of the oldest entry in seconds."""
        key = self._keys.state
        held = number_in(key, "backlog", await self.calls.call("HGET", key, "backlog"), 0)
        entries = await self.calls.call("XLEN", self._keys.events)
        oldest = await self.calls.call("XRANGE", self._keys.events, "-", "+", "COUNT", 1)
        if not oldest:
            return held, entries, 0.0
        seconds, microseconds = await self.calls.call("TIME")
        return held, entries, max(0.0, int(seconds) + int(microseconds) / 1e6 - stream_id(oldest[0][0])[0] / 1000)

    async def memory(self) -> tuple[int, int]:
        """Memory that Redis uses and that it may use (0: no limit), in bytes."""
        info = parse_info(await self.calls.call("INFO", "memory"))
        return int(info.get("used_memory", 0)), int(info.get("maxmemory", 0))

    async def commit(self, number: int, batch: Batch, *, last: bool = False) -> dict[bytes, bytes]:
        """Make a batch true and return the nodes' reports; the `last` one gives the lease back.

        LeaseLostError when another process sequences now. After any other error the batch may be committed
        or not; only loading the state again tells.
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
        commit = self.calls.call("EVALSHA", COMMIT.sha, len(keys), *keys, *batch.arguments(stamp))
        reports = _pairs(await self._holding(commit))
        self._on_commit()
        if replicas:
            await wait_for_replicas(self.calls, self._settings)
            self._safe = number
            await self.calls.call("PUBLISH", self._keys.broadcast, SAFE + b"%d" % number)
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
