"""One WebSocket of a client: handshake, registration, messages of whole lines, pings, Close. Pure: bytes in, lines out.

    GET /ws ──▶ 101 ──▶ "50 after=now" ──▶ messages, pings ──▶ Close, answered with Close

Rules kept here:

- A message holds whole lines. It is binary when one of them is not UTF-8, and text otherwise.
- Close has the code that belongs to the line before it: 1008 to ERROR, 1013 to BYE busy, 1001 to another BYE. Without
  such a line it has 1000, and only when the client has said BYE.
- Nothing but Close may come last; a connection that is lost needs none.
"""

import base64
import hashlib
import os
from collections.abc import Callable

from simulator.web.frames import BINARY, CLOSE, PING, PONG, TEXT, Frames, Message, masked
from simulator.web.head import Head, Refusal
from simulator.web.text import is_text

GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
PATH = "/ws"
DONE, GOING_AWAY, REFUSED, LATER = 1000, 1001, 1008, 1013

Chance = Callable[[int], bytes]
"""So many random bytes."""


class WebSocket:
    """One connection. `registration` is the line that a client says over TCP."""

    def __init__(self, registration: bytes, host: str, path: str = "", chance: Chance = os.urandom) -> None:
        self._registration = registration
        self._host, self._path, self._chance = host, path or PATH, chance
        self._key = base64.b64encode(chance(16)).decode()
        self._head, self._frames = Head(), Frames()
        self._refusal: Refusal | None = None
        self._replies: list[bytes] = []
        self._last = b""
        """The last line that has come, if it is ERROR or BYE."""
        self._is_over = self._has_left = False

    @property
    def hello(self) -> bytes:
        """What to send first."""
        return (
            f"GET {self._path} HTTP/1.1\r\nHost: {self._host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {self._key}\r\nSec-WebSocket-Version: 13\r\n\r\n"
        ).encode()

    def receive(self, data: bytes) -> bytes:
        """The lines in what has come. ValueError when the server breaks the protocol."""
        if self._refusal is not None:
            return self._refusal.feed(data)
        if not self._head.is_whole:
            if not self._head.feed(data):
                return b""
            data = self._head.rest
            if not self._head.says(101):
                self._refusal = Refusal(self._head)
                return self._refusal.feed(data)
            self._check_answer()
            self._say(TEXT, self._registration.rstrip(b"\n"))
        return b"".join([self._message(message) for message in self._frames.feed(data)])

    def reply(self) -> bytes:
        """What is to be sent now: the registration, pongs, Close."""
        replies = b"".join(self._replies)
        self._replies.clear()
        return replies

    def goodbye(self) -> bytes:
        """What to send so that no place is kept; the server answers with Close."""
        if not self._head.says(101) or self._is_over:
            return b""
        self._has_left = True
        self._say(TEXT, b"BYE")
        return self.reply()

    def _say(self, kind: int, data: bytes) -> None:
        self._replies.append(masked(kind, data, self._chance(4)))

    def _check_answer(self) -> None:
        digest = hashlib.sha1(f"{self._key}{GUID}".encode(), usedforsecurity=False).digest()
        head = self._head
        head.must_be("upgrade", "websocket")
        head.must_be("connection", "upgrade")
        if head.fields.get("sec-websocket-accept") != base64.b64encode(digest).decode():
            raise ValueError("Sec-WebSocket-Accept does not belong to the key")
        head.must_not_be("sec-websocket-extensions", "sec-websocket-protocol", "content-length", "transfer-encoding")

    def _message(self, message: Message) -> bytes:
        if self._is_over:
            raise ValueError("something came behind Close")
        kind, data = message
        if kind in (TEXT, BINARY):
            return self._lines(kind, data)
        if kind == PING:
            self._say(PONG, data)
        elif kind == CLOSE:
            self._check_close(data)
            self._say(CLOSE, data[:2])
            self._is_over = True
        return b""

    def _lines(self, kind: int, data: bytes) -> bytes:
        if not data.endswith(b"\n"):
            raise ValueError(f"a message ends in the middle of a line: {data[-60:]!r}")
        if (kind == TEXT) != is_text(data):
            said = "text message is not" if kind == TEXT else "binary message is"
            raise ValueError(f"a {said} UTF-8: {data[:60]!r}")
        last = data[data.rfind(b"\n", 0, -1) + 1 :]
        self._last = last if last.startswith((b"BYE ", b"ERROR ")) else b""
        return data

    def _check_close(self, data: bytes) -> None:
        code = int.from_bytes(data[:2], "big")
        if self._last:
            expected = REFUSED if self._last[:1] == b"E" else LATER if self._last[:8] == b"BYE busy" else GOING_AWAY
        else:
            expected = DONE if self._has_left else 0
        if len(data) < 2 or code != expected:
            last = repr(self._last[:60]) if self._last else "the client's BYE" if self._has_left else "no BYE or ERROR"
            raise ValueError(f"Close {code} came after {last}")
