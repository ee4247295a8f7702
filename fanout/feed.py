"""The subscription: gathers what is published for this node's users until the frame that closes a batch.

Redis pub/sub delivers at most once. What is lost shows as a missing batch number, never as a silent hole.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from contract.errors import RedisUnavailableError
from contract.frames import Frame
from contract.keys import Keys
from contract.redis_link import RedisLink

Messages = dict[bytes, bytes]
"""A batch's lines for each user who got any."""


OnBatch = Callable[[Frame, Messages], None]
CHANNELS = 1000
"""Channels in one SUBSCRIBE."""


class FrameLostError(Exception):
    """A batch number is missing: something was published that did not get here."""


class Feed:
    """Turns the messages of one subscription into batches, in order.

    Batches are held back until `go_on` says which one was the last that is known from elsewhere.
    """

    def __init__(self, link: RedisLink, keys: Keys, timeout_s: float, on_batch: OnBatch) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard_s = asyncio.get_running_loop().time()
        self.last_batch: int | None = None
        self._link = link
        self._timeout_s = timeout_s
        self._on_batch = on_batch
        self._broadcast = keys.broadcast.encode()
        self._user = keys.user.encode()
        self._messages: Messages = {}
        self._early: list[tuple[Frame, Messages]] = []
        self._confirming: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        link.on_message = self._received

    async def start(self, users: Iterable[bytes]) -> None:
        """Subscribe to the frames, and to the channels of users who are here already."""
        await self._confirmed("SUBSCRIBE", [self._broadcast])
        waiting = list(users)
        for start in range(0, len(waiting), CHANNELS):
            await self.subscribe(waiting[start : start + CHANNELS])

    def go_on(self, last: int) -> None:
        """Everything up to batch `last` is known; hand out what came since, and from now on at once."""
        self.last_batch = last
        early, self._early = self._early, []
        for frame, messages in early:
            if frame.batch > last:
                self._hand_out(frame, messages)

    async def subscribe(self, users: Iterable[bytes]) -> None:
        """Subscribe to users' channels; returns once Redis has confirmed it."""
        await self._confirmed("SUBSCRIBE", [self._user + user for user in users])

    def unsubscribe(self, users: Iterable[bytes]) -> None:
        """Give up users' channels."""
        self._link.send("UNSUBSCRIBE", *(self._user + user for user in users))

    async def _confirmed(self, command: str, channels: list[bytes]) -> None:
        confirmed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._confirming.append((channels[-1], confirmed))
        self._link.send(command, *channels)
        try:
            await asyncio.wait_for(confirmed, self._timeout_s)
        except TimeoutError:
            raise RedisUnavailableError(f"a subscription was not confirmed within {self._timeout_s:g} s") from None

    def _received(self, message: list[Any]) -> None:
        kind, channel, payload = message
        if kind == b"message":
            if channel == self._broadcast:
                self._close_batch(payload)
            else:
                self._messages[channel[len(self._user) :]] = payload
        elif kind == b"subscribe" and self._confirming and self._confirming[0][0] == channel:
            _, confirmed = self._confirming.popleft()
            if not confirmed.done():
                confirmed.set_result(None)

    def _close_batch(self, payload: bytes) -> None:
        frame = Frame.decode(payload)
        messages, self._messages = self._messages, {}
        self.heard_s = asyncio.get_running_loop().time()
        if self.last_batch is None:
            self._early.append((frame, messages))
        else:
            self._hand_out(frame, messages)

    def _hand_out(self, frame: Frame, messages: Messages) -> None:
        if self.failed.done():
            return
        if frame.batch != (self.last_batch or 0) + 1:
            reason = f"batch {(self.last_batch or 0) + 1} is missing, {frame.batch} came"
            self.failed.set_exception(FrameLostError(reason))
            return
        self.last_batch = frame.batch
        self._on_batch(frame, messages)
