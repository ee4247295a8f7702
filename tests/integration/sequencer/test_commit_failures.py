"""Whatever makes a commit fail leaves everything as it was, and the same commit succeeds once the cause is gone.

Redis does not roll a script back that fails midway, so each way to fail is tried on a batch that changes
everything that a batch can change.
"""

import asyncio
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from runtime.errors import RedisUnavailableError
from runtime.redis.link import RedisLink, RedisRefusedError, connect
from runtime.settings import Settings, load
from sequencer.batch import Batch
from sequencer.store import Store
from tests.integration.conftest import Calls
from tests.integration.sequencer.test_commit import everything, full_batch
from tests.support.programs import Program
from tests.support.servers import free_port, server_of


async def a_store(calls: Calls, settings: Settings) -> Store:
    store = Store(calls, settings, "me")
    await store.prepare()
    assert await store.acquire()
    await calls.call("SADD", settings.keys.online + "n1", "8")
    await calls.call("SADD", settings.keys.following + "1", "9")
    await calls.call("SADD", settings.keys.followers + "9", "1")
    await store.commit(1, Batch(1, b"1-0", waiting=[(3, b"3|B\n")]))
    return store


KEYS = [
    *("state", "waiting", "events", "rejected", "nodes", "deliveries", "away", "since"),
    *("followers:2", "following:1", "following:3", "followers:9", "online:n1", "online:n2"),
]


@pytest.mark.parametrize("key", KEYS)
async def test_a_key_of_another_type(calls: Calls, settings: Settings, key: str) -> None:
    store = await a_store(calls, settings)
    name, aside = settings.keys.prefix + key, settings.keys.prefix + "aside"
    if await calls.call("EXISTS", name):
        await calls.call("RENAME", name, aside)
    await calls.call("SET", name, "not ours")
    before = await everything(calls, settings)
    with pytest.raises(RedisRefusedError, match=r"KEYTYPE .*delete it"):
        await store.commit(2, full_batch(b"5-0"))
    assert await everything(calls, settings) == before

    await calls.call("DEL", name)
    if await calls.call("EXISTS", aside):
        await calls.call("RENAME", aside, name)
    await store.commit(2, full_batch(b"5-0"))


async def test_a_counter_that_is_no_number(calls: Calls, settings: Settings) -> None:
    store = await a_store(calls, settings)
    await calls.call("HSET", settings.keys.state, "released", "many")
    before = await everything(calls, settings)
    with pytest.raises(RedisRefusedError, match=r"STATE released .* is not a number: many"):
        await store.commit(2, full_batch(b"5-0"))
    assert await everything(calls, settings) == before


async def test_a_journal_that_is_ahead(calls: Calls, settings: Settings) -> None:
    store = await a_store(calls, settings)
    await calls.call("XADD", settings.keys.deliveries, "7-1", "frame", "of another past")
    before = await everything(calls, settings)
    with pytest.raises(RedisRefusedError, match=r"JOURNAL .* does not take batch 2"):
        await store.commit(2, full_batch(b"5-0"))
    assert await everything(calls, settings) == before


# What Redis itself refuses: on a server of one's own, since it concerns all of its clients.


@pytest.fixture
def own_server(program: Program, tmp_path: Path) -> Iterator[tuple[str, "subprocess.Popen[bytes]"]]:
    port, folder = free_port(), tmp_path / "redis"
    folder.mkdir()
    with server_of(program, port, "--dir", str(folder)) as process:
        yield f"redis://127.0.0.1:{port}/0", process


@pytest.fixture
async def own_link(own_server: tuple[str, object]) -> AsyncIterator[RedisLink]:
    link = await connect(own_server[0], 5.0, "test")
    yield link
    link.close()
    await link.closed


REFUSALS = {
    "a_replica": ("READONLY", ["REPLICAOF", "127.0.0.1", "1"], ["REPLICAOF", "NO", "ONE"]),
    "too_few_replicas": (
        "NOREPLICAS",
        ["CONFIG", "SET", "min-replicas-to-write", "1"],
        ["CONFIG", "SET", "min-replicas-to-write", "0"],
    ),
}


@pytest.mark.parametrize("cause", REFUSALS)
async def test_redis_refuses_writes(own_link: RedisLink, settings: Settings, cause: str) -> None:
    error, begin, end = REFUSALS[cause]
    store = await a_store(own_link, settings)
    before = await everything(own_link, settings)
    await own_link.call(*begin)
    with pytest.raises(RedisRefusedError, match=error):
        await store.commit(2, full_batch(b"5-0"))
    assert await everything(own_link, settings) == before
    await own_link.call(*end)
    await store.commit(2, full_batch(b"5-0"))


async def test_a_full_disk(own_link: RedisLink, settings: Settings, tmp_path: Path) -> None:
    """Redis refuses writes after a snapshot failed; here it fails because its folder is not there."""
    store = await a_store(own_link, settings)
    before = await everything(own_link, settings)
    await own_link.call("CONFIG", "SET", "save", "3600 1")
    (tmp_path / "redis").rmdir()
    await own_link.call("BGSAVE")
    async with asyncio.timeout(10):
        while b"rdb_last_bgsave_status:err" not in await own_link.call("INFO", "persistence"):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    with pytest.raises(RedisRefusedError, match="MISCONF"):
        await store.commit(2, full_batch(b"5-0"))
    assert await everything(own_link, settings) == before
    await own_link.call("CONFIG", "SET", "stop-writes-on-bgsave-error", "no")
    await store.commit(2, full_batch(b"5-0"))


async def test_a_full_memory_stops_what_comes_in_but_not_the_batches(own_link: RedisLink, settings: Settings) -> None:
    store = await a_store(own_link, settings)
    await own_link.call("CONFIG", "SET", "maxmemory", "1")
    with pytest.raises(RedisRefusedError, match="OOM"):
        await own_link.call("XADD", settings.keys.events, "*", "raw", "1|B\n")
    await store.commit(2, full_batch(b"5-0"))
    assert await own_link.call("HGET", settings.keys.state, "batch") == b"2"
    assert await store.acquire()
    await store.commit(3, Batch(5, b"5-0"), last=True)
    assert await store.acquire(), "even a new term begins"
    assert (await store.load()).batch == 3


async def test_without_replicas_a_batch_is_not_called_safe(own_link: RedisLink, namespace: str) -> None:
    settings = load(namespace=namespace, wait_replicas=1, redis_timeout_s=1.01)
    store = Store(own_link, settings, "me")
    await store.prepare()
    await store.acquire()
    with pytest.raises(RedisUnavailableError, match="0 of 1 replicas"):
        await store.commit(1, full_batch(b"5-0"))
