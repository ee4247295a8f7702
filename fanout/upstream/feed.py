"""The subscription: gathers what is published for this node's users until the frame that closes a batch.

Redis pub/sub delivers at most once. What is lost shows as a missing batch number, never as a silent hole.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

import structlog

from contract.frames import Frame, Messages, safe_batch
from contract.keys import Keys
from runtime.errors import RedisUnavailableError
from runtime.redis.data import shown
from runtime.redis.link import RedisLink, RedisRefusedError

log = structlog.get_logger()

OnBatch = Callable[[Frame, Messages], None]
CHANNELS = 1000
"""Channels in one SUBSCRIBE."""


class FrameLostError(Exception):
    """A batch number is missing: something was published that did not get here."""


class Feed:
    """Turns the messages of one subscription into batches, in order.

    What comes is kept aside until `go_on`: first the node learns from elsewhere (`catch_up_from`, `take`) what it
    has missed. Each batch is held until it is safe (`contract/frames.py`).
    """

    def __init__(self, link: RedisLink, keys: Keys, timeout_s: float, on_batch: OnBatch) -> None:
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.heard_s = asyncio.get_running_loop().time()
        self.last_batch = 0
        """The last batch heard; those after the last safe one are held."""
        self._caught_up = False
        self._has_ignored = False
        self._link = link
        self._timeout_s = timeout_s
        self._on_batch = on_batch
        self._broadcast = keys.broadcast.encode()
        self._user = keys.user.encode()
        self._messages: Messages = {}
        self._early: list[tuple[Frame, Messages]] = []
        self._held: deque[tuple[Frame, Messages]] = deque()
        self._safe = 0
        self._confirming: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        link.on_message = self._received

    async def start(self, users: Iterable[bytes]) -> None:
        """Subscribe to the frames, and to the channels of users who are here already."""
        await self._confirmed("SUBSCRIBE", [self._broadcast])
        waiting = list(users)
        for start in range(0, len(waiting), CHANNELS):
            await self.subscribe(waiting[start : start + CHANNELS])

    def catch_up_from(self, last: int) -> None:
        """Everything up to batch `last` is known."""
        self.last_batch = last

    def take(self, frame: Frame, messages: Messages) -> None:
        """The next batch, from wherever. FrameLostError (in `failed`) when it is not the next one."""
        if self.failed.done():
            return
        if frame.batch != self.last_batch + 1:
            reason = f"batch {self.last_batch + 1} is missing, {frame.batch} came"
            self.failed.set_exception(FrameLostError(reason))
            return
        self.last_batch = frame.batch
        self._held.append((frame, messages))
        self._is_safe(frame.safe)

    def go_on(self) -> None:
        """Hand out what came meanwhile, and from now on at once."""
        self._caught_up = True
        early, self._early = self._early, []
        for frame, messages in early:
            if frame.batch > self.last_batch:
                self.take(frame, messages)

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
            async with asyncio.timeout(self._timeout_s):
                await confirmed
        except TimeoutError:
            raise RedisUnavailableError(f"a subscription was not confirmed within {self._timeout_s:g} s") from None

    def _received(self, message: Any) -> None:
        try:
            kind, channel, payload = message
        except TypeError:  # asking for the type of each message would cost more than the message
            self._refused(str(message))
            return
        if kind == b"message":
            if channel == self._broadcast:
                self._close_batch(payload)
            else:
                self._messages[channel[len(self._user) :]] = payload
        elif kind == b"subscribe" and self._confirming and self._confirming[0][0] == channel:
            _, confirmed = self._confirming.popleft()
            if not confirmed.done():
                confirmed.set_result(None)

    def _refused(self, refusal: str) -> None:
        # Whoever asked for a subscription is told, and may ask again (a full memory passes); else the feed has failed.
        if self._confirming:
            channel, waiting = self._confirming.popleft()
            problem = RedisRefusedError(refusal, ("SUBSCRIBE", channel))
        else:
            waiting, problem = self.failed, RedisRefusedError(refusal, ("UNSUBSCRIBE", self._broadcast))
        if not waiting.done():
            waiting.set_exception(problem)
            waiting.exception()  # whoever no longer waits for it is not told by a warning at exit

    def _close_batch(self, payload: bytes) -> None:
        try:
            safe = safe_batch(payload)
            frame = Frame.decode(payload) if safe is None else None
        except ValueError:
            self._ignore(payload)
            return
        if frame is None:
            self._is_safe(safe or 0)
            return
        messages, self._messages = self._messages, {}
        self.heard_s = asyncio.get_running_loop().time()
        if self._caught_up:
            self.take(frame, messages)
        else:
            self._early.append((frame, messages))

    def _ignore(self, payload: bytes) -> None:
        # Had it been a frame once, the next one would show that it is missing.
        if not self._has_ignored:
            self._has_ignored = True
            advice = "somebody else publishes there; see who with: redis-cli CLIENT LIST, and redis-cli MONITOR"
            log.warning("not_a_frame", channel=self._broadcast.decode(), message=shown(payload), advice=advice)

    def _is_safe(self, batch: int) -> None:
        self._safe = max(self._safe, batch)
        while self._held and self._held[0][0].batch <= self._safe and not self.failed.done():
            try:
                self._on_batch(*self._held.popleft())
            except Exception as problem:  # a batch that only some have got: nothing may follow it
                self.failed.set_exception(problem)
