"""What a connection does over any transport: it takes bytes, and gives bytes.

Rules kept here:

- An end, of whatever kind, is an OSError for who writes and no bytes for who reads.
- A read that is cancelled loses nothing: what comes is there for the next one.
"""

import asyncio
from abc import ABC, abstractmethod

CLOSE_S = 1.0
"""How long an orderly close may take; then the connection is cut."""


class Connection(ABC):
    """One connection."""

    def __init__(self) -> None:
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

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Send whole lines; waits while the server takes nothing. Raises OSError."""

    def cut(self) -> None:
        """End it at once, and drop what was not sent."""
        self._stop_reading()
        self._abort()

    async def close(self) -> None:
        """End it when what was written is sent, but soon."""
        self._stop_reading()
        await self._close()

    @abstractmethod
    async def _read(self) -> bytes:
        """Wait for more; empty when the connection has ended."""

    @abstractmethod
    def _abort(self) -> None: ...

    @abstractmethod
    async def _close(self) -> None: ...

    def _stop_reading(self) -> None:
        if self._reading is not None:
            self._reading.cancel()
