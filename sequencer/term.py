"""What a sequencer does while it holds the lease: one batch after another.

A *term* begins with loading the state from Redis and ends with any error at all: a lost lease, a lost connection, an
answer that never came. Nothing is repaired in place; the next term, in this process or another, reads the state that
the last commit left and continues from there.

A batch goes this way:

1. `Reader.take` hands out stream entries that were read ahead (`sequencer/reader.py`).
2. `Assembly.make` computes the batch, while the commit of the one before is still under way in Redis
   (`sequencer/assembly.py`; what it must ask Redis goes through `sequencer/graph.py`).
3. `Commits.settle` waits for that commit; `_wait_for_room` waits while a node has too much to write, unless that node
   is left behind (`sequencer/standings.py`).
4. `Commits.send` hands the batch to `Store.commit`, which makes it true in one atomic step (`commit.lua`).
"""

import asyncio
from collections import deque
from time import perf_counter

from contract.entries import Entry
from runtime import tasks
from runtime.context import Context
from runtime.redis.data import shown
from runtime.redis.link import RedisLink
from sequencer import stored
from sequencer.assembly import Assembly
from sequencer.batch import Batch
from sequencer.commits import Commits
from sequencer.graph import Graph
from sequencer.reader import Reader, batch_limit
from sequencer.standings import LOOK_S
from sequencer.stats import SequencerStats
from sequencer.store import Store

WINDOW_POLL_S = 0.002
EXPEL_CHECK_S = 0.5
GIVE_WAY_SHARE, GIVE_WAY_MOST_S = 0.1, 0.005
"""How much slower batches follow each other while a node catches up, and the most that one of them is held back."""
WATCH_S = 1.0
RENEWED = (
    "positions up to what Redis has go on in it; clients beyond that begin anew, and sources are told to send again"
)


class Term:
    """One stretch of leadership, from loading the state to the first error or the order to stop."""

    def __init__(self, context: Context, store: Store, graph: Graph, reads: RedisLink, stats: SequencerStats) -> None:
        self._context = context
        self._log = context.log
        self._now_s = context.now_s
        self._poll_s = max(WINDOW_POLL_S, context.least_poll_s)
        self._settings = context.settings
        self._store = store
        self._graph = graph
        self._reads = reads
        self._stats = stats
        self._checked_s = self._now_s()

    async def begin(self) -> None:
        """Load the position, the waiting events and the online users."""
        state = await self._store.load()
        self._assembly = Assembly(state, self._settings, self._log, self._now_s())
        self._reader = Reader(self._reads, self._settings, state.cursor)
        self.commits = Commits(self._context, self._store, self._stats, state)
        await self.commits.look()
        if state.renewed:
            self._log.warning("history_renewed", reason=state.renewed, advice=RENEWED)
        places = self._assembly.places
        facts = {"next": state.next, "batch": state.batch, "waiting": len(state.waiting)}
        self._log.info("sequencing", **facts, online=places.online_users, away=len(places.away))

    async def run(self, stop: asyncio.Event) -> None:
        """Batches until told to stop; then the lease is given back."""
        reading = asyncio.create_task(self._reader.run())
        watching = [asyncio.create_task(watch) for watch in (self._watch_redis(), self._watch_subscriptions())]
        stopping = asyncio.create_task(stop.wait())
        for ending in (reading, stopping):
            ending.add_done_callback(lambda _: self._reader.interrupt())
        try:
            while not stop.is_set():
                for beside in (reading, *watching):
                    if beside.done():
                        await beside
                await self._next_batch()
            await self.commits.settle()
            await self._send(self._empty_batch(), last=True)
            await self.commits.settle()
        finally:
            await tasks.end([reading, *watching, stopping, self.commits.under_way])

    # One batch

    async def _next_batch(self) -> None:
        assembly = self._assembly
        entries: deque[Entry] = deque()
        if not assembly.ordering.ready:
            if self._reader.empty:
                await self.commits.settle()
            entries = await self._read()
        if entries or assembly.ordering.ready:
            # Computed while the commit before it is still under way in Redis.
            batch = await self._make(entries)
            self._reader.give_back(entries)
            await self.commits.settle()
            await self._wait_for_room()
            await self._send(batch)
        elif assembly.loader.busy and self._now_s() < self.commits.sent_s + self._settings.tick_s:
            await self._graph.step(assembly.loader.step(self._settings.batch_edges))
        else:
            await self._tick()

    async def _read(self) -> deque[Entry]:
        """Entries for one batch; none when it is time for a tick, or to load instead of waiting."""
        tick_in_s = self.commits.sent_s + self._settings.tick_s - self._now_s()
        began_s = perf_counter()
        entries = await self._reader.take(0 if self._assembly.loader.busy else tick_in_s, self._batch_limit())
        self._stats.read_seconds.observe(perf_counter() - began_s)
        return entries

    async def _make(self, entries: deque[Entry]) -> Batch:
        began_s = perf_counter()
        self._assembly.places.expire(self._now_s())
        batch = await self._graph.answered(self._assembly.make(entries, self._batch_limit()))
        self._assembly.gap.check(self._now_s())
        self._stats.compute_seconds.observe(perf_counter() - began_s)
        return batch

    def _batch_limit(self) -> int:
        settings = self._settings
        return batch_limit(settings.batch_bytes, self._assembly.places.online_users, settings.window_bytes)

    async def _wait_for_room(self) -> None:
        """Wait while the window is full; tick on, and expel nodes that will never make room."""
        while True:
            now_s = self._now_s()
            if now_s - self._checked_s > EXPEL_CHECK_S:
                self._checked_s = now_s
                if self.commits.standings.to_expel() or now_s - self.commits.sent_s > self._settings.tick_s:
                    await self._tick()
            if not self.commits.standings.is_full:
                await self._give_way(now_s - self.commits.sent_s)
                return
            await asyncio.sleep(self._poll_s)
            await self.commits.look()
            self._stats.window_seconds += self._now_s() - now_s

    async def _give_way(self, since_sent_s: float) -> None:
        """At full load a node that was left behind is no quicker than the others: it would never catch up."""
        if self.commits.standings.is_catching_up:
            await asyncio.sleep(min(GIVE_WAY_SHARE * since_sent_s, GIVE_WAY_MOST_S))

    # Committing

    async def _send(self, batch: Batch, *, last: bool = False) -> None:
        self._assembly.prepare(batch)
        await self.commits.send(batch, last=last)

    async def _tick(self) -> None:
        """Publish an empty batch as a keep-alive, and expel nodes that are not alive."""
        await self.commits.settle()
        self._assembly.places.expire(self._now_s())
        self._assembly.gap.check(self._now_s())
        await self._send(self._empty_batch())
        await self.commits.settle()

    def _empty_batch(self) -> Batch:
        standings = self.commits.standings
        gone = standings.to_expel()
        for node, (reason, seconds) in gone.items():
            facts = {"key": self._settings.keys.nodes, "report": shown(standings.heartbeat_of(node))}
            self._log.warning("node_expelled", node=shown(node), reason=f"{reason} for {seconds:.1f} s", **facts)
            self._stats.expulsions[reason] += 1
        batch = Batch(*self.commits.position, gone=tuple(gone), skip_to=self.commits.skip_to)
        self._assembly.expel(batch)
        return batch

    # Beside the batches

    async def _watch_subscriptions(self) -> None:
        while True:
            await self.commits.look_at_subscriptions()
            await asyncio.sleep(LOOK_S)

    async def _watch_redis(self) -> None:
        stats, calls = self._stats, self._store.calls
        while True:
            backlog = await stored.backlog(calls, self._settings.keys)
            stats.backlog_bytes, stats.backlog_entries, stats.backlog_age_seconds = backlog
            stats.redis_memory_bytes, stats.redis_memory_limit_bytes = await stored.memory(calls)
            await asyncio.sleep(WATCH_S)

    # What it shows

    def observe(self, stats: SequencerStats) -> None:
        """Bring what is measured up to date."""
        self._assembly.observe(stats, self._now_s())
        self.commits.observe(stats)

    def why_stuck(self) -> str | None:
        """What keeps events from being released, if anything does."""
        return self._assembly.gap.why_stuck(self._now_s())
