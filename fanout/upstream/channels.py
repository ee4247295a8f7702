"""The channels of one subscription: asked for in order, and confirmed in that order."""

import asyncio
from collections import deque

from fanout.upstream.reading import Reading
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.redis.link import RedisLink, RedisRefusedError

LEAST_WAIT_S = 0.001


class Channels:
    """Subscribes, and waits until Redis has confirmed it. The feed, which reads the link, hands the answers in."""

    def __init__(self, context: Context, link: RedisLink, reading: Reading) -> None:
        self._now_s = context.now_s
        self._timeout_s = context.settings.redis_timeout_s
        self._link = link
        self._reading = reading
        self._waiting: deque[tuple[bytes, asyncio.Future[None]]] = deque()

    async def subscribe(self, channels: list[bytes]) -> None:
        """Subscribe; returns once Redis has confirmed it.

        RedisRefusedError when Redis refuses it, RedisUnavailableError when no confirmation comes in time.
        """
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((channels[-1], confirmed))
        self._link.send("SUBSCRIBE", *channels)
        began_s, reading, closed = self._now_s(), self._reading, self._link.closed
        while not confirmed.done():
            # While nothing is read no confirmation can come.
            waited_s = 0.0 if reading.is_paused else self._now_s() - max(began_s, reading.resumed_s)
            left_s = self._timeout_s - waited_s
            if left_s < LEAST_WAIT_S:
                raise RedisUnavailableError(f"a subscription was not confirmed within {self._timeout_s:g} s")
            await asyncio.wait({confirmed, closed}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
            if closed.done() and not confirmed.done():
                raise RedisUnavailableError("lost the connection to Redis")
        confirmed.result()

    def unsubscribe(self, channels: list[bytes]) -> None:
        """Unsubscribe; nothing waits for that."""
        self._link.send("UNSUBSCRIBE", *channels)

    def confirmed(self, channel: bytes) -> None:
        """Redis has confirmed a channel."""
        if self._waiting and self._waiting[0][0] == channel:
            _, waiting = self._waiting.popleft()
            if not waiting.done():
                waiting.set_result(None)

    def refused(self, refusal: str) -> RedisRefusedError | None:
        """Redis has refused a command. Returns the problem if no part waits for the answer: it was an UNSUBSCRIBE."""
        if not self._waiting:
            return RedisRefusedError(refusal, ("UNSUBSCRIBE", ""))
        # The part that subscribed is told, and may try again: Redis's memory may be full now, and not later.
        channel, waiting = self._waiting.popleft()
        if not waiting.done():
            waiting.set_exception(RedisRefusedError(refusal, ("SUBSCRIBE", channel)))
            waiting.exception()  # no warning at exit if the part that subscribed has stopped waiting
        return None
