"""The lease is kept beside the work, however long that takes, and the work ends at once when it is lost."""

import asyncio

import pytest

from runtime.settings import Settings, load
from sequencer.batch import Batch
from sequencer.candidate import while_held
from sequencer.store import LeaseLostError, Store
from tests.integration.conftest import Calls

LEASE_S = 1.0
PATIENCE_S = 30.0


@pytest.fixture
def settings(namespace: str) -> Settings:
    return load(namespace=namespace, lease_s=LEASE_S)


@pytest.fixture
async def store(calls: Calls, settings: Settings) -> Store:
    subject = Store(calls, settings, "me")
    await subject.prepare()
    assert await subject.acquire()
    return subject


async def test_work_that_takes_longer_than_the_lease_keeps_it(calls: Calls, settings: Settings, store: Store) -> None:
    async def work() -> None:
        for _ in range(10):
            await asyncio.sleep(LEASE_S / 4)
            assert await calls.call("GET", settings.keys.lease) == b"me"

    await asyncio.wait_for(while_held(store, work()), PATIENCE_S)


@pytest.mark.parametrize("holder", [None, "another"])
async def test_work_ends_at_once_when_the_lease_is_lost(
    calls: Calls, settings: Settings, store: Store, holder: str | None
) -> None:
    ended = asyncio.Event()

    async def work() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    holding = asyncio.ensure_future(while_held(store, work()))
    await asyncio.sleep(0)
    await calls.call("SET", settings.keys.lease, holder) if holder else await calls.call("DEL", settings.keys.lease)
    with pytest.raises(LeaseLostError):
        await asyncio.wait_for(holding, PATIENCE_S)
    assert ended.is_set()
    assert await calls.call("GET", settings.keys.lease) == (holder.encode() if holder else None)


async def test_a_lease_that_is_given_back_is_not_lost(calls: Calls, settings: Settings, store: Store) -> None:
    async def work() -> None:
        await store.load()
        await store.commit(1, Batch(1, b"0-0"), last=True)
        await asyncio.sleep(LEASE_S)  # time for two renewals

    await asyncio.wait_for(while_held(store, work()), PATIENCE_S)
    assert await calls.call("GET", settings.keys.lease) is None


async def test_what_the_work_raises_comes_out_and_renewing_ends(store: Store) -> None:
    async def work() -> None:
        raise KeyError("this")

    before = len(asyncio.all_tasks())
    with pytest.raises(KeyError, match="this"):
        await asyncio.wait_for(while_held(store, work()), PATIENCE_S)
    assert len(asyncio.all_tasks()) == before
