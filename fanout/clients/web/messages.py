"""Lines as WebSocket messages. Pure.

Rules kept here:

- A message holds whole lines, each with its LF, and has at most `MESSAGE_BYTES`.
- A text message has to be UTF-8, and a payload is any bytes: a message with a line that is none is a binary message.
"""

from struct import Struct
from typing import Final

MESSAGE_BYTES: Final = 256 * 1024
"""Well below what libraries take in one message (1 MiB as a rule), and more than a line can have."""
TEXT: Final = 0x81
BINARY: Final = 0x82
"""The first byte of an unfragmented message (RFC 6455, section 5.2)."""

_short, _medium, _long = Struct("!BB").pack, Struct("!BBH").pack, Struct("!BBQ").pack
_MEDIUM, _LONG = 126, 1 << 16


def messages(lines: bytes, most: int = MESSAGE_BYTES) -> bytes:
    """Whole lines as one message, or as several when they are many."""
    if len(lines) <= most:
        return _message(lines)
    parts, at = [], 0
    while at < len(lines):
        # A line that were longer than a message would go as one.
        end = lines.rfind(b"\n", at, at + most) + 1 or lines.find(b"\n", at) + 1 or len(lines)
        parts.append(_message(lines[at:end]))
        at = end
    return b"".join(parts)


def _message(data: bytes) -> bytes:
    kind, size = TEXT if is_text(data) else BINARY, len(data)
    if size < _MEDIUM:
        return _short(kind, size) + data
    return (_medium(kind, 126, size) if size < _LONG else _long(kind, 127, size)) + data


def is_text(data: bytes) -> bool:
    """Whether it is UTF-8."""
    if data.isascii():
        return True
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
