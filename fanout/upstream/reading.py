"""Reads a subscription only while there is room for what comes, so that a node's memory is bounded.

While nothing is read Redis keeps the messages, up to the limit of its output buffer; then it closes the connection, and
the node reads in the journal what it has missed.
"""

import asyncio
from collections.abc import Callable

from contract.frames import Frame, Messages
from runtime.context import Context
from runtime.redis.link import RedisLink

POLL_S = 0.005
"""How often one that has paused looks whether there is room again."""

BATCH_BYTES, MESSAGE_BYTES = 700, 140
"""What a batch takes in memory beside its lines, and each user's lines beside their bytes."""


def size_of(frame: Frame, messages: Messages) -> int:
    """What a batch takes in memory, about, in bytes."""
    lines = len(frame.lines) + sum(map(len, messages.values()))
    return BATCH_BYTES + MESSAGE_BYTES * len(messages) + lines


class Reading:
    """Pauses a link and resumes it; `has_room` says whether more may come."""

    def __init__(self, context: Context, link: RedisLink, has_room: Callable[[], bool]) -> None:
        self.is_paused = False
        self.resumed_s = context.now_s()
        """Since when it reads, if it does."""
        self._now_s = context.now_s
        self._poll_s = max(POLL_S, context.least_poll_s)
        self._link = link
        self._has_room = has_room

    def check(self) -> None:
        """Pause if there is no room; it goes on by itself."""
        if not self.is_paused and not self._has_room():
            self.is_paused = True
            self._link.pause()
            asyncio.get_running_loop().call_later(self._poll_s, self._continue)

    def _continue(self) -> None:
        if self._has_room():
            self.is_paused = False
            self.resumed_s = self._now_s()
            self._link.resume()
        elif not self._link.closed.done():
            asyncio.get_running_loop().call_later(self._poll_s, self._continue)
