"""Lines as server-sent events. Pure.

    id: 9f31c2@70124                    an event; its id is the cursor behind it
    data: 70124|P|60|50|hi

    event: base64                       one whose line could not stand there: not UTF-8, or with a CR
    id: 9f31c2@70125
    data: NzAxMjV8UHw2MHw1MHz/

    id: 9f31c2@70500                    OK, RESUMED and AT: a place without an event

    event: reset                        RESET and BYE; `retry` is how long a browser waits before it comes back
    id: 9f31c2@90000
    data: RESET 9f31c2@90000 trimmed

Rules kept here:

- `data` is the line without its end, and every block but BYE's has the cursor behind it.
- A control line stands alone or before event lines, as the node writes it.
"""

import random
import re
from base64 import b64encode
from collections.abc import Callable
from typing import Final

from fanout.clients.web.messages import is_text

COMMENT: Final = b":\n\n"
RETRY_MS: Final = 1000
"""How long a browser waits before it comes back, unless BYE says something else."""
BEGINNING: Final = b"retry: %d\n\n" % RETRY_MS

_EVENT_LINE = re.compile(rb"([0-9]+)\|[^\n]*\n")


def begins_with_control(data: bytes) -> bool:
    """Whether the first line is a control line: these begin with a letter."""
    return data[:1].isalpha()


def events(lines: bytes, history: bytes) -> bytes:
    """Event lines of this history."""
    if b"\r" in lines or not is_text(lines):
        return b"".join(_event(line, history) for line in lines.split(b"\n")[:-1])
    return _EVENT_LINE.sub(rb"id: %b@\1\ndata: \g<0>\n" % history, lines)


def _event(line: bytes, history: bytes) -> bytes:
    number = line[: line.index(b"|")]
    if b"\r" in line or not is_text(line):
        return b"event: base64\nid: %b@%b\ndata: %b\n\n" % (history, number, b64encode(line))
    return b"id: %b@%b\ndata: %b\n\n" % (history, number, line)


def control(line: bytes, history: bytes, chance: Callable[[], float] = random.random) -> tuple[bytes, bytes]:
    """A control line without its end as a block, and the history that holds behind it."""
    word, _, told = line.partition(b" ")
    position = told.partition(b" ")[0]
    if word == b"BYE":
        wait_ms = told.rpartition(b" ")[2]
        retry = b"retry: %d\n" % max(1, int(int(wait_ms) * chance())) if wait_ms.isdigit() else b""
        return b"event: bye\n%bdata: %b\n\n" % (retry, line), history
    if word == b"AT":
        return b"id: %b@%b\n\n" % (history, position), history
    named = position.partition(b"@")[0]
    if word == b"RESET":
        return b"event: reset\nid: %b\ndata: %b\n\n" % (position, line), named
    return b"id: %b\n\n" % position, named
