"""A client that is behind, on real sockets and both event loops: what is held for it arrives whole and in order."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager

import pytest
import uvloop

from fanout.clients.connection import HANDED_BYTES, HIGH_WATER_BYTES
from fanout.clients.offenders import REMEMBERED_S
from fanout.clients.pressure import NO_ROOM
from fanout.clients.server import ClientServer
from fanout.clients.tcp import Client
from fanout.stats import FanoutStats
from runtime.context import Context
from runtime.settings import load

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
LINES = [b"%d|B\n" % number * 40 for number in range(10_000, 30_000)]
WHOLE = b"".join(LINES)
FIRST = b"0" * (40 << 20) + b"\n"
"""More than the kernel takes for a client that does not read; its buffer grows to 32 MiB if it has read fast before."""


def on_both_loops(test: Callable[[], Coroutine[None, None, None]]) -> Callable[[str], None]:
    @pytest.mark.parametrize("loop", LOOPS)
    def run(loop: str) -> None:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            runner.run(test())

    return run


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[ClientServer, Client, socket.socket]]:
    """A server, a registered client of it, and the other end of its connection."""
    loop, clients = asyncio.get_running_loop(), ClientServer(Context(load()), FanoutStats())
    made: list[Client] = []

    def protocol() -> Client:
        made.append(Client(clients))
        return made[-1]

    server = await loop.create_server(protocol, "127.0.0.1", 0)
    with socket.socket() as peer:
        peer.setblocking(False)
        await loop.sock_connect(peer, server.sockets[0].getsockname())
        await loop.sock_sendall(peer, b"7\n")
        await until(lambda: made and made[0].user_id)
        try:
            yield clients, made[0], peer
        finally:
            server.close()
            for client in clients.clients:
                client.abort()
            await until(lambda: not clients.clients)


async def until(condition: Callable[[], object]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 (what is awaited has no event)
            await asyncio.sleep(0.001)


async def read(peer: socket.socket, size: int) -> bytes:
    """So many bytes, or all until the end."""
    received = bytearray()
    loop = asyncio.get_running_loop()
    while len(received) < size and (data := await loop.sock_recv(peer, min(size - len(received), 1 << 20))):
        received += data
        await asyncio.sleep(0)
    return bytes(received)


async def falls_behind(clients: ClientServer, client: Client) -> None:
    client.write(FIRST)
    client.hold()
    for line in LINES:
        client.write(line)
    assert clients.behind == {client}
    await asyncio.sleep(0.01)


@on_both_loops
async def test_who_falls_behind_and_reads_on_gets_all_of_it() -> None:
    async with connected() as (clients, client, peer):
        direct = client.write
        for _ in range(2):
            await falls_behind(clients, client)
            unsent, accepted = client.unsent_bytes(), client.accepted_bytes()
            assert unsent > len(WHOLE)
            client.set_aside()
            assert await read(peer, len(FIRST)) == FIRST
            await until(lambda: client.accepted_bytes() > accepted)  # noqa: B023 (awaited here)
            assert client.unsent_bytes() + client.accepted_bytes() == unsent + accepted
            client.write(b"the end\n")
            assert await read(peer, len(WHOLE) + 8) == WHOLE + b"the end\n"
            await until(lambda: not clients.behind)
            assert client.unsent_bytes() == 0
            assert client.write == direct
            assert (client.standing.aside, clients.aside) == (False, {})


@on_both_loops
async def test_what_is_held_is_handed_on_in_parts() -> None:
    async with connected() as (clients, client, peer):
        await falls_behind(clients, client)
        assert client._transport.get_write_buffer_size() < len(FIRST)
        await read(peer, len(FIRST))
        while client._held:
            await read(peer, 10_000)
            assert client._transport.get_write_buffer_size() <= HANDED_BYTES + HIGH_WATER_BYTES
        assert clients.behind in (set(), {client})


@on_both_loops
async def test_closing_sends_what_is_held() -> None:
    async with connected() as (clients, client, peer):
        await falls_behind(clients, client)
        client.close()
        assert await read(peer, 1 << 30) == FIRST + WHOLE
        await until(lambda: not clients.clients)
        assert clients.behind == set()
        assert clients.stats.slow_clients_left == 0


async def is_remembered(leaves: bool) -> None:
    async with connected() as (clients, client, peer):
        now_s = asyncio.get_running_loop().time()
        await falls_behind(clients, client)
        assert not client.standing.offender
        client.set_aside()
        assert clients.aside == {"127.0.0.1": 1}
        if leaves:
            peer.close()
        else:
            clients.close_slow(client, NO_ROOM)
        await until(lambda: not clients.clients)
        counts = (clients.stats.slow_clients_left, clients.stats.slow_clients_closed[NO_ROOM])
        assert counts == (int(leaves), int(not leaves))
        assert (clients.behind, clients.aside) == (set(), {})
        assert clients.offenders.has(b"7", "", now_s)
        assert clients.offenders.has(b"8", "127.0.0.1", now_s)
        assert not clients.offenders.has(b"7", "127.0.0.1", now_s + REMEMBERED_S + 60)


@on_both_loops
async def test_who_leaves_while_set_aside_is_remembered() -> None:
    await is_remembered(leaves=True)


@on_both_loops
async def test_who_is_closed_as_slow_is_remembered() -> None:
    await is_remembered(leaves=False)


@on_both_loops
async def test_who_comes_back_is_known() -> None:
    async with connected() as (clients, client, _):
        clients.offenders.add(b"7", "", 0, 1, asyncio.get_running_loop().time())
        await falls_behind(clients, client)
        assert client.standing.offender


@on_both_loops
async def test_who_leaves_without_having_been_set_aside_is_not_remembered() -> None:
    async with connected() as (clients, client, peer):
        await falls_behind(clients, client)
        peer.close()
        await until(lambda: not clients.clients)
        assert clients.stats.slow_clients_left == 0
        assert clients.offenders.count(0) == 0
