"""One answer of server-sent events, as a client's lines. Pure: bytes in, lines out.

    id: 9f31c2@70124              70124|P|60|50|hi
    data: 70124|P|60|50|hi

    id: 9f31c2@70500              OK or RESUMED as the first block, as it was asked; then AT 70500, or RESUMED when
                                  the history is another one

Rules kept here:

- The `id` of an event is the history that holds, and the number of its line.
- `base64` is for lines that could not stand there otherwise: with a CR, or not UTF-8.
- A line is one field with LF at its end; a block has the fields of its kind, each once, and ends with an empty line.
- `retry` begins the answer, and in `bye` it is not above the wait that BYE names.

What is right in itself may still be the wrong line: that is for the cursor and the oracle.
"""

import base64
import binascii
import re
from typing import Final

from simulator.web.head import Head, Refusal
from simulator.web.text import is_text

PATH: Final = "/events"
MOST_BYTES: Final = 256 * 1024
"""The longest block: Base64 of the longest line, and more."""

_POSITION: Final = rb"([0-9A-Za-z]{1,64})@(0|[1-9][0-9]*)"
_BEGINNING = re.compile(rb"retry: [1-9][0-9]*\n\n")
_COMMENTS = re.compile(rb"(?::[^\r\n]*\n)+\n")
_MARK = re.compile(rb"id: " + _POSITION + rb"\n\n")
_EVENT = re.compile(rb"id: " + _POSITION + rb"\ndata: (\2\|[^\r\n]*\n)\n")
_BASE64 = re.compile(rb"event: base64\nid: " + _POSITION + rb"\ndata: ([0-9A-Za-z+/=]+)\n\n")
_RESET = re.compile(rb"event: reset\nid: " + _POSITION + rb"\ndata: (RESET \1@\2(?: [^\r\n]*)?\n)\n")
_BYE = re.compile(rb"event: bye\n(?:retry: ([1-9][0-9]*)\n)?data: (BYE [^\r\n ]+(?: ([0-9]+))?(?: [^\r\n]*)?\n)\n")
_DATA = re.compile(rb"^data: ([^\n]*\n)", re.MULTILINE)


class Events:
    """Puts whole blocks together, and takes the lines out of them. `is_new`: the client asked for no place."""

    def __init__(self, *, is_new: bool) -> None:
        self._is_new = is_new
        self._has_begun = False
        self._history = b""
        self._run = re.compile(b"")
        """As many events of the present history as there are, whose numbers are those of their lines."""
        self._part = b""

    def feed(self, data: bytes) -> bytes:
        """The lines of all blocks that are whole now. ValueError when something is no such block."""
        end = data.rfind(b"\n\n") + 2
        if end == 1:  # the empty line may be half in what came before
            whole, self._part = self._split(self._part + data)
        else:
            whole, self._part = self._part + data[:end], data[end:]
        if len(self._part) > MOST_BYTES:
            raise ValueError(f"a block of over {MOST_BYTES:,} bytes: {self._part[:60]!r}")
        lines, at = [], 0
        if whole and not self._has_begun:
            at = self._begin(whole)
        while at < len(whole):
            run = self._run.match(whole, at) if self._history else None
            if run and run.end() > at:
                _must_be_text(run[0])
                lines += _DATA.findall(run[0])
                at = run.end()
            else:
                line, at = self._block(whole, at)
                lines.append(line)
        return b"".join(lines)

    @staticmethod
    def _split(data: bytes) -> tuple[bytes, bytes]:
        end = data.rfind(b"\n\n") + 2
        return (data[:end], data[end:]) if end > 1 else (b"", data)

    def _begin(self, whole: bytes) -> int:
        found = _BEGINNING.match(whole)
        if not found:
            raise ValueError(f"the answer does not begin with retry: {whole[:60]!r}")
        self._has_begun = True
        return found.end()

    def _block(self, whole: bytes, at: int) -> tuple[bytes, int]:
        """The line of the block that begins there, and where the block ends."""
        if found := _COMMENTS.match(whole, at):
            return b"", found.end()
        if found := _MARK.match(whole, at):
            return self._mark(found[1], found[2]), found.end()
        if found := _BASE64.match(whole, at):
            self._must_hold(found[1])
            return _decoded(found[2], found[3]), found.end()
        if found := _RESET.match(whole, at):
            self._turn_to(found[1])
            return _must_be_text(found[3]), found.end()
        if found := _BYE.match(whole, at):
            if (found[1] is None) != (found[3] is None) or int(found[1] or 0) > max(1, int(found[3] or 0)):
                raise ValueError(f"retry is {(found[1] or b'not there').decode()} with {found[2][:60]!r}")
            return _must_be_text(found[2]), found.end()
        if found := _EVENT.match(whole, at):
            self._must_hold(found[1])  # or it would have been one of a run
        end = whole.index(b"\n\n", at)
        raise ValueError(f"not a block of this protocol: {whole[at : min(end, at + 120)]!r}")

    def _mark(self, history: bytes, number: bytes) -> bytes:
        is_first, is_renamed = not self._history, history != self._history
        self._turn_to(history)
        if is_first or is_renamed:
            return b"%b %b@%b\n" % (b"OK" if is_first and self._is_new else b"RESUMED", history, number)
        return b"AT %b\n" % number

    def _turn_to(self, history: bytes) -> None:
        self._history = history
        # Possessive: a run of many events leaves nothing to come back to.
        self._run = re.compile(rb"(?:id: " + history + rb"@([1-9][0-9]*)\ndata: \1\|[^\r\n]*\n\n)*+")

    def _must_hold(self, history: bytes) -> None:
        if history != self._history:
            held = self._history.decode() or "none yet"
            raise ValueError(f"an id of the history {history.decode()} came when {held} held")


class EventStream:
    """One connection. `registration` is the line that a client says over TCP, with `after`."""

    def __init__(self, registration: bytes, host: str, path: str = "") -> None:
        user, _, after = registration.decode().strip().partition(" after=")
        self._user, self._after = user, "" if after == "now" else after
        self._host, self._path = host, path or PATH
        self._head, self._events = Head(), Events(is_new=not self._after)
        self._refusal: Refusal | None = None

    @property
    def hello(self) -> bytes:
        """What to send first."""
        last = f"Last-Event-ID: {self._after}\r\n" if self._after else ""
        return (
            f"GET {self._path}?user={self._user} HTTP/1.1\r\nHost: {self._host}\r\n"
            f"Accept: text/event-stream\r\n{last}\r\n"
        ).encode()

    def receive(self, data: bytes) -> bytes:
        """The lines in what has come. ValueError when the server breaks the protocol."""
        if self._refusal is not None:
            return self._refusal.feed(data)
        if not self._head.is_whole:
            if not self._head.feed(data):
                return b""
            data = self._head.rest
            if not self._head.says(200):
                self._refusal = Refusal(self._head)
                return self._refusal.feed(data)
            self._head.must_be("content-type", "text/event-stream")
            self._head.must_not_be("content-length", "transfer-encoding", "content-encoding")
        return self._events.feed(data)

    def reply(self) -> bytes:
        """Nothing: a client says no more than its request."""
        return b""

    goodbye = reply


def _must_be_text(data: bytes) -> bytes:
    if not is_text(data):
        raise ValueError(f"not UTF-8: {data[:60]!r}")
    return data


def _decoded(number: bytes, data: bytes) -> bytes:
    try:
        line = base64.b64decode(data, validate=True)
    except binascii.Error:
        raise ValueError(f"not Base64: {data[:60]!r}") from None
    if line[: line.find(b"|")] != number or b"\n" in line:
        raise ValueError(f"the id has number {number.decode()}, and the line is {line[:60]!r}")
    if b"\r" not in line and is_text(line):
        raise ValueError(f"Base64 of a line that needs none: {line[:60]!r}")
    return line + b"\n"
