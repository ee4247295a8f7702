"""The lines that a source keeps, because they may have to be sent, or sent again. Pure.

    to be sent ──▶ done (acknowledged, or refused) ──▶ spare ──▶ forgotten
        ▲                        │                       │
        └────────────────────────┴───────────────────────┘  Redis came back with older data

Rules kept here:

- Events with numbers are kept until every number up to theirs is released or given up: then they are done too.
- The lines of a producer are known by their count, over all its connections, and kept until they are done.
- Beyond that the last `SPARE_BYTES` are spare, since Redis may come back with older data and want them again. What is
  wanted and forgotten is a LostError.
"""

import heapq
from collections import deque
from dataclasses import dataclass

from parade_client.errors import FencedError, LostError

SPARE_BYTES = 1024 * 1024


@dataclass(eq=False)
class Entry:
    """A line. `ordinal` counts the lines of this source from 1 on; of a producer, those of earlier ones too."""

    ordinal: int
    line: bytes
    seq: int | None
    is_done: bool = False
    refusal: str = ""


class Kept:
    """What both kinds of sources have."""

    def __init__(self) -> None:
        self.entries: dict[int, Entry] = {}
        """By ordinal; without the spare ones."""
        self.added = self.sent = 0
        """The ordinals of the last line, and of the last one that was ever sent."""
        self.open_bytes = 0
        """Of the lines that are not done."""
        self.settled: list[Entry] = []
        """Those that became done, until somebody takes them from here."""
        self._spare: deque[Entry] = deque()
        self._spare_bytes = 0
        self._forgotten = 0
        """The largest number, or ordinal, of what is not even spare any more."""

    @property
    def held_bytes(self) -> int:
        """What counts against the size of the outbox."""
        return self.open_bytes

    def add(self, line: bytes, seq: int | None) -> Entry:
        """A new line."""
        self.added += 1
        self.open_bytes += len(line)
        entry = self.entries[self.added] = Entry(self.added, line, seq)
        return entry

    def waiting(self) -> list[Entry]:
        """What is not done, in the order in which it was added."""
        return sorted((each for each in self.entries.values() if not each.is_done), key=lambda each: each.ordinal)

    def done(self, entry: Entry, refusal: str = "") -> None:
        """It is acknowledged or refused."""
        if not entry.is_done:
            entry.is_done, entry.refusal = True, refusal
            self.open_bytes -= len(entry.line)
            self.settled.append(entry)

    def _undo(self, entry: Entry) -> None:
        if entry.is_done:
            entry.is_done = False
            self.open_bytes += len(entry.line)

    def _spare_it(self, entry: Entry) -> None:
        """It is not kept any more, but spare; others may be forgotten for it."""
        del self.entries[entry.ordinal]
        self._spare.append(entry)
        self._spare_bytes += len(entry.line)
        while self._spare_bytes > SPARE_BYTES:
            self._forgotten = max(self._forgotten, self._rank(self._unspare(self._spare.popleft())))

    def _rank(self, entry: Entry) -> int:
        """What the server calls it by."""
        return entry.ordinal

    def _unspare(self, entry: Entry) -> Entry:
        self._spare_bytes -= len(entry.line)
        return entry


class Numbered(Kept):
    """The lines of a source that gives the numbers."""

    def __init__(self) -> None:
        super().__init__()
        self._order: list[tuple[int, int]] = []
        self._bytes = 0

    @property
    def held_bytes(self) -> int:
        """Of all lines that are kept: also done ones, as long as a number before them is missing."""
        return self._bytes

    def add(self, line: bytes, seq: int | None) -> Entry:
        entry = super().add(line, seq)
        self._keep(entry)
        return entry

    def _keep(self, entry: Entry) -> None:
        self.entries[entry.ordinal] = entry
        self._bytes += len(entry.line)
        heapq.heappush(self._order, (self._rank(entry), entry.ordinal))

    def pass_by(self, wanted: int) -> None:
        """Everything below a number is released or given up."""
        while self._order and self._order[0][0] < wanted:
            entry = self.entries[heapq.heappop(self._order)[1]]
            self.done(entry)
            self._bytes -= len(entry.line)
            self._spare_it(entry)

    def _rank(self, entry: Entry) -> int:
        return entry.seq or 0

    def go_back(self, wanted: int) -> None:
        """Everything from a number on is wanted again. Raises LostError."""
        if self._forgotten >= wanted:
            raise LostError(
                wanted,
                f"everything from number {wanted} on is wanted again, and this source has forgotten numbers up to "
                f"{self._forgotten}: open it again, and send from number {wanted} on what your own store has",
            )
        spare, self._spare = self._spare, deque()
        for entry in spare:
            if self._rank(entry) >= wanted:
                self._keep(self._unspare(entry))
            else:
                self._spare.append(entry)
        for entry in self.entries.values():
            if self._rank(entry) >= wanted and not entry.refusal:
                self._undo(entry)


class Counted(Kept):
    """The lines of a producer."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def begin(self, count: int) -> None:
        """So many lines of the producer were taken before this source began."""
        self.added = self.sent = self._forgotten = count

    def done(self, entry: Entry, refusal: str = "") -> None:
        super().done(entry, refusal)
        while self.entries and (first := next(iter(self.entries.values()))).is_done:
            self._spare_it(first)

    def go_on(self, count: int) -> None:
        """So many lines are taken now. Raises FencedError or LostError."""
        if count > self.sent:
            raise FencedError(
                f"producer {self._name!r} has {count} lines, and this source has sent those up to {self.sent}: another "
                "sender uses the name. Give each sender a name of its own"
            )
        if count < self._forgotten:
            raise LostError(
                count,
                f"Redis came back with {count} lines of producer {self._name!r}, and this source has forgotten those "
                f"up to {self._forgotten}: open it again, and go on with line {count + 1} of your own store",
            )
        again = []
        while self._spare and self._spare[-1].ordinal > count:
            again.append(self._unspare(self._spare.pop()))
        self.entries = {entry.ordinal: entry for entry in (*reversed(again), *self.entries.values())}
        for entry in list(self.entries.values()):
            if entry.ordinal > count:
                self._undo(entry)
            else:
                self.done(entry)
