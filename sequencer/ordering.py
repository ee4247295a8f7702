"""Putting events into sequence order. Pure.

Rules kept here:

- Each sequence number is released at most once, in order, without a gap.
- Below `next` is late; waiting already with the same bytes is a duplicate, with other bytes a conflict.
  Late and duplicate events are dropped and counted; a conflict is refused and recorded. The first wins.
- Missing numbers below `skip_to` are given up: they count as released, and are late if they come after that.
- Nothing waits further ahead than `reach`, which bounds the map.
- Where Parade numbers the events, the next one is given the number behind all that wait, or `next` when none does: a
  function of the order in the stream and of what is committed, so that a successor gives each event the same number.
- `newly_waiting` names each event once: an event that was released and put back, or that waits for more than one
  batch, is in Redis already.
"""

from collections import Counter
from collections.abc import Iterable
from operator import itemgetter

from contract.events import MAX_SEQUENCE, Event

_number = itemgetter(1)

TOO_FAR_AHEAD = "too far ahead of the next sequence number"
TOO_MUCH_WAITS = "too many bytes wait for a missing number"


def numbered(events: list[Event], last: int) -> list[Event]:
    """The events with the numbers behind `last` in place of their `*`; without those that are not events."""
    found: list[Event] = []
    for event in events:
        if event[1]:
            last += 1
            text = b"%d" % last
            found.append((text + event[0][1:], text, *event[2:]))
    return found


class Ordering:
    """The events that wait, by sequence number, and the number to release next."""

    def __init__(self, next_number: int, reach: int, waiting: Iterable[Event] = (), skip_to: int = 0) -> None:
        self.next = next_number
        self.skip_to = skip_to
        self.waiting: dict[int, Event] = {int(event[1]): event for event in waiting}
        self._reach = reach
        self._counted_bytes = self._most_bytes = sum(len(event[0]) for event in self.waiting.values())
        self._lowest = 0
        """The lowest number that waits, while no more may wait; else 0."""
        self._accepted: list[dict[int, Event]] = []
        self._newly_waiting: set[int] = set()
        self._skipped: list[tuple[int, int]] = []

    @property
    def last(self) -> int:
        """The highest number that was taken so far, where Parade numbers the events."""
        return max(self.waiting, default=self.next - 1)

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

    # How many bytes wait

    def take_in(self, size: int) -> None:
        """Events of so many bytes are going to be accepted."""
        self._most_bytes += size

    def holds_more_than(self, limit_bytes: int) -> bool:
        """Whether the lines of the events have more bytes than this, or nearly.

        What is known costs nothing for each event: the most that they can have. Only when that is above the limit, and
        has grown by a quarter since the last time, the lines are looked at.
        """
        if self._most_bytes <= limit_bytes:
            return False
        if self._most_bytes - self._counted_bytes >= max(limit_bytes, self._counted_bytes) // 4:
            self._counted_bytes = self._most_bytes = sum(len(event[0]) for event in self.waiting.values())
        return self._most_bytes > limit_bytes

    def let_go(self, size: int) -> None:
        """Events of so many bytes have been released for good."""
        self._most_bytes -= size
        self._counted_bytes = max(0, self._counted_bytes - size)

    def close(self, is_full: bool) -> None:
        """No more events may wait, until the gap is closed. Those below all that wait are let in: they close it.

        Until then, for what was refused is missing too, and what came after it would wait in vain.
        """
        if self._lowest <= self.next:
            self._lowest = min(self.waiting, default=0) if is_full else 0

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
        furthest = min(self.next + self._reach, MAX_SEQUENCE)
        return min(furthest, self._lowest - 1) if self._lowest else furthest

    def _accept_each(self, events: list[Event], counts: Counter[str]) -> list[tuple[str, bytes]]:
        refused = []
        taken: dict[int, Event] = {}
        for event in events:
            number = int(event[1])
            known = self.waiting.get(number)
            if number < self.next:
                counts["late"] += 1
            elif number > self._furthest():
                refused.append((TOO_MUCH_WAITS if self._lowest else TOO_FAR_AHEAD, event[0]))
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
