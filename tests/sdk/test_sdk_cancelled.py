"""A cancellation that comes in the moment of a result is not lost, nor is the result of a read.

The moment is found by trying: the task is cancelled so many turns of the loop after the result is there.
"""

import asyncio

import pytest

from parade_client import Broadcast, Source
from parade_client.tcp import connect
from parade_client.url import Address
from parade_client.within import within
from tests.sdk.test_sdk_peers import PATIENCE_S, serving

TURNS = range(8)


async def turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def was_cancelled(task: "asyncio.Task[object]") -> bool:
    """Whether a task that was cancelled has noticed it, or had ended before."""
    before = task.done()
    task.cancel()
    await asyncio.wait([task], timeout=PATIENCE_S)
    assert task.done()
    return before or task.cancelled()


@pytest.mark.parametrize("count", TURNS)
async def test_a_wait_with_a_deadline(count: int) -> None:
    event = asyncio.Event()
    task = asyncio.ensure_future(within(PATIENCE_S, event.wait()))
    await turns(5)
    event.set()
    await turns(count)
    assert await was_cancelled(task)


@pytest.mark.parametrize("count", TURNS)
async def test_a_read_which_loses_nothing_by_it(count: int) -> None:
    async with serving() as server:
        port = int(server.url.rpartition(":")[2])
        connection = await connect(Address("127.0.0.1", port), PATIENCE_S)
        peer = await server.next()
        heard = bytearray()

        async def read() -> None:
            heard.extend(await connection.read(PATIENCE_S) or b"")

        task = asyncio.ensure_future(read())
        await turns(5)
        connection._reader.feed_data(b"one\n")
        await turns(count)
        assert await was_cancelled(task)
        await peer.say("two")
        while not heard.endswith(b"two\n"):
            await asyncio.wait_for(read(), PATIENCE_S)
        assert heard == b"one\ntwo\n"
        connection.cut()


async def test_a_read_goes_on_in_the_next_one_after_a_silence() -> None:
    async with serving() as server:
        connection = await connect(Address("127.0.0.1", int(server.url.rpartition(":")[2])), PATIENCE_S)
        peer = await server.next()
        assert await connection.read(0.01) is None
        await peer.say("one")
        assert await connection.read(PATIENCE_S) == b"one\n"
        await connection.close()


@pytest.mark.parametrize("count", TURNS)
async def test_a_source_that_is_closed_in_the_moment_of_an_answer(count: int) -> None:
    """It has to end: it did not when the answer came with the end."""
    async with serving() as server:
        source = Source(server.url)
        opening = asyncio.ensure_future(source.__aenter__())
        peer = await server.next()
        await peer.greet("OK 9f31c2@1 reach=1000000")
        await asyncio.wait_for(opening, PATIENCE_S)
        await source.post(Broadcast(seq=1))
        await peer.line()
        connection = next(iter(server.all))
        connection.writer.write(b"ACK 1\n")
        await asyncio.wait_for(source.flush(), PATIENCE_S)
        connection.writer.write(b"NEXT 2\n")
        await turns(count)
        await asyncio.wait_for(source.close(), PATIENCE_S)
