"""One connection of the scripted server over WebSocket or as server-sent events, as far as a script needs them.

Each has what a TCP socket has: `receive` and `send` of the protocol's bytes, and `close`. A message and a block hold
whole lines, so what a script sends without a line end stays behind until the rest comes, and is dropped at the end.
"""

import base64
import contextlib
import hashlib
import re
import socket
from urllib.parse import parse_qs, urlsplit

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""From RFC 6455, section 1.3."""
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
GOING_AWAY = 1001
LINE_BYTES = 65_536
CLOSE_S = 1.0
LASTING = b"ERROR a user id"
PLACES = (b"OK", b"RESUMED", b"AT")


class Request:
    """What is asked on a connection."""

    def __init__(self, connection: socket.socket) -> None:
        head = b""
        while b"\r\n\r\n" not in head:
            data = connection.recv(LINE_BYTES)
            if not data:
                raise ConnectionError("the library closed the connection before its request was complete")
            head += data
        head, _, self.rest = head.partition(b"\r\n\r\n")
        self.target = head.split()[1].decode("latin-1")
        self.headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(b":") for line in head.split(b"\r\n")[1:])
        }


class WebSocket:
    """A WebSocket that a library has opened."""

    def __init__(self, connection: socket.socket) -> None:
        request = Request(connection)
        key = request.headers.get(b"sec-websocket-key", b"")
        accept = base64.b64encode(hashlib.sha1(key + GUID).digest())  # noqa: S324 (RFC 6455 wants it)
        head = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        connection.sendall(b"%bSec-WebSocket-Accept: %b\r\n\r\n" % (head, accept))
        self._socket, self._came, self._unsent = connection, request.rest, b""

    def receive(self) -> bytes:
        """The next message, with the line end that it may lack; empty when the library has closed."""
        while True:
            opcode, data = self._frame()
            if opcode == CLOSE:
                with contextlib.suppress(OSError):
                    self._socket.sendall(_frame(CLOSE, data[:2]))
                return b""
            if opcode == PING:
                self._socket.sendall(_frame(PONG, data))
            elif data and opcode in (TEXT, BINARY):
                return data if data.endswith(b"\n") else data + b"\n"

    def send(self, data: bytes) -> None:
        """Send the lines that are whole."""
        lines, end, self._unsent = (self._unsent + data).rpartition(b"\n")
        if end:
            self._socket.sendall(_frame(TEXT if _is_text(lines) else BINARY, lines + end))

    def close(self) -> None:
        """Close, and wait a little for the library's answer."""
        with contextlib.suppress(OSError):
            self._socket.sendall(_frame(CLOSE, GOING_AWAY.to_bytes(2, "big")))
            self._socket.settimeout(CLOSE_S)
            while self._frame()[0] != CLOSE:
                pass

    def _frame(self) -> tuple[int, bytes]:
        first, second = self._exactly(2)
        length = second & 0x7F
        if length >= 126:
            length = int.from_bytes(self._exactly(2 if length == 126 else 8), "big")
        mask = self._exactly(4)
        data = self._exactly(length)
        return first & 0x0F, bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))

    def _exactly(self, count: int) -> bytes:
        while len(self._came) < count:
            data = self._socket.recv(LINE_BYTES)
            if not data:
                raise ConnectionResetError("it ended without Close")
            self._came += data
        found, self._came = self._came[:count], self._came[count:]
        return found


def _frame(opcode: int, data: bytes) -> bytes:
    size = len(data)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big")
    return bytes([0x80 | opcode]) + (length if size < 1 << 16 else b"\x7f" + size.to_bytes(8, "big")) + data


class EventStream:
    """A request for server-sent events. Nothing can be said over it but where the feed shall begin."""

    def __init__(self, connection: socket.socket) -> None:
        request = Request(connection)
        asked = parse_qs(urlsplit(request.target).query)
        after = request.headers.get(b"last-event-id", b"").decode("latin-1") or asked.get("after", ["now"])[0]
        self._said = f"{asked.get('user', [''])[0]} after={after}\n".encode("latin-1")
        self._socket, self._unsent, self._history, self._has_begun = connection, b"", b"", False

    def receive(self) -> bytes:
        """What the request says, as a registration line, and then its end."""
        said, self._said = self._said, b""
        return said or self._socket.recv(LINE_BYTES)

    def send(self, data: bytes) -> None:
        """Send the lines that are whole, each as a block."""
        *lines, self._unsent = (self._unsent + data).split(b"\n")
        for line in lines:
            self._socket.sendall(self._begin(line) + self._block(line))

    def close(self) -> None:
        """The end of the connection says it."""

    def _begin(self, line: bytes) -> bytes:
        if self._has_begun or line.startswith(b"ERROR"):
            return b""
        self._has_begun = True
        return b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 1000\n\n"

    def _block(self, line: bytes) -> bytes:
        word, _, told = line.partition(b" ")
        position = told.partition(b" ")[0]
        if word == b"ERROR":
            status = b"400 Bad Request" if line.startswith(LASTING) else b"503 Service Unavailable"
            return b"HTTP/1.1 %b\r\nContent-Length: %d\r\nConnection: close\r\n\r\n%b" % (status, len(told), told)
        if word == b"BYE":
            return b"event: bye\nretry: 100\ndata: %b\n\n" % line
        if word == b"RESET":
            self._history = position.partition(b"@")[0]
            return b"event: reset\nid: %b\ndata: %b\n\n" % (position, line)
        if word in PLACES:
            self._history = position.partition(b"@")[0] if b"@" in position else self._history
            return b"id: %b@%b\n\n" % (self._history, position.rpartition(b"@")[2])
        return self._event(line)

    def _event(self, line: bytes) -> bytes:
        number = re.match(rb"(\d+)\|", line)
        if number is None:  # a word of a later version, which a node would not say here, or another service
            return b"" if line[:1].isalpha() else b"event: base64\ndata: %b\n\n" % base64.b64encode(line)
        place = b"%b@%b" % (self._history, number[1])
        if b"\r" in line or not _is_text(line):
            return b"event: base64\nid: %b\ndata: %b\n\n" % (place, base64.b64encode(line))
        return b"id: %b\ndata: %b\n\n" % (place, line)


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
