"""A service's health port: `/livez` says that it runs, `/readyz` whether it can do its work and why not, `/metrics`
what it counts.

A load balancer asks `/readyz` and gives a node that is not ready no new connections. `runtime/edge/web.py`
makes sure that no caller can keep others from the port, or use up the open files that clients need.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from runtime.context import Context
from runtime.edge import web as guarded
from runtime.edge.listen import health_connections, peer_log
from runtime.errors import RedisUnavailableError
from runtime.metrics import CONTENT_TYPE, exposition
from runtime.printable import printable_all
from runtime.readiness import Status

ANSWER_S = 2.0


@asynccontextmanager
async def served(service: str, context: Context, status: Status) -> AsyncIterator[None]:
    """Serve health and metrics on `health_host` and `health_port` for as long as the context lasts."""

    async def readyz(_: web.Request) -> web.Response:
        facts: dict[str, object] = {}
        reasons = status.why_not()
        try:
            async with asyncio.timeout(ANSWER_S):
                facts = await status.facts()
        except (RedisUnavailableError, TimeoutError):
            reasons.append("Redis does not answer")
        body = {"ready": not reasons, "reasons": reasons, **facts}
        return web.json_response(printable_all(body), status=503 if reasons else 200)

    async def livez(_: web.Request) -> web.Response:
        return web.json_response({"alive": True})

    async def metrics(_: web.Request) -> web.Response:
        body = exposition(service, status.observe(), not status.why_not())
        return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE})

    app = web.Application()
    app.add_routes([web.get("/livez", livez), web.get("/readyz", readyz), web.get("/metrics", metrics)])
    port = (context.settings.health_host, context.settings.health_port)
    async with guarded.served(app, *port, health_connections(), peer_log(context.log)):
        yield
