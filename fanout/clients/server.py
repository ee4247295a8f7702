"""Client sockets: registration, ignored input, slow clients.

Rules kept here:

- A client is told nothing but notifications, or one line `ERROR <reason>` before it is closed because it is
  not let in or its registration is wrong.
- A client that ends its sending side is closed. TCP says the same when a client closes altogether, and most
  do; serving on would keep each user who left online until the next write fails.
"""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable
from typing import cast

from contract.events import is_user_id
from fanout.clients.offenders import Offenders
from fanout.clients.pressure import Standing
from fanout.clients.users import Members
from fanout.stats import HALF_CLOSED, FanoutStats
from runtime.edge.admission import Admission, RefusedError
from runtime.edge.listen import limits_of, peer_log
from runtime.edge.rates import RateLimit
from runtime.settings import Settings

REGISTRATION_BYTES = 64
HIGH_WATER_BYTES = 8 * 1024
"""Unsent bytes from which a client counts as behind; below, 10,000 clients hold 80 MiB at most."""
HANDED_BYTES = 256 * 1024
"""How much of what waits for a client that is behind is handed to its transport at once."""
IGNORED_PAUSE_S = 0.02
"""How long a client that sends more than its registration is not read: one that floods takes no time from others."""


class ClientServer:
    """All clients of this process. `members` is replaced when the node begins a new life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.members = Members(settings.linger_s)
        self.joins_of_users = RateLimit(settings.joins_per_user)
        self.joins_of_addresses = RateLimit(settings.joins_per_address)
        self.on_news: Callable[[], None] = lambda: None
        self.clients: set[Client] = set()
        self.behind: set[Client] = set()
        self.aside: Counter[str] = Counter()
        """How many clients of each address are set aside."""
        self.offenders = Offenders()
        self.limits = limits_of(settings.client_connections, settings.client_connections_per_address)
        self.log = peer_log()
        self.stats = FanoutStats()
        self.empty = asyncio.Event()

    def close_slow(self, client: "Client", reason: str) -> None:
        """Close a client that does not keep up."""
        unsent, again = client.unsent_bytes(), client.standing.offender
        self.log.warning("slow_client_closed", peer=client.peer, reason=reason, unsent_bytes=unsent, again=again)
        self.stats.slow_clients_closed[reason] += 1
        self._remember(client)
        client.caught_up()  # judged once, however long its transport takes to end
        client.abort()

    def slow_client_left(self, client: "Client") -> None:
        """A client that was set aside has ended its connection itself."""
        unsent, again = client.unsent_bytes(), client.standing.offender
        self.log.info("slow_client_left", peer=client.peer, unsent_bytes=unsent, again=again)
        self.stats.slow_clients_left += 1
        self._remember(client)

    def counts_again(self, address: str) -> None:
        """One client of the address is not set aside any more."""
        self.aside[address] -= 1
        if not self.aside[address]:
            del self.aside[address]

    def _remember(self, client: "Client") -> None:
        address = client.address
        counts = (self.aside[address], self.limits.connections_from(address))
        self.offenders.add(client.user_id, address, *counts, asyncio.get_running_loop().time())

    def unsent_bytes(self) -> int:
        """What the kernel has not taken yet, of all clients."""
        return sum(client.unsent_bytes() for client in self.behind)

    async def drain(self, seconds: float, patience_s: float) -> None:
        """End all connections, spread over `seconds`; returns when they are gone, or `patience_s` after that."""
        loop = asyncio.get_running_loop()
        began, total = loop.time(), len(self.clients)
        self.empty.clear()
        for count, client in enumerate(list(self.clients), 1):
            client.close()
            await asyncio.sleep(max(0.0, began + seconds * count / total - loop.time()))
        if self.clients:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(patience_s):
                    await self.empty.wait()

    def close_some(self, count: int) -> None:
        """End a few connections that are up to date, so that they come back to another node."""
        served = [client for client in self.clients if client.user_id and not client.unsent_bytes()]
        for client in random.sample(served, min(count, len(served))):
            client.close()

    def begin_anew(self) -> None:
        """Close every registered client: what they are owed can no longer be kept apart from a hole."""
        for client in list(self.clients):
            if client.user_id:
                client.abort()
        self.members = Members(self.settings.linger_s)

    def may_join(self, user_id: bytes, address: str, now_s: float) -> None:
        """RefusedError when the user, or users from this address, come more often than they may.

        A further connection of a user who has one here is no join.
        """
        user = self.members.users.get(user_id)
        if user is not None and user.connections:
            return
        if not self.joins_of_users.allows(user_id, now_s):
            raise RefusedError("this user comes and goes too often, wait a second")
        if not self.joins_of_addresses.allows(address, now_s):
            raise RefusedError("too many users come from one address, wait a second")


class Client(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: ClientServer) -> None:
        self.user_id = b""
        self.standing = Standing()
        self.write: Callable[[bytes], None]
        self._server = server
        self._admission = Admission(server.limits, server.settings.proxy_protocol)
        self._members: Members | None = None
        self._line = b""
        self._held = bytearray()
        self._handed_bytes = 0
        self._paused = False
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle | None = None

    @property
    def peer(self) -> str:
        """Its address, for the log."""
        return self._admission.peer

    @property
    def address(self) -> str:
        """The address that counts against limits; empty when it is not known."""
        return self._admission.address

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self.write = transport.write
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        try:
            self._admission.begin(transport.get_extra_info("peername"))
        except RefusedError as refusal:
            self._not_let_in(str(refusal))
            return
        self._server.clients.add(self)
        wait_s = self._server.settings.registration_s
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
        # What is still unsent may never be taken.
        stall_s = self._server.settings.client_stall_s
        self._end_after(stall_s, lambda: self._server.close_slow(self, HALF_CLOSED))

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        self._server.clients.discard(self)
        if not self._server.clients:
            self._server.empty.set()
        self._leave(str(exc or "closed by the client"))
        self.caught_up()
        self._admission.end()

    def pause_writing(self) -> None:
        self._paused = True
        self._server.behind.add(self)

    def resume_writing(self) -> None:
        self._paused = False
        while self._held and not self._paused:
            self._hand_on(HANDED_BYTES)
        if not self._paused:
            self.caught_up()

    # Registration

    def _register(self, user_id: bytes) -> None:
        if not is_user_id(user_id):
            self._refuse("a user id is 1 to 20 digits without a leading zero")
            return
        try:
            self._server.may_join(user_id, self._admission.address, asyncio.get_running_loop().time())
        except RefusedError as refusal:
            self._refuse(str(refusal))
            return
        self._cancel_deadline()
        self.user_id, self._line = user_id, b""
        self._members = self._server.members
        self._members.add(user_id, self)
        self._server.log.debug("client_registered", peer=self.peer, user=user_id.decode())
        self._server.on_news()

    def _not_let_in(self, reason: str) -> None:
        connections = self._server.limits.connections
        self._server.log.warning("client_refused", peer=self.peer, reason=reason, connections=connections)
        self._turn_away(reason)

    def _refuse(self, reason: str) -> None:
        self._server.log.info("registration_refused", peer=self.peer, reason=reason)
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

    # Being behind

    def accepted_bytes(self) -> int:
        """Bytes that the kernel has taken since it is judged."""
        return self._handed_bytes - self._transport.get_write_buffer_size()

    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size() + len(self._held)

    def hold(self) -> None:
        """It is judged from now on; what is written is kept here, since a transport takes more memory for it."""
        now_s = asyncio.get_running_loop().time()
        self.standing = Standing(self._server.offenders.has(self.user_id, self.address, now_s))
        self._handed_bytes = self._transport.get_write_buffer_size()
        self.write = self._held.extend

    def set_aside(self) -> None:
        """The node does not wait for it any more."""
        self.standing.aside = True
        self._server.aside[self.address] += 1

    def caught_up(self) -> None:
        """It is not behind any more, or it is over with it."""
        self._server.behind.discard(self)
        if self.standing.aside:
            self._server.counts_again(self.address)
        self.standing = Standing()
        self.write = self._transport.write

    def _hand_on(self, most: int) -> None:
        if len(self._held) <= most:  # as a rule, and nothing is copied
            data, self._held = self._held, bytearray()
            self.write = self._held.extend
        else:
            data = self._held[:most]
            del self._held[:most]
        self._handed_bytes += len(data)
        self._transport.write(data)

    # Closing

    def abort(self) -> None:
        """Close without sending the rest."""
        self._resign()
        self._transport.abort()

    def close(self) -> None:
        """Close after the rest is sent; nothing more is written, so the last line is whole."""
        self._resign()
        if self._held:
            self._hand_on(len(self._held))
        self._transport.close()

    def _leave(self, reason: str) -> None:
        if self._members is not None:
            if self.standing.aside:
                self._server.slow_client_left(self)
            self._server.log.debug("client_left", peer=self.peer, reason=reason, user=self.user_id.decode())
            self._resign()

    def _resign(self) -> None:
        if self._members is not None:
            self._members.remove(self.user_id, self, asyncio.get_running_loop().time())
            self._members = None
            self._server.on_news()
