"""What a sequencer does while it holds the lease: one batch after another.

A *term* begins with loading the position from Redis and ends with any error at all: a lost lease, a lost
connection, an answer that never came. Nothing is repaired in place; the next term, in this process or
another, reads the position that the last commit left and goes on from there.
"""

import asyncio
from collections import deque
from time import perf_counter

import structlog

from contract.entries import SKIPPED, Entry
from runtime import tasks
from runtime.errors import RedisUnavailableError
from runtime.redis.data import shown
from runtime.redis.link import RedisLink
from runtime.settings import Settings
from sequencer.assembly import Assembly
from sequencer.batch import Batch
from sequencer.reader import Reader, batch_limit
from sequencer.stats import SequencerStats
from sequencer.store import LeaseLostError, Store
from sequencer.window import Window

WINDOW_POLL_S = 0.002
EXPEL_CHECK_S = 0.5
WATCH_S = 1.0
COUNTED = ("received", "released", "late", "duplicate", "rejected", SKIPPED)
"""The counts of a batch that are stats, too."""

log = structlog.get_logger()


class Term:
    """One stretch of leadership, from loading the state to the first error or the order to stop."""

    def __init__(self, store: Store, reads: RedisLink, settings: Settings, stats: SequencerStats) -> None:
        self._store = store
        self._reads = reads
        self._settings = settings
        self._stats = stats
        self._assembly = Assembly(store, settings, stats)
        self._routing = self._assembly.routing
        self._tick_s = settings.tick_s
        limits = (settings.window_bytes, settings.window_batches)
        self._window = Window(*limits, settings.node_silence_s, settings.node_patience_s, look_s=2 * self._tick_s)
        self._commit: asyncio.Task[dict[bytes, bytes]] | None = None
        self._now = asyncio.get_running_loop().time
        self.committed = 0
        """The last batch whose commit Redis has confirmed."""
        self._committed_s = self._checked_s = self._now()

    async def begin(self) -> None:
        """Load position, waiting events and online users."""
        state = await self._store.load()
        self._assembly.begin(state)
        self._reader = Reader(self._reads, self._settings, state.cursor)
        self._batch_number = self.committed = state.batch
        self._position = (state.next, state.cursor)
        self._window.observe(await self._store.reports(), self._now())
        online = self._routing.online_users
        log.info("sequencing", next=state.next, batch=state.batch, waiting=len(state.waiting), online=online)

    async def run(self, stop: asyncio.Event) -> None:
        """Batches until told to stop; then the lease is given back."""
        reading = asyncio.create_task(self._reader.run())
        watching = asyncio.create_task(self._watch_redis())
        stopping = asyncio.create_task(stop.wait())
        for ending in (reading, stopping):
            ending.add_done_callback(lambda _: self._reader.interrupt())
        try:
            while not stop.is_set():
                for beside in (reading, watching):
                    if beside.done():
                        await beside
                await self._next_batch()
            await self._settle()
            await self._send(self._empty_batch(), last=True)
            await self._settle()
        finally:
            await tasks.end([reading, watching, stopping, self._commit])

    async def _next_batch(self) -> None:
        assembly = self._assembly
        entries: deque[Entry] = deque()
        if not assembly.ordering.ready:
            if self._reader.empty:
                await self._settle()
            tick_in_s = self._committed_s + self._tick_s - self._now()
            began_s = perf_counter()
            entries = await self._reader.take(0 if assembly.loader.busy else tick_in_s, self._batch_limit())
            self._stats.read_seconds.observe(perf_counter() - began_s)
        if entries or assembly.ordering.ready:
            # Computed while the commit before it is still under way in Redis.
            batch = await assembly.make(entries, self._batch_limit())
            self._reader.give_back(entries)
            await self._settle()
            await self._wait_for_room()
            await self._send(batch)
        elif assembly.loader.busy and self._now() < self._committed_s + self._tick_s:
            await assembly.loader.step(self._settings.batch_edges)
        else:
            await self._tick()

    def _batch_limit(self) -> int:
        settings = self._settings
        return batch_limit(settings.batch_bytes, self._routing.online_users, settings.window_bytes)

    # Committing

    async def _send(self, batch: Batch, *, last: bool = False) -> None:
        # A node can have been expelled since this batch was computed.
        batch.moves = {move: there for move, there in batch.moves.items() if move[0] in self._routing.nodes}
        self._batch_number += 1
        self._position = (batch.next, batch.cursor)
        self._committed_s = self._now()
        self._window.publish(self._batch_number, batch.weight)
        commit = self._timed_commit(self._batch_number, batch, last)
        self._commit = asyncio.create_task(commit)
        await asyncio.sleep(0)  # lets the task write its command before the next batch is computed

    async def _timed_commit(self, number: int, batch: Batch, last: bool) -> dict[bytes, bytes]:
        began_s, stats = perf_counter(), self._stats
        try:
            reports = await self._store.commit(number, batch, last=last)
        except (LeaseLostError, RedisUnavailableError):
            stats.commit_errors += 1
            raise
        stats.commit_seconds.observe(perf_counter() - began_s)
        stats.batches += 1
        stats.published_bytes += batch.published_bytes
        for name, count in batch.counts.items():
            if name in COUNTED:
                setattr(stats, name, getattr(stats, name) + count)
        if released := batch.counts["released"]:
            stats.batch_events.observe(released)
        return reports

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
        self._assembly.watch_gap()
        await self._send(self._empty_batch())
        await self._settle()

    def _empty_batch(self) -> Batch:
        gone = self._window.to_expel()
        for node, (reason, seconds) in gone.items():
            facts = {"key": self._settings.keys.nodes, "report": shown(self._window.report_of(node))}
            log.warning("node_expelled", node=shown(node), reason=f"{reason} for {seconds:.1f} s", **facts)
            self._stats.expulsions[reason] += 1
            self._routing.drop_node(node)
        return Batch(*self._position, gone=tuple(gone), skip_to=self._assembly.ordering.skip_to)

    async def _wait_for_room(self) -> None:
        """Wait while the window is full; tick on, and expel nodes that will never make room."""
        while True:
            now = self._now()
            if now - self._checked_s > EXPEL_CHECK_S:
                self._checked_s = now
                if self._window.to_expel() or now - self._committed_s > self._tick_s:
                    await self._tick()
            if not self._window.full:
                return
            await asyncio.sleep(WINDOW_POLL_S)
            self._window.observe(await self._store.reports(), self._now())
            self._stats.window_seconds += self._now() - now

    # What is said about it

    async def _watch_redis(self) -> None:
        stats = self._stats
        while True:
            backlog = await self._store.backlog()
            stats.backlog_bytes, stats.backlog_entries, stats.backlog_age_seconds = backlog
            stats.redis_memory_bytes, stats.redis_memory_limit_bytes = await self._store.memory()
            await asyncio.sleep(WATCH_S)

    def observe(self, stats: SequencerStats) -> None:
        """Bring what is measured up to date."""
        self._assembly.observe(stats)
        stats.unwritten_bytes = self._window.unwritten_bytes
        stats.nodes, stats.nodes_behind = self._window.nodes, self._window.behind(self._batch_number)

    def why_stuck(self) -> str | None:
        """What keeps events from being released, if anything does."""
        return self._assembly.why_stuck()
