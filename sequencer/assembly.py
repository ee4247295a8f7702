"""Makes a batch of stream entries: who came and left, what is released, which users are notified. Pure.

A batch is bounded in every direction, so that a commit is never far away: entries by their size, released events by
their number, notifications, and the edges of the follow graph that are read for it. What does not fit waits for the
next batch: entries stay with the reader, events in the waiting map.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from contract.entries import SKIPPED, Entry
from contract.events import Event
from contract.frames import stream_id
from runtime.context import Log
from runtime.settings import Settings
from sequencer.batch import Batch
from sequencer.gap import GapWatch
from sequencer.loading import Loader
from sequencer.ordering import Ordering
from sequencer.questions import Asking, KnownNodes
from sequencer.routing import Routing
from sequencer.state import State
from sequencer.stats import SequencerStats

RUN_EVENTS = 2000
"""Events released at a time; those that do not fit into the batch are put back."""
LEAST_EVENT_BYTES = 8
"""A batch may release one event for this many of its bytes: more than it takes in when none waits, for then all must
fit (with 16, what did not fit was written to Redis in each batch and cost a third of the throughput)."""


@dataclass(slots=True)
class Room:
    """What still fits into a batch."""

    events: int
    deliveries: int
    edges: int


class Assembly:
    """The order, the online users and whom they follow; batch after batch. Times are monotonic seconds."""

    def __init__(self, state: State, settings: Settings, log: Log) -> None:
        self._settings = settings
        self._log = log
        self.routing = Routing()
        self.loader = Loader(self.routing.follows, settings.batch_edges)
        self.ordering = Ordering(state.next, settings.reach, state.waiting, state.skip_to)
        self.gap = GapWatch(self.ordering, settings, log)
        self.cursor = state.cursor
        # Whom the online users follow is loaded on the way.
        for node, users in state.online.items():
            self.routing.join(node, users)

    def make(self, entries: deque[Entry], limit_bytes: int) -> Asking[Batch]:
        """Make a batch of the first entries and remove those from `entries`, which may be empty."""
        settings = self._settings
        room = Room(max(1, limit_bytes // LEAST_EVENT_BYTES), settings.batch_deliveries, settings.batch_edges)
        batch = Batch(self.ordering.next, self.cursor)
        batch.since_ms = stream_id(entries[0].id)[0] if entries else 0
        yield from self._move_users(entries, batch)
        if self.loader.busy:
            yield from self.loader.step(settings.batch_edges)
        yield from self._release(room, batch)
        while entries and not self.ordering.ready:
            entry = entries.popleft()
            batch.cursor = entry.id
            if entry.node:
                self._end_users(entry, batch)
            elif entry.skip_to:
                self._log.warning("skipping", missing=self.ordering.next, to=entry.skip_to, reason="asked for")
                self.ordering.skip(entry.skip_to)
            else:
                self._accept(entry, batch)
            # Entry by entry, so that the events of one are gone before those of the next are made.
            yield from self._release(room, batch)
        self._finish(batch)
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

    # Users

    def _move_users(self, entries: deque[Entry], batch: Batch) -> Asking[None]:
        """Apply the joins and leaves before the first event of a batch.

        They count together: a user who comes back in the same batch has not left, and one who has left again is never
        loaded. Joins are applied before leaves, so that a user who changes nodes stays online.
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
        known = set((yield KnownNodes(list(joining)))) if joining else set()
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

    def _release(self, room: Room, batch: Batch) -> Asking[None]:
        """Release and route what is next, as far as there is room."""
        ordering = self.ordering
        while ordering.ready and room.events > 0 and room.deliveries > 0:
            released = ordering.release(min(RUN_EVENTS, room.events, room.deliveries))
            routed = yield from self._route(released, room)
            room.events -= routed
            batch.counts["released"] += routed
            ordering.put_back(released[routed:])
            if routed < len(released):
                break
        ordering.settle()

    def _route(self, released: Sequence[Event], room: Room) -> Asking[int]:
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
                room.edges -= yield from self.loader.ask(rest, room.edges)
            else:
                break
        return routed

    def observe(self, stats: SequencerStats, now_s: float) -> None:
        """Bring what is measured up to date."""
        stats.next, stats.waiting = self.ordering.next, len(self.ordering.waiting)
        stats.gap_age_seconds = self.gap.age_s(now_s)
        stats.online_users = self.routing.online_users
        stats.loading_users = len(self.routing.follows.loading)
