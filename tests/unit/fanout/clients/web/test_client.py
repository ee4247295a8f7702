"""A WebSocket that is behind, on real sockets and both event loops: frames arrive whole and in order, Close last."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.uri import parse_uri

from fanout.clients.server import DRAIN, ClientServer
from fanout.clients.web import websocket
from fanout.clients.web.client import WebClient
from fanout.clients.web.port import WebPort
from fanout.stats import FanoutStats
from runtime.context import Context
from runtime.settings import load
from tests.unit.fanout.clients.test_connection import FIRST, LINES, WHOLE, on_both_loops, until


class Browser:
    """The other end of the connection."""

    def __init__(self, peer: socket.socket) -> None:
        self.peer = peer
        self.frames: list[Frame] = []
        self.protocol = ClientProtocol(parse_uri("ws://localhost/ws"), max_size=None)
        self.ended = False

    async def shake_hands(self) -> None:
        self.protocol.send_request(self.protocol.connect())
        await self.flush()
        while self.protocol.state.name == "CONNECTING":
            await self.read()

    async def say(self, text: str) -> None:
        self.protocol.send_text(text.encode())
        await self.flush()

    async def flush(self) -> None:
        for data in self.protocol.data_to_send():
            if data:
                await asyncio.get_running_loop().sock_sendall(self.peer, data)

    async def read(self, answer: bool = True) -> None:
        async with asyncio.timeout(30):
            data = await asyncio.get_running_loop().sock_recv(self.peer, 1 << 20)
        self.ended = not data
        if data:
            self.protocol.receive_data(data)
            assert self.protocol.parser_exc is None
        else:
            self.protocol.receive_eof()
        self.frames += [event for event in self.protocol.events_received() if isinstance(event, Frame)]
        if answer:
            await self.flush()

    @property
    def lines(self) -> bytes:
        return b"".join(bytes(frame.data) for frame in self.frames if frame.opcode in (Opcode.TEXT, Opcode.BINARY))

    @property
    def kinds(self) -> list[Opcode]:
        return [frame.opcode for frame in self.frames]


@asynccontextmanager
async def connected(line: str, stall_s: float = 30) -> AsyncIterator[tuple[ClientServer, WebClient, Browser]]:
    settings = load(client_stall_s=stall_s, node_patience_s=60)
    loop, clients = asyncio.get_running_loop(), ClientServer(Context(settings), FanoutStats())
    port = WebPort(clients)
    made: list[WebClient] = []

    def protocol() -> WebClient:
        made.append(WebClient(port))
        return made[-1]

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    with socket.socket() as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, server.sockets[0].getsockname())
        browser = Browser(peer)
        await browser.shake_hands()
        await browser.say(line)
        await until(lambda: made[0].user_id)
        try:
            yield clients, made[0], browser
        finally:
            server.close()
            for client in clients.clients:
                client.abort()
            await until(lambda: not clients.clients)


@on_both_loops
async def test_who_falls_behind_gets_whole_frames_in_order_and_close_last() -> None:
    async with connected("7 after=now") as (clients, client, browser):
        client.write(FIRST)
        client.hold()
        for count, line in enumerate(LINES):
            client.write(line)
            if count % 100 == 0:
                client._put(client._speech.keep_alive() or b"")  # type: ignore[union-attr]
                client._speech._is_asked = False  # type: ignore[union-attr]
        assert clients.behind == {client}
        client.close(DRAIN, 1234)
        client.write(b"nothing more\n")
        while not browser.ended:
            await browser.read()
        assert browser.lines == FIRST + WHOLE + b"BYE drain 1234\n"
        assert browser.kinds.count(Opcode.PING) == len(LINES) // 100
        assert browser.kinds[-1] == Opcode.CLOSE
        assert browser.protocol.close_code == 1001
        assert clients.behind == set()


@on_both_loops
async def test_close_is_answered_or_waited_for_a_moment_only() -> None:
    for answers in (True, False):
        async with connected("7", stall_s=30 if answers else 0.5) as (clients, client, browser):
            client.close(DRAIN)
            client.close(DRAIN)
            while not browser.ended:
                await browser.read(answers)
            assert browser.kinds == [Opcode.CLOSE]
            await until(lambda: not clients.clients)


@on_both_loops
async def test_a_ping_is_answered_or_the_connection_ends() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(websocket.WebSocket, "every_s", 0.05)
        async with connected("7") as (clients, _, browser):
            while browser.kinds.count(Opcode.PING) < 3:
                await browser.read()
            assert clients.users.connections == 1
            with suppress(ConnectionResetError):
                while not browser.ended:
                    await browser.read(answer=False)
            await until(lambda: not clients.clients)
            assert clients.users.connections == 0


@on_both_loops
async def test_a_ping_of_the_client_is_answered() -> None:
    async with connected("7") as (_, client, browser):
        for count in range(40):
            browser.protocol.send_ping(b"%d" % count)
        await browser.flush()
        while browser.kinds.count(Opcode.PONG) < 40:
            await browser.read()
        client.write(b"1|B\n")
        while not browser.lines:
            await browser.read()
        assert browser.lines == b"1|B\n"


@on_both_loops
async def test_bye_ends_it_and_the_rest_is_ignored() -> None:
    async with connected("7 after=now") as (clients, _, browser):
        await browser.say("hello")
        await browser.say("BYE")
        await browser.say("BYE")
        while not browser.ended:
            await browser.read()
        assert browser.protocol.close_code == 1000
        await until(lambda: not clients.clients)


@on_both_loops
async def test_a_message_that_is_too_long_ends_it() -> None:
    async with connected("7") as (clients, _, browser):
        await browser.say("x" * 5000)
        while not browser.ended:
            await browser.read()
        assert browser.protocol.close_code == 1009
        await until(lambda: not clients.clients)
