"""One life of a fanout node: an id, a subscription, and the connections that this id answers for.

What a node misses while it has no connection to Redis, it reads again in the journal, and its clients notice
nothing but a pause. A life ends when completeness can't be had: the journal no longer reaches back, the node was
expelled, Redis has an older state than the node.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable
from typing import Any

import structlog

from contract.frames import Frame, Messages
from fanout.balance import surplus_to_close
from fanout.clients.pressure import Pressure
from fanout.clients.server import ClientServer
from fanout.stats import FanoutStats
from fanout.upstream.catch_up import missed_batches
from fanout.upstream.clock import RedisClock
from fanout.upstream.feed import Feed
from fanout.upstream.heartbeat import ExpelledError, Membership, StateWentBackError
from fanout.writer import Writer
from runtime import tasks
from runtime.errors import RedisUnavailableError
from runtime.redis.link import RedisLink
from runtime.settings import Settings

REBALANCE_S = 1.0

log = structlog.get_logger()


class Life:
    """One node id, from entering the deployment to leaving it; it outlives its connections to Redis."""

    def __init__(self, settings: Settings, server: ClientServer) -> None:
        self._settings = settings
        self.node = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._name = self.node.encode()
        self._server = server
        limits = (settings.client_buffer_bytes, settings.node_buffer_bytes, settings.client_stall_s)
        self._clock = RedisClock()
        self._pressure = Pressure(*limits)
        self._writer = Writer(server.members, server, self._pressure, self._clock)
        self._stats = server.stats
        self._feed: Feed | None = None
        self._membership: Membership | None = None
        self._sessions = 0
        self._entered = False
        self._last_batch, self._epoch = 0, b""
        self.served = False

    async def serve(
        self, subscribed: RedisLink, commands: RedisLink, stop: asyncio.Event, on_ready: Callable[[], None]
    ) -> None:
        """Serve on these connections until told to stop; what was missed since the last ones comes first.

        RedisUnavailableError and FrameLostError: serve again on new connections, and nobody is the worse for it.
        Any other error ends this life.
        """
        self.served = False
        timeout_s = self._settings.redis_timeout_s
        feed = Feed(subscribed, self._settings.keys, timeout_s, lambda *batch: self._from_feed(feed, *batch))
        self._sessions += 1
        parts = (commands, feed, self._server.members, self._clock)
        membership = Membership(self.node, self._sessions, *parts, self._settings, self._stats)
        self._feed, self._membership = feed, membership
        await feed.start(self._server.members.users)
        await (self._catch_up(feed, membership, commands) if self._entered else self._enter(feed, membership))
        feed.go_on()
        self._server.on_news = membership.notify
        self.served = True
        on_ready()
        await self._until_ended(feed, membership, subscribed, commands, stop)

    def observe(self, stats: FanoutStats) -> None:
        """Bring what is measured up to date."""
        stats.waiting = int(self._pressure.waiting_since_s is not None)
        known = max(self._feed.last_batch, self._membership.committed) if self._feed and self._membership else 0
        stats.batches_behind = max(0, known - self._writer.written)

    def silent_s(self) -> float:
        """How long nothing has been heard of a sequencer, in seconds."""
        return asyncio.get_running_loop().time() - self._feed.heard_s if self._feed else 0.0

    def end(self) -> None:
        """Write nothing more."""
        self._writer.close()

    async def _enter(self, feed: Feed, membership: Membership) -> None:
        self._last_batch, self._epoch = await membership.enter()
        self._writer.written = self._last_batch
        feed.catch_up_from(self._last_batch)
        self._entered = True
        log.info("node_entered", node=self.node)

    async def _catch_up(self, feed: Feed, membership: Membership, commands: RedisLink) -> None:
        missed_from = self._last_batch
        committed, epoch = await membership.resume(self._writer.written)
        if committed < missed_from or (committed == missed_from and epoch != self._epoch):
            raise StateWentBackError(_another_past(committed, epoch, missed_from, self._epoch))
        feed.catch_up_from(missed_from)
        async for frame, messages in missed_batches(commands, self._settings.keys, missed_from, committed):
            feed.take(frame, messages)
        self._stats.reconnects += 1
        self._stats.journal_batches += committed - missed_from
        log.info("node_resumed", node=self.node, batches_from_journal=committed - missed_from)

    async def _until_ended(
        self,
        feed: Feed,
        membership: Membership,
        subscribed: RedisLink,
        commands: RedisLink,
        stop: asyncio.Event,
    ) -> None:
        waits: set[asyncio.Future[Any]] = {
            feed.failed,
            subscribed.closed,
            commands.closed,
            asyncio.ensure_future(membership.announce()),
            asyncio.ensure_future(membership.beat(self._writer)),
            asyncio.ensure_future(stop.wait()),
        }
        if self._settings.rebalance:
            waits.add(asyncio.ensure_future(self._rebalance(membership)))
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()  # raises what ended it
            if not stop.is_set():
                raise RedisUnavailableError("lost the connection to Redis")
            await membership.leave()
        finally:
            await tasks.end(waits)

    async def _rebalance(self, membership: Membership) -> None:
        while True:
            await asyncio.sleep(REBALANCE_S)
            connections = await membership.connections_of_all()
            surplus = surplus_to_close(self._server.members.connections, connections)
            if surplus:
                log.info("rebalancing", closing=surplus, connections=self._server.members.connections)
                self._server.close_some(surplus)

    def _from_feed(self, feed: Feed, frame: Frame, messages: Messages) -> None:
        if self._name in frame.gone:
            feed.failed.set_exception(ExpelledError(f"node {self.node} was expelled"))
        elif not frame.continues(self._epoch, self._last_batch):
            found = (frame.batch, frame.lineage.epoch, self._last_batch, self._epoch)
            feed.failed.set_exception(StateWentBackError(_another_past(*found)))
        else:
            self._last_batch, self._epoch = frame.batch, frame.lineage.epoch
            self._writer.deliver(frame, messages)


def _another_past(found_batch: int, found_epoch: bytes, batch: int, epoch: bytes) -> str:
    found, written = f"{found_batch} of epoch {found_epoch.decode()}", f"{batch} of epoch {epoch.decode()}"
    return f"Redis went back to an older copy of its data: it has batch {found}, this node has written {written}"
