"""The user clients: raw sockets in one loop; what they receive is checked by C-speed checksums."""

import random
import select
import selectors
import socket
import time
import zlib
from array import array
from collections.abc import Callable
from dataclasses import dataclass, field

NEWLINE = ord("\n")
RECEIVE_BYTES = 1024 * 1024
PAUSE_S = 0.002
"""Between two rounds of reading when only throughput counts: fewer, larger reads cost the system less."""
SHORT_PAUSE_S = 0.0001
"""The same when latency is measured, of which it becomes a part."""


@dataclass(slots=True, eq=False)
class Client:
    """One user's connection and what came through it."""

    user: int
    socket: socket.socket
    size: int = 0
    checksum: int = 0
    closed: bool = False
    at_line_start: bool = True
    kept: list[bytes] = field(default_factory=list)

    @property
    def received(self) -> bytes:
        return b"".join(self.kept)

    def forget(self) -> None:
        """Start counting from 0."""
        self.size = self.checksum = 0
        self.kept = []


class Clients:
    """All clients of a simulation."""

    def __init__(self, address: tuple[str, int], users: list[int], timeout_s: float) -> None:
        self._address = address
        self._timeout_s = timeout_s
        self._users = users
        self._selector = selectors.DefaultSelector()
        self._buffer = bytearray(RECEIVE_BYTES)
        self._view = memoryview(self._buffer)
        self.all: list[Client] = []
        self.keep = True
        self.last_byte_s = 0.0
        self.total = 0
        self.latencies = array("d")
        """Seconds from due time to arrival of one notification of each read …"""
        self.weights = array("q")
        """… and the bytes of that read, for which it stands."""
        self.due_s: Callable[[int], float] | None = None
        self.between: Callable[[float], None] = lambda _: None
        """Called with the monotonic time after each read."""

    def connect(self, on_step: Callable[[int], None]) -> None:
        """Connect and register every client. OSError when the port refuses."""
        for count, user in enumerate(self._users, 1):
            connection = socket.create_connection(self._address, self._timeout_s)
            connection.sendall(b"%d\n" % user)
            connection.setblocking(False)
            client = Client(user, connection)
            self.all.append(client)
            self._selector.register(connection, selectors.EVENT_READ, client)
            on_step(count)

    def close(self) -> None:
        """Close all connections."""
        for client in self.all:
            client.socket.close()
        self._selector.close()

    def receive(self, wait_s: float) -> int:
        """Read what has arrived, waiting at most `wait_s`; returns the number of bytes."""
        before, now = self.total, time.monotonic
        for key, _ in self._selector.select(0) or self._wait(wait_s):
            client = key.data
            try:
                count = client.socket.recv_into(self._buffer)
            except BlockingIOError:
                continue
            except OSError:
                count = 0
            if not count:
                client.closed = True
                self._selector.unregister(client.socket)
                continue
            self.last_byte_s = now()
            if self.due_s is not None:
                self._measure(client, count, self.due_s)
            self.total += count
            client.size += count
            client.checksum = zlib.crc32(self._view[:count], client.checksum)
            if self.keep:
                client.kept.append(bytes(self._view[:count]))
            self.between(self.last_byte_s)
        return self.total - before

    def _wait(self, wait_s: float) -> list[tuple[selectors.SelectorKey, int]]:
        # The selector itself waits for whole milliseconds.
        select.select([self._selector], [], [], max(0.0, wait_s))
        return self._selector.select(0)

    def forget(self) -> None:
        """Start counting from 0, for all."""
        self.total = 0
        for client in self.all:
            client.forget()

    def _measure(self, client: Client, count: int, due_s: Callable[[int], float]) -> None:
        # The first of a read has been on its way for longest, the last one for the shortest time; so any of them,
        # with equal chances, and the percentiles are those of all notifications.
        buffer = self._buffer
        start = buffer.find(b"\n", int(random.random() * count), count) + 1
        if start in (0, count):
            start = 0 if client.at_line_start else buffer.find(b"\n", 0, count) + 1 or count
        client.at_line_start = buffer[count - 1] == NEWLINE
        end = buffer.find(b"|", start, count)
        if end > start:
            self.latencies.append(self.last_byte_s - due_s(int(buffer[start:end])))
            self.weights.append(count)
