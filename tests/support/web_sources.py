"""Sources over WebSocket, on plain sockets: frames are made by hand, so that a test can send what no library does."""

import base64
import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.support.acknowledged import LOOPBACK, AckedSource
from tests.support.deployment import PATIENCE_S

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10


def handshake(*headers: str, path: str = "/source", method: str = "GET") -> bytes:
    """The head of a request for a WebSocket, with further headers."""
    key = base64.b64encode(os.urandom(16)).decode()
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", "Upgrade: websocket", "Connection: Upgrade"]
    lines += [f"Sec-WebSocket-Key: {key}", "Sec-WebSocket-Version: 13", *headers, "", ""]
    return "\r\n".join(lines).encode()


def frame(data: bytes, opcode: int = TEXT, *, fin: bool = True) -> bytes:
    """A frame of a client; its mask is all zeros, which leaves the bytes as they are."""
    first = opcode | (0x80 if fin else 0)
    if len(data) < 126:
        head = struct.pack("!BB", first, 0x80 | len(data))
    elif len(data) < 1 << 16:
        head = struct.pack("!BBH", first, 0x80 | 126, len(data))
    else:
        head = struct.pack("!BBQ", first, 0x80 | 127, len(data))
    return head + bytes(4) + data


class WebSocketPeer:
    """One connection. `head` is the answer to its request, `code` the status of Close once that has come."""

    def __init__(self, port: int, *headers: str, path: str = "/source") -> None:
        self.socket = socket.create_connection((LOOPBACK, port), PATIENCE_S)
        self._bytes = self.socket.makefile("rb")
        self.code: int | None = None
        self.pings = 0
        try:
            self.socket.sendall(handshake(*headers, path=path))
            self.head = self._head()
        except OSError:
            self.close()
            raise

    def _head(self) -> bytes:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            if not (line := self._bytes.readline()):
                raise ConnectionError(f"closed after {head!r}")
            head += line
        return head

    def send(self, data: bytes, opcode: int = TEXT) -> None:
        """Send a message."""
        self.socket.sendall(frame(data, opcode))

    def frame(self) -> tuple[int, bytes]:
        """The next frame; (CLOSE, b"") when the connection ends without one."""
        try:
            first = self._bytes.read(2)
            if len(first) < 2:
                return CLOSE, b""
            length = first[1]
            if length >= 126:
                size = 2 if length == 126 else 8
                length = int.from_bytes(self._bytes.read(size), "big")
            return first[0] & 0x0F, self._bytes.read(length)
        except ConnectionError:
            return CLOSE, b""

    def message(self) -> bytes:
        """The next text message; empty when the connection has ended. Pings and Close are answered."""
        while True:
            opcode, data = self.frame()
            if opcode == PING:
                self.pings += 1
                self.send(data, PONG)
            elif opcode == CLOSE:
                if data:
                    self.code = int.from_bytes(data[:2], "big")
                    self._answer_close(data)
                return b""
            else:
                assert opcode == TEXT
                assert data.endswith(b"\n"), "whole lines"
                return data

    def _answer_close(self, data: bytes) -> None:
        with suppress(OSError):
            self.send(data, CLOSE)

    def everything(self) -> bytes:
        """All text up to the end."""
        found = b""
        while message := self.message():
            found += message
        return found

    def close(self) -> None:
        self._bytes.close()
        self.socket.close()


class WebSource(AckedSource):
    """A source that says HELLO over WebSocket; otherwise like one over TCP."""

    def __init__(self, port: int, hello: str = "HELLO acks=1") -> None:
        self.peer = WebSocketPeer(port)
        self.socket = self.peer.socket
        self._waiting: list[str] = []
        self.told: list[str] = []
        self.acked = 0
        self._greet(hello)

    @property
    def code(self) -> int | None:
        """The status of Close, once it has come."""
        return self.peer.code

    def send(self, data: bytes) -> None:
        """Send lines, as one message."""
        self.peer.send(data)

    def read_line(self) -> str:
        if not self._waiting:
            self._waiting = self.peer.message().decode("ascii").splitlines()
        return self._waiting.pop(0) if self._waiting else ""

    def close(self) -> None:
        self.peer.close()


@contextmanager
def websocket(port: int, *headers: str, path: str = "/source") -> Iterator[WebSocketPeer]:
    """A connection, closed at the end."""
    found = WebSocketPeer(port, *headers, path=path)
    try:
        yield found
    finally:
        found.close()


@contextmanager
def web_source(port: int, hello: str = "HELLO acks=1") -> Iterator[WebSource]:
    """A source over WebSocket that has said HELLO, closed at the end."""
    found = WebSource(port, hello)
    try:
        yield found
    finally:
        found.close()
