"""The user clients: raw sockets, read in one loop. Received bytes are checked by checksum, which runs at C speed."""

import random
import select
import selectors
import socket
import time
import zlib
from array import array
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

NEWLINE = ord("\n")
RECEIVE_BYTES = 1024 * 1024
PAUSE_S = 0.002
"""Pause between two rounds of reads when only throughput matters: fewer, larger reads cost the system less."""
SHORT_PAUSE_S = 0.0001
"""The same pause when latency is measured; the pause is part of what is measured."""


class Selecting(Protocol):
    """What `select` takes, for example a selector, which is readable when one of its sockets is ready."""

    def fileno(self) -> int: ...


@dataclass(slots=True, eq=False)
class Client:
    """One user's connection and what it has received."""

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
        """Reset the size, the checksum and the kept bytes."""
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
        """For each read: seconds from due time to arrival of one of its notifications."""
        self.weights = array("q")
        """For each latency: the bytes of its read, all of which it represents."""
        self.due_s: Callable[[int], float] | None = None
        self.between: Callable[[float], None] = lambda _: None
        """Called after each read with the monotonic time."""
        self.also: Sequence[Selecting] = ()
        """What else ends a wait for bytes."""

    def connect(self, on_step: Callable[[int], None]) -> None:
        """Connect and register every client. Raises OSError if the port refuses a connection."""
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
        """Read what has arrived, waiting up to `wait_s` seconds; returns the number of bytes."""
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
        # A selector rounds its timeout to whole milliseconds; select() does not.
        select.select([self._selector, *self.also], [], [], max(0.0, wait_s))
        return self._selector.select(0)

    def forget(self) -> None:
        """Reset the totals of all clients."""
        self.total = 0
        for client in self.all:
            client.forget()

    def _measure(self, client: Client, count: int, due_s: Callable[[int], float]) -> None:
        # In a read, the first notification has waited longest and the last one shortest. Choosing one at random, all
        # equally likely, makes the percentiles those of all notifications.
        buffer = self._buffer
        start = buffer.find(b"\n", int(random.random() * count), count) + 1
        if start in (0, count):
            start = 0 if client.at_line_start else buffer.find(b"\n", 0, count) + 1 or count
        client.at_line_start = buffer[count - 1] == NEWLINE
        end = buffer.find(b"|", start, count)
        if end > start:
            self.latencies.append(self.last_byte_s - due_s(int(buffer[start:end])))
            self.weights.append(count)
