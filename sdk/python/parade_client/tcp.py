"""A connection over TCP. Nothing is read ahead beyond `BUFFER_BYTES`: who does not read makes the server wait."""

import asyncio
import contextlib

from parade_client.connection import CLOSE_S, Connection
from parade_client.url import Address
from parade_client.within import within

BUFFER_BYTES = 64 * 1024
"""asyncio stops reading at twice as much."""


class TcpConnection(Connection):
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        super().__init__()
        self._reader, self._writer = reader, writer

    async def write(self, data: bytes) -> None:
        """Send whole lines; waits while the server takes nothing. Raises OSError."""
        self._writer.write(data)
        await self._writer.drain()

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(BUFFER_BYTES)
        except OSError:
            return b""

    def _abort(self) -> None:
        self._writer.transport.abort()

    async def _close(self) -> None:
        self._writer.close()
        try:
            with contextlib.suppress(OSError):
                await within(CLOSE_S, self._writer.wait_closed())
        except asyncio.TimeoutError:
            self._abort()


async def connect(address: Address, timeout_s: float) -> TcpConnection:
    """Connect. Raises OSError, also when it takes too long."""
    opening = asyncio.ensure_future(asyncio.open_connection(address.host, address.port, limit=BUFFER_BYTES))
    try:
        return TcpConnection(*await within(timeout_s, opening))
    except asyncio.TimeoutError:  # before OSError, which it is from Python 3.11 on
        raise OSError(f"no connection within {timeout_s:g} s") from None
    except asyncio.CancelledError:
        if opening.done() and not opening.cancelled() and opening.exception() is None:
            opening.result()[1].transport.abort()
        raise
