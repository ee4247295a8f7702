"""A TCP proxy between one service and Redis that can impair their connections as a network does.

Rules kept here:

- Bytes are passed on unchanged and in order. A connection that has lost a byte never carries another one in that
  direction: TCP streams have no holes, they only end.
- An impairment is in force from `impair` to `heal`, on all connections whose name (CLIENT SETNAME) contains its
  `purpose`, including new ones. Healing ends the connections that have lost bytes.
- Each direction buffers at most one read of `READ_BYTES`, so a slow receiver slows the sender.
"""

import contextlib
import re
import socket
import threading
import time
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

READ_BYTES = 256 * 1024
HOLD_LIMIT_S = 30.0
BUSY_BYTES = 1000
MESSAGE = b"*3\r\n$7\r\nmessage\r\n"
_find_name = re.compile(rb"SETNAME\r\n\$\d+\r\n([^\r]+)\r\n").search


class CutError(Exception):
    """The connection must end now, after these last bytes."""

    def __init__(self, last: bytes = b"") -> None:
        super().__init__()
        self.last = last


class Connection:
    """A service's connection to the proxy, and the proxy's connection to Redis."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near, self.far = near, far
        self.name = ""
        self.made_s = time.monotonic()
        self.lost: set[str] = set()
        self.incomplete = b""
        self.running = 2

    def cut(self) -> None:
        """End both connections immediately."""
        for each in (self.near, self.far):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        self.near.close()
        self.far.close()


class Impairment:
    """What happens to matching connections. The methods get the bytes read and return the bytes to pass on."""

    def __init__(self, purpose: str = "") -> None:
        self.purpose = purpose
        self.struck = 0

    def to_redis(self, connection: Connection, data: bytes) -> bytes:  # noqa: ARG002
        return data

    def from_redis(self, connection: Connection, data: bytes) -> bytes:  # noqa: ARG002
        return data

    def heal(self) -> None:
        """The impairment has ended."""


class BlackHole(Impairment):
    """Discards bytes in one direction (`to_redis`, `from_redis`) or in both; neither side notices."""

    def __init__(self, purpose: str = "", directions: tuple[str, ...] = ("to_redis", "from_redis")) -> None:
        super().__init__(purpose)
        self._directions = directions

    def to_redis(self, connection: Connection, data: bytes) -> bytes:
        return self._discard("to_redis", connection, data)

    def from_redis(self, connection: Connection, data: bytes) -> bytes:
        return self._discard("from_redis", connection, data)

    def _discard(self, direction: str, connection: Connection, data: bytes) -> bytes:
        if direction not in self._directions:
            return data
        self.struck += 1
        connection.lost.add(direction)
        return b""


class Delay(Impairment):
    """Delays every read, in both directions."""

    def __init__(self, seconds: float, purpose: str = "") -> None:
        super().__init__(purpose)
        self._seconds = seconds

    def to_redis(self, connection: Connection, data: bytes) -> bytes:  # noqa: ARG002
        self.struck += 1
        time.sleep(self._seconds)
        return data

    from_redis = to_redis


class Late(Impairment):
    """Holds back what existing connections send to Redis, until the service has long replaced them."""

    def __init__(self, purpose: str = "") -> None:
        super().__init__(purpose)
        self._began_s = time.monotonic()
        self._over = threading.Event()

    def to_redis(self, connection: Connection, data: bytes) -> bytes:
        if connection.made_s < self._began_s:
            self.struck += 1
            self._over.wait(HOLD_LIMIT_S)
        return data

    def heal(self) -> None:
        self._over.set()


class Cut(Impairment):
    """Cuts one connection, once, at a command that contains `wanted`.

    `where`: "before" the command reaches Redis, "after" it has but before the answer, or "inside" the answer.
    """

    def __init__(self, where: str, purpose: str = "", wanted: bytes = b"") -> None:
        super().__init__(purpose)
        self._where = where
        self._wanted = wanted
        self._asked: Connection | None = None

    def to_redis(self, connection: Connection, data: bytes) -> bytes:
        if not self.struck and self._asked is None and self._wanted in data:
            if self._where == "before":
                self.struck = 1
                raise CutError
            self._asked = connection
        return data

    def from_redis(self, connection: Connection, data: bytes) -> bytes:
        if not self.struck and self._asked is connection:
            self.struck = 1
            raise CutError(data[: len(data) // 2] if self._where == "inside" else b"")
        return data


class CutMessage(Impairment):
    """Cuts one subscription, once, in the middle of a published message."""

    def from_redis(self, connection: Connection, data: bytes) -> bytes:  # noqa: ARG002
        if self.struck or MESSAGE not in data:
            return data
        self.struck = 1
        raise CutError(data[: data.rindex(MESSAGE) + len(MESSAGE)])


class DropMessage(Impairment):
    """Drops one published message as if Redis had never sent it: the first one that contains `wanted`."""

    def __init__(self, wanted: bytes, purpose: str = "") -> None:
        super().__init__(purpose)
        self._wanted = wanted

    def from_redis(self, connection: Connection, data: bytes) -> bytes:
        start = -1 if self.struck else data.find(MESSAGE)
        while start >= 0:
            end = _message_end(data, start)
            if end is None:
                connection.incomplete = data[start:]  # put in front of the next read
                return data[:start]
            if self._wanted in data[start:end]:
                self.struck = 1
                return data[:start] + data[end:]
            start = data.find(MESSAGE, end)
        return data


def _message_end(data: bytes, start: int) -> int | None:
    """Where the pub/sub message that starts at `start` ends; None if it is incomplete."""
    at = start + len(MESSAGE)
    for _ in ("channel", "payload"):
        line_end = data.find(b"\r\n", at)
        if line_end < 0:
            return None
        at = line_end + 2 + int(data[at + 1 : line_end]) + 2
    return at if at <= len(data) else None


class Proxy:
    """Listens on a free port and forwards to the server of `url`."""

    def __init__(self, url: str) -> None:
        self._target = (urlsplit(url).hostname, urlsplit(url).port)
        self._server = socket.create_server(("127.0.0.1", 0))
        self._lock = threading.Lock()
        self._connections: set[Connection] = set()
        self._impairments: list[Impairment] = []
        self.busy_s = 0.0
        """When the service last sent at least `BUSY_BYTES` at once: events or a batch."""
        self.url = f"redis://127.0.0.1:{self._server.getsockname()[1]}/0"

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for impairment in self._impairments[:]:
            self.heal(impairment)
        with contextlib.suppress(OSError):
            self._server.shutdown(socket.SHUT_RDWR)  # wakes the accepting thread
        self._server.close()
        with self._lock:
            for connection in self._connections:
                connection.cut()

    def impair(self, impairment: Impairment) -> None:
        """Put an impairment into force."""
        self._impairments.append(impairment)

    def heal(self, impairment: Impairment) -> None:
        """End an impairment, and the connections that have lost bytes."""
        self._impairments.remove(impairment)
        impairment.heal()
        with self._lock:
            for connection in self._connections:
                if connection.lost:
                    connection.cut()

    def cut(self, purpose: str = "") -> int:
        """Cut every connection with this purpose immediately; returns their number."""
        with self._lock:
            found = [connection for connection in self._connections if purpose in connection.name]
        for connection in found:
            connection.cut()
        return len(found)

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._server.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(self._target, HOLD_LIMIT_S)
            except OSError:
                near.close()
                continue
            connection = Connection(near, far)
            for each in (near, far):
                each.settimeout(None)
                each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._connections.add(connection)
            for direction in ("to_redis", "from_redis"):
                threading.Thread(target=self._forward, args=(connection, direction), daemon=True).start()

    def _forward(self, connection: Connection, direction: str) -> None:
        source, sink = connection.near, connection.far
        if direction == "from_redis":
            source, sink = sink, source
        try:
            while data := source.recv(READ_BYTES):
                if direction == "to_redis":
                    if len(data) >= BUSY_BYTES:
                        self.busy_s = time.monotonic()
                    if not connection.name and (found := _find_name(data)):
                        connection.name = found[1].decode()
                data = self._impaired(connection, direction, data)
                if data and direction not in connection.lost:
                    sink.sendall(data)
        except CutError as cut:
            with contextlib.suppress(OSError):
                sink.sendall(cut.last)
            connection.cut()
        except OSError:
            pass
        self._ended(connection, direction, sink)

    def _impaired(self, connection: Connection, direction: str, data: bytes) -> bytes:
        if direction == "from_redis":
            data, connection.incomplete = connection.incomplete + data, b""
        for impairment in self._impairments[:]:
            if impairment.purpose in connection.name:
                data = getattr(impairment, direction)(connection, data)
        return data

    def _ended(self, connection: Connection, direction: str, sink: socket.socket) -> None:
        if direction not in connection.lost:  # otherwise the end of the stream is lost, too
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)
        with self._lock:
            connection.running -= 1
            if connection.running == 0:
                connection.close()
                self._connections.discard(connection)
