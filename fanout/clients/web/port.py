"""What the connections of the web port share: origins, encoded broadcasts, and requests that have not come yet.

Rules kept here:

- What a batch has for all is encoded once for all WebSockets, and once for all event streams.
- There are never more than `HEADS` connections whose request has not come. For one too many, the connection is closed
  that has waited longest, since an honest client sends its request at once.
"""

from typing import Final, Protocol

from fanout.clients.server import ClientServer
from fanout.clients.web.blocks import events
from fanout.clients.web.messages import messages
from runtime.edge.origins import Origins

HEADS: Final = 1024


class Waiting(Protocol):
    """A connection whose request has not come yet."""

    def cut_off(self, reason: str) -> None:
        """End it."""


class WebPort:
    """The web port of one node."""

    def __init__(self, clients: ClientServer) -> None:
        self.clients = clients
        self.origins = Origins(clients.settings.web_origins)
        self._heads: dict[Waiting, None] = {}
        self._plain_messages = self._messages = b""
        self._plain_events = self._events = self._history = b""

    def messages(self, lines: bytes) -> bytes:
        """Lines as WebSocket messages."""
        if lines is not self.clients.broadcast:
            return messages(lines)
        if lines is not self._plain_messages:
            self._plain_messages, self._messages = lines, messages(lines)
        return self._messages

    def events(self, lines: bytes, history: bytes) -> bytes:
        """Event lines as server-sent events."""
        if lines is not self.clients.broadcast:
            return events(lines, history)
        if lines is not self._plain_events or history != self._history:
            self._plain_events, self._history, self._events = lines, history, events(lines, history)
        return self._events

    def waits(self, connection: Waiting) -> None:
        """Its request has not come yet."""
        self._heads[connection] = None
        if len(self._heads) > HEADS:
            oldest = next(iter(self._heads))
            del self._heads[oldest]
            oldest.cut_off("too many requests have not come yet")

    def waits_no_more(self, connection: Waiting) -> None:
        """Its request has come, or it has ended."""
        self._heads.pop(connection, None)
