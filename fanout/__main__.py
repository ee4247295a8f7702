"""`python -m fanout`: wires settings, sockets and the node; the only place here that does."""

import asyncio

import structlog

from contract.errors import ParadeError
from contract.service import run
from contract.settings import Settings
from fanout.node import Node
from fanout.server import Client, ClientServer

log = structlog.get_logger()


async def main(settings: Settings, stop: asyncio.Event) -> None:
    """Serve clients until told to stop."""
    clients = ClientServer(settings)
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: Client(clients), settings.host, settings.client_port, reuse_port=True, backlog=4096
        )
    except OSError as problem:
        raise ParadeError(f"can't listen on {settings.host}:{settings.client_port}: {problem}") from None
    log.info("listening", host=settings.host, port=server.sockets[0].getsockname()[1])
    serving = asyncio.create_task(Node(settings, clients).run(stop))
    await stop.wait()

    # 1. No new clients; 2. the node leaves the deployment; 3. what was written goes out, then goodbye.
    server.close()
    _, late = await asyncio.wait([serving], timeout=settings.shutdown_s / 2)
    for task in late:
        task.cancel()
    for client in list(clients.clients):
        client.close()
    if clients.clients:
        await clients.wait_until_empty(settings.shutdown_s / 2)
    for client in list(clients.clients):
        client.abort()
    if serving.done() and not serving.cancelled():
        serving.result()


if __name__ == "__main__":
    run("fanout", main)
