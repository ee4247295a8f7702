"""The bounded buffer between the sources' sockets and the stream. Pure.

Rules kept here:

- Chunks leave in the order they came, so each source's own order is kept.
- Over the limit the sockets are not read; below half of it they are read again.
- Every chunk is handed out; nothing is dropped.
- Of chunks whose source wants acknowledgements it is known where they are among the bytes; other chunks cost nothing
  for that. A source has at most one mark without bytes.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from listener.acks import Acks
from listener.framing import cut
from listener.groups import Group


@dataclass(slots=True)
class Mark:
    """Bytes of one source, from the first one put in, counted from there on; refused lines only behind its events."""

    acks: Acks
    start: int
    end: int
    lines: int


class Intake:
    """Whole lines that wait to be appended. `on_full(True)` asks to stop reading, `on_full(False)` to continue."""

    def __init__(self, limit_bytes: int, on_full: Callable[[bool], None]) -> None:
        self.held_bytes = 0
        self.full = False
        self._limit_bytes = limit_bytes
        self._on_full = on_full
        self._chunks: deque[bytes] = deque()
        self._handed_bytes = 0
        """How many bytes have been handed out so far."""
        self._marks: deque[Mark] = deque()
        self._last_marks: dict[Acks, Mark] = {}

    def put(self, chunk: bytes) -> None:
        """Take in whole lines."""
        self._chunks.append(chunk)
        self._count(len(chunk))

    def put_for(self, acks: Acks, chunk: bytes, lines: int) -> None:
        """Take in whole lines of a source that wants to know when they are appended; or lines that were refused."""
        start = self._handed_bytes + self.held_bytes
        last = self._last_marks.get(acks)
        if last is not None and not chunk:
            last.lines += lines
            return
        self._last_marks[acks] = mark = Mark(acks, start, start + len(chunk), lines)
        self._marks.append(mark)
        if chunk:
            self.put(chunk)

    @property
    def is_marked(self) -> bool:
        """Somebody wants to know what is handed out."""
        return bool(self._marks)

    def groups(self, entry: bytes) -> list[Group]:
        """Whose lines these are that were handed out last; those of one source that follow each other are together."""
        end = self._handed_bytes
        begin = at = end - len(entry)
        found: list[Group] = []

        def add(acks: Acks | None, size: int, lines: int) -> None:
            if found and found[-1].acks is acks:
                found[-1].size += size
                found[-1].lines += lines
            else:
                found.append(Group(acks, size, lines))

        while self._marks and (self._marks[0].start < end or self._marks[0].end == end):
            mark = self._marks[0]
            if at < mark.start:
                add(None, mark.start - at, entry.count(b"\n", at - begin, mark.start - begin))
            at = min(mark.end, end)
            if at < mark.end:
                lines = entry.count(b"\n", mark.start - begin, at - begin)
                add(mark.acks, at - mark.start, lines)
                mark.start, mark.lines = at, mark.lines - lines
                break
            add(mark.acks, mark.end - mark.start, mark.lines)
            self._marks.popleft()
            if self._last_marks.get(mark.acks) is mark:
                del self._last_marks[mark.acks]
        if at < end:
            add(None, end - at, entry.count(b"\n", at - begin))
        return found

    def take(self, size: int) -> bytes:
        """Hand out the oldest lines, about `size` bytes at most (but at least one line)."""
        taken: list[bytes] = []
        room = size
        while self._chunks and (room > 0 or not taken):
            chunk = self._chunks.popleft()
            if taken and len(chunk) > room and chunk.rfind(b"\n", 0, room) < 0:
                self._chunks.appendleft(chunk)
                break
            head, rest = cut(chunk, room)
            taken.append(head)
            room -= len(head)
            if rest:
                self._chunks.appendleft(rest)
                break
        entry = b"".join(taken)
        self._count(-len(entry))
        self._handed_bytes += len(entry)
        return entry

    def _count(self, change: int) -> None:
        self.held_bytes += change
        full = self.held_bytes >= self._limit_bytes or (self.full and self.held_bytes > self._limit_bytes // 2)
        if full != self.full:
            self.full = full
            self._on_full(full)
