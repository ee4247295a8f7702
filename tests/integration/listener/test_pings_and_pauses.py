"""Pings and pauses of a source over WebSocket, on real sockets; the test says when it is time for a ping."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from listener.dialogue import Desk
from listener.intake import Intake
from listener.outgoing import Pings
from listener.publishing import Publishing
from listener.server import Source, Sources
from listener.stats import ListenerStats
from runtime.context import Context
from runtime.settings import load
from tests.support.servers import free_port
from tests.support.web_sources import CLOSE, PING, PONG, frame, handshake

HOST = "127.0.0.1"
SECONDS = 30.0
BLOCK = b"1|B\n" * 4096
FLOOD_BYTES = 64 << 20


async def until(condition: Any) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.005)


class Stage:
    """A listener's web port; what plain sources send is counted, and dropped."""

    def __init__(self) -> None:
        self.port = free_port()
        context = Context(load(log_level="error", web_port=self.port))
        self.sources = Sources(context)
        self.accepted = 0
        self.intake: Intake | None = None
        self.records: list[str] = []
        greeter: Any = SimpleNamespace(greet=lambda _: None, leave=lambda _: None, problem="")
        self.desk = Desk(context.settings, cast(Any, None), greeter, self.sources.log, ListenerStats())
        self.publishing = Publishing(
            context, self.desk, self.sources.has_room, lambda: Source(self.sources, self, self.desk, proxied=False)
        )

    def accept(self, lines: bytes) -> None:
        assert lines.endswith(b"\n")
        self.accepted += len(lines)
        if self.intake is not None:
            self.intake.put(lines)

    def record(self, reason: str, sample: bytes) -> None:
        assert sample
        self.records.append(reason)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator["Client"]:
        """A connection whose handshake has been answered."""
        reader, writer = await asyncio.open_connection(HOST, self.port)
        writer.write(handshake())
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 101 ")
        client = Client(reader, writer)
        await until(lambda: PINGS)
        try:
            yield client
        finally:
            writer.transport.abort()

    def happened(self, event: str) -> int:
        return self.sources.log.by_reason()[event]


class Client:
    """The client's side."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def frame(self) -> tuple[int, bytes]:
        async with asyncio.timeout(SECONDS):
            first = await self.reader.readexactly(2)
            return first[0] & 0x0F, await self.reader.readexactly(first[1])

    async def ends(self) -> bool:
        """It is cut off: without a Close frame."""
        async with asyncio.timeout(SECONDS):
            with contextlib.suppress(ConnectionError):
                return not await self.reader.read()
        return True


PINGS: list[Pings] = []
"""Those of the connections, whose time the tests say."""


def ping() -> None:
    cast(Any, PINGS[0])._tick()


def is_asked() -> bool:
    return bool(cast(Any, PINGS[0])._is_asked)


@pytest.fixture(autouse=True)
def by_hand(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    PINGS.clear()  # the one connection's, again for each ping
    monkeypatch.setattr(Pings, "go_on", lambda pings: PINGS.append(pings))
    yield
    capsys.readouterr()


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    found = Stage()
    async with found.publishing.served():
        yield found


async def test_who_answers_pings_stays_however_silent(stage: Stage) -> None:
    async with stage.client() as client:
        for _ in range(5):
            ping()
            assert await client.frame() == (PING, b"")
            client.writer.write(frame(b"", PONG))
            await until(lambda: not is_asked())
        client.writer.write(frame(b"1|B"))
        await until(lambda: stage.accepted == 4)


async def test_any_bytes_are_an_answer(stage: Stage) -> None:
    async with stage.client() as client:
        message = frame(b"1|B")
        for byte in message:
            ping()
            assert await client.frame() == (PING, b"")
            client.writer.write(bytes([byte]))
            await until(lambda: not is_asked())
        await until(lambda: stage.accepted == 4)


async def test_who_has_not_answered_by_the_next_ping_is_cut_off(stage: Stage) -> None:
    async with stage.client() as client:
        ping()
        assert await client.frame() == (PING, b"")
        ping()
        assert await client.ends()
        await until(lambda: stage.happened("source_disconnected: no answer to a ping") == 1)
        assert (stage.sources.limits.connections, stage.sources.connected) == (0, set())


async def test_a_source_that_is_not_read_for_long_is_not_cut_off(stage: Stage) -> None:
    """Its pongs stand behind what is not read."""
    async with stage.client() as client:
        stage.sources.rest(True)
        flooding = asyncio.create_task(flood(client.writer))
        for _ in range(5):
            await asyncio.sleep(0.01)
            ping()
        assert (stage.accepted, flooding.done()) == (0, False), "it waits"
        stage.sources.rest(False)
        await until(flooding.done)
        await until(lambda: stage.accepted == FLOOD_BYTES)
        assert not stage.happened("source_disconnected: no answer to a ping")


async def test_pauses_in_the_middle_of_a_flood_lose_nothing(stage: Stage) -> None:
    async with stage.client() as client:
        flooding = asyncio.create_task(flood(client.writer))
        while not flooding.done():
            stage.sources.rest(True)
            await asyncio.sleep(0)
            before = stage.accepted
            await asyncio.sleep(0.001)
            assert stage.accepted == before
            stage.sources.rest(False)
            await until(lambda: stage.accepted > before or flooding.done())  # noqa: B023
        await until(lambda: stage.accepted == FLOOD_BYTES)


@pytest.mark.parametrize("says_close", [True, False])
async def test_what_was_sent_before_the_end_is_taken_also_after_a_pause(says_close: bool, stage: Stage) -> None:
    async with stage.client() as client:
        stage.sources.rest(True)
        client.writer.write(frame(BLOCK) + frame(BLOCK) + (frame(b"", CLOSE) if says_close else b""))
        client.writer.write_eof()
        await client.writer.drain()
        await asyncio.sleep(0.05)  # enough to see the end, if it were looked at
        assert (stage.accepted, len(stage.sources.connected)) == (0, 1)
        stage.sources.rest(False)
        await until(lambda: not stage.sources.connected)
        assert stage.accepted == 2 * len(BLOCK)
    assert stage.records == []


async def test_messages_that_have_come_already_wait_while_the_intake_is_full(stage: Stage) -> None:
    stage.intake = intake = Intake(len(BLOCK), stage.sources.rest)
    async with stage.client() as client:
        client.writer.write(frame(BLOCK) * 6)
        client.writer.write_eof()
        for taken in range(6):
            await until(lambda: intake.held_bytes)
            await asyncio.sleep(0.05)  # enough to see the end, if it were looked at
            assert intake.held_bytes == len(BLOCK)
            assert stage.sources.resting, taken
            assert stage.sources.connected
            intake.take(len(BLOCK))
        await until(lambda: not stage.sources.connected)
        assert stage.accepted == 6 * len(BLOCK)


async def test_what_has_come_is_taken_also_when_the_connection_is_gone_meanwhile(stage: Stage) -> None:
    stage.intake = intake = Intake(len(BLOCK), stage.sources.rest)
    async with stage.client() as client:
        client.writer.write(frame(BLOCK) * 3)
        await until(lambda: intake.held_bytes)
        (source,) = stage.sources.connected
        transport = cast(Any, source)._transport
        await until(lambda: len(transport._held) == 2)
        transport._connection.transport.abort()
        await until(lambda: transport._is_over)
        assert stage.sources.connected == {source}, "it keeps its place until then"
        for _ in range(3):
            await until(lambda: intake.held_bytes)
            intake.take(len(BLOCK))
        await until(lambda: not stage.sources.connected)
        assert (stage.accepted, stage.sources.limits.connections) == (3 * len(BLOCK), 0)


async def test_those_who_come_after_the_stop_are_refused(stage: Stage) -> None:
    stage.publishing.stop()
    reader, writer = await asyncio.open_connection(HOST, stage.port)
    writer.write(handshake())
    assert (await reader.readline()).startswith(b"HTTP/1.1 503 ")
    writer.close()
    assert stage.sources.limits.connections == 0


async def flood(writer: asyncio.StreamWriter) -> None:
    message = frame(BLOCK)
    for _ in range(FLOOD_BYTES // len(BLOCK)):
        writer.write(message)
        await writer.drain()
