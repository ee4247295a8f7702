"""What a connection of the web port is sent: encoded lines, pings and comments, and its end.

Rules kept here:

- Whatever is put into the transport, or is held for it, is whole frames or blocks. So a ping or a pong may go between
  any two.
"""

import asyncio
from collections.abc import Callable

from fanout.clients.arrival import ArrivingClient
from fanout.clients.web.event_stream import EventStream
from fanout.clients.web.port import WebPort
from fanout.clients.web.websocket import WebSocket


class SpeakingClient(ArrivingClient):
    """One client's connection over HTTP, from the server's side; base of `client.py`, which reads what it sends."""

    def __init__(self, port: WebPort) -> None:
        super().__init__(port.clients)
        self._port = port
        self._speech: WebSocket | EventStream | None = None
        """What it speaks, once its request has come."""
        self._is_parting = False
        self._keeping: asyncio.TimerHandle | None = None
        self._put: Callable[[bytes], None]
        self._encode: Callable[[bytes], bytes] = port.messages
        self.write = self._write_encoded

    def _write_to(self, take: Callable[[bytes], None]) -> None:
        self._put = take

    def _note_writes(self) -> None:
        """`_write_encoded` does."""

    def _write_encoded(self, data: bytes) -> None:
        self.is_quiet = False
        self._put(self._encode(data))

    def _keep_alive(self) -> None:
        if self._speech is None or self._is_parting:
            return
        self._keeping = asyncio.get_running_loop().call_later(self._speech.every_s, self._keep_alive)
        if self.is_behind:
            return
        said = self._speech.keep_alive()
        if said is None:
            self._leave("no answer to a ping")
            self.abort()
        else:
            self._put(said)

    # Its end

    def close(self, reason: str = "", max_wait_ms: int = 0) -> None:
        if not self._is_parting:
            super().close(reason, max_wait_ms)

    def _say_last(self, reason: str) -> None:
        self._is_parting = True
        if self._speech is not None:
            self._put(self._speech.last(reason))

    def _end(self) -> None:
        if isinstance(self._speech, WebSocket):
            # Until the client answers Close: what it says meanwhile is read, since closing a socket with unread input
            # resets the connection, and the last lines could be lost with it.
            self._end_after(self._clients.settings.client_stall_s, self._finish)
        else:
            self._finish()

    def _finish(self) -> None:
        self._cancel_deadline()
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._keeping is not None:
            self._keeping.cancel()
        super().connection_lost(exc)
