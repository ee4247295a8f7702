"""The subscription: gathers what is published for this node's users until the frame that closes a batch.

Redis pub/sub delivers at most once. A lost message shows as a missing batch number, never as a silent hole.
`fanout/writer.py` tells the frame's way from end to end; the part of it in this file is `_received`, `_close_batch`,
`take` and `_release`, in this order.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from contract.frames import Frame, Messages, safe_batch
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.redis.data import shown
from runtime.redis.link import RedisLink, RedisRefusedError

Accept = Callable[[Frame, Messages], None]
"""Takes a batch that is next and safe; what it raises ends the feed."""
CHANNELS = 1000
"""Channels in one SUBSCRIBE."""


class FrameLostError(Exception):
    """A batch number is missing: something that was published did not get here."""


class Feed:
    """Turns the messages of one subscription into batches, in order.

    Frames are kept aside until `catch_up_ends`: first the node learns from elsewhere (`catch_up_from`, `take`) what it
    has missed. Each batch is held until it is safe (`contract/frames.py`).
    """

    def __init__(self, context: Context, link: RedisLink, accept: Accept) -> None:
        keys = context.settings.keys
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nothing more can be handed on, with the reason as its exception."""
        self.heard_s = context.now_s()
        """When the last frame came."""
        self.last_batch = 0
        """The last batch heard; those after the last safe one are held."""
        self._caught_up = False
        self._has_ignored = False
        self._log = context.log
        self._link = link
        self._timeout_s = context.settings.redis_timeout_s
        self._accept = accept
        self._broadcast = keys.broadcast.encode()
        self._user = keys.user.encode()
        self._messages: Messages = {}
        self._early: list[tuple[Frame, Messages]] = []
        self._held: deque[tuple[Frame, Messages]] = deque()
        self._safe = 0
        self._confirming: deque[tuple[bytes, asyncio.Future[None]]] = deque()
        link.on_message = self._received

    # Subscribing

    async def start(self, users: Iterable[bytes]) -> None:
        """Subscribe to the frames, and to the channels of users who are here already."""
        await self._confirmed("SUBSCRIBE", [self._broadcast])
        waiting = list(users)
        for start in range(0, len(waiting), CHANNELS):
            await self.subscribe(waiting[start : start + CHANNELS])

    async def subscribe(self, users: Iterable[bytes]) -> None:
        """Subscribe to users' channels; returns once Redis has confirmed it.

        RedisRefusedError when Redis refuses it, RedisUnavailableError when no confirmation comes in time.
        """
        await self._confirmed("SUBSCRIBE", [self._user + user for user in users])

    def unsubscribe(self, users: Iterable[bytes]) -> None:
        """Unsubscribe from users' channels."""
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

    # Catching up

    def catch_up_from(self, last: int) -> None:
        """Everything up to batch `last` is known."""
        self.last_batch = last

    def catch_up_ends(self) -> None:
        """Hand on the frames kept aside, and from now on each frame at once."""
        self._caught_up = True
        early, self._early = self._early, []
        for frame, messages in early:
            if frame.batch > self.last_batch:
                self.take(frame, messages)

    # A frame's way

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

    def _close_batch(self, payload: bytes) -> None:
        try:
            safe = safe_batch(payload)
            frame = Frame.decode(payload) if safe is None else None
        except ValueError:
            self._ignore(payload)
            return
        if frame is None:
            self._release(safe or 0)
            return
        messages, self._messages = self._messages, {}
        self.heard_s = asyncio.get_running_loop().time()
        if self._caught_up:
            self.take(frame, messages)
        else:
            self._early.append((frame, messages))

    def take(self, frame: Frame, messages: Messages) -> None:
        """Accept the next batch, from the subscription or the journal. Any other one fails with FrameLostError."""
        if self.failed.done():
            return
        if frame.batch != self.last_batch + 1:
            reason = f"batch {self.last_batch + 1} is missing, {frame.batch} came"
            self.failed.set_exception(FrameLostError(reason))
            return
        self.last_batch = frame.batch
        self._held.append((frame, messages))
        self._release(frame.safe)

    def _release(self, safe: int) -> None:
        self._safe = max(self._safe, safe)
        while self._held and self._held[0][0].batch <= self._safe and not self.failed.done():
            try:
                self._accept(*self._held.popleft())
            except Exception as problem:  # some clients may have this batch and others not: nothing may follow it
                self.failed.set_exception(problem)

    # What is not part of a batch

    def _refused(self, refusal: str) -> None:
        # The part that subscribed is told, and may try again (Redis's memory may be full now, and not later). Without
        # one, it was an UNSUBSCRIBE, and the feed has failed.
        if self._confirming:
            channel, waiting = self._confirming.popleft()
            problem = RedisRefusedError(refusal, ("SUBSCRIBE", channel))
        else:
            waiting, problem = self.failed, RedisRefusedError(refusal, ("UNSUBSCRIBE", self._broadcast))
        if not waiting.done():
            waiting.set_exception(problem)
            waiting.exception()  # no warning at exit if the part that subscribed has stopped waiting

    def _ignore(self, payload: bytes) -> None:
        # If it was a damaged frame, the next one shows that a batch is missing.
        if not self._has_ignored:
            self._has_ignored = True
            advice = "another program publishes there; see which one with: redis-cli CLIENT LIST, and redis-cli MONITOR"
            self._log.warning("not_a_frame", channel=self._broadcast.decode(), message=shown(payload), advice=advice)
