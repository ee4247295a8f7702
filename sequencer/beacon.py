"""A subscription that shows that this process runs: Redis sees it end as soon as the process does, however it ends.

Standbys look at it (`sequencer/succession.py`). Nothing is published on its channel.
"""

import asyncio
from typing import Any

import hiredis

from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.redis.link import RedisLink, RedisRefusedError
from runtime.retry import Backoff


class Beacon:
    """The subscription of the process with this token."""

    def __init__(self, context: Context, token: str) -> None:
        self._context = context
        self._channel = context.settings.keys.leader + token
        self._link: RedisLink | None = None

    async def light(self) -> None:
        """Subscribe. RedisUnavailableError when that fails."""
        self.put_out()
        self._link = link = await self._context.connect("sequencer-beacon")
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        link.on_message = lambda message: None if answer.done() else answer.set_result(message)
        link.send("SUBSCRIBE", self._channel)
        timeout_s = self._context.settings.redis_timeout_s
        await asyncio.wait({answer, link.closed}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if not answer.done():
            raise RedisUnavailableError("the beacon's subscription was not confirmed")
        if isinstance(refusal := answer.result(), hiredis.ReplyError):
            raise RedisRefusedError(str(refusal), ("SUBSCRIBE", self._channel))

    async def keep(self) -> None:
        """Subscribe again, at once, whenever the connection is lost; until cancelled."""
        backoff = Backoff()
        while True:
            if self._link is not None:
                await self._link.closed
            try:
                await self.light()
                backoff.reset()
            except RedisUnavailableError:
                await asyncio.sleep(backoff.next_s())

    def put_out(self) -> None:
        """End the subscription."""
        if self._link is not None:
            self._link.close()
