"""What a sequencer does while it holds the lease: one batch after another.

A *term* begins with loading everything from Redis and ends with any error at all: a lost lease, a lost
connection, an answer that never came. Nothing is repaired in place; the next term, in this process or
another, reads the position that the last commit left and goes on from there.
"""

import asyncio
from time import perf_counter
from typing import Any

import structlog

from contract.errors import RedisUnavailableError
from contract.frames import stream_id
from contract.redis_link import RedisLink
from contract.settings import Settings
from sequencer.batch import Batch
from sequencer.gap import Gap
from sequencer.ordering import Ordering
from sequencer.reader import Entry, Reader, batch_limit
from sequencer.routing import Routing
from sequencer.stats import SequencerStats
from sequencer.store import LeaseLostError, Store
from sequencer.window import Window

WINDOW_POLL_S = 0.002
EXPEL_CHECK_S = 0.5
WATCH_S = 1.0
COUNTED = ("received", "released", "late", "duplicate", "rejected", "skipped")
"""The counts of a batch that are stats, too."""

log = structlog.get_logger()


class Term:
    """One stretch of leadership, from loading the state to the first error or the order to stop."""

    def __init__(self, store: Store, reads: RedisLink, settings: Settings, stats: SequencerStats) -> None:
        self._store = store
        self._reads = reads
        self._settings = settings
        self._stats = stats
        self._routing = Routing()
        self._gap = Gap(settings.gap_warning_s, settings.gap_timeout_s)
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
        self._ordering = Ordering(state.next, self._settings.reach, state.waiting, state.skip_to)
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
        watching = asyncio.create_task(self._watch_redis())
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
            for task in (reading, watching, stopping, self._commit):
                await _end(task)

    async def _next_batch(self) -> None:
        entries: list[Entry] = []
        if not self._ordering.ready:
            if self._reader.empty:
                await self._settle()
            began_s = perf_counter()
            entries = await self._reader.take(self._committed_s + self._tick_s - self._now(), self._batch_limit())
            self._stats.read_seconds.observe(perf_counter() - began_s)
        if entries or self._ordering.ready:
            # Computed while the commit before it is still under way in Redis.
            batch = await self._compute(entries)
            await self._settle()
            await self._wait_for_room()
            await self._send(batch)
        else:
            await self._tick()

    def _batch_limit(self) -> int:
        settings = self._settings
        return batch_limit(settings.batch_bytes, self._routing.online_users, settings.window_bytes)

    # Computing a batch

    async def _compute(self, entries: list[Entry]) -> Batch:
        ordering, budget = self._ordering, self._settings.batch_deliveries
        began_s = perf_counter()
        batch = Batch(ordering.next, entries[-1].id if entries else self._position[1])
        batch.since_ms = stream_id(entries[0].id)[0] if entries else 0
        for entry in entries:
            if entry.node:
                await self._move_users(entry, batch)
            elif entry.skip_to:
                log.warning("skipping", missing=ordering.next, to=entry.skip_to, reason="asked for")
                ordering.skip(entry.skip_to)
            else:
                # Entry by entry, so that events are done with before the next ones are made.
                self._accept(entry, batch)
                budget = self._release(budget, batch)
        self._release(budget, batch)
        batch.next, batch.skip_to = ordering.next, ordering.skip_to
        for first, last in ordering.take_skipped():
            batch.counts["skipped"] += last - first + 1
            batch.rejected.append(("skipped", b"%d-%d" % (first, last)))
        batch.waiting = ordering.newly_waiting()
        batch.messages, batch.broadcasts, batch.changes = self._routing.collect()
        self._watch_gap()
        self._stats.compute_seconds.observe(perf_counter() - began_s)
        return batch

    def _accept(self, entry: Entry, batch: Batch) -> None:
        events, refused = entry.events()
        batch.raw_bytes += len(entry.raw)
        batch.counts["malformed"] += len(refused)
        batch.counts["rejected"] += len(refused)
        batch.rejected += refused
        batch.rejected += self._ordering.accept(events, batch.counts)

    def _release(self, budget: int, batch: Batch) -> int:
        """Route what is next, as far as the budget goes; returns what is left of it."""
        released = self._ordering.release(budget)
        routed, budget = self._routing.route(released, budget)
        self._ordering.put_back(released[routed:])
        batch.counts["released"] += routed
        return budget

    def _watch_gap(self) -> None:
        """Warn of a number that has been missing for long; give it up when that is the policy."""
        ordering, gap, now = self._ordering, self._gap, self._now()
        gap.watch(ordering.next, bool(ordering.waiting) and not ordering.ready, now)
        if gap.warning_is_due(now):
            facts = {"missing": ordering.next, "waiting": len(ordering.waiting), "age_s": round(gap.age_s(now), 1)}
            log.warning("gap", **facts, advice="send it, or give it up with: parade skip")
        if gap.is_over(now):
            to = min(ordering.waiting)
            log.warning("skipping", missing=ordering.next, to=to, reason="gap_timeout_s is over")
            ordering.skip(to)

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
        self._watch_gap()
        await self._send(self._empty_batch())
        await self._settle()

    def _empty_batch(self) -> Batch:
        gone = self._window.to_expel(self._now())
        for node, (reason, seconds) in gone.items():
            log.warning("node_expelled", node=node.decode(errors="replace"), reason=f"{reason} for {seconds:.1f} s")
            self._stats.expulsions[reason] += 1
            self._routing.drop_node(node)
        return Batch(*self._position, gone=tuple(gone), skip_to=self._ordering.skip_to)

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
        stats.next, stats.waiting = self._ordering.next, len(self._ordering.waiting)
        stats.gap_age_seconds = self._gap.age_s(self._now())
        stats.unwritten_bytes = self._window.unwritten_bytes
        stats.nodes, stats.nodes_behind = self._window.nodes, self._window.behind(self._batch_number)
        stats.online_users = self._routing.online_users

    def why_stuck(self) -> str | None:
        """What keeps events from being released, if anything does."""
        if self._gap.is_long(self._now()):
            waiting, age_s = len(self._ordering.waiting), self._gap.age_s(self._now())
            return f"{waiting} events have been waiting for number {self._ordering.next} for {age_s:.0f} s"
        return None


async def _end(task: asyncio.Task[Any] | None) -> None:
    """Cancel a task; what it raised has been raised where it was awaited, or no longer matters."""
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
        if not task.cancelled():
            task.exception()
