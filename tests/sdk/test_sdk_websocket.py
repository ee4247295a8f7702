"""The Python library over WebSocket, against servers that behave well, badly, or are no WebSocket at all."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from parade_client import Broadcast, Reset, Source, Subscriber, UnreachableError, sync

PATIENCE_S = 30.0
OPENED = "OK 9f31c2@0\n"
Talk = Callable[[ServerConnection], Awaitable[None]]


@asynccontextmanager
async def talking(talk: Talk) -> AsyncIterator[str]:
    """A server that says this on each connection; yields its address."""

    async def handle(socket: ServerConnection) -> None:
        with contextlib.suppress(ConnectionClosed):
            await talk(socket)

    async with serve(handle, "127.0.0.1", 0, compression="deflate", close_timeout=1) as server:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"


@asynccontextmanager
async def answering(said: bytes) -> AsyncIterator[str]:
    """A server that answers each request with these bytes, and closes behind them; with nothing if there are none."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(said)
        if not said:
            await reader.read()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield f"ws://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def test_a_message_with_many_lines_and_one_that_is_binary() -> None:
    async def talk(socket: ServerConnection) -> None:
        assert await socket.recv() == "50 after=now\n"
        await socket.send(OPENED)
        await socket.send("1|B\n2|B|a\n")
        await socket.send(b"3|B|\xff\n4|B\n")
        await socket.wait_closed()

    async with talking(talk) as url, Subscriber(url, user=50) as feed:
        lines = [event.line async for event in _first(feed, 4)]
    assert lines == [b"1|B\n", b"2|B|a\n", b"3|B|\xff\n", b"4|B\n"]


async def _first(feed: Subscriber, count: int) -> AsyncIterator[Broadcast]:
    for _ in range(count):
        event = await asyncio.wait_for(anext(feed), PATIENCE_S)
        assert isinstance(event, Broadcast)
        yield event


async def test_a_connection_that_ends_in_any_way_is_made_again() -> None:
    seen: list[object] = []

    async def talk(socket: ServerConnection) -> None:
        seen.append(await socket.recv())
        if len(seen) == 1:
            await socket.send(f"{OPENED}1|B\n")
            await socket.close(1001)
        elif len(seen) == 2:
            await socket.send("RESUMED 9f31c2@1\n2|B\n")
            socket.transport.abort()
        else:
            await socket.send("RESET 9f31c2@7 trimmed\n8|B\n")
            await socket.wait_closed()

    async with talking(talk) as url, Subscriber(url, user=50) as feed:
        found = [await asyncio.wait_for(anext(feed), PATIENCE_S) for _ in range(4)]
        assert feed.cursor == "9f31c2@8"
    assert seen == ["50 after=now\n", "50 after=9f31c2@1\n", "50 after=9f31c2@2\n"]
    assert found[2] == Reset("9f31c2@7", "trimmed")


async def test_bye_waits_for_the_server() -> None:
    said: list[object] = []

    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(OPENED)
        said.append(await socket.recv())
        await socket.close(1000)

    async with talking(talk) as url, Subscriber(url, user=50) as feed:
        await asyncio.wait_for(feed.bye(), PATIENCE_S)
    assert said == ["BYE\n"]


async def test_an_application_that_takes_nothing_makes_the_server_wait() -> None:
    sent = 0

    async def talk(socket: ServerConnection) -> None:
        nonlocal sent
        await socket.recv()
        await socket.send(OPENED)
        for number in range(1, 2_000):
            await socket.send(f"{number}|B|{'x' * 60_000}\n")
            sent = number

    async with talking(talk) as url, Subscriber(url, user=50) as feed:
        before = -1
        while before < sent or not sent:
            before = sent
            await asyncio.sleep(0.3)
        assert sent < 1_000
        async for event in _first(feed, sent + 1):
            assert event.payload == b"x" * 60_000


async def test_events_go_as_text_and_as_bytes() -> None:
    messages: list[object] = []

    async def talk(socket: ServerConnection) -> None:
        assert await socket.recv() == "HELLO acks=1\n"
        await socket.send("OK 9f31c2@1 reach=9\n")
        while len(messages) < 2:
            messages.append(await socket.recv())
            await socket.send(f"ACK {len(messages)}\n")
        await socket.wait_closed()

    async with talking(talk) as url, Source(url) as source:
        await asyncio.wait_for(source.send(Broadcast(b"hi", seq=1)), PATIENCE_S)
        await asyncio.wait_for(source.send(Broadcast(b"\xff", seq=2)), PATIENCE_S)
    assert messages == ["1|B|hi\n", b"2|B|\xff\n"]


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nno page\nx", r"the server answered 404 no page\)"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", r"the server answered 503\)"),
        (b"OK 9f31c2@0\n", "this is no WebSocket: "),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", "this is no WebSocket: "),
        (b"", "no WebSocket within"),
    ],
)
async def test_what_is_no_websocket_is_said_when_patience_ends(answer: bytes, problem: str) -> None:
    async with answering(answer) as url:
        with pytest.raises(UnreachableError, match=problem) as found:
            await asyncio.wait_for(Subscriber(url, user=50, patience_s=0.5).__aenter__(), PATIENCE_S)
    assert f"no answer from {url}/ws for 0.5 s" in str(found.value)


async def test_opening_can_be_cancelled_and_leaves_nothing() -> None:
    async with answering(b"") as url:
        opening = asyncio.ensure_future(Subscriber(url, user=50).__aenter__())
        await asyncio.sleep(0.2)
        opening.cancel()
        await asyncio.wait([opening], timeout=PATIENCE_S)
        assert opening.cancelled()


async def test_a_message_without_bound_ends_the_connection() -> None:
    tries: list[object] = []

    async def talk(socket: ServerConnection) -> None:
        tries.append(await socket.recv())
        if len(tries) == 1:
            await socket.send(OPENED)
            await socket.send("1|B\n" * 600_000)
        else:
            await socket.send("RESUMED 9f31c2@0\n1|B\n")
        await socket.wait_closed()

    async with talking(talk) as url, Subscriber(url, user=50) as feed:
        assert [event.seq async for event in _first(feed, 1)] == [1]
    assert len(tries) == 2


async def test_without_asyncio() -> None:
    async def talk(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(f"{OPENED}1|B|hi\n")
        await socket.wait_closed()

    def follow(url: str) -> list[bytes]:
        with sync.Subscriber(url, user=50) as feed:
            for event in feed:
                assert isinstance(event, Broadcast)
                return [event.line]
        return []

    async with talking(talk) as url:
        assert await asyncio.wait_for(asyncio.to_thread(follow, url), PATIENCE_S) == [b"1|B|hi\n"]
