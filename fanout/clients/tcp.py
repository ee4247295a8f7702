"""What a client sends over TCP: its registration, and input that is ignored.

Rules kept here:

- A client gets event lines only, or one line `ERROR <reason>` before it is closed because it is not let in or its
  registration is wrong.
- A client that ends its sending side is closed. TCP says the same when a client closes altogether, and most
  do; serving such a connection would keep each user who left online until the next write fails.
"""

import asyncio
from collections.abc import Callable
from typing import cast

from contract.events import is_user_id
from fanout.clients.connection import ClientConnection
from fanout.clients.server import ClientServer
from fanout.stats import HALF_CLOSED
from runtime.edge.admission import RefusedError

REGISTRATION_BYTES = 64
IGNORED_PAUSE_S = 0.02
"""Pause in reading a client that sends more than its registration: one that floods takes no time from others."""


class Client(ClientConnection, asyncio.Protocol):
    """One client's TCP connection."""

    def __init__(self, clients: ClientServer) -> None:
        super().__init__(clients)
        self._line = b""
        self._deadline: asyncio.TimerHandle | None = None

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
        self._end_after(wait_s, lambda: self._refuse(f"no user id within {wait_s:g} s"))

    def data_received(self, data: bytes) -> None:
        if self._transport.is_closing():
            return
        if self.user_id:
            self._ignore()
            return
        try:
            data = self._admission.feed(data)
        except RefusedError as refusal:
            self._not_let_in(str(refusal))
            return
        self._line += data[: REGISTRATION_BYTES + 1]
        line, end, _ = self._line.partition(b"\n")
        if len(line) >= REGISTRATION_BYTES:
            self._refuse(f"a registration line has at most {REGISTRATION_BYTES} bytes")
        elif end:
            self._register(line.removesuffix(b"\r"))

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

    def _register(self, user_id: bytes) -> None:
        if not is_user_id(user_id):
            self._refuse("a user id is 1 to 20 digits without a leading zero")
            return
        try:
            self._join(user_id)
        except RefusedError as refusal:
            self._refuse(str(refusal))
            return
        self._cancel_deadline()
        self._line = b""

    def _not_let_in(self, reason: str) -> None:
        connections = self._clients.limits.connections
        self._clients.log.warning("client_refused", peer=self.peer, reason=reason, connections=connections)
        self._turn_away(reason)

    def _refuse(self, reason: str) -> None:
        self._clients.log.info("registration_refused", peer=self.peer, reason=reason)
        self._turn_away(reason)

    def _turn_away(self, reason: str) -> None:
        self._cancel_deadline()
        self._transport.write(f"ERROR {reason}\n".encode())
        self._transport.close()

    def _ignore(self) -> None:
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
