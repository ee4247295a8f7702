"""The event sources of a round: they send on time, and after a lost connection go on from a safe point.

The listener answers nothing, so a source can't know which of its last lines were lost with a connection. It
asks what is to be released next, as `/readyz` of a listener tells it, and sends everything from there again:
what had arrived is dropped as late or duplicate.
"""

import socket
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import NamedTuple

import redis

from tests.support.peers import LOOPBACK

RETRY_S = 0.05
STUCK_S = 10.0
"""How long a listener may take nothing before the source tries another connection."""


class Piece(NamedTuple):
    """The events from `first` to before `end`, in any order."""

    first: int
    end: int
    data: bytes


class Feeder:
    """One source. Sends its pieces, each so many seconds after the one before."""

    def __init__(self, port: int, pieces: Sequence[Piece], interval_s: float, next_number: Callable[[], int]) -> None:
        self.furthest = 0
        """How many pieces were sent at least once."""
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
        """Send this as well, after all that is there."""
        self._pieces.append(piece)

    @property
    def sent_end(self) -> int:
        """The end of the last piece that was sent, if only in part."""
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
        """The piece that holds the number to be released next."""
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


class Feeders:
    """Several sources that share a stream: each has a piece in turn, so all are needed to go on."""

    def __init__(
        self, port: int, pieces: Sequence[Piece], count: int, interval_s: float, next_number: Callable[[], int]
    ) -> None:
        self._all = [Feeder(port, pieces[n::count], interval_s * count, next_number) for n in range(count)]

    def __enter__(self) -> "Feeders":
        for feeder in self._all:
            feeder.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        for feeder in self._all:
            feeder.__exit__()

    def add(self, piece: Piece) -> None:
        """Send this as well."""
        self._all[0].add(piece)

    @property
    def furthest(self) -> int:
        """How many pieces were sent at least once."""
        return sum(feeder.furthest for feeder in self._all)

    @property
    def sent_end(self) -> int:
        """No event from this number on was sent yet."""
        return max(feeder.sent_end for feeder in self._all)

    @property
    def reconnects(self) -> int:
        return sum(feeder.reconnects for feeder in self._all)


def _raise_if_closed(connection: socket.socket) -> None:
    connection.setblocking(False)
    try:
        if connection.recv(1) == b"":
            raise ConnectionError("closed by the listener")
    except BlockingIOError:
        pass
    finally:
        connection.settimeout(STUCK_S)
