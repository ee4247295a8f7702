"""A node's tasks end when they are cancelled, no matter what happens at the same moment."""

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from fanout.clients.users import Users
from fanout.upstream.clock import RedisClock
from fanout.upstream.feed import Feed
from fanout.upstream.heartbeat import Heartbeat
from runtime.context import Context
from runtime.redis.link import RedisLink
from runtime.settings import load
from tests.support.batches import Kept


class Link:
    """Answers every heartbeat with batch 1; a subscription is confirmed when the test says so."""

    def __init__(self) -> None:
        self.closed = asyncio.get_running_loop().create_future()

    def call(self, *_: object) -> "asyncio.Future[Any]":
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        answer.set_result([1, b"epoch", 1000, b"", 1])
        return answer

    def send(self, *_: object) -> None:
        pass


@pytest.mark.parametrize("turns", range(6))
async def test_a_heartbeat_that_is_cancelled_while_a_batch_is_written_ends(turns: int) -> None:
    link, progress = cast(RedisLink, Link()), SimpleNamespace(written=1, advanced=asyncio.Event())
    feed = cast(Feed, SimpleNamespace(last_batch=1, silent_s=lambda: 0.0, strangers=SimpleNamespace(history=b"")))
    heartbeat = Heartbeat(Context(load()), "n", 1, link, feed, progress, Users(), RedisClock())
    beating = asyncio.create_task(heartbeat.run())
    await asyncio.sleep(0.05)
    progress.advanced.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    beating.cancel()
    done, _pending = await asyncio.wait([beating], timeout=0.5)
    assert done == {beating}
    assert beating.cancelled()


@pytest.mark.parametrize("turns", range(6))
async def test_a_subscription_that_is_cancelled_while_it_is_confirmed_ends(turns: int) -> None:
    link = Link()
    feed = Feed(Context(load(redis_timeout_s=5.0)), "node-1", cast(RedisLink, link), Kept())
    starting = asyncio.create_task(_forever(feed))
    await asyncio.sleep(0.05)
    cast(Any, link).on_message([b"subscribe", load().keys.broadcast.encode(), 1])
    for _ in range(turns):
        await asyncio.sleep(0)
    starting.cancel()
    done, _pending = await asyncio.wait([starting], timeout=0.5)
    assert done == {starting}
    assert starting.cancelled()


async def _forever(feed: Feed) -> None:
    while True:
        await feed.start([])
