"""The event sources of a round: they send on schedule, and after a lost connection resume from a safe point.

Some know no acknowledgements, so they can't know which lines were lost with a connection. Such a source asks for the
next number to be released, which `/readyz` of a listener reports too, and sends everything again from there; what had
arrived is dropped as late or duplicate. The others say HELLO, and send again what was not acknowledged and nothing
else; what they are answered must be right, and in the end everything must be acknowledged.
"""

import selectors
import socket
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import redis

from simulator.acknowledged import Link
from simulator.ledger import Ledger
from simulator.pieces import Piece as SentPiece
from tests.support.peers import LOOPBACK

RETRY_S = 0.05
SILENCE_S = 2.0
"""How long lines may be on their way without an answer, before the source connects anew."""
STUCK_S = 10.0
"""How long a listener may accept nothing before the source reconnects."""


class Piece(NamedTuple):
    """The events from `first` to before `end`, in any order."""

    first: int
    end: int
    data: bytes


class Feeder:
    """One source. Sends its pieces at a fixed interval."""

    def __init__(self, port: int, pieces: Sequence[Piece], interval_s: float, next_number: Callable[[], int]) -> None:
        self.furthest = 0
        """The number of pieces sent at least once."""
        self.reconnects = 0
        self._port = port
        self._pieces = list(pieces)
        self._interval_s = interval_s
        self._next_number = next_number
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Feeder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()

    def add(self, piece: Piece) -> None:
        """Append a piece."""
        self._pieces.append(piece)

    @property
    def sent_end(self) -> int:
        """The end of the last piece that was sent, at least in part."""
        return self._pieces[self.furthest - 1].end if self.furthest else 0

    def _run(self) -> None:
        while not self._halt.is_set():
            try:
                with socket.create_connection((LOOPBACK, self._port), STUCK_S) as connection:
                    self._send(connection, self._safe_point())
            except (OSError, redis.RedisError):
                self.reconnects += 1
                self._halt.wait(RETRY_S)

    def _safe_point(self) -> int:
        """The index of the piece that has the next number to be released."""
        return max(0, bisect_right(self._pieces, self._next_number(), key=lambda piece: piece.first) - 1)

    def _send(self, connection: socket.socket, position: int) -> None:
        due = time.monotonic()
        while not self._halt.is_set():
            if position == len(self._pieces):
                _raise_if_closed(connection)
                self._halt.wait(RETRY_S)
                due = time.monotonic()
                continue
            if position >= self.furthest:
                due = max(due + self._interval_s, time.monotonic() - 10 * self._interval_s)
                self._halt.wait(max(0.0, due - time.monotonic()))
                self.furthest = position + 1
            connection.sendall(self._pieces[position].data)
            position += 1


class SharingLedger(Ledger):
    """Of a source that has only some of the numbers, so that NEXT passes numbers of others."""

    def _can_be_next(self, number: int) -> bool:
        return number > 0


class AckedFeeder:
    """One source that says HELLO, in the place of a `Feeder`."""

    def __init__(self, port: int, pieces: Sequence[Piece], interval_s: float) -> None:
        self._selector = selectors.DefaultSelector()
        self.ledger = SharingLedger()
        self._link = Link((LOOPBACK, port), self.ledger, self._selector, SILENCE_S)
        self._pieces = list(pieces)
        self._added = 0
        self._interval_s = interval_s
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "AckedFeeder":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()
        self._link.close()
        self._selector.close()

    def add(self, piece: Piece) -> None:
        """Append a piece."""
        self._pieces.append(piece)

    @property
    def furthest(self) -> int:
        """The number of pieces sent at least once, at least in part."""
        return bisect_right(self._pieces, self.ledger.pieces.end - 1, 0, self._added, key=lambda piece: piece.first)

    @property
    def sent_end(self) -> int:
        """The end of the last piece that was sent, at least in part."""
        return self._pieces[self.furthest - 1].end if self.furthest else 0

    @property
    def reconnects(self) -> int:
        return max(0, self._link.connections - 1)

    @property
    def is_done(self) -> bool:
        return self._added == len(self._pieces) and not self.ledger.pieces.unacknowledged

    def _run(self) -> None:
        due = time.monotonic()
        while not self._halt.is_set():
            now = time.monotonic()
            if self._added < len(self._pieces) and now >= due and self.ledger.is_open and not self.ledger.has_more:
                due = max(due + self._interval_s, now - 10 * self._interval_s)
                self.ledger.pieces.add(SentPiece(*self._pieces[self._added]))
                self._added += 1
            self._link.step(now)
            self._selector.select(0.002)


class Feeders:
    """Several sources that share a stream: the pieces are dealt out in turn, so every source is needed.

    The first one knows no acknowledgements, the others do.
    """

    def __init__(
        self, port: int, pieces: Sequence[Piece], count: int, interval_s: float, next_number: Callable[[], int]
    ) -> None:
        interval_s *= count
        self._acked = [AckedFeeder(port, pieces[n::count], interval_s) for n in range(1, count)]
        self._all: list[Feeder | AckedFeeder] = [
            Feeder(port, pieces[::count], interval_s, next_number), *self._acked,
        ]  # fmt: skip

    def __enter__(self) -> "Feeders":
        for feeder in self._all:
            feeder.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for feeder in self._all:
            feeder.__exit__()

    def add(self, piece: Piece) -> None:
        """Append a piece to the first source."""
        self._all[0].add(piece)

    @property
    def furthest(self) -> int:
        """The number of pieces sent at least once."""
        return sum(feeder.furthest for feeder in self._all)

    @property
    def sent_end(self) -> int:
        """The number from which no event has been sent yet."""
        return max(feeder.sent_end for feeder in self._all)

    @property
    def reconnects(self) -> int:
        return sum(feeder.reconnects for feeder in self._all)

    @property
    def are_acknowledged(self) -> bool:
        """Whether the sources that say HELLO know that all their lines are in Redis."""
        return all(feeder.is_done for feeder in self._acked)

    def problems(self, may_reset: bool) -> list[str]:
        """What was wrong with the answers; a RESET is, unless Redis was killed."""
        ledgers = [feeder.ledger for feeder in self._acked]
        found = [problem for ledger in ledgers for problem in ledger.problems]
        found += [f"numbers {given_up} were given up" for ledger in ledgers for given_up in ledger.skipped]
        if not may_reset:
            found += [f"RESET {place}" for ledger in ledgers for place in ledger.resets]
        return [f"a source with acknowledgements: {problem}" for problem in found]


def _raise_if_closed(connection: socket.socket) -> None:
    connection.setblocking(False)
    try:
        if connection.recv(1) == b"":
            raise ConnectionError("closed by the listener")
    except BlockingIOError:
        pass
    finally:
        connection.settimeout(STUCK_S)
