"""The bounded buffer between the sources' sockets and the stream. Pure.

Rules kept here:

- Chunks leave in the order they came, so each source's own order is kept.
- Over the limit the sockets are not read; below half of it they are read again.
- Every chunk is handed out; nothing is dropped.
"""

from collections import deque
from collections.abc import Callable

from listener.framing import cut


class Intake:
    """Whole lines that wait to be appended. `on_full(True)` asks to stop reading, `on_full(False)` to continue."""

    def __init__(self, limit_bytes: int, on_full: Callable[[bool], None]) -> None:
        self.held_bytes = 0
        self.full = False
        self._limit_bytes = limit_bytes
        self._on_full = on_full
        self._chunks: deque[bytes] = deque()

    def put(self, chunk: bytes) -> None:
        """Take in whole lines."""
        self._chunks.append(chunk)
        self._count(len(chunk))

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
        return entry

    def _count(self, change: int) -> None:
        self.held_bytes += change
        full = self.held_bytes >= self._limit_bytes or (self.full and self.held_bytes > self._limit_bytes // 2)
        if full != self.full:
            self.full = full
            self._on_full(full)
