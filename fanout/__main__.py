"""`python -m fanout`: makes the parts and ends them in order; the only file here that does."""

import asyncio

from fanout.clients.server import ClientServer
from fanout.clients.tcp import Client
from fanout.node import Node
from fanout.stats import FanoutStats
from runtime.context import Context
from runtime.edge.listen import listen
from runtime.outage import Outage
from runtime.readiness import Readiness, Status
from runtime.report import Reporter, service_name
from runtime.service import conclude, run, shown, until_one_ends


async def main(context: Context, stop: asyncio.Event) -> None:
    """Serve clients until told to stop, or until a part of the service fails: then the same steps, in haste."""
    settings, stats, readiness = context.settings, FanoutStats(), Readiness()
    clients = ClientServer(context, stats)
    node = Node(context, clients, Outage(context, readiness), stats)
    status = Status(readiness, node.observe, checks=(node.why_silent,), identity=node.identity)
    reporter = Reporter(context, service_name("fanout"), status, lambda: node.link)
    async with shown("fanout", context, status):
        servers = [await listen(context, lambda: Client(clients), settings.client_port, 4096, clients.limits)]
        if settings.web_port:
            servers.append(await _web_server(context, clients))
        leave = asyncio.Event()
        serving = asyncio.create_task(node.run(leave))
        reporting = asyncio.create_task(reporter.run())
        problem = await until_one_ends(stop, serving, reporting)
        drain_s = settings.drain_s if problem is None else 0

        # 1. The balancer is told, and no client is let in any more; 2. clients are served while their connections end
        # one by one, so that they do not all come back at once; 3. the node leaves; 4. the rest is cut off.
        readiness.lacks("draining", "the node drains")
        for server in servers:
            server.close()
        spread = clients.spread(drain_s)
        context.log.info("draining", connections=len(clients.clients), seconds=round(spread.seconds, 3))
        await clients.drain(spread, settings.shutdown_s / 2)
        reporting.cancel()
        await reporter.withdraw()
        leave.set()
        await asyncio.wait([serving], timeout=settings.shutdown_s / 2)
        clients.abort()
        await conclude(problem, serving)


async def _web_server(context: Context, clients: ClientServer) -> asyncio.Server:
    from fanout.clients.web.client import WebClient  # a third of a node's start; many have no web port
    from fanout.clients.web.port import WebPort

    web = WebPort(clients)
    return await listen(context, lambda: WebClient(web), context.settings.web_port, 1024, clients.limits)


if __name__ == "__main__":
    run("fanout", main)
