"""A standby takes the lease over as soon as the leader's process has ended, and never from one that is there."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from runtime.context import Context
from runtime.redis.link import RedisLink, RedisRefusedError, connect
from runtime.settings import Settings, load
from sequencer.beacon import Beacon
from sequencer.store import Store


@pytest.fixture
def settings(server_url: str, namespace: str) -> Settings:
    return load(redis_url=server_url, namespace=namespace)


@pytest.fixture
async def link(server_url: str) -> AsyncIterator[RedisLink]:
    subject = await connect(server_url, 5.0, "test-take-over")
    yield subject
    subject.close()
    await subject.closed


async def test_a_beacon_is_lit_at_once(settings: Settings) -> None:
    beacon = Beacon(Context(settings), "leader")
    await asyncio.wait_for(beacon.light(), settings.redis_timeout_s / 2)
    beacon.put_out()


@pytest.fixture
async def leader(link: RedisLink, settings: Settings) -> AsyncIterator[Beacon]:
    """A leader's beacon; it has the lease."""
    beacon = Beacon(Context(settings), "leader")
    await beacon.light()
    store = Store(link, settings, "leader")
    await store.prepare()
    assert await store.acquire()
    yield beacon
    beacon.put_out()


async def gone(link: RedisLink, settings: Settings) -> None:
    """Wait until Redis has seen the end of the leader's subscription."""
    while (await link.call("PUBSUB", "NUMSUB", settings.keys.leader + "leader"))[1]:  # noqa: ASYNC110
        await asyncio.sleep(0.001)


async def test_a_standby_takes_over_after_two_looks(link: RedisLink, settings: Settings, leader: Beacon) -> None:
    standby = Store(link, settings, "standby")
    assert not await standby.acquire()
    leader.put_out()
    await gone(link, settings)
    assert not await standby.acquire()
    assert await link.call("GET", settings.keys.lease) == b"leader"
    assert await standby.acquire()
    assert await link.call("GET", settings.keys.lease) == b"standby"
    assert 0 < await link.call("PTTL", settings.keys.lease) <= settings.lease_s * 1000


async def test_a_leader_that_has_subscribed_again_keeps_the_lease(
    link: RedisLink, settings: Settings, leader: Beacon
) -> None:
    standby = Store(link, settings, "standby")
    assert not await standby.acquire()
    leader.put_out()
    await gone(link, settings)
    assert not await standby.acquire()
    await leader.light()
    for _ in range(3):
        assert not await standby.acquire()
    assert await link.call("GET", settings.keys.lease) == b"leader"


async def test_one_that_leads_now_is_not_taken_for_the_one_that_has_ended(
    link: RedisLink, settings: Settings, leader: Beacon
) -> None:
    standby = Store(link, settings, "standby")
    assert not await standby.acquire()
    leader.put_out()
    await gone(link, settings)
    assert not await standby.acquire()
    await link.call("SET", settings.keys.lease, "another")
    await link.call("PEXPIRE", settings.keys.lease, 5000)
    for _ in range(3):
        assert not await standby.acquire(), "its subscription was never seen: an older version has none"


async def test_a_subscription_that_is_cut_is_opened_again_at_once(
    link: RedisLink, settings: Settings, leader: Beacon
) -> None:
    keeping = asyncio.create_task(leader.keep())
    name = f"{settings.namespace}-sequencer-beacon"
    for _ in range(3):
        clients = (await link.call("CLIENT", "LIST")).decode().splitlines()
        (number,) = (line.split()[0].partition("=")[2] for line in clients if f"name={name} " in line)
        assert await link.call("CLIENT", "KILL", "ID", number) == 1
        async with asyncio.timeout(5):
            await gone(link, settings)
            while not (await link.call("PUBSUB", "NUMSUB", settings.keys.leader + "leader"))[1]:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    keeping.cancel()


async def test_a_subscription_that_is_refused_is_said(server_url: str, link: RedisLink, namespace: str) -> None:
    await link.call("ACL", "SETUSER", namespace, "on", "nopass", "~*", "+@all", "resetchannels")
    url = server_url.replace("://", f"://{namespace}:any@")
    with pytest.raises(RedisRefusedError, match=r"^NOPERM "):
        await Beacon(Context(load(redis_url=url, namespace=namespace)), "leader").light()
    await link.call("ACL", "DELUSER", namespace)
