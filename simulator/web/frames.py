"""WebSocket frames (RFC 6455, section 5). Pure: bytes in, messages out.

     0               1               2               3
    +-+-+-+-+-------+-+-------------+-------------------------------+
    |F|0|0|0|opcode |M| length      | 16 bits if it is 126,         |
    |I|     |       |A|             | 64 bits if it is 127          |
    |N|     |       |S|             | then the mask of a client's   |
    +-+-+-+-+-------+-+-------------+-------------------------------+

Rules kept here:

- A server's frame has no mask, no reserved bit and no extension, and its length in the shortest form.
- A control frame is whole and has at most 125 bytes; it may come between the parts of a message.
- A message has at most `MOST_BYTES`, in one part or in several.
"""

import struct
from collections.abc import Iterator
from typing import Final, NamedTuple

MOST_BYTES: Final = 256 * 1024
"""The longest message of a server."""
MORE, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
_CONTROL: Final = frozenset((CLOSE, PING, PONG))
_KNOWN: Final = frozenset((MORE, TEXT, BINARY)) | _CONTROL
_FIN, _MASKED = 0x80, 0x80
_CONTROL_BYTES: Final = 125
_MEDIUM, _LONG = 126, 127


class Message(NamedTuple):
    """A whole message, or a control frame."""

    kind: int
    data: bytes


class Frames:
    """Puts whole messages together."""

    def __init__(self) -> None:
        self._unread = b""
        self._kind = MORE
        """Of the message whose parts are coming; MORE when none is."""
        self._parts: list[bytes] = []

    def feed(self, data: bytes) -> Iterator[Message]:
        """The messages that are whole now, in order. ValueError when something is no frame of a server."""
        unread = self._unread + data if self._unread else data
        at = 0
        try:
            while (found := _frame(unread, at)) is not None:
                first, start, at = found
                message = self._take(first & 0x0F, bool(first & _FIN), unread[start:at])
                if message is not None:
                    yield message
        finally:
            self._unread = unread[at:]

    def _take(self, kind: int, is_last: bool, data: bytes) -> Message | None:
        if kind in _CONTROL:
            return Message(kind, data)
        if (kind == MORE) != bool(self._kind):
            raise ValueError("a part of no message" if kind == MORE else "a message between the parts of another one")
        if sum(map(len, self._parts)) + len(data) > MOST_BYTES:
            raise ValueError(f"a message of over {MOST_BYTES:,} bytes")
        self._kind = kind or self._kind
        self._parts.append(data)
        if not is_last:
            return None
        whole = Message(self._kind, b"".join(self._parts))
        self._kind, self._parts = MORE, []
        return whole


def _frame(data: bytes, at: int) -> tuple[int, int, int] | None:
    """The first byte of the frame that begins there, and where its payload begins and ends; None if it is not whole."""
    if len(data) - at < 2:
        return None
    first, length = data[at], data[at + 1]
    start = at + 2
    _check(first, length)
    if length >= _MEDIUM:
        form, least = ("!H", _MEDIUM) if length == _MEDIUM else ("!Q", 1 << 16)
        start += struct.calcsize(form)
        if len(data) < start:
            return None
        (length,) = struct.unpack_from(form, data, at + 2)
        if length < least:
            raise ValueError(f"the length {length} of a frame is not in its shortest form")
        if length > MOST_BYTES:
            raise ValueError(f"a frame of {length:,} bytes; a message has at most {MOST_BYTES:,}")
    return (first, start, start + length) if len(data) >= start + length else None


def _check(first: int, length: int) -> None:
    kind = first & 0x0F
    if first & 0x70:
        raise ValueError("a frame has a reserved bit, and no extension was agreed on")
    if kind not in _KNOWN:
        raise ValueError(f"a frame of the unknown kind {kind}")
    if length & _MASKED:
        raise ValueError("a server's frame has a mask")
    if kind in _CONTROL and not (first & _FIN and length <= _CONTROL_BYTES):
        raise ValueError("a control frame is in parts, or has over 125 bytes")


def masked(kind: int, data: bytes, mask: bytes) -> bytes:
    """A client's frame: whole, with this mask of 4 bytes, and a payload of less than 64 KiB."""
    size = len(data)
    if size < _MEDIUM:
        head = struct.pack("!BB", _FIN | kind, _MASKED | size)
    else:
        head = struct.pack("!BBH", _FIN | kind, _MASKED | _MEDIUM, size)
    return head + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(data))
