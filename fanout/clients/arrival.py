"""How a client comes and goes, whatever it speaks: let in, registered within a time, refused, ended.

Rules kept here:

- Every client has a deadline until it is registered, and again when it has ended its sending side.
- A client that ends its sending side is closed. TCP says the same when a client closes altogether, and most
  do; serving such a connection would keep each user who left online until the next write fails.
"""

import asyncio
import re
from abc import abstractmethod
from collections.abc import Callable
from http import HTTPStatus
from typing import cast

from fanout.clients.connection import ClientConnection
from fanout.clients.registration import Registered
from fanout.clients.server import ClientServer, TooManyAtOnceError
from fanout.stats import HALF_CLOSED
from runtime.edge.admission import RefusedError

SAID_BYTES = 64
"""How much is kept of a line that a client says after its registration."""
IGNORED_PAUSE_S = 0.02
"""Pause in reading a client that sends more than its registration: one that floods takes no time from others."""

_bye = re.compile(rb"(?:\A|\n)BYE(?: [^\n]*)?\r?\n").search


class ArrivingClient(ClientConnection, asyncio.Protocol):
    """One client's connection; base of the transports, which read its bytes and word what it is refused with."""

    def __init__(self, clients: ClientServer) -> None:
        super().__init__(clients)
        self._said = b""
        self._deadline: asyncio.TimerHandle | None = None

    @abstractmethod
    def _receive(self, data: bytes) -> None:
        """Bytes of the client itself, which may be none."""

    @abstractmethod
    def _say_refused(self, reason: str, status: HTTPStatus, wait_ms: int, /) -> None:
        """Tell it. `status` is what HTTP calls it, and `wait_ms` how long one of too many should wait that opted in."""

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._begin_writing(cast(asyncio.Transport, transport))
        try:
            self._admission.begin(transport.get_extra_info("peername"))
        except RefusedError as refusal:
            self._not_let_in(str(refusal))
            return
        self._clients.clients.add(self)
        wait_s = self._clients.settings.registration_s
        late = HTTPStatus.REQUEST_TIMEOUT
        self._end_after(wait_s, lambda: self._refuse(f"no user id within {wait_s:g} s", late))

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        try:
            data = self._admission.feed(data)
        except RefusedError as refusal:
            self._not_let_in(str(refusal))
            return
        self._receive(data)

    def eof_received(self) -> None:
        self._leave("closed by the client")
        self.close()
        # The client may never take what is still unsent.
        stall_s = self._clients.settings.client_stall_s
        self._end_after(stall_s, lambda: self._clients.close_slow(self, HALF_CLOSED))

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self._clients.discard(self)
        self._leave(str(exc or "closed by the client"))
        self.caught_up()
        self._admission.end()

    # Registration

    def _register(self, registered: Registered) -> bool:
        """Serve it; False when it is refused, and has been told."""
        try:
            self._join(registered)
        except TooManyAtOnceError as refusal:
            wait_ms = refusal.max_wait_ms if registered.opted_in else 0
            self._refuse(str(refusal), HTTPStatus.SERVICE_UNAVAILABLE, wait_ms)
            return False
        except RefusedError as refusal:
            self._refuse(str(refusal), HTTPStatus.TOO_MANY_REQUESTS)
            return False
        self._cancel_deadline()
        return True

    def _hear(self, data: bytes) -> None:
        """What a client says that opted in: BYE, or something that is ignored."""
        said = self._said + data
        if _bye(said):
            self._leave("said BYE", forget=True)
            self.close()
        # The beginning of a line is enough to know that it is not BYE.
        beginning = said.rfind(b"\n") + 1
        self._said = said[beginning : beginning + SAID_BYTES]

    def _not_let_in(self, reason: str) -> None:
        connections = self._clients.limits.connections
        self._clients.log.warning("client_refused", peer=self.peer, reason=reason, connections=connections)
        self._turn_away(reason, HTTPStatus.SERVICE_UNAVAILABLE)

    def _refuse(self, reason: str, status: HTTPStatus = HTTPStatus.BAD_REQUEST, wait_ms: int = 0) -> None:
        self._clients.log.info("registration_refused", peer=self.peer, reason=reason)
        self._turn_away(reason, status, wait_ms)

    def _turn_away(self, reason: str, status: HTTPStatus, wait_ms: int = 0) -> None:
        self._cancel_deadline()
        self._say_refused(reason, status, wait_ms)
        self._end()

    def _ignore(self) -> None:
        if self._transport.is_closing():
            return
        self._transport.pause_reading()
        asyncio.get_running_loop().call_later(IGNORED_PAUSE_S, self._read_on)

    def _read_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _end_after(self, seconds: float, end: Callable[[], None]) -> None:
        self._cancel_deadline()
        self._deadline = asyncio.get_running_loop().call_later(seconds, end)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None
