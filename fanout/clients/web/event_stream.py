"""`/events`: server-sent events, for browsers without code and for anything that can read lines over HTTP.

Rules kept here:

- A client can say nothing after its request, so it always opts in, and its place is kept when it leaves.
- A comment now and then keeps proxies from taking a quiet connection for a dead one.
"""

from typing import Final

from fanout.clients.web.answers import Headers, event_stream
from fanout.clients.web.blocks import BEGINNING, COMMENT, begins_with_control, control
from fanout.clients.web.port import WebPort

COMMENT_S: Final = 15.0


class EventStream:
    """One answer that goes on and on."""

    every_s = COMMENT_S

    def __init__(self, port: WebPort) -> None:
        self._port = port
        self._history = b""
        """That of the last place it was told."""

    def begin(self, headers: Headers) -> bytes:
        """The head of the answer."""
        return event_stream(headers) + BEGINNING

    def encode(self, data: bytes) -> bytes:
        """Lines as the node writes them: one control line or none, then event lines."""
        if not begins_with_control(data):
            return self._port.events(data, self._history)
        line, _, rest = data.partition(b"\n")
        block, self._history = control(line, self._history)
        return block + self.encode(rest) if rest else block

    def received(self, _: bytes) -> tuple[list[bytes], bool]:
        """Whatever it sends is too much."""
        return [], True

    def keep_alive(self) -> bytes | None:
        """A comment."""
        return COMMENT

    def refusal(self, reason: str, wait_ms: int) -> bytes:
        """It has been let in already, so only one of too many can be refused."""
        del reason
        return self.encode(b"BYE busy %d\n" % wait_ms)

    def last(self, _: str) -> bytes:
        """The end of the connection is the end of the answer."""
        return b""
