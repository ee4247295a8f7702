"""A client's connection over any transport: its user, and what it has been sent and has not taken yet.

Rules kept here:

- The writer calls `connection.write(data)`, which over TCP is the transport's own method while the client keeps up: one
  attribute lookup and no layer in between. Over the web it encodes what it is given (`web/speaking.py`).
- Once `pressure.py` checks a client that is behind, `write` fills a buffer here, since a transport takes more memory
  for the same bytes. From there they are handed to the transport in parts, in order.
- A connection is among the users from its registration until it is closed or has ended, whichever comes first.
- Whoever opted in pays for what that brings: `write` is then a method of its own, which notes that something was
  written (`fanout/marks.py`).
"""

import asyncio
from collections.abc import Callable

from fanout.clients.newcomer import Newcomer
from fanout.clients.pressure import Standing
from fanout.clients.registration import Registered
from fanout.clients.server import ClientServer
from fanout.clients.users import Users
from runtime.edge.admission import Admission

HIGH_WATER_BYTES = 8 * 1024
"""Unsent bytes from which a client counts as behind; below, 10,000 clients hold 80 MiB at most."""
HANDED_BYTES = 256 * 1024
"""How much of the buffer of a client that is behind is handed to its transport at once."""


class ClientConnection:
    """One client connection; base of the class that lets it in and registers it (`arrival.py`)."""

    def __init__(self, clients: ClientServer) -> None:
        self.user_id = b""
        self.standing = Standing()
        self.write: Callable[[bytes], None]
        self.opted_in = False
        self.is_quiet = False
        """It opted in, and nothing was written to it since this was set."""
        self._direct: Callable[[bytes], None]
        """How it is written to while it keeps up."""
        self._clients = clients
        self._admission = Admission(clients.limits, clients.settings.proxy_protocol)
        self._users: Users | None = None
        """The users it belongs to; None before it registers, and after it has left."""
        self._held = bytearray()
        self._handed_bytes = 0
        self.is_behind = False
        """Its transport has more than it should keep."""
        self._transport: asyncio.Transport

    @property
    def peer(self) -> str:
        """Its address and port, for the log."""
        return self._admission.peer

    @property
    def address(self) -> str:
        """The address that counts against limits."""
        return self._admission.address

    # From the registration to the end

    def _begin_writing(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._direct = transport.write
        self._write_to(transport.write)
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)

    def _write_to(self, take: Callable[[bytes], None]) -> None:
        """What is written from now on goes there, as the client gets it."""
        self.write = take

    def _join(self, registered: Registered) -> None:
        """Serve this user. RefusedError when the user comes too often."""
        user_id = registered.user_id
        self._clients.may_join(user_id, self.address)
        self.user_id = user_id
        self._users = self._clients.users
        if registered.opted_in:
            self.opted_in = True
            self._note_writes()
            self._users.add_newcomer(Newcomer(user_id, self, registered.after))
            self._clients.wake.set()
        else:
            self._users.add(user_id, self)
        self._clients.log.debug("client_registered", peer=self.peer, user=user_id.decode())
        self._clients.changed.set()

    def _note_writes(self) -> None:
        self._direct = self._write_noted
        self._write_to(self._direct)

    def _write_noted(self, data: bytes) -> None:
        self.is_quiet = False
        self._transport.write(data)

    def close(self, reason: str = "", max_wait_ms: int = 0) -> None:
        """Close after the rest is sent; nothing more is written, so the last line is whole.

        With a reason, one that opted in is told it before: `BYE <reason> <max_wait_ms>`.
        """
        if reason and self.opted_in and self._users is not None:
            self.write(f"BYE {reason} {max_wait_ms}\n".encode())
        self._resign()
        self._say_last(reason)
        if self._held:
            self._hand_on(len(self._held))
        self._end()

    def _say_last(self, reason: str) -> None:
        """What a transport sends behind the last line."""

    def _end(self) -> None:
        """Nothing more is sent."""
        self._transport.close()

    def abort(self) -> None:
        """Close without sending the rest."""
        self._resign()
        self._transport.abort()

    def _leave(self, reason: str, forget: bool = False) -> None:
        if self._users is not None:
            if self.standing.aside:
                self._clients.slow_client_left(self)
            self._clients.log.debug("client_left", peer=self.peer, reason=reason, user=self.user_id.decode())
            self._resign(forget)

    def _resign(self, forget: bool = False) -> None:
        if self._users is not None:
            self._users.remove(self.user_id, self, asyncio.get_running_loop().time(), forget)
            self._users = None
            self._clients.opted_in.pop(self, None)
            self._clients.changed.set()

    # Falling behind and catching up. The transport calls the first two: its buffer is full, or it has room again.

    def pause_writing(self) -> None:
        self.is_behind = True
        self._clients.behind.add(self)

    def resume_writing(self) -> None:
        self.is_behind = False
        while self._held and not self.is_behind:
            self._hand_on(HANDED_BYTES)
        if not self.is_behind:
            self.caught_up()
            if self.opted_in:
                self._clients.wake.set()

    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size() + len(self._held)

    def accepted_bytes(self) -> int:
        """Bytes that the kernel has taken since `hold`."""
        return self._handed_bytes - self._transport.get_write_buffer_size()

    def hold(self) -> None:
        """From now on its progress is checked, and what is written to it is kept here."""
        now_s = asyncio.get_running_loop().time()
        self.standing = Standing(self._clients.offenders.has(self.user_id, self.address, now_s))
        self._handed_bytes = self._transport.get_write_buffer_size()
        self._write_to(self._held.extend)

    def set_aside(self) -> None:
        """The node no longer waits for it."""
        self.standing.aside = True
        self._clients.aside[self.address] += 1

    def caught_up(self) -> None:
        """It is no longer behind, or no longer checked because it ends."""
        self._clients.behind.discard(self)
        if self.standing.aside:
            self._clients.counts_again(self.address)
        self.standing = Standing()
        self._write_to(self._direct)

    def _hand_on(self, most: int) -> None:
        if len(self._held) <= most:  # the usual case, in which nothing is copied
            data, self._held = self._held, bytearray()
            self._write_to(self._held.extend)
        else:
            data = self._held[:most]
            del self._held[:most]
        self._handed_bytes += len(data)
        self._transport.write(data)
