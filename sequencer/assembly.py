"""Makes a batch of stream entries: who came and left, what is released, who is told.

A batch is bounded in every direction, so that a commit is never far away: entries by their size, released events by
their number, notifications, and the edges of the follow graph that are read from Redis for it. What does not fit
waits for the next batch: entries stay with the reader, events in the waiting map.
"""

import asyncio
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import structlog

from contract.entries import SKIPPED, Entry
from contract.events import Event
from contract.frames import stream_id
from runtime.settings import Settings
from sequencer.batch import Batch
from sequencer.gap import Gap
from sequencer.loading import Loader
from sequencer.ordering import Ordering
from sequencer.routing import Routing
from sequencer.stats import SequencerStats
from sequencer.store import State, Store

RUN_EVENTS = 2000
"""Events released at a time; those that do not fit into the batch are put back."""
LEAST_EVENT_BYTES = 8
"""A batch releases one event for so many of its bytes: more than it takes in when nothing waits, for then all must fit
(with 16, what did not fit was written to Redis in each batch and cost a third of the throughput)."""

log = structlog.get_logger()


@dataclass(slots=True)
class Room:
    """What still fits into a batch."""

    events: int
    deliveries: int
    edges: int


class Assembly:
    """The order, the online users and whom they follow; batch after batch."""

    def __init__(self, store: Store, settings: Settings, stats: SequencerStats) -> None:
        self._store = store
        self._settings = settings
        self._stats = stats
        self._now = asyncio.get_running_loop().time
        self._gap = Gap(settings.gap_warning_s, settings.gap_timeout_s)
        self.routing = Routing()
        self.loader = Loader(store, self.routing.follows, settings.batch_edges)
        self.ordering: Ordering
        self.cursor = b""

    def begin(self, state: State) -> None:
        """Go on from what the last commit left; whom the online users follow is loaded on the way."""
        self.ordering = Ordering(state.next, self._settings.reach, state.waiting, state.skip_to)
        self.cursor = state.cursor
        for node, users in state.online.items():
            self.routing.join(node, users)

    async def make(self, entries: deque[Entry], limit_bytes: int) -> Batch:
        """Make a batch of the first entries, and remove those from `entries`; it may be without any."""
        settings, began_s = self._settings, perf_counter()
        room = Room(max(1, limit_bytes // LEAST_EVENT_BYTES), settings.batch_deliveries, settings.batch_edges)
        batch = Batch(self.ordering.next, self.cursor)
        batch.since_ms = stream_id(entries[0].id)[0] if entries else 0
        await self._move_users(entries, batch)
        if self.loader.busy:
            await self.loader.step(settings.batch_edges)
        await self._release(room, batch)
        while entries and not self.ordering.ready:
            entry = entries.popleft()
            batch.cursor = entry.id
            if entry.node:
                self._end_users(entry, batch)
            elif entry.skip_to:
                log.warning("skipping", missing=self.ordering.next, to=entry.skip_to, reason="asked for")
                self.ordering.skip(entry.skip_to)
            else:
                self._accept(entry, batch)
            # Entry by entry, so that events are done with before the next ones are made.
            await self._release(room, batch)
        self._finish(batch)
        self._stats.compute_seconds.observe(perf_counter() - began_s)
        return batch

    def _finish(self, batch: Batch) -> None:
        ordering = self.ordering
        self.cursor = batch.cursor
        batch.next, batch.skip_to = ordering.next, ordering.skip_to
        for first, last in ordering.take_skipped():
            batch.counts[SKIPPED] += last - first + 1
            batch.rejected.append((SKIPPED, b"%d-%d" % (first, last)))
        batch.waiting = ordering.newly_waiting()
        batch.messages, batch.broadcasts, batch.changes = self.routing.collect()
        self.watch_gap()

    # Users

    async def _move_users(self, entries: deque[Entry], batch: Batch) -> None:
        """Apply the joins and leaves before the first event of a batch.

        They count together: who comes back in the same batch has not left, and who has left again is never loaded.
        Joins are applied before leaves, so that a user who changes nodes stays online.
        """
        moves: dict[tuple[bytes, bytes], bool] = {}
        while entries and entries[0].node:
            entry = entries.popleft()
            batch.cursor = entry.id
            if entry.node_leaves:
                batch.gone += (entry.node,)
            else:
                moves |= {(entry.node, user): False for user in entry.leaves}
                moves |= {(entry.node, user): True for user in entry.joins}
        if not moves and not batch.gone:
            return
        joining = dict.fromkeys(node for (node, _), there in moves.items() if there and node not in batch.gone)
        known = set(await self._store.known(list(joining))) if joining else set()
        for there in (True, False):
            for (node, user), is_there in moves.items():
                if is_there == there and (node in known if there else node not in batch.gone):
                    (self.routing.join if there else self.routing.leave)(node, (user,))
                    batch.moves[node, user] = there
        for node in batch.gone:
            self.routing.drop_node(node)

    def _end_users(self, entry: Entry, batch: Batch) -> None:
        """Apply leaves that come after events; a join never does."""
        if entry.node_leaves:
            batch.gone += (entry.node,)
            self.routing.drop_node(entry.node)
        else:
            batch.moves |= {(entry.node, user): False for user in entry.leaves}
            self.routing.leave(entry.node, entry.leaves)

    # Events

    def _accept(self, entry: Entry, batch: Batch) -> None:
        events, refused = entry.events()
        batch.raw_bytes += len(entry.raw)
        batch.counts["malformed"] += len(refused)
        batch.counts["rejected"] += len(refused)
        batch.rejected += refused
        batch.rejected += self.ordering.accept(events, batch.counts)

    async def _release(self, room: Room, batch: Batch) -> None:
        """Release and route what is next, as far as there is room."""
        ordering = self.ordering
        while ordering.ready and room.events > 0 and room.deliveries > 0:
            released = ordering.release(min(RUN_EVENTS, room.events, room.deliveries))
            routed = await self._route(released, room)
            room.events -= routed
            batch.counts["released"] += routed
            ordering.put_back(released[routed:])
            if routed < len(released):
                break
        ordering.settle()

    async def _route(self, released: Sequence[Event], room: Room) -> int:
        """Route events from the first on while there is room; returns how many."""
        routing, follows = self.routing, self.routing.follows
        if not follows.loading:
            routed, room.deliveries = routing.route(released, room.deliveries)
            return routed
        routed = 0
        while routed < len(released) and room.deliveries > 0:
            rest = released[routed:]
            known = follows.known(rest)
            if known:
                count, room.deliveries = routing.route(rest[:known], room.deliveries)
                routed += count
            elif room.edges > 0:
                room.edges -= await self.loader.ask(rest, room.edges)
            else:
                break
        return routed

    # A gap

    def watch_gap(self) -> None:
        """Warn of a number that has been missing for long; give it up when that is the policy."""
        ordering, gap, now = self.ordering, self._gap, self._now()
        gap.watch(ordering.next, bool(ordering.waiting) and not ordering.ready, now)
        if gap.warning_is_due(now):
            facts = {"missing": ordering.next, "waiting": len(ordering.waiting), "age_s": round(gap.age_s(now), 1)}
            log.warning("gap", **facts, advice="send it, or give it up with: parade skip")
        if gap.is_over(now):
            to = min(ordering.waiting)
            log.warning("skipping", missing=ordering.next, to=to, reason="gap_timeout_s is over")
            ordering.skip(to)

    def observe(self, stats: SequencerStats) -> None:
        """Bring what is measured up to date."""
        stats.next, stats.waiting = self.ordering.next, len(self.ordering.waiting)
        stats.gap_age_seconds = self._gap.age_s(self._now())
        stats.online_users = self.routing.online_users
        stats.loading_users = len(self.routing.follows.loading)

    def why_stuck(self) -> str | None:
        """What keeps events from being released, if anything does."""
        if self._gap.is_long(self._now()):
            waiting, age_s = len(self.ordering.waiting), self._gap.age_s(self._now())
            return f"{waiting} events have been waiting for number {self.ordering.next} for {age_s:.0f} s"
        return None
