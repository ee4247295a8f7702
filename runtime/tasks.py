"""Ending asyncio tasks."""

import asyncio
from collections.abc import Iterable
from typing import Any


async def end(tasks: Iterable["asyncio.Future[Any] | None"]) -> None:
    """Cancel tasks and wait until they have ended; their exceptions are ignored.

    All are cancelled before the first wait, so that none is left behind when the caller is cancelled meanwhile.
    """
    ending = [task for task in tasks if task is not None]
    for task in ending:
        task.cancel()
    if ending:
        await asyncio.wait(ending)
    for task in ending:
        if not task.cancelled():
            task.exception()
