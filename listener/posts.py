"""All requests to publish that are under way, whose bodies are there.

Rules kept here:

- The requests of one producer take turns, and go on under one generation, so that they do not fence each other.
- Each has one deadline for everything. Until its HELLO is answered nothing of it is taken, and a listener that stops
  lets it go at once; after that it may have been taken, and is answered when that is known.
- Only so many wait at a time.
"""

import asyncio
from typing import Any, Final
from weakref import WeakValueDictionary

from listener.asked import Asked, RefusedError
from listener.bodies import FULL, Bodies, Body
from listener.dialogue import Desk
from listener.post import Post

GENERATIONS_KEPT: Final = 1000
"""Producers whose next request goes on without fencing anybody."""
STOPPING: Final = "the listener stops: send it to another one"
MANY: Final = "too many requests wait already: send it again in a moment"
TURN: Final = "another request of this producer is under way: send it again when that is answered"


class Posts:
    """The requests of one listener. `has_room` is set while the intake is not full."""

    def __init__(self, desk: Desk, bodies: Bodies, has_room: asyncio.Event, most: int) -> None:
        self.is_stopping = False
        self._desk = desk
        self._bodies = bodies
        self._has_room = has_room
        self._most = most
        self._under_way = 0
        self._wait_s = desk.settings.registration_s
        self._generations: dict[str, int] = {}
        self._turns: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        self._undecided: set[asyncio.Timeout] = set()
        """The deadlines of requests of which nothing is taken yet."""

    def stop(self) -> None:
        """Take nothing more."""
        self.is_stopping = True
        for deadline in self._undecided:
            if not deadline.expired():
                deadline.reschedule(0)

    def refuse_if_stopping(self) -> None:
        """RefusedError when nothing more is taken."""
        if self.is_stopping:
            raise RefusedError(503, STOPPING)

    async def publish(self, what: Asked, body: Body) -> dict[str, Any]:
        """Take a body; returns what its sender is told. RefusedError when it can't be taken, or that is not known."""
        self.refuse_if_stopping()
        if self._under_way >= self._most:
            raise RefusedError(429, MANY)
        self._under_way += 1
        turn = self._turns.setdefault(what.producer, asyncio.Lock()) if what.producer else asyncio.Lock()
        post = Post(self._desk, what)
        try:
            async with asyncio.timeout(self._wait_s) as deadline:
                self._undecided.add(deadline)
                async with turn:
                    return await self._taken(post, body, deadline)
        except TimeoutError:
            raise self._too_late(post, is_its_turn=post.has_said_hello) from None
        finally:
            self._undecided.discard(deadline)
            self._under_way -= 1

    async def _taken(self, post: Post, body: Body, deadline: asyncio.Timeout) -> dict[str, Any]:
        await self._has_room.wait()
        producer = post.hello.producer
        try:
            await post.greet(self._generations.pop(producer, 0))
            self._undecided.discard(deadline)
            lines = body.lines
            self._bodies.drop(body)
            await post.take(lines)
            await post.confirmed()
            return post.answer()
        finally:
            self._remember(producer, post.generation)

    def _too_late(self, post: Post, *, is_its_turn: bool) -> RefusedError:
        """Why a request was not answered in time."""
        if post.acks:
            why = f"not confirmed within {self._wait_s:g} s, but it may have been taken: send it again"
            return RefusedError(504, why)
        if self.is_stopping:
            return RefusedError(503, STOPPING)
        if not self._has_room.is_set():
            return RefusedError(429, FULL)
        away = post.problem or self._desk.greeter.problem or "Redis is away"
        return RefusedError(503, away if is_its_turn else TURN)

    def _remember(self, producer: str, generation: int) -> None:
        if producer and generation:
            self._generations[producer] = generation
            if len(self._generations) > GENERATIONS_KEPT:
                del self._generations[next(iter(self._generations))]
