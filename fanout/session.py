"""One session of a node: its id, its subscription, and the client connections that it answers for.

What a node misses while it has no connection to Redis, it reads from the journal later; its clients notice nothing but
a pause. A session ends when it can't give its clients every line: the journal no longer reaches back, the node was
expelled, or Redis has an older state than the node.

Each pair of connections to Redis is a *generation* of the session, with a feed, heartbeats and a presence of its own.
The writer and the users outlast it. `fanout/writer.py` tells a frame's way, `fanout/upstream/presence.py` a join's, and
`fanout/resume.py` that of a client which goes on where it was.
"""

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from typing import Any

from contract.control import Position
from contract.frames import differ
from contract.histories import Histories
from fanout.balance import surplus_to_close
from fanout.clients.server import ClientServer
from fanout.resume import Resumption
from fanout.stats import FanoutStats
from fanout.upstream.catch_up import missed_batches
from fanout.upstream.clock import RedisClock
from fanout.upstream.feed import Feed
from fanout.upstream.heartbeat import IDLE_BEAT_S, Heartbeat, StateWentBackError
from fanout.upstream.presence import Presence
from fanout.writer import Writer
from runtime import tasks
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.redis.link import RedisLink

REBALANCE_S = 1.0


@dataclass(frozen=True, slots=True)
class Generation:
    """What works on one pair of connections to Redis."""

    subscribed: RedisLink
    commands: RedisLink
    feed: Feed
    heartbeat: Heartbeat
    presence: Presence
    resumption: Resumption


class NodeSession:
    """One node id, from entering the deployment to leaving it."""

    def __init__(self, context: Context, clients: ClientServer, stats: FanoutStats) -> None:
        self.node = f"{socket.gethostname()}-{context.random_hex(4)}"
        self._context = context
        self._settings = context.settings
        self._clients = clients
        self._users = clients.users
        self._stats = stats
        self._clock = RedisClock()
        self._writer = Writer(context, self.node, clients, self._clock)
        self._generations = 0
        self._generation: Generation | None = None
        self._entered = False

    async def connect(self, subscribed: RedisLink, commands: RedisLink) -> Generation:
        """Begin a generation: from now on clients are served; what was missed since the last one comes first.

        RedisUnavailableError and FrameLostError: connect again, clients lose nothing. Any other error ends this
        session.
        """
        generation = self._generation = self._new_generation(subscribed, commands)
        await generation.feed.start(self._users.by_id)
        await self._take_up(generation)
        generation.feed.catch_up_ends()
        return generation

    async def serve(self, generation: Generation, stop: asyncio.Event) -> None:
        """Serve until told to stop. Errors as in `connect`."""
        waits: set[asyncio.Future[Any]] = {
            generation.feed.failed,
            generation.subscribed.closed,
            generation.commands.closed,
            asyncio.ensure_future(generation.presence.run()),
            asyncio.ensure_future(generation.heartbeat.run()),
            asyncio.ensure_future(generation.resumption.run()),
            asyncio.ensure_future(stop.wait()),
        }
        if self._settings.rebalance:
            waits.add(asyncio.ensure_future(self._rebalance(generation.heartbeat)))
        try:
            done, _ = await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
            for ended in done:
                ended.result()  # raises what ended it
            if not stop.is_set():
                raise RedisUnavailableError("lost the connection to Redis")
            await generation.presence.leave()
        finally:
            await tasks.end(waits)

    def end(self) -> None:
        """Write nothing more."""
        self._writer.close()

    def observe(self) -> None:
        """Bring the stats of the session up to date."""
        self._stats.waiting = int(self._writer.waits)
        generation = self._generation
        known = max(generation.feed.last_batch, generation.heartbeat.committed) if generation else 0
        self._stats.batches_behind = max(0, known - self._writer.written)

    def next_number(self) -> int:
        """What is written next; 0: not known yet."""
        return self._writer.next

    def silent_s(self) -> float:
        """Seconds since a sequencer was last heard."""
        return self._generation.feed.silent_s() if self._generation else 0.0

    def _new_generation(self, subscribed: RedisLink, commands: RedisLink) -> Generation:
        self._generations += 1
        context, users = self._context, self._users
        history = self._generation.feed.strangers.history if self._generation else b""
        feed = Feed(context, self.node, subscribed, self._writer, history)
        sender = (context, self.node, self._generations, commands, feed)
        heartbeat = Heartbeat(*sender, self._writer, users, self._clock)
        presence = Presence(*sender, users, self._clients.changed, self._stats)
        resumption = Resumption(context, commands, self._clients, self._writer, feed.strangers)
        return Generation(subscribed, commands, feed, heartbeat, presence, resumption)

    async def _take_up(self, generation: Generation) -> None:
        await generation.presence.prepare()
        await (self._catch_up(generation) if self._entered else self._enter(generation))

    async def _enter(self, generation: Generation) -> None:
        batch, epoch, generation.feed.strangers.history = await generation.heartbeat.enter()
        self._writer.begin_after(batch, epoch, generation.heartbeat.next)
        generation.feed.catch_up_from(batch)
        self._entered = True
        self._context.log.info("node_entered", node=self.node)

    async def _catch_up(self, generation: Generation) -> None:
        last, known_epoch = self._writer.accepted, self._writer.epoch
        committed, epoch, history = await generation.heartbeat.resume()
        self._users.post_again()
        is_another = differ(history, generation.feed.strangers.history)
        goes_on = not is_another or await self._goes_on(generation, history)
        if not goes_on or committed < last or (committed == last and epoch != known_epoch):
            raise StateWentBackError(committed, epoch, last, known_epoch)
        generation.feed.strangers.history = history
        if is_another:
            self._users.ask_again()
            self._clients.tell_position(Position(history, self._writer.next - 1))
        generation.feed.catch_up_from(last)
        async for frame, messages in missed_batches(generation.commands, self._settings.keys, last, committed):
            await self._room_for(generation.heartbeat)
            generation.feed.take(frame, messages)
        self._stats.reconnects += 1
        self._stats.journal_batches += committed - last
        self._context.log.info("node_resumed", node=self.node, batches_from_journal=committed - last)

    async def _goes_on(self, generation: Generation, history: bytes) -> bool:
        """Whether the history that this node knows goes on in a new one, up to what it has written at least."""
        histories = Histories(history, await generation.commands.call("GET", self._settings.keys.histories) or b"")
        here = Position(generation.feed.strangers.history, self._writer.next - 1)
        return self._writer.next > 0 and histories.here(here) is not None

    async def _room_for(self, heartbeat: Heartbeat) -> None:
        """Wait for the clients if need be, and say meanwhile that the node is alive."""
        while True:
            await heartbeat.keep_alive()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(IDLE_BEAT_S):
                    return await self._writer.wait_for_room()

    async def _rebalance(self, heartbeat: Heartbeat) -> None:
        while True:
            await asyncio.sleep(REBALANCE_S)
            connections = await heartbeat.connections_of_all()
            surplus = surplus_to_close(self._users.connections, connections)
            if surplus:
                self._context.log.info("rebalancing", closing=surplus, connections=self._users.connections)
                self._clients.close_some(surplus, int(1000 * REBALANCE_S))
