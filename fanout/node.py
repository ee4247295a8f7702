"""One life of a fanout node: an id, a subscription, and the connections that this id answers for.

A life ends with any doubt about completeness: a missing frame, a lost connection to Redis, an expulsion.
Its clients' connections are then closed, for a connection never skips anything; a new life begins under a
new id. Clients that register in between wait for it.
"""

import asyncio
import secrets
import socket
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
from fanout.membership import ExpelledError, Membership
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

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        backoff, lost_at = Backoff(), None
        loop = asyncio.get_running_loop()
        while not stop.is_set():
            links: list[RedisLink] = []
            life = None
            try:
                for purpose in ("subscribe", "command"):
                    name = f"{self._settings.namespace}-fanout-{purpose}"
                    links.append(await connect(self._settings.redis_url, self._settings.redis_timeout_s, name))
                if lost_at is not None:
                    log.info("redis_back", away_s=round(loop.time() - lost_at, 1))
                    lost_at = None
                life = Life(self._settings, self._server, self._readiness, links[0], links[1])
                await life.run(stop)
            except (RedisUnavailableError, FrameLostError, ExpelledError) as problem:
                if lost_at is None and isinstance(problem, RedisUnavailableError):
                    lost_at = loop.time()
                    log.warning("redis_away", reason=str(problem))
                self._readiness.lacks("redis", str(problem))
                if life is not None:
                    backoff.reset()
                    closed = self._server.members.connections
                    log.warning("connections_closed", connections=closed, reason=str(problem))
                    self._server.begin_anew()
                await stopped_within(stop, backoff.next_s())
            finally:
                for link in links:
                    link.close()


class Life:
    """One node id, from entering the deployment to leaving it."""

    def __init__(
        self, settings: Settings, server: ClientServer, readiness: Readiness, subscribed: RedisLink, commands: RedisLink
    ) -> None:
        self._settings = settings
        self._readiness = readiness
        self._id = f"{socket.gethostname()}-{secrets.token_hex(4)}"
        self._name = self._id.encode()
        self._server = server
        self._subscribed, self._commands = subscribed, commands
        limits = (settings.client_buffer_bytes, settings.node_buffer_bytes, settings.client_stall_s)
        self._writer = Writer(server.members, server, Pressure(*limits))
        self._feed = Feed(subscribed, settings.keys, settings.redis_timeout_s, self._on_batch)
        self._membership = Membership(self._id, commands, self._feed, server.members, settings)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop, or until the promise can't be kept; the error says why."""
        await self._feed.start()
        await self._membership.enter()
        self._server.on_news = self._membership.notify
        self._readiness.has("starting", "redis")
        log.info("node_entered", node=self._id)
        waits: set[asyncio.Future[Any]] = {
            self._feed.failed,
            self._subscribed.closed,
            self._commands.closed,
            asyncio.ensure_future(self._membership.announce()),
            asyncio.ensure_future(self._membership.beat(self._writer)),
            asyncio.ensure_future(stop.wait()),
        }
        if self._settings.rebalance:
            waits.add(asyncio.ensure_future(self._rebalance()))
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()  # raises what ended it
            if not stop.is_set():
                raise RedisUnavailableError("lost the connection to Redis")
            await self._membership.leave()
        finally:
            self._writer.close()
            for wait in waits:
                wait.cancel()
            await asyncio.wait(waits)
            for wait in waits:
                if not wait.cancelled():
                    wait.exception()

    async def _rebalance(self) -> None:
        while True:
            await asyncio.sleep(REBALANCE_S)
            connections = await self._membership.connections_of_all()
            surplus = surplus_to_close(self._server.members.connections, connections)
            if surplus:
                log.info("rebalancing", closing=surplus, connections=self._server.members.connections)
                self._server.close_some(surplus)

    def _on_batch(self, frame: Frame, messages: Messages) -> None:
        if self._name in frame.gone:
            self._feed.failed.set_exception(ExpelledError(f"node {self._id} was expelled"))
            return
        self._writer.deliver(frame, messages)
