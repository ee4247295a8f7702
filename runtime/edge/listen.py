"""Listening for peers: the port, dead peers, and how many connections the open files allow."""

import asyncio
import resource
import socket
from collections.abc import Callable
from typing import Any

from runtime.context import Context
from runtime.edge.admission import (
    ConnectionLimits,
    connections_within,
    health_connections_within,
    web_connections_within,
)
from runtime.edge.peer_log import PeerLog
from runtime.edge.port_refusal import refusal
from runtime.errors import ParadeError
from runtime.logs import Log

KEEP_ALIVE = {"TCP_KEEPIDLE": 60, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 6}
"""A silent peer is probed after a minute, and closed after another minute without an answer."""


async def listen(
    context: Context, protocol: Callable[[], asyncio.Protocol], port: int, backlog: int, limits: ConnectionLimits
) -> asyncio.Server:
    """Accept connections on a port of `host`. ParadeError when that port can't be had.

    The kernel hands each connection to any process that shares the port, a stranger's too. So only the processes of one
    `parade up` share it, which has seen that it was free.
    """
    host, shared = context.settings.host, context.settings.share_port
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(protocol, host, port, reuse_port=shared, backlog=backlog, start_serving=False)
        for listening in server.sockets:
            _keep_alive(listening)
        await server.start_serving()
    except OSError as problem:
        raise ParadeError(refusal(host, port, problem)) from None
    context.log.info("listening", host=host, port=server.sockets[0].getsockname()[1], most_connections=limits.most)
    return server


def limits_of(most: int, most_per_address: int, beside: int = 0) -> ConnectionLimits:
    """Limits of this process: `most` (0: as many as possible), but never more than its open files allow.

    Otherwise clients would take the files that the links to Redis need, or the connections of another port: there may
    be `beside` of these, and as many again that wait to be accepted.
    """
    possible = connections_within(_open_files()) - 2 * beside
    return ConnectionLimits(min(most or possible, possible), most_per_address)


def health_connections() -> int:
    """Connections that this process's health port serves; its open files allow these beside those of `limits_of`."""
    return health_connections_within(_open_files())


def web_connections() -> int:
    """Connections that a listener's web port serves."""
    return web_connections_within(_open_files())


def peer_log(log: Log) -> PeerLog:
    """The log of this process's peers, on the running event loop."""

    def write(level: str, event: str, fields: dict[str, Any]) -> None:
        getattr(log, level)(event, **fields)

    return PeerLog(write, asyncio.get_running_loop().call_later)


def _open_files() -> int:
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _keep_alive(listening: socket.socket) -> None:
    # Accepted connections inherit these, which saves four calls for each of them.
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in KEEP_ALIVE.items():
        if hasattr(socket, name):
            listening.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
