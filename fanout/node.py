"""One life of a fanout node: an id, a subscription, and the connections that this id answers for.

What a node misses while it has no connection to Redis, it reads again in the journal, and its clients notice
nothing but a pause. A life ends when completeness can't be had: the journal no longer reaches back, the node was
expelled, Redis has an older state than the node. Its clients' connections are then closed, for a connection
never skips anything, and a new life begins under a new id.
"""

import asyncio
import secrets
import socket
from collections.abc import Callable
from typing import Any

import structlog

from contract.errors import RedisUnavailableError
from contract.frames import Frame
from contract.readiness import Readiness
from contract.redis_link import RedisLink, connect
from contract.service import Backoff, stopped_within
from contract.settings import Settings
from fanout.balance import surplus_to_close
from fanout.feed import Feed, FrameLostError, Messages
from fanout.journal import JournalGoneError, missed_batches
from fanout.membership import ExpelledError, Membership, StateWentBackError
from fanout.pressure import Pressure
from fanout.server import ClientServer
from fanout.writer import Writer

REBALANCE_S = 1.0

log = structlog.get_logger()


class Node:
    """A fanout process, life after life."""

    def __init__(self, settings: Settings, server: ClientServer, readiness: Readiness) -> None:
        self._settings = settings
        self._readiness = readiness
        self._server = server
        self._lost_s: float | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        backoff = Backoff()
        life: Life | None = None
        while not stop.is_set():
            links: list[RedisLink] = []
            try:
                for purpose in ("subscribe", "command"):
                    name = f"{self._settings.namespace}-fanout-{purpose}"
                    links.append(await connect(self._settings.redis_url, self._settings.redis_timeout_s, name))
                life = life or Life(self._settings, self._server)
                await life.serve(links[0], links[1], stop, self._is_back)
            except (ExpelledError, JournalGoneError, StateWentBackError) as problem:
                log.warning("connections_closed", connections=self._server.members.connections, reason=str(problem))
                self._server.begin_anew()
                if life is not None:
                    life.end()
                life = None
            except FrameLostError as problem:
                log.warning("frames_missed", reason=str(problem))
                await stopped_within(stop, Backoff.FIRST_S)
            except RedisUnavailableError as problem:
                self._is_away(str(problem))
                if life is not None and life.served:
                    backoff.reset()
                await stopped_within(stop, backoff.next_s())
            finally:
                for link in links:
                    link.close()

    def _is_away(self, reason: str) -> None:
        self._readiness.lacks("redis", reason)
        if self._lost_s is None:
            self._lost_s = asyncio.get_running_loop().time()
            log.warning("redis_away", reason=reason)

    def _is_back(self) -> None:
        self._readiness.has("starting", "redis")
        if self._lost_s is not None:
            log.info("redis_back", away_s=round(asyncio.get_running_loop().time() - self._lost_s, 1))
            self._lost_s = None


class Life:
    """One node id, from entering the deployment to leaving it; it outlives its connections to Redis."""

    def __init__(self, settings: Settings, server: ClientServer) -> None:
        self._settings = settings
        self._id = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._name = self._id.encode()
        self._server = server
        limits = (settings.client_buffer_bytes, settings.node_buffer_bytes, settings.client_stall_s)
        self._writer = Writer(server.members, server, Pressure(*limits))
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
        membership = Membership(self._id, self._sessions, commands, feed, self._server.members, self._settings)
        await feed.start(self._server.members.users)
        await (self._catch_up(feed, membership, commands) if self._entered else self._enter(feed, membership))
        feed.go_on()
        self._server.on_news = membership.notify
        self.served = True
        on_ready()
        await self._until_ended(feed, membership, subscribed, commands, stop)

    def end(self) -> None:
        """Write nothing more."""
        self._writer.close()

    async def _enter(self, feed: Feed, membership: Membership) -> None:
        self._last_batch, self._epoch = await membership.enter()
        self._writer.written = self._last_batch
        feed.catch_up_from(self._last_batch)
        self._entered = True
        log.info("node_entered", node=self._id)

    async def _catch_up(self, feed: Feed, membership: Membership, commands: RedisLink) -> None:
        missed_from = self._last_batch
        committed, epoch = await membership.resume(self._writer.written)
        if committed < missed_from or (committed == missed_from and epoch != self._epoch):
            raise StateWentBackError(_another_past(committed, epoch, missed_from, self._epoch))
        feed.catch_up_from(missed_from)
        async for frame, messages in missed_batches(commands, self._settings.keys, missed_from, committed):
            feed.take(frame, messages)
        log.info("node_resumed", node=self._id, batches_from_journal=committed - missed_from)

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
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
            for wait in waits:
                if not wait.cancelled():
                    wait.exception()

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
            feed.failed.set_exception(ExpelledError(f"node {self._id} was expelled"))
        elif not frame.continues(self._epoch, self._last_batch):
            found = (frame.batch, frame.place.epoch, self._last_batch, self._epoch)
            feed.failed.set_exception(StateWentBackError(_another_past(*found)))
        else:
            self._last_batch, self._epoch = frame.batch, frame.place.epoch
            self._writer.deliver(frame, messages)


def _another_past(found_batch: int, found_epoch: bytes, batch: int, epoch: bytes) -> str:
    found, written = f"{found_batch} of epoch {found_epoch.decode()}", f"{batch} of epoch {epoch.decode()}"
    return f"Redis went back to an older copy of its data: it has batch {found}, this node has written {written}"
