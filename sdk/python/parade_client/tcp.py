"""A connection over TCP. Another transport has the same methods and takes its bytes elsewhere.

Rules kept here:

- Nothing is read ahead beyond `BUFFER_BYTES`: who does not read makes the server wait, by TCP.
- An end, of whatever kind, is an OSError for who writes and no bytes for who reads.
- A read that is cancelled loses nothing: what comes is there for the next one.
"""

import asyncio
import contextlib

from parade_client.url import Address
from parade_client.within import within

BUFFER_BYTES = 64 * 1024
"""asyncio stops reading at twice as much."""
CLOSE_S = 1.0
"""How long an orderly close may take; then the connection is cut."""


class Connection:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self._reading: asyncio.Task[bytes] | None = None
        """Outlasts the wait for it."""

    async def read(self, timeout_s: float | None) -> bytes | None:
        """What has come; empty when the connection has ended, and None when it was silent for so long."""
        reading = self._reading
        if reading is None:
            reading = self._reading = asyncio.get_running_loop().create_task(self._read())
        await asyncio.wait([reading], timeout=timeout_s)
        if not reading.done():
            return None
        self._reading = None
        return b"" if reading.cancelled() else reading.result()

    async def write(self, data: bytes) -> None:
        """Send; waits while the server takes nothing. Raises OSError."""
        self._writer.write(data)
        await self._writer.drain()

    async def _read(self) -> bytes:
        try:
            return await self._reader.read(BUFFER_BYTES)
        except OSError:
            return b""

    def cut(self) -> None:
        """End it at once, and drop what was not sent."""
        self._stop_reading()
        self._writer.transport.abort()

    async def close(self) -> None:
        """End it when what was written is sent, but soon."""
        self._stop_reading()
        self._writer.close()
        try:
            with contextlib.suppress(OSError):
                await within(CLOSE_S, self._writer.wait_closed())
        except asyncio.TimeoutError:
            self.cut()

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()


async def connect(address: Address, timeout_s: float) -> Connection:
    """Connect. Raises OSError, also when it takes too long."""
    opening = asyncio.ensure_future(asyncio.open_connection(address.host, address.port, limit=BUFFER_BYTES))
    try:
        return Connection(*await within(timeout_s, opening))
    except asyncio.TimeoutError:  # before OSError, which it is from Python 3.11 on
        raise OSError(f"no connection within {timeout_s:g} s") from None
    except asyncio.CancelledError:
        if opening.done() and not opening.cancelled() and opening.exception() is None:
            opening.result()[1].transport.abort()
        raise
