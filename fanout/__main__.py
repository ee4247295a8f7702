"""`python -m fanout`: wires settings, sockets and the node; the only place here that does."""

import asyncio

import structlog

from fanout.clients.server import Client, ClientServer
from fanout.node import Node
from runtime.edge.listen import listen
from runtime.readiness import Readiness
from runtime.report import Reporter, service_name
from runtime.service import conclude, run, until_one_ends
from runtime.settings import Settings

log = structlog.get_logger()


async def main(settings: Settings, readiness: Readiness, stop: asyncio.Event) -> None:
    """Serve clients until told to stop, or until a part of the service fails: then the same steps, in haste."""
    clients = ClientServer(settings)
    port = (settings.host, settings.client_port)
    server = await listen(lambda: Client(clients), *port, backlog=4096, limits=clients.limits)
    leave = asyncio.Event()
    node = Node(settings, clients, readiness)
    serving = asyncio.create_task(node.run(leave))
    reporter = Reporter(settings.keys, service_name("fanout"), readiness, lambda: node.link, node.about)
    reporting = asyncio.create_task(reporter.run())
    problem = await until_one_ends(stop, serving, reporting)
    drain_s = settings.drain_s if problem is None else 0

    # 1. The balancer is told and nobody new comes; 2. clients are served on while their connections end one by
    # one, so that they do not all come back at once; 3. the node leaves; 4. what is left is cut off.
    readiness.lacks("draining", "the node drains")
    server.close()
    log.info("draining", connections=len(clients.clients), seconds=drain_s)
    await clients.drain(drain_s, settings.shutdown_s / 2)
    reporting.cancel()
    await reporter.withdraw()
    leave.set()
    await asyncio.wait([serving], timeout=settings.shutdown_s / 2)
    for client in list(clients.clients):
        client.abort()
    clients.log.close()
    await conclude(problem, serving)


if __name__ == "__main__":
    run("fanout", main)
