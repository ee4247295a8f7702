"""What a client sends over TCP: its registration, BYE if it opted in, and input that is ignored.

Rules kept here:

- A client that sent a bare registration line gets event lines only. Any client gets one line `ERROR <reason>` before it
  is closed because it is not let in or its registration is wrong.
- A client that ends its sending side is closed. TCP says the same when a client closes altogether, and most
  do; serving such a connection would keep each user who left online until the next write fails.
"""

import asyncio
import re
from collections.abc import Callable
from typing import cast

from fanout.clients.connection import ClientConnection
from fanout.clients.registration import Registered, Registration
from fanout.clients.server import ClientServer, TooManyAtOnceError
from fanout.stats import HALF_CLOSED
from runtime.edge.admission import RefusedError

SAID_BYTES = 64
"""How much is kept of a line that a client says after its registration."""
IGNORED_PAUSE_S = 0.02
"""Pause in reading a client that sends more than its registration: one that floods takes no time from others."""

_bye = re.compile(rb"(?:\A|\n)BYE(?: [^\n]*)?\r?\n").search


class Client(ClientConnection, asyncio.Protocol):
    """One client's TCP connection."""

    def __init__(self, clients: ClientServer) -> None:
        super().__init__(clients)
        self._registration = Registration()
        self._said = b""
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
            if self.opted_in:
                self._hear(data)
            self._ignore()
            return
        try:
            data = self._admission.feed(data)
        except RefusedError as refusal:
            self._not_let_in(str(refusal))
            return
        try:
            complete = self._registration.feed(data)
        except RefusedError as refusal:
            self._refuse(str(refusal))
            return
        if complete:
            self._register(*complete)

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

    def _register(self, registered: Registered, rest: bytes) -> None:
        try:
            self._join(registered)
        except TooManyAtOnceError as refusal:
            self._refuse(str(refusal), f"BYE busy {refusal.max_wait_ms}" if registered.opted_in else "")
            return
        except RefusedError as refusal:
            self._refuse(str(refusal))
            return
        self._cancel_deadline()
        if registered.opted_in and rest:
            self._hear(rest)

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
        self._turn_away(reason)

    def _refuse(self, reason: str, line: str = "") -> None:
        self._clients.log.info("registration_refused", peer=self.peer, reason=reason)
        self._turn_away(reason, line)

    def _turn_away(self, reason: str, line: str = "") -> None:
        self._cancel_deadline()
        self._transport.write(f"{line or f'ERROR {reason}'}\n".encode())
        self._transport.close()

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
