"""One request to publish: which of its lines are handed over, and what it is told."""

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.control import Position
from listener.acks import Acks, Producer
from listener.asked import Asked, RefusedError
from listener.dialogue import Desk, Greeted
from listener.post import REFUSED_TOLD, Post
from listener.stats import ListenerStats
from runtime.context import Context
from runtime.edge.listen import peer_log
from runtime.settings import load

POSITION = Position(b"9f31c2", 7)
PATIENCE_S = 30.0


class Redis:
    """A listener that appends at once, and what Redis has of one producer then."""

    def __init__(self, received: int = 0, **settings: Any) -> None:
        context = Context(load(log_level="error", **settings))
        self.desk = Desk(context.settings, self, self, peer_log(context.log), ListenerStats())
        self.received = received
        self.stream = b""
        self.recorded: list[bytes] = []
        self.greeted: list[Greeted] = []
        self.problem = ""

    def accept_for(self, acks: Acks, lines: bytes, count: int) -> None:
        assert lines.count(b"\n") == count > 0
        acks.take(count)
        self.stream += lines
        self._confirm(acks, count)

    def refuse_for(self, acks: Acks, word: bytes, reason: str, sample: bytes) -> None:  # noqa: ARG002
        acks.refuse(word)
        self.recorded.append(sample)
        self._confirm(acks, 1)

    def _confirm(self, acks: Acks, lines: int) -> None:
        acks.done(lines)
        if acks.producer:
            acks.producer.received += lines
            self.received += lines

    def greet(self, dialogue: Greeted) -> None:
        self.greeted.append(dialogue)
        hello = dialogue.hello
        named = bool(hello and hello.producer)
        dialogue.welcome(Producer("key", 9, self.received) if named else None, POSITION, 0)

    def leave(self, dialogue: Greeted) -> None:
        if dialogue in self.greeted:
            self.greeted.remove(dialogue)

    async def post(self, body: bytes, first: int = 0) -> dict[str, Any]:
        """What a request is answered; `first` makes it a producer's."""
        what = Asked(len(body), "orders", first) if first else Asked(len(body))
        post = Post(self.desk, what)
        async with asyncio.timeout(PATIENCE_S):
            await post.greet(0)
            await post.take(body)
            await post.confirmed()
        assert not self.greeted, "it has left"
        return post.answer()


async def test_events_are_handed_over_and_refused_lines_named() -> None:
    redis = Redis()
    told = await redis.post(b"1|B\nrubbish\n2|B\n*|B\n" + b"3|B|".ljust(5000, b"x") + b"\n4|B\n")
    assert redis.stream == b"1|B\n2|B\n4|B\n"
    assert told == {
        "accepted": 3,
        "next": 7,
        "history": "9f31c2",
        "refused_lines": 3,
        "refused": [
            {"line": 2, "reason": "malformed"},
            {"line": 4, "reason": "unnumbered"},
            {"line": 5, "reason": "too-long"},
        ],
    }


async def test_where_parade_numbers_the_events_a_numbered_line_is_refused() -> None:
    redis = Redis(numbering="parade")
    told = await redis.post(b"*|B\n1|B\n")
    assert (redis.stream, told["refused"]) == (b"*|B\n", [{"line": 2, "reason": "numbered"}])


async def test_an_empty_body_asks_where_things_are() -> None:
    redis = Redis(340)
    assert (await redis.post(b""))["next"] == 7
    told = await redis.post(b"", first=1)
    assert (told["accepted"], told["received"], redis.stream) == (0, 340, b"")


async def test_a_repeated_request_is_told_the_same_and_changes_nothing() -> None:
    redis = Redis()
    body = b"1|B\nrubbish\n2|B\n"
    told = await redis.post(body, first=1)
    assert told["received"] == 3
    assert await redis.post(body, first=1) == told
    assert (redis.stream, redis.recorded, redis.received) == (b"1|B\n2|B\n", [b"rubbish\n"], 3)


async def test_a_body_that_begins_too_far_on_is_told_where_to_begin() -> None:
    redis = Redis(340)
    with pytest.raises(RefusedError) as refused:
        await redis.post(b"1|B\n", first=342)
    assert (refused.value.status, refused.value.facts, redis.stream) == (409, {"received": 340}, b"")
    assert "line 341" in refused.value.reason


async def test_many_refused_lines_are_counted_and_some_of_them_named() -> None:
    redis = Redis()
    told = await redis.post(b"\n" * 5000)
    assert (told["accepted"], told["refused_lines"], len(told["refused"])) == (0, 5000, REFUSED_TOLD)
    assert told["refused"][-1] == {"line": REFUSED_TOLD, "reason": "malformed"}


@pytest.mark.parametrize("trouble", ["is_fenced", "went_back"])
async def test_lines_that_were_not_taken_are_not_answered_as_if(trouble: str) -> None:
    redis = Redis()
    post = Post(redis.desk, Asked(4, "orders", 1))
    await post.greet(0)
    assert post.generation == 9
    assert post.acks
    post.acks.take(1)
    ended = asyncio.create_task(post.confirmed())
    await asyncio.sleep(0)
    setattr(post.acks, trouble, True)
    post.acks.on_news()
    with pytest.raises(RefusedError) as refused:
        await ended
    assert (refused.value.status, post.generation) == (503, 0)


LINES = st.lists(st.sampled_from([b"1|B\n", b"2|S|7|text\n", b"rubbish\n", b"\n", b"*|B\n"]), max_size=30)


@given(LINES, st.lists(st.tuples(st.integers(0, 32), st.integers(0, 32)), max_size=12))
def test_any_requests_together_take_each_line_once(lines: list[bytes], requests: list[tuple[int, int]]) -> None:
    """A producer sends any stretches of its lines, in any order and again: the stream has a beginning of them."""

    async def run() -> None:
        redis, taken = Redis(), 0
        for begin, end in [*requests, (taken, len(lines))]:
            stretch = lines[begin:end]
            if begin > taken:
                with pytest.raises(RefusedError):
                    await redis.post(b"".join(stretch), first=begin + 1)
                continue
            told = await redis.post(b"".join(stretch), first=begin + 1)
            taken = max(taken, begin + len(stretch))
            good = [line for line in lines[:taken] if line[:1] in b"12"]
            assert redis.stream == b"".join(good)
            assert (told["received"], redis.received) == (taken, taken)
            assert told["accepted"] == sum(line[:1] in b"12" for line in stretch)
            assert len(redis.recorded) == taken - len(good)

    asyncio.run(run())
