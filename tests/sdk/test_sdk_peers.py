"""Subscribers and sources on real sockets: what waits, what is bounded, and what a cancelled call leaves behind."""

import asyncio
import math
import socket
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import pytest

from parade_client import (
    Broadcast,
    OutboxFullError,
    ProtocolError,
    RefusedError,
    Reset,
    Source,
    Subscriber,
    UnreachableError,
    sync,
)
from parade_client.reconnect import FIRST_S, MOST_S, Pauses
from parade_client.url import Address, parse
from tests.support.servers import free_port

PATIENCE_S = 30.0
TURNS = 2000
"""So many turns of the loop are more than enough for what can happen by itself."""


class Peer:
    """The server's side of a connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def line(self) -> bytes:
        return await asyncio.wait_for(self.reader.readline(), PATIENCE_S)

    async def say(self, *lines: str) -> None:
        self.writer.write("".join(f"{line}\n" for line in lines).encode())
        await asyncio.wait_for(self.writer.drain(), PATIENCE_S)

    async def greet(self, answer: str) -> None:
        """Read the first line, and answer it."""
        assert await self.line()
        await self.say(answer)


class Server:
    """Takes connections; `url` is where."""

    def __init__(self) -> None:
        self.peers: asyncio.Queue[Peer] = asyncio.Queue()
        self.all: list[Peer] = []
        self.url = ""

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.all.append(Peer(reader, writer))
        await self.peers.put(self.all[-1])

    async def next(self) -> Peer:
        return await asyncio.wait_for(self.peers.get(), PATIENCE_S)


@asynccontextmanager
async def serving() -> AsyncIterator[Server]:
    server = Server()
    port = free_port()
    server.url = f"parade://127.0.0.1:{port}"
    listening = await asyncio.start_server(server.take, "127.0.0.1", port)
    try:
        yield server
    finally:
        listening.close()
        for peer in server.all:
            peer.writer.transport.abort()
        await asyncio.sleep(0)


async def turns(count: int = TURNS) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


@asynccontextmanager
async def subscribed(server: Server, answer: str = "OK 9f31c2@0") -> AsyncIterator[tuple[Subscriber, Peer]]:
    """A feed that is open, and the server's side of it."""
    feed = Subscriber(server.url, user=50)
    opening = asyncio.ensure_future(feed.__aenter__())
    peer = await server.next()
    await peer.greet(answer)
    await asyncio.wait_for(opening, PATIENCE_S)
    try:
        yield feed, peer
    finally:
        await feed.close()


@asynccontextmanager
async def sending(
    server: Server, answer: str = "OK 9f31c2@1 reach=9", **options: Any
) -> AsyncIterator[tuple[Source, Peer]]:
    """A source that is open, and the server's side of it. What it has not sent in the end is dropped."""
    source = Source(server.url, **options)
    opening = asyncio.ensure_future(source.__aenter__())
    peer = await server.next()
    await peer.greet(answer)
    await asyncio.wait_for(opening, PATIENCE_S)
    try:
        yield source, peer
    finally:
        await source.close()


# Subscribers


async def test_what_the_application_does_not_take_is_not_read() -> None:
    block, total = b"".join(b"%d|B|%b\n" % (number, b"x" * 1000) for number in range(1, 66)), 32 * 1024 * 1024
    async with serving() as server, subscribed(server) as (feed, peer):
        sent = 0

        async def flood() -> None:
            nonlocal sent
            number = 0
            while sent < total:
                lines = b"".join(b"%d|B|%b\n" % (number + at, b"x" * 1000) for at in range(1, 65))
                number += 64
                peer.writer.write(lines)
                await peer.writer.drain()
                sent += len(lines)

        flooding = asyncio.ensure_future(flood())
        event = await asyncio.wait_for(anext(feed), PATIENCE_S)
        await turns()
        assert isinstance(event, Broadcast)
        assert len(block) < sent < total, "a reader that runs ahead would have taken everything"
        flooding.cancel()


async def test_a_cancelled_wait_for_an_event_loses_nothing() -> None:
    async with serving() as server, subscribed(server) as (feed, peer):
        for number in range(1, 20):
            waiting = asyncio.ensure_future(anext(feed))
            await turns(number % 5)
            await peer.say(f"{number}|B")
            await turns(number % 3)
            waiting.cancel()
            found = (await asyncio.gather(waiting, return_exceptions=True))[0]
            if isinstance(found, asyncio.CancelledError):
                found = await asyncio.wait_for(anext(feed), PATIENCE_S)
            assert found == Broadcast(seq=number)


async def test_a_wait_that_is_cancelled_while_there_is_no_connection_goes_on_later() -> None:
    async with serving() as server, subscribed(server) as (feed, peer):
        peer.writer.close()
        waiting = asyncio.ensure_future(anext(feed))
        again = await server.next()
        assert await again.line() == b"50 after=9f31c2@0\n"
        waiting.cancel()
        await asyncio.wait([waiting])
        waiting = asyncio.ensure_future(anext(feed))
        await again.say("RESUMED 9f31c2@0", "1|B")
        assert await asyncio.wait_for(waiting, PATIENCE_S) == Broadcast(seq=1)


async def test_a_reset_that_was_not_taken_is_told_again_to_who_comes_back_with_the_cursor() -> None:
    async with serving() as server:
        feed = Subscriber(server.url, user=50, after="9f31c2@7")
        opening = asyncio.ensure_future(feed.__aenter__())
        await (await server.next()).greet("RESET ab12cd@9 history")
        await asyncio.wait_for(opening, PATIENCE_S)
        assert feed.cursor == "9f31c2@7"
        assert await anext(feed) == Reset("ab12cd@9", "history")
        assert feed.cursor == "ab12cd@9"
        await feed.close()


async def test_a_closed_feed_ends_also_for_who_waits() -> None:
    async with serving() as server, subscribed(server) as (feed, _):
        waiting = asyncio.ensure_future(anext(feed, None))
        await turns(5)
        await feed.close()
        assert await asyncio.wait_for(waiting, PATIENCE_S) is None
        assert [event async for event in feed] == []


async def test_a_feed_that_failed_has_ended() -> None:
    async with serving() as server, subscribed(server) as (feed, peer):
        await peer.say("1|B", "1|B")
        assert await anext(feed) == Broadcast(seq=1)
        with pytest.raises(ProtocolError, match="it was there before"):
            await asyncio.wait_for(anext(feed), PATIENCE_S)
        assert [event async for event in feed] == []
        assert feed.cursor == "9f31c2@1"


async def test_nobody_answers() -> None:
    url = f"parade://127.0.0.1:{free_port()}"
    expected = f"no answer from {url} for 0.3 s .*right port"
    with pytest.raises(UnreachableError, match=expected):
        await Subscriber(url, user=50, patience_s=0.3).__aenter__()
    with pytest.raises(UnreachableError, match=expected):
        await Source(url, patience_s=0.3).__aenter__()


async def test_the_last_word_of_a_server_is_in_the_error() -> None:
    async with serving() as server:
        feed = Subscriber(server.url, user=50, patience_s=1.0)
        opening = asyncio.ensure_future(feed.__aenter__())
        while not opening.done():
            peer = asyncio.ensure_future(server.next())
            await asyncio.wait([opening, peer], return_when=asyncio.FIRST_COMPLETED)
            if peer.done():
                peer.result().writer.write(b"ERROR too many connections\n")
                peer.result().writer.close()
            else:
                peer.cancel()
        with pytest.raises(UnreachableError, match="too many connections"):
            await opening


# Sources


async def test_what_has_no_room_waits_in_order_and_is_sent_once_there_is_some() -> None:
    async with serving() as server, sending(server, outbox_bytes=16) as (source, peer):
        posts = [asyncio.ensure_future(source.post(Broadcast(seq=number))) for number in range(1, 8)]
        await turns()
        assert [post.done() for post in posts] == [True] * 4 + [False] * 3
        assert [await peer.line() for _ in range(4)] == [b"%d|B\n" % number for number in range(1, 5)]
        await peer.say("ACK 4")
        await turns()
        assert not posts[4].done(), "it is kept until NEXT has passed it"
        await peer.say("NEXT 3")
        assert [await peer.line() for _ in range(2)] == [b"5|B\n", b"6|B\n"]
        assert not posts[6].done()


async def test_who_waits_for_room_too_long_is_told_what_is_missing() -> None:
    async with serving() as server, sending(server, outbox_bytes=4, patience_s=0.5) as (source, peer):
        sent = asyncio.ensure_future(source.send(Broadcast(seq=2)))
        await peer.line()
        await peer.say("ACK 1", "GAP 1")
        await asyncio.wait_for(sent, PATIENCE_S)
        with pytest.raises(OutboxFullError, match="number 1 is missing: send it first"):
            await source.post(Broadcast(seq=3))


async def test_a_send_that_is_cancelled_while_it_waits_for_room_sends_nothing() -> None:
    async with serving() as server, sending(server, outbox_bytes=4) as (source, peer):
        first, second, third = (asyncio.ensure_future(source.send(Broadcast(seq=number))) for number in (1, 2, 3))
        assert await peer.line() == b"1|B\n"
        second.cancel()
        await asyncio.wait([second])
        await peer.say("ACK 1", "NEXT 2")
        assert await peer.line() == b"3|B\n"
        await peer.say("ACK 2")
        await asyncio.wait_for(asyncio.gather(first, third), PATIENCE_S)


async def test_a_refused_event_is_an_error_for_its_sender_and_for_who_flushes_what_was_posted() -> None:
    async with serving() as server, sending(server) as (source, peer):
        await source.post(Broadcast(b"a", seq=1))
        await source.post(Broadcast(b"b", seq=2))
        sends = [asyncio.ensure_future(source.send(Broadcast(seq=number))) for number in (3, 4)]
        flushing = asyncio.ensure_future(source.flush())
        for _ in range(4):
            await peer.line()
        await peer.say("NAK 2 too-long", "NAK 3 malformed", "ACK 4")
        with pytest.raises(RefusedError, match=r"b'2|B|b\\n' was refused as too-long: make the payload shorter"):
            await asyncio.wait_for(flushing, PATIENCE_S)
        with pytest.raises(RefusedError, match="malformed"):
            await sends[0]
        await sends[1]
        await source.flush()


async def test_the_end_of_the_block_waits_until_everything_is_acknowledged() -> None:
    async with serving() as server:

        async def application() -> None:
            async with Source(server.url, producer="orders-7") as source:
                await source.post(Broadcast())

        running = asyncio.ensure_future(application())
        peer = await server.next()
        await peer.greet("OK 9f31c2@1 received=0")
        assert await peer.line() == b"*|B\n"
        await turns()
        assert not running.done()
        await peer.say("ACK 1")
        await asyncio.wait_for(running, PATIENCE_S)
        assert await peer.line() == b""


async def test_when_a_source_fails_everyone_who_waits_is_told_and_each_later_call() -> None:
    async with serving() as server, sending(server, outbox_bytes=4) as (source, peer):
        calls: list[Coroutine[Any, Any, None]] = [source.send(Broadcast(seq=1)), source.send(Broadcast(seq=2))]
        waiting = [asyncio.ensure_future(call) for call in calls]
        await peer.line()
        waiting.append(asyncio.ensure_future(source.flush()))
        await turns(5)
        await peer.say("ACK 7")
        found = await asyncio.wait_for(asyncio.gather(*waiting, return_exceptions=True), PATIENCE_S)
        assert [type(each) for each in found] == [ProtocolError] * 3
        with pytest.raises(ProtocolError):
            await source.post(Broadcast(seq=3))


async def test_a_source_that_is_not_open_or_is_closed_says_so() -> None:
    source = Source("parade://127.0.0.1")
    with pytest.raises(RuntimeError, match="use `async with Source"):
        await source.send(Broadcast(seq=1))
    async with serving() as server, sending(server) as (source, _):
        with pytest.raises(RuntimeError, match="can be opened once"):
            await source.__aenter__()
        await source.close()
        with pytest.raises(RuntimeError, match="is closed: make another one"):
            await source.send(Broadcast(seq=1))


async def test_an_event_without_a_number_needs_a_producer() -> None:
    async with serving() as server, sending(server) as (source, _):
        with pytest.raises(ValueError, match="needs a producer, as in Source"):
            await source.send(Broadcast())


@pytest.mark.parametrize("name", ["", "a b", "a/b", "x" * 65, "ü"])
def test_a_name_that_no_producer_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="the name of a producer"):
        Source("parade://127.0.0.1", producer=name)


# Without asyncio


def test_the_same_without_asyncio() -> None:
    """The server's side is in a thread of the test; the library has none."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]

        def serve() -> None:
            listening.settimeout(PATIENCE_S)
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb", buffering=0) as wire:
                assert wire.readline() == b"50 after=now\n"
                wire.write(b"OK 9f31c2@0\n1|B\n")
                asked.wait(PATIENCE_S)
                wire.write(b"2|B\n")
                assert wire.readline() == b"BYE\n"
            connection, _ = listening.accept()
            with connection, connection.makefile("rwb", buffering=0) as wire:
                assert wire.readline() == b"HELLO acks=1 producer=me\n"
                wire.write(b"OK 9f31c2@1 received=5\n")
                assert [wire.readline() for _ in range(3)] == [b"*|B|a\n", b"*|B|b\n", b"*|B|c\n"]
                wire.write(b"ACK 1\nNAK 3 too-long\nACK 3\n")
                assert wire.readline() == b""

        asked = threading.Event()
        server = threading.Thread(target=serve)
        server.start()
        threads = threading.active_count()
        with sync.Subscriber(f"parade://127.0.0.1:{port}", user=50) as feed:
            assert next(feed) == Broadcast(seq=1)
            with pytest.raises(TimeoutError, match=r"no event within 0\.01 s"):
                feed.next(timeout_s=0.01)
            asked.set()
            for event in feed:
                assert event == Broadcast(seq=2)
                break
            assert feed.cursor == "9f31c2@2"
            feed.bye()
        with sync.Source(f"parade://127.0.0.1:{port}", producer="me") as source:
            assert source.received == 5
            source.post(Broadcast(b"a"))
            source.post(Broadcast(b"b"))
            with pytest.raises(RefusedError, match="too-long"):
                source.send(Broadcast(b"c"))
            source.flush()
            assert (source.received, source.gap) == (8, None)
            assert threading.active_count() == threads
        server.join(PATIENCE_S)
        assert not server.is_alive()
        with pytest.raises(RuntimeError, match="make another one"):
            next(feed)
        feed.close()


# Pauses and addresses


def chance(value: float) -> Callable[[], float]:
    return lambda: value


def test_pauses_are_a_random_part_of_a_ceiling_that_doubles_until_somebody_answers() -> None:
    pauses = Pauses(chance(1.0))
    assert [pauses.next_s() for _ in range(7)] == [FIRST_S * 2**at for at in range(5)] + [MOST_S] * 2
    pauses.answered()
    assert pauses.next_s() == FIRST_S
    assert Pauses(chance(0.0)).next_s(5000) == 0
    assert Pauses(chance(0.25)).next_s() == FIRST_S / 4


def test_a_return_is_spread_over_the_time_that_the_server_says() -> None:
    pauses = Pauses(chance(0.5))
    assert pauses.next_s(60_000) == 30
    assert Pauses(chance(1.0)).next_s(1) == FIRST_S


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("parade://example.org:9", Address("example.org", 9)),
        ("parade://example.org", Address("example.org", 9099)),
        ("parade://127.0.0.1:9099/", Address("127.0.0.1", 9099)),
        ("parade://[::1]:7", Address("::1", 7)),
        ("ws://127.0.0.1:9098", Address("127.0.0.1", 9098, "ws", "/ws")),
        ("ws://[::1]/", Address("::1", 80, "ws", "/ws")),
        ("wss://example.org/feeds/", Address("example.org", 443, "wss", "/feeds/ws")),
    ],
)
def test_an_address(text: str, address: Address) -> None:
    assert parse(text, 9099, "ws") == address
    assert parse(str(address).removesuffix("/ws"), 1, "ws") == address


@pytest.mark.parametrize(
    "text",
    [
        *("127.0.0.1:9099", "http://127.0.0.1:9099", "parade://", "parade://:9099", "parade://host:port", ""),
        *("parade://host:99999", "parade://host/path", "parade://me@host", "parade://host?x=1", "parade://[::1"),
        *("ws://", "ws://host?token=1", "ws://me@host", "wss://host#x", "ws://host:x"),
    ],
)
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="is no address such as 'parade://"):
        parse(text, 9099, "ws")


@pytest.mark.parametrize("patience_s", [0, -1, math.nan])
def test_a_patience_that_is_none_is_refused(patience_s: float) -> None:
    with pytest.raises(ValueError, match="patience_s"):
        Subscriber("parade://127.0.0.1", user=50, patience_s=patience_s)


@pytest.mark.parametrize("user", [0, -5, 10**20])
def test_a_user_that_can_not_be_is_refused(user: int) -> None:
    with pytest.raises(ValueError, match="a user id has 1 to 20 digits"):
        Subscriber("parade://127.0.0.1", user=user)
