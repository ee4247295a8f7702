"""Makes a batch of stream entries: who came and left, what is released, which users are notified. Pure.

A batch is bounded in every direction, so that a commit is never far away: entries by their size, released events by
their number, notifications, and the edges of the follow graph that are read for it. What does not fit waits for the
next batch: entries stay with the reader, events in the waiting map.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

from contract.entries import SKIPPED, Entry, Refused
from contract.events import NUMBER_ROOM, Event
from contract.frames import stream_id
from runtime.logs import Log
from runtime.settings import Settings
from sequencer.away import Places
from sequencer.batch import Batch
from sequencer.gap import GapWatch
from sequencer.loading import Loader
from sequencer.moves import Moves
from sequencer.ordering import Ordering, numbered
from sequencer.questions import Asking, KnownNodes
from sequencer.routing import Routing
from sequencer.state import State
from sequencer.stats import SequencerStats

RUN_EVENTS = 2000
"""Events released at a time; those that do not fit into the batch are put back."""
HEAVY_RUN_EVENTS = 64
"""The same while what waits has more bytes than fit into a batch."""
LEAST_EVENT_BYTES = 8
"""A batch may release one event for this many of its bytes: more than it takes in when none waits, for then all must
fit (with 16, what did not fit was written to Redis in each batch and cost a third of the throughput)."""


@dataclass(slots=True)
class Room:
    """What still fits into a batch."""

    events: int
    bytes: int
    deliveries: int
    edges: int

    @classmethod
    def of(cls, settings: Settings, limit_bytes: int) -> Self:
        """All of it, for a batch of about `limit_bytes` of entries."""
        return cls(
            max(1, limit_bytes // LEAST_EVENT_BYTES),
            min(LEAST_EVENT_BYTES * limit_bytes, settings.window_bytes),
            settings.batch_deliveries,
            settings.batch_edges,
        )


class Assembly:
    """The order, the online users and whom they follow; batch after batch. Times are monotonic seconds."""

    def __init__(self, state: State, settings: Settings, log: Log, now_s: float) -> None:
        self._settings = settings
        self._gives_numbers = settings.gives_numbers
        self._log = log
        self.routing = Routing()
        self.places = Places(self.routing, settings.away_s, settings.away_users)
        self.loader = Loader(self.routing.follows, settings.batch_edges)
        self.ordering = Ordering(state.next, settings.reach, state.waiting, state.skip_to)
        self.gap = GapWatch(self.ordering, settings, log)
        self.cursor = state.cursor
        # Whom the online users follow is loaded on the way.
        for node, users in state.online.items():
            self.routing.join(node, users)
        self.places.load(state.since, state.away_s, now_s)
        self._unsent: Batch | None = None
        """A batch that was made and is not on its way yet."""

    def make(self, entries: deque[Entry], limit_bytes: int) -> Asking[Batch]:
        """Make a batch of the first entries and remove those from `entries`, which may be empty."""
        room = Room.of(self._settings, limit_bytes)
        batch = Batch(self.ordering.next, self.cursor)
        batch.since_ms = stream_id(entries[0].id)[0] if entries else 0
        yield from self._move_users(entries, batch)
        if self.loader.busy:
            yield from self.loader.step(self._settings.batch_edges)
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
        self._unsent = batch
        return batch

    def expel(self, batch: Batch) -> None:
        """The nodes that leave with this batch are gone, with all their users."""
        for node in batch.gone:
            self.places.drop_node(node)

    def prepare(self, batch: Batch) -> None:
        """A batch is about to be sent: what can have changed since it was made is brought up to date.

        An empty batch can overtake one that was made before it. Then it expels nodes, whose users must not enter them
        any more; and it says nothing of the places of users of whom the other one will: Redis does not know yet that
        they came or left.
        """
        nodes = self.routing.nodes
        batch.moves = {move: there for move, there in batch.moves.items() if move[0] in nodes}
        batch.withhold(self.places.away)
        batch.places |= self.places.take_changed()
        if self._unsent is batch:
            self._unsent = None
        elif self._unsent is not None:
            batch.leave_places_to(self._unsent)
        batch.set_places(self.places.since, self.places.away)

    def _finish(self, batch: Batch) -> None:
        ordering = self.ordering
        self.cursor = batch.cursor
        batch.next, batch.skip_to = ordering.next, ordering.skip_to
        skipped = ordering.take_skipped()
        batch.counts[SKIPPED] += sum(last - first + 1 for first, last in skipped)
        # First, for of a flood of refused lines not all are recorded.
        batch.rejected[:0] = [(SKIPPED, b"%d-%d" % numbers) for numbers in skipped]
        batch.waiting = ordering.newly_waiting()
        batch.messages, batch.broadcasts, batch.changes = self.routing.collect()
        batch.places = self.places.take_changed()

    # Users

    def _move_users(self, entries: deque[Entry], batch: Batch) -> Asking[None]:
        """Apply the joins and leaves before the first event of a batch."""
        if not (entries and entries[0].node):
            return
        moves = Moves()
        while entries and entries[0].node:
            entry = entries.popleft()
            batch.cursor = entry.id
            moves.add(entry)
        batch.gone += moves.gone
        joining = moves.joining
        known = set((yield KnownNodes(joining))) if joining else set()
        batch.moves |= moves.apply(self.places, known, batch.next)

    def _end_users(self, entry: Entry, batch: Batch) -> None:
        """Apply leaves that come after events; a join never does."""
        if entry.node_leaves:
            batch.gone += (entry.node,)
            self.places.drop_node(entry.node)
        else:
            batch.moves |= {(entry.node, user): False for user in entry.leaves}
            self.places.leave(entry.node, entry.leaves, entry.forget)

    # Events

    def _accept(self, entry: Entry, batch: Batch) -> None:
        events, refused = _numbered_here(entry, self.ordering) if self._gives_numbers else entry.events()
        batch.raw_bytes += len(entry.raw)
        batch.counts["malformed"] += len(refused)
        batch.counts["rejected"] += len(refused)
        batch.rejected += refused
        self.ordering.take_in(len(entry.raw))
        self.ordering.close(self.ordering.holds_more_than(self._settings.waiting_bytes))
        batch.rejected += self.ordering.accept(events, batch.counts)

    def _release(self, room: Room, batch: Batch) -> Asking[None]:
        """Release and route what is next, as far as there is room."""
        ordering = self.ordering
        # With bare lines the number of events is the closer bound: the bytes need not be looked at.
        is_heavy = ordering.holds_more_than(room.bytes)
        run = HEAVY_RUN_EVENTS if is_heavy else RUN_EVENTS
        while ordering.ready and min(room.events, room.bytes, room.deliveries) > 0:
            released = ordering.release(min(run, room.events, room.deliveries))
            routed = yield from self._route(released, room)
            room.events -= routed
            if is_heavy:
                size = sum(len(event[0]) for event in released[:routed])
                room.bytes -= size
                ordering.let_go(size)
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
        stats.online_users = self.places.online_users
        stats.away_users, stats.kept_users = len(self.places.away), len(self.places.since)
        stats.loading_users = len(self.routing.follows.loading)


def _numbered_here(entry: Entry, ordering: Ordering) -> tuple[list[Event], Refused]:
    """The events of an entry, to which Parade gives the numbers, and its lines that are not events without a number."""
    unnumbered, refused = entry.unnumbered_events()
    events = numbered(unnumbered, ordering.last)
    ordering.take_in(NUMBER_ROOM * len(events))
    return events, refused
