"""The subscription on real servers: what Redis refuses is reported, and the connection stays open."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from fanout.upstream.feed import Feed
from runtime.context import Context
from runtime.redis.link import RedisLink, RedisRefusedError, connect
from runtime.settings import Settings
from tests.support.batches import Kept


@pytest.fixture
async def admin(server_url: str) -> AsyncIterator[RedisLink]:
    link = await connect(server_url, 5.0, "test-admin")
    yield link
    link.close()
    await link.closed


async def test_a_refused_subscription_is_said_and_can_be_tried_again(
    server_url: str, admin: RedisLink, settings: Settings, namespace: str
) -> None:
    await admin.call("ACL", "SETUSER", namespace, "on", "nopass", "~*", "+@all", "resetchannels")
    link = await connect(server_url.replace("://", f"://{namespace}:any@"), 5.0, "test-feed")
    feed = Feed(Context(settings), "node-1", link, Kept())
    with pytest.raises(RedisRefusedError, match=r"^NOPERM "):
        await feed.start([])
    await admin.call("ACL", "SETUSER", namespace, f"&{settings.keys.prefix}*")
    await feed.start([b"1", b"2"])
    assert not feed.failed.done()
    link.close()
    await link.closed
    await admin.call("ACL", "DELUSER", namespace)


async def test_a_refusal_that_nobody_waits_for_ends_the_feed(
    server_url: str, admin: RedisLink, settings: Settings, namespace: str
) -> None:
    await admin.call("ACL", "SETUSER", namespace, "on", "nopass", "~*", "&*", "+@all", "-unsubscribe")
    link = await connect(server_url.replace("://", f"://{namespace}:any@"), 5.0, "test-feed")
    feed = Feed(Context(settings), "node-1", link, Kept())
    await feed.start([b"1"])
    feed.unsubscribe([b"1"])
    with pytest.raises(RedisRefusedError, match=r"^NOPERM "):
        await asyncio.wait_for(feed.failed, 10)
    link.close()
    await link.closed
    await admin.call("ACL", "DELUSER", namespace)
