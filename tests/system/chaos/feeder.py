"""The event source of a round: sends on time, and after a lost connection goes on from a safe point.

The listener answers nothing, so a source can't know which of its last lines were lost with a connection. It
asks what is to be released next, as `/readyz` of a listener tells it, and sends everything from there again:
what had arrived is dropped as late or duplicate.
"""

import socket
import threading
import time
from bisect import bisect_right
from collections.abc import Callable

import redis

from tests.system.peers import LOOPBACK

RETRY_S = 0.05
STUCK_S = 10.0
"""How long a listener may take nothing before the source tries another connection."""


class Feeder:
    """Sends `pieces`, the first of which begins at `numbers[0]`, each so many seconds after the one before."""

    def __init__(
        self, port: int, pieces: list[bytes], numbers: list[int], interval_s: float, next_number: Callable[[], int]
    ) -> None:
        self.furthest = 0
        """How many pieces were sent at least once."""
        self.reconnects = 0
        self._port = port
        self._pieces = pieces
        self._numbers = numbers
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

    def add(self, number: int, piece: bytes) -> None:
        """Send this as well, after all that is there."""
        self._numbers.append(number)
        self._pieces.append(piece)

    @property
    def sent_number(self) -> int:
        """Numbers from here on were never sent yet, not even in part."""
        return self._numbers[self.furthest] if self.furthest < len(self._numbers) else self._numbers[-1] + 1

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
        return max(0, bisect_right(self._numbers, self._next_number()) - 1)

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
            connection.sendall(self._pieces[position])
            position += 1


def _raise_if_closed(connection: socket.socket) -> None:
    connection.setblocking(False)
    try:
        if connection.recv(1) == b"":
            raise ConnectionError("closed by the listener")
    except BlockingIOError:
        pass
    finally:
        connection.settimeout(STUCK_S)
