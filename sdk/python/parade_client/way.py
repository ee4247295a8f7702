"""The lines of one connection: which are to be sent, which are on their way, and which an answer speaks of. Pure.

    queue ──take()──▶ on their way ──acknowledge(), refused()──▶ what they were

Rules kept here:

- The server counts the lines after HELLO, so the order in which they were taken is what its numbers mean.
- What became void has its place in that count still, and means nothing any more.
"""

from collections import deque
from collections.abc import Iterable

from parade_client.errors import ProtocolError
from parade_client.kept import Entry
from parade_client.lines import Control

PIECE_BYTES = 64 * 1024
"""The most bytes that `take` gives at once, if they are of more than one line."""


class Way:
    """One connection; a new one has another."""

    def __init__(self) -> None:
        self._queue: deque[Entry] = deque()
        self._way: deque[Entry | None] = deque()
        self._sent = self._acknowledged = 0

    @property
    def awaits_answers(self) -> bool:
        """Whether lines are on their way."""
        return bool(self._way)

    def send(self, entries: Iterable[Entry]) -> None:
        """Lines to send, behind those that are to be sent already."""
        self._queue.extend(entries)

    def take(self) -> list[Entry]:
        """The next lines to send, which count as sent."""
        piece: list[Entry] = []
        size = 0
        while self._queue and (not piece or size + len(self._queue[0].line) <= PIECE_BYTES):
            piece.append(self._queue.popleft())
            size += len(piece[-1].line)
        self._way.extend(piece)
        self._sent += len(piece)
        return piece

    def void(self) -> None:
        """What is on its way may be lost, and what was to be sent is decided anew."""
        self._way = deque([None] * len(self._way))
        self._queue.clear()

    def acknowledge(self, line: Control) -> list[Entry]:
        """The lines that an ACK is the first to count. Raises ProtocolError."""
        count = line.number()
        if not self._acknowledged < count <= self._sent:
            raise self._miscounted(line)
        found = [self._way.popleft() for _ in range(count - self._acknowledged)]
        self._acknowledged = count
        return [entry for entry in found if entry is not None]

    def refused(self, line: Control) -> Entry | None:
        """The line that a NAK speaks of; None: it is void. Raises ProtocolError."""
        at = line.number() - self._acknowledged - 1
        if not 0 <= at < len(self._way):
            raise self._miscounted(line)
        return self._way[at]

    def _miscounted(self, line: Control) -> ProtocolError:
        said = f"the server said {line}, after ACK {self._acknowledged}"
        return ProtocolError(f"{said} and when {self._sent} lines were sent")
