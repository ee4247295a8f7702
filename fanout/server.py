"""Client sockets: registration, ignored input, slow clients.

What a client is told: nothing but notifications, or one line `ERROR <reason>` before it is closed because
its registration is wrong.
"""

import asyncio
import contextlib
import random
import socket
from collections.abc import Callable
from typing import cast

import structlog

from contract import proxy_protocol
from contract.events import is_user_id
from contract.settings import Settings
from fanout.members import Members

REGISTRATION_BYTES = 64
HIGH_WATER_BYTES = 8 * 1024
"""Unsent bytes from which a client counts as behind; below, 10,000 clients hold 80 MiB at most."""

log = structlog.get_logger()


class ClientServer:
    """All clients of this process. `members` is replaced when the node begins a new life."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.members = Members()
        self.on_news: Callable[[], None] = lambda: None
        self.clients: set[Client] = set()
        self.behind: set[Client] = set()
        self.slow_closed = 0
        self.empty = asyncio.Event()

    def close_slow(self, client: "Client", reason: str) -> None:
        """Close a client that does not keep up."""
        self.slow_closed += 1
        unsent = client.unsent_bytes()
        log.warning("slow_client_closed", peer=client.peer, reason=reason, unsent_bytes=unsent)
        client.abort()

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
        self.members = Members()


class Client(asyncio.Protocol):
    """One client connection."""

    def __init__(self, server: ClientServer) -> None:
        self.peer = "?"
        self.user_id = b""
        self.unsent_seen = 0
        self.moved_s = 0.0
        self.write: Callable[[bytes], None]
        self._server = server
        self._members: Members | None = None
        self._line = b""
        self._proxy_line: bytes | None = b"" if server.settings.proxy_protocol else None
        self._transport: asyncio.Transport
        self._deadline: asyncio.TimerHandle

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self.write = transport.write
        self.peer = str(transport.get_extra_info("peername"))
        transport.set_write_buffer_limits(high=HIGH_WATER_BYTES)
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._server.clients.add(self)
        wait_s = self._server.settings.registration_s
        self._deadline = asyncio.get_running_loop().call_later(wait_s, self._refuse, f"no user id within {wait_s:g} s")

    def data_received(self, data: bytes) -> None:
        if self.user_id or self._transport.is_closing():
            return  # later input is ignored
        if self._proxy_line is not None:
            data = self._without_proxy_line(data)
        self._line += data[: REGISTRATION_BYTES + 1]
        line, end, _ = self._line.partition(b"\n")
        if len(line) >= REGISTRATION_BYTES:
            self._refuse(f"a registration line has at most {REGISTRATION_BYTES} bytes")
        elif end:
            self._register(line.removesuffix(b"\r"))

    def connection_lost(self, _: Exception | None) -> None:
        self._deadline.cancel()
        self._server.clients.discard(self)
        self._server.behind.discard(self)
        if not self._server.clients:
            self._server.empty.set()
        self._resign()

    def pause_writing(self) -> None:
        self._server.behind.add(self)

    def resume_writing(self) -> None:
        self._server.behind.discard(self)
        self.unsent_seen = 0

    # Registration

    def _without_proxy_line(self, data: bytes) -> bytes:
        self._proxy_line = (self._proxy_line or b"") + data
        try:
            found = proxy_protocol.split(self._proxy_line)
        except proxy_protocol.NotProxiedError:
            self._refuse("this port takes connections from its load balancer only")
            return b""
        if found is None:
            return b""
        self.peer, rest = found
        self._proxy_line = None
        return rest

    def _register(self, user_id: bytes) -> None:
        if not is_user_id(user_id):
            self._refuse("a user id is 1 to 20 digits without a leading zero")
            return
        self._deadline.cancel()
        self.user_id, self._line = user_id, b""
        self._members = self._server.members
        self._members.add(user_id, self)
        log.debug("client_registered", peer=self.peer, user=user_id.decode())
        self._server.on_news()

    def _refuse(self, reason: str) -> None:
        log.info("registration_refused", peer=self.peer, reason=reason)
        self._deadline.cancel()
        self._transport.write(f"ERROR {reason}\n".encode())
        self._transport.close()

    # Closing

    def unsent_bytes(self) -> int:
        """Bytes that the kernel has not taken yet."""
        return self._transport.get_write_buffer_size()

    def abort(self) -> None:
        """Close without sending the rest."""
        self._resign()
        self._transport.abort()

    def close(self) -> None:
        """Close after the rest is sent; nothing more is written, so the last line is whole."""
        self._resign()
        self._transport.close()

    def _resign(self) -> None:
        if self._members is not None:
            self._members.remove(self.user_id, self)
            self._members = None
            self._server.on_news()
