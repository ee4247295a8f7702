"""Requests under way: turns, generations, deadlines, and the end of the listener."""

import asyncio
from typing import Any

import pytest

from contract.control import Position
from listener.acks import Acks, Producer
from listener.asked import Asked, RefusedError
from listener.bodies import Bodies, Body
from listener.dialogue import Desk, Greeted
from listener.posts import GENERATIONS_KEPT, Posts
from listener.stats import ListenerStats
from runtime.context import Context
from runtime.edge.listen import peer_log
from runtime.settings import load

POSITION = Position(b"9f31c2", 7)
PATIENCE_S = 30.0
BODY = b"1|B\n"
MOST = 3


class Stage:
    """A listener whose greeter and appender do what they are told to."""

    def __init__(self, wait_s: float = PATIENCE_S) -> None:
        context = Context(load(log_level="error", registration_s=wait_s))
        desk = Desk(context.settings, self, self, peer_log(context.log), ListenerStats())
        self.has_room = asyncio.Event()
        self.has_room.set()
        self.bodies = Bodies(1000)
        self.posts = Posts(desk, self.bodies, self.has_room, MOST)
        self.problem = ""
        self.greeted: list[Greeted] = []
        self.generations: list[int] = []
        """Those that were given with HELLO."""
        self.taken: list[Acks] = []
        self._received: dict[str, int] = {}

    def accept_for(self, acks: Acks, lines: bytes, count: int) -> None:
        assert lines.count(b"\n") == count
        acks.take(count)
        self.taken.append(acks)

    def refuse_for(self, acks: Acks, word: bytes, reason: str, sample: bytes) -> None:
        raise NotImplementedError

    def greet(self, dialogue: Greeted) -> None:
        assert dialogue.hello
        self.greeted.append(dialogue)
        self.generations.append(dialogue.hello.generation)

    def leave(self, dialogue: Greeted) -> None:
        if dialogue in self.greeted:
            self.greeted.remove(dialogue)

    def welcome(self, generation: int = 5) -> None:
        (dialogue,) = self.greeted
        assert dialogue.hello
        name = dialogue.hello.producer
        dialogue.welcome(Producer(name, generation, self._received.get(name, 0)) if name else None, POSITION, 0)

    def append(self) -> None:
        """What was taken last is in Redis."""
        acks = self.taken[-1]
        if acks.producer:
            acks.producer.received += 1
            self._received[acks.producer.key] = acks.producer.received
        acks.done(1)
        acks.on_news()

    def post(self, producer: str = "", first: int = 1) -> "asyncio.Task[dict[str, Any]]":
        body = Body([BODY], len(BODY))
        self.bodies.held_bytes += body.size
        return asyncio.create_task(self.posts.publish(Asked(len(BODY), producer, first), body))

    async def until(self, found: list[Any], count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(found) != count:  # noqa: ASYNC110
                await asyncio.sleep(0)

    async def served(self, producer: str, first: int, generation: int) -> None:
        """A request goes all its way; Redis gives out this generation."""
        posted = self.post(producer, first)
        await self.until(self.greeted, 1)
        self.welcome(generation)
        count = len(self.taken)
        await self.until(self.taken, count + 1)
        self.append()
        assert (await posted)["received"] == first


async def refused(posted: "asyncio.Task[dict[str, Any]]") -> tuple[int, str]:
    with pytest.raises(RefusedError) as problem:
        await posted
    return problem.value.status, problem.value.reason


async def test_a_body_is_no_longer_held_once_the_intake_has_it() -> None:
    stage = Stage()
    posted = stage.post()
    await stage.until(stage.greeted, 1)
    assert stage.bodies.held_bytes == len(BODY)
    stage.welcome()
    await stage.until(stage.taken, 1)
    assert stage.bodies.held_bytes == 0
    stage.append()
    assert (await posted)["accepted"] == 1


async def test_the_requests_of_one_producer_take_turns_and_others_do_not_wait_for_them() -> None:
    stage = Stage()
    first, second = stage.post("a"), stage.post("a", 2)
    await stage.until(stage.greeted, 1)
    stage.welcome()
    await stage.until(stage.taken, 1)
    other = stage.post("b")
    await stage.until(stage.greeted, 1)
    stage.append()
    await first
    await stage.until(stage.greeted, 2)
    assert stage.generations == [0, 0, 5], "the second one goes on under the generation of the first"
    for posted in (second, other):
        posted.cancel()


async def test_a_generation_is_forgotten_when_it_is_fenced_and_kept_for_as_many_as_fit() -> None:
    stage = Stage()
    await stage.served("a", 1, 5)
    await stage.served("a", 2, 6)
    posted = stage.post("a", 3)
    await stage.until(stage.greeted, 1)
    stage.welcome(6)
    await stage.until(stage.taken, 3)
    stage.taken[-1].is_fenced = True
    stage.taken[-1].on_news()
    assert (await refused(posted))[0] == 503
    await stage.served("a", 3, 7)
    assert stage.generations == [0, 5, 6, 0]
    for number in range(GENERATIONS_KEPT):
        await stage.served(f"b{number}", 1, 1)
    await stage.served("a", 4, 8)
    assert stage.generations[-1] == 0


async def test_only_so_many_wait() -> None:
    stage = Stage()
    waiting = [stage.post() for _ in range(MOST)]
    await stage.until(stage.greeted, MOST)
    assert (await refused(stage.post()))[0] == 429
    waiting[0].cancel()
    await stage.until(stage.greeted, MOST - 1)
    waiting.append(stage.post())
    await stage.until(stage.greeted, MOST)
    for posted in waiting:
        posted.cancel()


async def test_what_a_request_waited_for_in_vain_is_said() -> None:
    stage = Stage(wait_s=0.05)
    assert await refused(stage.post()) == (503, "Redis is away")
    stage.problem = "no history"
    assert await refused(stage.post("a")) == (503, "no history")
    stage.has_room.clear()
    assert (await refused(stage.post()))[0] == 429
    stage.has_room.set()
    posted = stage.post()
    await stage.until(stage.greeted, 1)
    stage.welcome()
    status, reason = await refused(posted)
    assert (status, "may have been taken" in reason) == (504, True)
    assert not stage.greeted


async def test_a_request_that_does_not_get_its_turn_is_told_so() -> None:
    stage = Stage(wait_s=0.05)
    lock = stage.posts._turns["a"] = asyncio.Lock()
    async with lock:
        status, reason = await refused(stage.post("a"))
    assert (status, "another request of this producer" in reason) == (503, True)


async def test_a_listener_that_stops_lets_go_what_is_not_taken_and_answers_what_is() -> None:
    stage = Stage()
    taken = stage.post()
    await stage.until(stage.greeted, 1)
    stage.welcome()
    await stage.until(stage.taken, 1)
    waiting = [stage.post("a"), stage.post("a")]
    await stage.until(stage.greeted, 1)
    stage.posts.stop()
    for posted in (*waiting, stage.post()):
        status, reason = await refused(posted)
        assert (status, "stops" in reason) == (503, True)
    stage.append()
    assert (await taken)["accepted"] == 1
