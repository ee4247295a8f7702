"""Putting events into sequence order. Pure.

Rules kept here:

- Each sequence number is released at most once, in order, without a gap.
- Below `next` is late; waiting already with the same bytes is a duplicate, with other bytes a conflict.
  Late and duplicate events are dropped and counted; a conflict is refused and recorded. The first wins.
- Missing numbers below `skip_to` are given up: they count as released, and are late if they come after that.
- Nothing waits further ahead than `reach`, which bounds the map.
- `newly_waiting` names each event once: an event that was released and put back, or that waits for more than one
  batch, is in Redis already.
"""

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter

from contract.events import MAX_SEQUENCE, Event

_number = itemgetter(1)


class Ordering:
    """The events that wait, by sequence number, and the number to release next."""

    def __init__(self, next_number: int, reach: int, waiting: Iterable[Event] = (), skip_to: int = 0) -> None:
        self.next = next_number
        self.skip_to = skip_to
        self.waiting: dict[int, Event] = {int(event[1]): event for event in waiting}
        self._reach = reach
        self._accepted: list[dict[int, Event]] = []
        self._newly_waiting: set[int] = set()
        self._skipped: list[tuple[int, int]] = []

    def accept(self, events: list[Event], counts: Counter[str]) -> list[tuple[str, bytes]]:
        """Let parsed events wait. Returns (reason, line) of those refused; counts what happened."""
        try:
            fresh = dict(zip(map(int, map(_number, events)), events, strict=True))
        except ValueError:  # an empty number: lines that are not events, which the parser records
            return self.accept([event for event in events if event[1]], counts)
        counts["received"] += len(events)
        if self._all_new(fresh, len(events)):
            self.waiting.update(fresh)
            self._accepted.append(fresh)
            return []
        return self._accept_each(events, counts)

    def skip(self, to: int) -> None:
        """Give up what is missing below `to`, from the next release on."""
        self.skip_to = max(self.skip_to, min(to, MAX_SEQUENCE + 1))

    def take_skipped(self) -> list[tuple[int, int]]:
        """(first, last) of the numbers given up since the last call."""
        skipped, self._skipped = self._skipped, []
        return skipped

    def release(self, limit: int) -> list[Event]:
        """Remove and return next, next+1, …, at most `limit` of them."""
        released = self._release_run(limit)
        if self.next < self.skip_to:
            for number in [*sorted(filter(self.skip_to.__gt__, self.waiting)), self.skip_to]:
                if len(released) >= limit:
                    break
                if number > self.next:
                    self._skipped.append((self.next, number - 1))
                    self.next = number
                released += self._release_run(limit - len(released))
        return released

    def _release_run(self, limit: int) -> list[Event]:
        pop = self.waiting.pop
        released: list[Event] = []
        append = released.append
        number, end = self.next, self.next + limit
        while number < end and (event := pop(number, None)) is not None:
            append(event)
            number += 1
        self.next = number
        return released

    def put_back(self, events: list[Event]) -> None:
        """Undo the release of the last events released, and what was given up among them."""
        if not events:
            return
        self.waiting.update((int(event[1]), event) for event in events)
        self.next = int(events[0][1])
        self._skipped = [(first, last) for first, last in self._skipped if first < self.next]

    def settle(self) -> None:
        """All that can be released has been: note which of the events accepted since the last call wait.

        Called entry by entry, so that events are let go while they are in the processor's cache; after `put_back`,
        so that an event put back counts as newly waiting only when it came since the last batch.
        """
        for accepted in self._accepted:
            self._newly_waiting |= accepted.keys() & self.waiting.keys()
        self._accepted.clear()

    @property
    def ready(self) -> bool:
        """Something can be released without anything new."""
        return self.next in self.waiting or self.next < self.skip_to

    def newly_waiting(self) -> list[tuple[int, bytes]]:
        """(number, line) of those that wait now and did not at the last call."""
        self.settle()
        numbers, self._newly_waiting = self._newly_waiting, set()
        return [(number, self.waiting[number][0]) for number in sorted(numbers & self.waiting.keys())]

    def _all_new(self, fresh: dict[int, Event], count: int) -> bool:
        # The usual case, decided by a few calls in C for the whole chunk.
        if not fresh:
            return True
        return (
            len(fresh) == count
            and min(fresh) >= self.next
            and max(fresh) <= self._furthest()
            and self.waiting.keys().isdisjoint(fresh)
        )

    def _furthest(self) -> int:
        return min(self.next + self._reach, MAX_SEQUENCE)

    def _accept_each(self, events: list[Event], counts: Counter[str]) -> list[tuple[str, bytes]]:
        refused = []
        taken: dict[int, Event] = {}
        for event in events:
            number = int(event[1])
            known = self.waiting.get(number)
            if number < self.next:
                counts["late"] += 1
            elif number > self._furthest():
                refused.append(("too far ahead of the next sequence number", event[0]))
            elif known is None:
                self.waiting[number] = taken[number] = event
            elif known[0] == event[0]:
                counts["duplicate"] += 1
            else:
                counts["conflict"] += 1
                refused.append(("another event has this sequence number", event[0]))
        self._accepted.append(taken)
        counts["rejected"] += len(refused)
        return refused
