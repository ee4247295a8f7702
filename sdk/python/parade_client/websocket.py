"""A connection over WebSocket: each message holds whole lines. It needs the package `websockets`.

Rules kept here:

- Nothing is read ahead beyond a few messages: who does not read makes the server wait, by TCP.
- Lines that are UTF-8 go in text messages, which tools show as text; others in binary ones.
- The server pings, and marks show that it is there, so nothing is pinged from here.
"""

import asyncio

from websockets.asyncio.client import ClientConnection
from websockets.asyncio.client import connect as websocket
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

from parade_client.connection import CLOSE_S, Connection
from parade_client.url import Address
from parade_client.within import within

MESSAGE_BYTES = 1024 * 1024
"""The longest message that is taken; the server's have at most 256 KiB."""
MESSAGES_AHEAD = 2


class WebSocketConnection(Connection):
    """One connection."""

    def __init__(self, socket: ClientConnection) -> None:
        super().__init__()
        self._socket = socket

    async def write(self, data: bytes) -> None:
        """Send whole lines as one message; waits while the server takes nothing. Raises OSError."""
        try:
            await self._socket.send(data, text=_is_text(data))
        except ConnectionClosed as end:
            raise OSError(str(end)) from None

    async def _read(self) -> bytes:
        try:
            while not (data := await self._socket.recv(decode=False)):
                pass
            return data
        except ConnectionClosed:
            return b""

    def _abort(self) -> None:
        self._socket.transport.abort()

    async def _close(self) -> None:
        try:
            await within(CLOSE_S, self._socket.close())
        except asyncio.TimeoutError:
            self._abort()


async def connect(address: Address, timeout_s: float) -> Connection:
    """Connect. Raises OSError, also when it takes too long or another service answers."""
    opening = websocket(
        str(address),
        compression=None,
        open_timeout=timeout_s,
        ping_interval=None,
        close_timeout=CLOSE_S,
        max_size=MESSAGE_BYTES,
        max_queue=MESSAGES_AHEAD,
        proxy=None,
    )
    try:
        return WebSocketConnection(await opening)
    except TimeoutError:
        raise OSError(f"no WebSocket within {timeout_s:g} s") from None
    except InvalidStatus as refusal:
        said = (refusal.response.body or b"").partition(b"\n")[0][:200].decode(errors="replace")
        raise OSError(f"the server answered {refusal.response.status_code} {said}".strip()) from None
    except WebSocketException as problem:
        raise OSError(f"this is no WebSocket: {problem}") from None


def _is_text(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True
