"""Holding the lease, and what a sequencer does while it holds it: one batch after another.

A *term* begins with loading everything from Redis and ends with any error at all: a lost lease, a lost
connection, an answer that never came. Nothing is repaired in place; the next term, in this process or
another, reads the position that the last commit left and goes on from there.
"""

import asyncio
import os
import secrets
import socket
from typing import Any

import structlog

from contract.errors import RedisUnavailableError
from contract.readiness import Readiness
from contract.redis_checks import Finding
from contract.redis_link import RedisLink, connect
from contract.service import Backoff, stopped_within
from contract.settings import Settings
from sequencer.batch import Batch
from sequencer.checks import check_server
from sequencer.ordering import Ordering
from sequencer.reader import Entry, Reader
from sequencer.routing import Routing
from sequencer.store import LeaseLostError, Store
from sequencer.window import Window

STANDBY_POLL_S = 0.25
WINDOW_POLL_S = 0.002
EXPEL_CHECK_S = 0.5
WENT_BACK = "Redis came back with older data; sources should send again from `next` on, and clients connect again"

log = structlog.get_logger()


class Leader:
    """One sequencer process: stands by until the lease is free, then sequences until it loses it."""

    def __init__(self, settings: Settings, readiness: Readiness) -> None:
        self._settings = settings
        self._readiness = readiness
        self._committed = 0
        self._said: set[Finding] = set()
        self._backoff = Backoff()
        self._lost_s: float | None = None
        self.token = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"

    async def run(self, stop: asyncio.Event) -> None:
        """Sequence or stand by until told to stop. Redis away and back is said once each."""
        while not stop.is_set():
            links: list[RedisLink] = []
            try:
                for purpose in ("commit", "read"):
                    name = f"{self._settings.namespace}-sequencer-{purpose}"
                    links.append(await connect(self._settings.redis_url, self._settings.redis_timeout_s, name))
                await self._serve(links[0], links[1], stop)
            except LeaseLostError as problem:
                log.warning("lease_lost", reason=str(problem))
            except RedisUnavailableError as problem:
                self._is_away(str(problem))
                await stopped_within(stop, self._backoff.next_s())
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

    async def _serve(self, commits: RedisLink, reads: RedisLink, stop: asyncio.Event) -> None:
        await check_server(commits, self._settings, self._said)
        store = Store(commits, self._settings, self.token)
        await store.prepare()
        if not await store.acquire():
            self._is_back()
            log.info("standing_by")
            while not await store.acquire():
                if await stopped_within(stop, STANDBY_POLL_S):
                    return
        term = Term(store, reads, self._settings)
        await term.begin()
        if term.committed < self._committed:
            log.error("state_went_back", batch=term.committed, committed=self._committed, advice=WENT_BACK)
        self._backoff.reset()
        self._is_back()
        try:
            await term.run(stop)
        finally:
            self._committed = term.committed


class Term:
    """One stretch of leadership, from loading the state to the first error or the order to stop."""

    def __init__(self, store: Store, reads: RedisLink, settings: Settings) -> None:
        self._store = store
        self._reads = reads
        self._settings = settings
        self._routing = Routing()
        # An idle sequencer keeps its lease by ticking, so it ticks well within it.
        self._tick_s = min(settings.tick_s, settings.lease_s / 3)
        limits = (settings.window_bytes, settings.window_batches)
        self._window = Window(*limits, settings.node_silence_s, settings.node_patience_s)
        self._commit: asyncio.Task[dict[bytes, bytes]] | None = None
        self._now = asyncio.get_running_loop().time
        self.committed = 0
        """The last batch whose commit Redis has confirmed."""
        self._committed_s = self._checked_s = self._now()

    async def begin(self) -> None:
        """Load position, waiting events, online users and the authors they follow."""
        state = await self._store.load()
        self._ordering = Ordering(state.next, self._settings.reach, state.waiting)
        self._reader = Reader(self._reads, self._settings, state.cursor)
        self._batch_number = self.committed = state.batch
        self._position = (state.next, state.cursor)
        following = await self._store.following({user for users in state.online.values() for user in users})
        for node, users in state.online.items():
            self._routing.join(node, users, following)
        self._window.observe(await self._store.reports(), self._now())
        online = self._routing.online_users
        log.info("sequencing", next=state.next, batch=state.batch, waiting=len(state.waiting), online=online)

    async def run(self, stop: asyncio.Event) -> None:
        """Batches until told to stop; then the lease is given back."""
        reading = asyncio.create_task(self._reader.run())
        stopping = asyncio.create_task(stop.wait())
        for ending in (reading, stopping):
            ending.add_done_callback(lambda _: self._reader.interrupt())
        try:
            while not stop.is_set():
                if reading.done():
                    await reading
                await self._next_batch()
            await self._settle()
            await self._send(self._empty_batch(), last=True)
            await self._settle()
        finally:
            for task in (reading, stopping, self._commit):
                await _end(task)

    async def _next_batch(self) -> None:
        entries: list[Entry] = []
        if not self._ordering.ready:
            if self._reader.empty:
                await self._settle()
            entries = await self._reader.take(self._committed_s + self._tick_s - self._now())
        if entries or self._ordering.ready:
            # Computed while the commit before it is still under way in Redis.
            batch = await self._compute(entries)
            await self._settle()
            await self._wait_for_room()
            await self._send(batch)
        else:
            await self._tick()

    # Computing a batch

    async def _compute(self, entries: list[Entry]) -> Batch:
        ordering, routing = self._ordering, self._routing
        batch = Batch(ordering.next, entries[-1].id if entries else self._position[1])
        for entry in entries:
            if entry.node:
                await self._move_users(entry, batch)
            else:
                batch.raw_bytes += entry.raw_bytes
                batch.counts["malformed"] += len(entry.refused)
                batch.counts["rejected"] += len(entry.refused)
                batch.rejected += entry.refused
                batch.rejected += ordering.accept(entry.events, batch.counts)
        budget = self._settings.batch_deliveries
        released = ordering.release(budget)
        routed = routing.route(released, budget)
        if routed < len(released):
            ordering.put_back(released[routed:])
        batch.counts["released"] = routed
        batch.next = ordering.next
        batch.waiting = ordering.newly_waiting()
        batch.messages, batch.broadcasts, batch.changes = routing.collect()
        return batch

    async def _move_users(self, entry: Entry, batch: Batch) -> None:
        """Apply a node's joins and leaves; in one entry the leaves come first."""
        node = entry.node
        if entry.leaves == [b"*"]:
            batch.gone += (node,)
            self._routing.drop_node(node)
        elif entry.leaves:
            batch.moves |= {(node, user): False for user in entry.leaves}
            self._routing.leave(node, entry.leaves)
        if not entry.joins:
            return
        # What a user follows is read from Redis, so the changes of the batch before must be there.
        await self._settle()
        if not await self._store.knows(node):
            return
        new = {user for user in entry.joins if not self._routing.is_online(user)}
        self._routing.join(node, entry.joins, await self._store.following(new))
        batch.moves |= {(node, user): True for user in entry.joins}

    # Committing

    async def _send(self, batch: Batch, *, last: bool = False) -> None:
        # A node can have been expelled since this batch was computed.
        batch.moves = {move: there for move, there in batch.moves.items() if move[0] in self._routing.nodes}
        self._batch_number += 1
        self._position = (batch.next, batch.cursor)
        self._committed_s = self._now()
        self._window.publish(self._batch_number, batch.weight)
        commit = self._store.commit(self._batch_number, batch, last=last)
        self._commit = asyncio.create_task(commit)
        await asyncio.sleep(0)  # lets the task write its command before the next batch is computed

    async def _settle(self) -> None:
        """Wait for the commit that is under way, if any."""
        if self._commit is not None:
            commit, self._commit = self._commit, None
            reports = await commit
            self.committed = self._batch_number
            self._window.observe(reports, self._now())

    async def _tick(self) -> None:
        """Show the nodes that the sequencer lives, and expel those that do not."""
        await self._settle()
        await self._send(self._empty_batch())
        await self._settle()

    def _empty_batch(self) -> Batch:
        gone = self._window.to_expel(self._now())
        for node, reason in gone.items():
            log.warning("node_expelled", node=node.decode(errors="replace"), reason=reason)
            self._routing.drop_node(node)
        return Batch(*self._position, gone=tuple(gone))

    async def _wait_for_room(self) -> None:
        """Wait while the window is full; tick on, and expel nodes that will never make room."""
        while True:
            now = self._now()
            if now - self._checked_s > EXPEL_CHECK_S:
                self._checked_s = now
                if self._window.to_expel(now) or now - self._committed_s > self._tick_s:
                    await self._tick()
            if not self._window.full:
                return
            await asyncio.sleep(WINDOW_POLL_S)
            self._window.observe(await self._store.reports(), self._now())


async def _end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task; what it raised has been raised where it was awaited, or no longer matters."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
