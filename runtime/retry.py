"""Waiting before another try."""

import asyncio
import contextlib


class Backoff:
    """Delays between tries: doubling from 50 ms to 2 s, back to the start after a success."""

    FIRST_S, LAST_S = 0.05, 2.0

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """It worked."""
        self._next_s = self.FIRST_S

    def next_s(self) -> float:
        """The delay before the next try, in seconds."""
        delay, self._next_s = self._next_s, min(self._next_s * 2, self.LAST_S)
        return delay


async def stopped_within(stop: asyncio.Event, seconds: float) -> bool:
    """Sleep, but wake at once when the service is told to stop; True when it was."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await stop.wait()
    return stop.is_set()
