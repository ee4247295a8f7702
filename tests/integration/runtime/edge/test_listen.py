"""What accepted connections have from the port they came to."""

import asyncio
import os
import socket
from pathlib import Path

import pytest

from runtime.context import Context
from runtime.edge.admission import ConnectionLimits
from runtime.edge.listen import KEEP_ALIVE, limits_of, listen
from runtime.errors import ParadeError
from runtime.settings import load

ANYWHERE = ("127.0.0.1", 0)
THIS_PROCESS = f"{Path('/proc/self/comm').read_text().strip()} (process {os.getpid()})"


async def test_accepted_connections_are_asked_whether_they_live() -> None:
    loop = asyncio.get_running_loop()
    accepted: asyncio.Future[asyncio.BaseTransport] = loop.create_future()

    class Peer(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            accepted.set_result(transport)

    server = await listen(Context(load()), Peer, 0, backlog=10, limits=ConnectionLimits(1, 0))
    with socket.create_connection(server.sockets[0].getsockname()):
        transport = await asyncio.wait_for(accepted, 10)
        options = transport.get_extra_info("socket")
        assert options.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) != 0
        for name, value in KEEP_ALIVE.items():
            if not hasattr(socket, name):
                continue  # macOS has other names for some
            assert options.getsockopt(socket.IPPROTO_TCP, getattr(socket, name)) == value
        transport.close()
    server.close()


@pytest.mark.parametrize("shares", [False, True])
async def test_a_port_that_is_taken_and_by_whom(shares: bool) -> None:
    """A stranger that would share its port with any program gets none of our connections, and we get none of its."""
    with socket.create_server(ANYWHERE, reuse_port=shares) as taken:
        _, port = taken.getsockname()
        with pytest.raises(ParadeError) as refused:
            await listen(Context(load()), asyncio.Protocol, port, backlog=10, limits=ConnectionLimits(1, 0))
    assert str(refused.value) == f"port {port} on 127.0.0.1 is in use by {THIS_PROCESS}; choose another one"


async def test_processes_that_are_told_to_share_a_port() -> None:
    context = Context(load(share_port=True))
    port, servers = 0, []
    for _ in range(2):
        servers.append(await listen(context, asyncio.Protocol, port, backlog=10, limits=ConnectionLimits(1, 0)))
        port = servers[0].sockets[0].getsockname()[1]
    for server in servers:
        server.close()


def test_no_more_connections_than_open_files() -> None:
    possible = limits_of(0, 0).most
    assert limits_of(10, 0).most == 10
    assert limits_of(possible + 1, 0).most == possible
