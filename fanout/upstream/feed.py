"""The subscription: gathers what is published for this node's users until the frame that closes a batch.

Redis pub/sub delivers at most once. A lost message shows as a missing batch number, never as a silent hole.
`fanout/writer.py` tells the frame's way from end to end; the part of it in this file is `_received`, `_close_batch`,
`take` and `_release`, in this order.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any, Protocol

from contract.frames import Frame, Messages, safe_batch
from fanout.upstream.channels import Channels
from fanout.upstream.reading import Reading, size_of
from fanout.upstream.strangers import Strangers
from runtime.context import Context
from runtime.redis.link import RedisLink

CHANNELS = 1000
"""Channels in one SUBSCRIBE."""


class Receiver(Protocol):
    """What takes the batches."""

    def accept(self, frame: Frame, messages: Messages) -> None:
        """Take a batch that is next and safe; what it raises ends the feed."""

    advanced: asyncio.Event
    """Wakes the heartbeat."""
    limit_bytes: int
    """About how much may be kept of what can't be written yet."""

    @property
    def has_room(self) -> bool:
        """Whether more may come now. A batch that comes nevertheless is taken."""


class FrameLostError(Exception):
    """A batch number is missing: something that was published did not get here."""


class Feed:
    """Turns the messages of one subscription into batches, in order.

    Frames are kept aside until `catch_up_ends`: first the node learns from elsewhere (`catch_up_from`, `take`) what it
    has missed. Each batch is held until it is safe (`contract/frames.py`).

    What it keeps is bounded (`fanout/upstream/reading.py`).
    """

    def __init__(self, context: Context, node: str, link: RedisLink, receiver: Receiver, history: bytes = b"") -> None:
        keys = context.settings.keys
        self.failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done when nothing more can be handed on, with the reason as its exception."""
        self.last_batch = 0
        """The last batch heard; those after the last safe one are held."""
        self.strangers = Strangers(context.log, keys.broadcast, history)
        self._heard_s = context.now_s()
        self._last_channel = b""
        """Of those that `start` subscribes to."""
        self._is_starting = False
        self._caught_up = False
        self._now_s = context.now_s
        self._receiver = receiver
        self._reading = Reading(context, link, self._has_room)
        self._channels = Channels(context, link, self._reading)
        self._broadcast = keys.broadcast.encode()
        self._user = keys.user.encode()
        self._node = keys.node.encode() + node.encode()
        self._messages: Messages = {}
        self._early: list[tuple[Frame, Messages]] = []
        self._early_bytes = 0
        self._held: deque[tuple[Frame, Messages]] = deque()
        self._safe = 0
        link.on_message = self._received

    # Subscribing

    async def start(self, users: Iterable[bytes]) -> None:
        """Subscribe to the frames, and to the channels of users who are here already.

        And to the node's own channel, where nothing is published: a node that has not subscribed to it is gone.
        Batches count from the last confirmation on. Those before it are incomplete, and may be many.
        """
        channels = [self._user + user for user in users]
        groups = [[self._broadcast], [self._node]]
        groups += [channels[start : start + CHANNELS] for start in range(0, len(channels), CHANNELS)]
        self._last_channel, self._is_starting = groups[-1][-1], True
        for group in groups:
            await self._channels.subscribe(group)

    async def subscribe(self, users: Iterable[bytes]) -> None:
        """Subscribe to users' channels, as `Channels.subscribe`."""
        await self._channels.subscribe([self._user + user for user in users])

    def unsubscribe(self, users: Iterable[bytes]) -> None:
        """Unsubscribe from users' channels."""
        self._channels.unsubscribe([self._user + user for user in users])

    # Catching up

    def catch_up_from(self, last: int) -> None:
        """Everything up to batch `last` is known."""
        self.last_batch = last

    def catch_up_ends(self) -> None:
        """Hand on the frames kept aside, and from now on each frame at once."""
        self._caught_up = True
        early, self._early, self._early_bytes = self._early, [], 0
        for frame, messages in early:
            if frame.batch > self.last_batch and not self.strangers.sent(frame):
                self.take(frame, messages)

    # A frame's way

    def _received(self, message: Any) -> None:
        try:
            kind, channel, payload = message
        except TypeError:  # asking for the type of each message would cost more than the message
            if (problem := self._channels.refused(str(message))) and not self.failed.done():
                self.failed.set_exception(problem)
            return
        if kind == b"message":
            if channel == self._broadcast:
                self._close_batch(payload)
            else:
                self._messages[channel[len(self._user) :]] = payload
        elif kind == b"subscribe":
            # Never in the middle of a batch: a commit publishes it whole, its frame last.
            if self._is_starting and channel == self._last_channel:
                self._is_starting = False
            self._channels.confirmed(channel)

    def _close_batch(self, payload: bytes) -> None:
        try:
            safe = safe_batch(payload)
            frame = Frame.decode(payload) if safe is None else None
        except ValueError:
            self.strangers.junk(payload)
            return
        if frame is None:
            self._release(safe or 0)
            return
        messages, self._messages = self._messages, {}
        if self.strangers.sent(frame):
            self._receiver.advanced.set()  # the next heartbeat tells whether our own history has been renewed
            return
        self._heard_s = self._now_s()
        if self._is_starting:
            return
        if self._caught_up:
            self.take(frame, messages)
        else:
            self._early.append((frame, messages))
            self._early_bytes += size_of(frame, messages)
        self._reading.check()

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
                self._receiver.accept(*self._held.popleft())
            except Exception as problem:  # some clients may have this batch and others not: nothing may follow it
                self.failed.set_exception(problem)

    def _has_room(self) -> bool:
        return self._receiver.has_room if self._caught_up else self._early_bytes < self._receiver.limit_bytes

    def silent_s(self) -> float:
        """Seconds for which no frame has come although it could."""
        return 0.0 if self._reading.is_paused else self._now_s() - max(self._heard_s, self._reading.resumed_s)
