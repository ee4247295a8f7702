"""A wait with a deadline that never loses a cancellation.

`asyncio.wait_for` does before Python 3.12: when a result comes in the moment in which the waiting task is cancelled, it
returns the result, and the task goes on as if nothing had been.
"""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def within(timeout_s: "float | None", work: "Awaitable[T]") -> T:
    """The result of the work, which is cancelled if it takes longer. Raises asyncio.TimeoutError."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait([task], timeout=timeout_s)
        if task.done():
            return task.result()
        raise asyncio.TimeoutError
    finally:
        task.cancel()
