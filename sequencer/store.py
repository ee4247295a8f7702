"""The sequencer's Redis commands: loading the state of a deployment, committing a batch."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from contract.frames import SAFE, Lineage, last_of
from contract.histories import Histories, server_text
from runtime.redis.data import position_in
from runtime.redis.link import Calls, RedisRefusedError, Reply, Script, wait_for_replicas
from runtime.settings import Settings
from sequencer import stored
from sequencer.batch import Batch, Stamp
from sequencer.history import Found, Place, Sent, why_renew
from sequencer.journal import Journal
from sequencer.state import State
from sequencer.stored import pairs
from sequencer.succession import Succession

ACQUIRE = Script(Path(__file__).with_name("acquire.lua"))
RENEW = Script(Path(__file__).with_name("renew.lua"))
COMMIT = Script(Path(__file__).with_name("commit.lua"))


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
        now_s: Callable[[], float] = time.monotonic,
        sent: Sent | None = None,
    ) -> None:
        self.calls = calls
        self.sent = sent
        """The last batch that this process sent, if no other process is known to have led since then."""
        self._now_s = now_s
        self._random_hex = random_hex
        self._on_commit = on_commit
        self._settings = settings
        self._token = token
        self._lease_ms = int(settings.lease_s * 1000)
        self._succession = Succession()
        self.journal = Journal(settings.journal_bytes, settings.journal_s, now_s())
        self._lineage = Lineage(b"", b"")
        self._last = Place(b"", 0)
        self._server, self._earlier = "", b""
        self._safe = 0
        self._gives_back = False
        """The last batch is under way; from then on the lease is not ours."""
        keys = settings.keys
        self._keys = keys
        self._commit_keys = (
            *(keys.state, keys.lease, keys.waiting, keys.events, keys.rejected, keys.nodes, keys.broadcast),
            *(keys.followers, keys.following, keys.online, keys.user, keys.deliveries),
            *(keys.away, keys.since, keys.server, keys.histories),
        )

    async def prepare(self) -> None:
        """Load the scripts; once per connection."""
        for script in (ACQUIRE, RENEW, COMMIT):
            await self.calls.call("SCRIPT", "LOAD", script.text)

    async def keep_lease(self) -> None:
        """Renew the lease until cancelled or given back, beside the work. LeaseLostError when it is gone."""
        while True:
            await asyncio.sleep(self._settings.lease_s / 4)
            if self._gives_back:
                continue
            await self._holding(self.calls.call("EVALSHA", RENEW.sha, 1, self._keys.lease, self._token, self._lease_ms))

    async def acquire(self) -> bool:
        """Take the lease if it is free, still ours, or held by a process that has ended."""
        arguments = (self._token, self._lease_ms, self._keys.leader, self._succession.ended)
        answer = await self.calls.call("EVALSHA", ACQUIRE.sha, 1, self._keys.lease, *arguments)
        if answer == 1:
            return True
        self.sent = None
        self._succession.saw(*answer)
        return False

    async def load(self) -> State:
        """Begin a term with a new epoch: read the position, the waiting events and the users."""
        # A process that is paused here can wake up while another one sequences, and what it writes then must change
        # nothing. So the journal is read before the state, which is never behind it, and what is new is set only once.
        calls, keys = self.calls, self._keys
        journalled = await stored.last_in_journal(calls, keys)
        found = position_in(keys.state, pairs(await calls.call("HGETALL", keys.state)))
        next_number, history = found.next, found.history
        if next_number is None:
            # The deployment begins: what this process has sent was of another one. A node that enters meanwhile finds
            # the history last, so whoever knows a history knows the next number, too.
            self.sent = None
            next_number = self._settings.first_sequence
            await calls.call("SET", keys.server, server_text(await stored.server(calls), ""), "NX")
            await calls.call("HSETNX", keys.state, "next", next_number)
            await calls.call("HSETNX", keys.state, "history", self._random_hex(3))
            history = await calls.call("HGET", keys.state, "history") or b""
        if journalled > found.batch:
            # The journal outlived deleted state; its higher ids would make Redis reject our batches.
            await calls.call("DEL", keys.deliveries)
        epoch = self._random_hex(3)
        server, (last_server, last_epoch) = await stored.server(calls), await stored.last_server(calls, keys)
        self._last = Place(found.epoch, found.batch)
        has_entries = self.sent is not None and await stored.has_entries_to(calls, keys, found.cursor, self.sent.cursor)
        evidence = Found(history, server, last_server, self._last, found.skip_to, has_entries)
        renewed = why_renew(evidence, self.sent)
        self._earlier = b""
        if renewed:
            before = Histories(history, await calls.call("GET", keys.histories) or b"")
            history = self._random_hex(3).encode()
            self._earlier = before.renewed(history, next_number - 1)
        self._lineage = Lineage(epoch.encode(), last_of(found.epoch, found.batch), history)
        self._server = server_text(server, epoch)
        self._safe = 0
        since, away_s = await stored.kept_since(calls, keys), await stored.away_for_s(calls, keys)
        if last_epoch != found.epoch:
            # The last term was of an older version, which keeps no places: what is there is over.
            since, away_s = {}, dict.fromkeys([*since, *away_s], 0.0)
        waiting, online = await stored.waiting_events(calls, keys), await stored.online_users(calls, keys)
        position = (next_number, found.batch, found.cursor, found.skip_to)
        return State(*position, waiting, online, since, away_s, renewed)

    async def heartbeats(self) -> dict[bytes, bytes]:
        """The nodes' last heartbeats."""
        return pairs(await self.calls.call("HGETALL", self._keys.nodes))

    async def subscriptions(self, nodes: list[bytes]) -> dict[bytes, int]:
        """How many connections have subscribed to each node's channel."""
        if not nodes:
            return {}
        channels = [self._keys.node.encode() + node for node in nodes]
        counts = await self.calls.call("PUBSUB", "NUMSUB", *channels)
        return dict(zip(nodes, counts[1::2], strict=True))

    async def commit(self, number: int, batch: Batch, *, last: bool = False) -> dict[bytes, bytes]:
        """Make a batch true and return the nodes' reports; the `last` one gives the lease back.

        LeaseLostError when another process sequences now. After any other error the batch may be committed
        or not; only loading the state again tells.
        """
        replicas, keys, lineage = self._settings.wait_replicas, self._commit_keys, self._lineage
        self._gives_back = last
        stamp = Stamp(
            number,
            self._token,
            lease_ms=0 if last else self._lease_ms,
            lineage=lineage,
            safe=self._safe if replicas else number,
            journal_first=self.journal.add(number, batch.journal_bytes, self._now_s()),
            rejected_entries=self._settings.rejected_entries,
            rejected_per_batch=self._settings.rejected_per_batch,
            journal_part_users=self._settings.journal_part_users,
            away_ms=int(self._settings.away_s * 1000),
            server=self._server,
            earlier=self._earlier,
        )
        place = Place(lineage.epoch, number)
        sent = Sent(place, self._last, batch.cursor, batch.skip_to)
        if not self._earlier:
            # As long as the first batch of a new history is not confirmed, what called for that history still does.
            self.sent = sent
        commit = self.calls.call("EVALSHA", COMMIT.sha, len(keys), *keys, *batch.arguments(stamp))
        reports = pairs(await self._holding(commit))
        self.sent = sent
        self._last, self._server, self._earlier = place, "", b""
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
                self.sent = None
                raise LeaseLostError(str(refusal)) from None
            raise
