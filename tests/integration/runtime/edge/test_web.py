"""HTTP that no caller can hold up, on real sockets: half requests, slow bytes, answers that are not read."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web

from runtime.edge import web as guarded
from runtime.edge.peer_log import PeerLog
from runtime.edge.web import served
from runtime.errors import ParadeError
from tests.support.servers import free_port

HOST = "127.0.0.1"
SECONDS = 15.0
MOST = 4
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
HALF = REQUEST[:-2]
KEPT_S = 60.0


def posted(body: bytes, length: int = -1) -> bytes:
    """A request with a body."""
    size = len(body) if length < 0 else length
    return b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%b" % (size, body)


class Stage:
    """A served application, and what it counts of its peers."""

    def __init__(self, log: PeerLog) -> None:
        self.port = free_port()
        self.log = log
        self.release = asyncio.Event()
        self.answering = 0
        self._stack = contextlib.AsyncExitStack()

    async def connect(self, data: bytes = b"", path: str = "/", **options: Any) -> "Caller":
        reader, writer = await asyncio.open_connection(HOST, self.port, **options)
        writer.write(data.replace(b"GET / ", b"GET %b " % path.encode()))
        self._stack.callback(writer.close)
        return Caller(reader, writer)

    async def occurred(self, reason: str, count: int) -> None:
        async with asyncio.timeout(SECONDS):
            while self.log.by_reason()[f"http_cut_off: {reason}"] < count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    async def answers(self, count: int) -> None:
        async with asyncio.timeout(SECONDS):
            while self.answering != count:  # noqa: ASYNC110
                await asyncio.sleep(0.01)


class Caller:
    """One connection to the application."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def everything(self) -> bytes:
        """All that comes until the other side ends the connection; empty when it was cut off."""
        async with asyncio.timeout(SECONDS):
            try:
                return await self.reader.read()
            except ConnectionError:
                return b""


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    found = Stage(PeerLog(lambda *_: None, asyncio.get_running_loop().call_later))

    async def small(_: web.Request) -> web.Response:
        return web.Response(text="small")

    async def large(_: web.Request) -> web.Response:
        return web.Response(body=b"x" * (64 << 20))

    async def late(_: web.Request) -> web.Response:
        found.answering += 1
        try:
            await found.release.wait()
        finally:
            found.answering -= 1
        return web.Response(text="late")

    app = web.Application()
    app.add_routes([web.get("/", small), web.get("/large", large), web.get("/late", late)])
    async with found._stack, served(app, HOST, found.port, MOST, found.log):
        yield found


@pytest.fixture
async def kept() -> AsyncIterator[Stage]:
    """One whose connections are kept for further requests."""
    found = Stage(PeerLog(lambda *_: None, asyncio.get_running_loop().call_later))

    async def echo(request: web.Request) -> web.Response:
        body = await request.read()
        guarded.exchange(request).begin()
        return web.Response(body=b"<%b>" % body)

    app = web.Application()
    app.add_routes([web.post("/", echo)])
    async with found._stack, served(app, HOST, found.port, MOST, found.log, kept_s=KEPT_S):
        yield found


async def test_a_connection_serves_one_request_and_ends(stage: Stage) -> None:
    caller = await stage.connect(REQUEST * 2)
    answer = await caller.everything()
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert b"Connection: close\r\n" in answer
    assert answer.count(b"small") == 1


@pytest.mark.parametrize("sent", [b"", HALF[:7], HALF], ids=["nothing", "a part of a line", "all but the end"])
async def test_a_request_that_does_not_come_ends_its_connection(
    sent: bytes, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "HEAD_S", 0.1)
    caller = await stage.connect(sent)
    assert await caller.everything() == b""
    await stage.occurred("no request within 0.1 s", 1)


async def test_bytes_that_come_one_by_one_win_no_time(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "HEAD_S", 0.3)
    caller = await stage.connect(HALF)
    ended = asyncio.create_task(caller.everything())
    async with asyncio.timeout(SECONDS):
        while not ended.done():
            caller.writer.write(b"a")
            await asyncio.sleep(0.02)
    assert ended.result() == b""


async def test_an_answer_that_is_not_taken_is_thrown_away(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "TAKE_S", 0.2)
    await stage.connect(REQUEST, "/large", limit=1024)
    await stage.occurred("the answer was not taken within 0.2 s", 1)
    assert b"small" in await (await stage.connect(REQUEST)).everything()


async def test_a_caller_that_ends_its_side_while_it_takes_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "TAKE_S", 0.2)
    caller = await stage.connect(REQUEST, "/large", limit=1024)
    await caller.reader.readline()
    caller.writer.write_eof()
    await stage.occurred("the answer was not taken within 0.2 s", 1)


async def test_many_halves_of_requests_keep_nobody_out(stage: Stage) -> None:
    halves = [await stage.connect(HALF) for _ in range(10 * MOST)]
    await stage.occurred("too many connections", 9 * MOST)
    assert b"small" in await (await stage.connect(REQUEST)).everything()
    await stage.occurred("too many connections", 9 * MOST + 1)
    for half in halves[: 9 * MOST + 1]:
        assert await half.everything() == b""
    halves[-1].writer.write(b"\r\n")
    assert b"small" in await halves[-1].everything(), "the last ones are still there"


async def test_when_all_are_being_answered_one_more_is_refused(stage: Stage) -> None:
    waiting = [await stage.connect(REQUEST, "/late") for _ in range(MOST)]
    await stage.answers(MOST)
    assert await (await stage.connect(REQUEST)).everything() == b""
    stage.release.set()
    for caller in waiting:
        assert b"late" in await caller.everything()
    assert b"small" in await (await stage.connect(REQUEST)).everything()


async def test_a_place_is_free_as_soon_as_its_caller_has_gone(stage: Stage) -> None:
    for _ in range(3):
        callers = [await stage.connect(REQUEST, "/late") for _ in range(MOST)]
        await stage.answers(MOST)
        for caller in callers:
            caller.writer.transport.abort()
        await stage.answers(0)
    assert b"small" in await (await stage.connect(REQUEST)).everything()


@pytest.mark.parametrize("junk", [b"\x16\x03\x01junk\r\n\r\n", b"x" * 100_000, b"GET / HTTP/9\r\n\r\n"])
async def test_what_is_no_request_is_counted_and_leaves_no_traceback(
    junk: bytes, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, "aiohttp"):
        caller = await stage.connect(junk)
        assert (await caller.everything())[:12] in (b"HTTP/1.1 400", b"HTTP/1.0 400", b"")
    await stage.occurred("not an HTTP request", 1)
    assert "Traceback" not in caplog.text


async def test_a_port_that_is_taken() -> None:
    log = PeerLog(lambda *_: None, asyncio.get_running_loop().call_later)
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ParadeError, match=f"port {port} on {HOST} is in use by "):
            async with served(web.Application(), HOST, port, MOST, log):
                pass


async def test_a_kept_connection_serves_one_request_after_another(kept: Stage) -> None:
    caller = await kept.connect(posted(b"1") + posted(b"2"))
    async with asyncio.timeout(SECONDS):
        await caller.reader.readuntil(b"<1>")
        await caller.reader.readuntil(b"<2>")
        caller.writer.write(posted(b"3"))
        await caller.reader.readuntil(b"<3>")


async def test_a_kept_connection_gives_way_while_it_waits(kept: Stage) -> None:
    async with asyncio.timeout(SECONDS):
        idle = [await kept.connect(posted(b"1")) for _ in range(MOST)]
        for each in idle:
            await each.reader.readuntil(b"<1>")
        new = await kept.connect(posted(b"2"))
        await new.reader.readuntil(b"<2>")
    assert await idle[0].everything() == b""
    await kept.occurred("too many connections", 1)
    idle[1].writer.write(posted(b"3"))
    async with asyncio.timeout(SECONDS):
        await idle[1].reader.readuntil(b"<3>")


async def test_bodies_that_do_not_come_keep_nobody_out(kept: Stage) -> None:
    halves = [await kept.connect(posted(b"1", 2)) for _ in range(3 * MOST)]
    await kept.occurred("too many connections", 2 * MOST)
    async with asyncio.timeout(SECONDS):
        await (await kept.connect(posted(b"2"))).reader.readuntil(b"<2>")
    assert await halves[0].everything() == b""


async def test_on_a_kept_port_too_a_request_that_does_not_come_ends_its_connection(
    kept: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded, "HEAD_S", 0.1)
    assert await (await kept.connect(posted(b"1")[:-4])).everything() == b""
    await kept.occurred("no request within 0.1 s", 1)


async def test_a_kept_connection_ends_after_a_while() -> None:
    found = Stage(PeerLog(lambda *_: None, asyncio.get_running_loop().call_later))
    async with found._stack, served(web.Application(), HOST, found.port, MOST, found.log, kept_s=0.1):
        caller = await found.connect(REQUEST + HALF)
        assert (await caller.everything()).startswith(b"HTTP/1.1 404")
    assert not found.log.counts, "that is no event"


@pytest.mark.parametrize(
    "junk",
    [
        posted(b"1").replace(b"Content-Length: 1", b"Content-Length: 1\r\nTransfer-Encoding: chunked"),
        posted(b"1").replace(b"Content-Length: 1", b"Content-Length: 1\r\nContent-Length: 2"),
        posted(b"1").replace(b"Content-Length: 1", b"Content-Length: 0x1"),
        posted(b"1").replace(b"Content-Length: 1", b"Content-Length : 1"),
        posted(b"1").replace(b"Host", b"X: " + b"x" * 100_000 + b"\r\nHost"),
        posted(b"1").replace(b"Host: localhost", b"\r\n".join(b"X%d: x" % number for number in range(1000))),
    ],
    ids=["two lengths", "two values", "hexadecimal", "a blank", "a long header", "many headers"],
)
async def test_a_request_with_two_meanings_is_refused_and_its_connection_ends(junk: bytes, kept: Stage) -> None:
    caller = await kept.connect(junk + posted(b"2"))
    answer = await caller.everything()
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.0 400"))
    assert b"<2>" not in answer
