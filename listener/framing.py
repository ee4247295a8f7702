"""Cutting a byte stream into whole lines. Pure: bytes in, whole lines out, no sockets.

Rules kept here:

- Whole lines come out as they came in, in order, with their line ends.
- A line over the limit is refused without being kept, and the line after it is still taken.
- At most one unfinished line is held, so a framer never holds more than the limit.
"""

from dataclasses import dataclass, field

from contract.events import SAMPLE_BYTES


@dataclass(slots=True)
class LineFramer:
    """Frames one connection's bytes. `refused` collects the beginnings of lines that were too long."""

    limit: int
    refused: list[bytes] = field(default_factory=list)
    _tail: bytes = b""
    _skipping: bool = False

    def feed(self, data: bytes) -> bytes:
        """The whole lines that `data` completes (often none, often thousands), as one chunk."""
        if self._skipping:
            end = data.find(b"\n")
            if end < 0:
                return b""
            data = data[end + 1 :]
            self._skipping = False
        data = self._tail + data if self._tail else data
        end = data.rfind(b"\n") + 1
        self._tail = data[end:]
        if len(self._tail) >= self.limit:
            self.refused.append(self._tail[:SAMPLE_BYTES])
            self._tail, self._skipping = b"", True
        return self._without_long_lines(data[:end])

    def close(self) -> bytes:
        """The bytes of a last line that never got its terminator; empty when there is none."""
        tail, self._tail = self._tail, b""
        return tail

    def _without_long_lines(self, chunk: bytes) -> bytes:
        # Leaps from line end to line end, at most `limit` bytes each: about 3 ns a line, where looking
        # at each line would cost 50.
        start = at = 0
        kept = []
        while at + self.limit < len(chunk):
            end = chunk.rfind(b"\n", at, at + self.limit) + 1
            if end == 0:
                end = chunk.find(b"\n", at) + 1
                self.refused.append(chunk[at : at + SAMPLE_BYTES])
                kept.append(chunk[start:at])
                start = end
            at = end
        return b"".join((*kept, chunk[start:])) if kept else chunk


def cut(chunk: bytes, size: int) -> tuple[bytes, bytes]:
    """Split whole lines after the last line that fits in `size` bytes (at least one line)."""
    if len(chunk) <= size:
        return chunk, b""
    end = chunk.rfind(b"\n", 0, size) + 1 or chunk.find(b"\n") + 1 or len(chunk)
    return chunk[:end], chunk[end:]
