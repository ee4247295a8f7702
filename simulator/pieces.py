"""The pieces of one source: which are to be sent, on their way, acknowledged, and forgotten. Pure.

    add() ──▶ to send ──take()──▶ on their way ──acknowledge()──▶ in Redis ──forget()──▶ gone
                 ▲                     │                            │
                 └── begin(), send_again(): the connection ended ───┘ or Redis came back with older data

What is not gone is in `kept`, in the order in which it was added.
"""

from array import array
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass


@dataclass(slots=True, eq=False)
class Piece:
    """Lines that are sent together, whole: the numbers (of a producer: the ordinals) from `first` to before `end`.

    `acknowledged`: how many of its lines are, from its beginning. `due_s`: when it was due, of a paced source.
    """

    first: int
    end: int
    data: bytes
    due_s: float | None = None
    acknowledged: int = 0
    lines: int = 0

    def __post_init__(self) -> None:
        self.lines = self.data.count(b"\n")

    @property
    def is_acknowledged(self) -> bool:
        return self.acknowledged == self.lines

    @property
    def rest(self) -> bytes:
        """The lines that are not acknowledged."""
        return self.data.split(b"\n", self.acknowledged)[-1]


@dataclass(slots=True)
class _Way:
    """The next `lines` lines of a connection, which are those of `piece` from `start` on.

    Without a piece their acknowledgement says nothing any more.
    """

    piece: Piece | None
    start: int
    lines: int


class Pieces:
    """The pieces of one source, over all its connections."""

    def __init__(self) -> None:
        self.kept: deque[Piece] = deque()
        self.kept_bytes = 0
        self.unacknowledged = 0
        """Lines that were added and are not acknowledged."""
        self.sent = 0
        """Lines sent on this connection."""
        self.end = 0
        """The end of the last piece that was ever sent."""
        self.forgotten_end = 0
        """The end of the last piece that is kept no longer."""
        self.again = 0
        """Lines that were sent again."""
        self.latencies = array("d")
        """For each piece that has a due time: seconds from then until it was acknowledged."""
        self._queue: deque[Piece] = deque()
        self._way: deque[_Way] = deque()

    @property
    def waits(self) -> bool:
        """Whether there is something to send."""
        return bool(self._queue)

    def add(self, piece: Piece) -> None:
        """Something new to send."""
        self.kept.append(piece)
        self.kept_bytes += len(piece.data)
        self.unacknowledged += piece.lines
        self._queue.append(piece)

    def take(self) -> bytes:
        """The next lines to send, which count as sent from now on."""
        piece = self._queue.popleft()
        way = _Way(piece, piece.acknowledged, piece.lines - piece.acknowledged)
        if piece.end <= self.end:
            self.again += way.lines
        self.end = max(self.end, piece.end)
        self.sent += way.lines
        self._way.append(way)
        return piece.rest

    def begin(self) -> None:
        """A new connection begins. Nothing is to be sent until `send_again`."""
        self._way.clear()
        self._queue.clear()
        self.sent = 0

    def send_again(self) -> None:
        """Everything that is not acknowledged is to be sent, also what is new."""
        self._queue = deque(piece for piece in self.kept if not piece.is_acknowledged)
        self.unacknowledged = sum(piece.lines - piece.acknowledged for piece in self._queue)

    def lose(self) -> None:
        """What is on its way may be lost, and its acknowledgement says nothing any more."""
        for way in self._way:
            way.piece = None

    def acknowledge(self, lines: int, now_s: float) -> None:
        """The next lines of this connection are in Redis."""
        while lines:
            way = self._way[0]
            taken = min(lines, way.lines)
            way.start, way.lines, lines = way.start + taken, way.lines - taken, lines - taken
            if way.piece is not None:
                way.piece.acknowledged = way.start
                self.unacknowledged -= taken
            if way.lines:
                return
            self._way.popleft()
            if way.piece is not None and way.piece.due_s is not None:
                self.latencies.append(now_s - way.piece.due_s)

    def has_acknowledged(self, number: int) -> bool:
        """Whether this number is kept, and acknowledged."""
        return any(piece.first <= number < piece.end and piece.is_acknowledged for piece in self.kept)

    def forget(self, is_over: Callable[[Piece], bool]) -> None:
        """Keep no longer what is acknowledged and over, from the beginning."""
        while self.kept and self.kept[0].is_acknowledged and is_over(self.kept[0]):
            piece = self.kept.popleft()
            self.kept_bytes -= len(piece.data)
            self.forgotten_end = piece.end


def cut(first: int, end: int, size: int, arrival: Iterable[tuple[bytes, list[int]]]) -> Iterator[Piece]:
    """The numbers from `first` to before `end` as pieces of `size` numbers, the last one maybe fewer.

    `arrival`: blocks of lines, and the bytes of each piece.
    """
    for data, lengths in arrival:
        start = 0
        for length in lengths:
            yield Piece(first, min(end, first + size), data[start : start + length])
            start, first = start + length, first + size
