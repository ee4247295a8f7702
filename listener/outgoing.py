"""What a source over WebSocket is sent: its lines in messages, pings, and Close with its status.

Rules kept here:

- What is written waits while the client takes nothing, and its source is told when that is much.
- Who has not answered a ping by the next one is gone.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from aiohttp import web

PING_S = 20.0
UNSENT_BYTES: Final = 64 * 1024
"""From so many unsent bytes on a source writes nothing more; TCP's transport has the same mark."""

DONE, GOING_AWAY, REFUSED = 1000, 1001, 1008
"""Status codes of Close (RFC 6455, section 7.4)."""


def close_code(told: bytes, has_ended: bool) -> int:
    """The status code of Close after these last lines; `has_ended`: the client has said Close before."""
    last = told.removesuffix(b"\n").rpartition(b"\n")[2]
    if last.startswith(b"ERROR "):
        return REFUSED
    return DONE if has_ended else GOING_AWAY


class Outgoing:
    """One connection's way out; `choke` is told when it is full, and when it has room again."""

    def __init__(self, socket: web.WebSocketResponse, choke: Callable[[bool], None]) -> None:
        self.is_sending = False
        """Something is on its way, so the client may take nothing for now."""
        self._socket = socket
        self._choke = choke
        self._is_choked = self._is_ping_due = False
        self._unsent = self._last = b""
        self._news = asyncio.Event()

    def put(self, lines: bytes) -> None:
        """Say these lines, soon."""
        self._last = lines
        self._unsent += lines
        self._news.set()
        if len(self._unsent) > UNSENT_BYTES and not self._is_choked:
            self._is_choked = True
            self._choke(True)

    def ping(self) -> None:
        """Ping, soon."""
        self._is_ping_due = True
        self._news.set()

    def wake(self) -> None:
        """Have `news` return, though nothing is to be said."""
        self._news.set()

    async def news(self) -> None:
        """Wait until there is something to do."""
        await self._news.wait()
        self._news.clear()

    async def send(self) -> None:
        """Send all there is. ConnectionError when the connection is gone."""
        self.is_sending = True
        if self._is_ping_due:
            self._is_ping_due = False
            await self._socket.ping()
        while self._unsent:
            lines, self._unsent = self._unsent, b""
            await self._socket.send_str(lines.decode())
        self.is_sending = False
        self.unchoke()

    async def end(self, has_ended: bool) -> None:
        """Send the last lines, and Close; what still comes is read and dropped until the client has answered that."""
        await self.send()
        await self._socket.close(code=close_code(self._last, has_ended))

    def unchoke(self) -> None:
        """There is room, or nobody who will take anything."""
        if self._is_choked:
            self._is_choked = False
            self._choke(False)


class Pings:
    """When to ping, and who is gone. `ask` has a ping sent, `gone` ends the connection."""

    def __init__(self, ask: Callable[[], None], gone: Callable[[], None]) -> None:
        self._ask, self._gone = ask, gone
        self._is_asked = False
        self._timer: asyncio.TimerHandle | None = None

    def go_on(self) -> None:
        """Ask again in a while."""
        self._timer = asyncio.get_running_loop().call_later(PING_S, self._tick)

    def heard(self) -> None:
        """The client is there, or could not be heard if it was."""
        self._is_asked = False

    def stop(self) -> None:
        """Ask no more."""
        if self._timer is not None:
            self._timer.cancel()

    def _tick(self) -> None:
        if self._is_asked:
            self._gone()
            return
        self._is_asked = True
        self._ask()
        self.go_on()
