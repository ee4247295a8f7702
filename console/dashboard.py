"""The web dashboard: one page, and the stream of server-sent events that keeps it up to date. Nothing can be changed.

    /         the page, dashboard.html
    /events   the history of the charts once, then an overview a second

`live.py` looks at the deployment, `web_access.py` decides who may see it.
"""

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from aiohttp import web

from console.live import Live, watch
from console.web_access import ASK, headers, is_loopback, refusal
from contract.errors import ParadeError
from contract.settings import Settings

PAGE = Path(__file__).with_name("dashboard.html").read_text(encoding="utf-8")
MOST_VIEWERS = 50
WRITE_S = 10.0
"""How long a viewer may take nothing before its stream ends; its page connects again."""

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Place:
    """Where the dashboard is served, and the password that it asks for."""

    host: str
    port: int
    password: str | None

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}/" if ":" in self.host else f"http://{self.host}:{self.port}/"


def run(place: Place, find: Callable[[], Settings]) -> None:
    """Serve until SIGINT or SIGTERM. ParadeError when the port can't be had."""
    asyncio.run(_run(place, find))


async def _run(place: Place, find: Callable[[], Settings]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    live = Live()
    async with served(place, live):
        print(f"dashboard: {place.url}", flush=True)  # noqa: T201
        if place.password is None and not is_loopback(place.host):
            print("no password is set: whoever reaches this port sees the page", flush=True)  # noqa: T201
        watching = asyncio.create_task(watch(find, live))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        watching.cancel()


@contextlib.asynccontextmanager
async def served(place: Place, live: Live) -> AsyncIterator[None]:
    """Serve the page and its events for as long as the context lasts."""
    viewers = asyncio.Semaphore(MOST_VIEWERS)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def events(request: web.Request) -> web.StreamResponse:
        if viewers.locked():
            return web.Response(status=503, text=f"{MOST_VIEWERS} viewers are served already")
        async with viewers:
            return await _stream(request, live)

    @web.middleware
    async def access(request: web.Request, handler: Handler) -> web.StreamResponse:
        if refused := refusal(place.password, request.headers):
            ask = {"WWW-Authenticate": ASK} if refused.status == web.HTTPUnauthorized.status_code else {}
            return web.Response(status=refused.status, text=refused.text, headers=ask)
        return await handler(request)

    async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(guard)

    guard = headers(PAGE)
    app = web.Application(middlewares=[access])
    app.on_response_prepare.append(add_headers)
    app.add_routes([web.get("/", page), web.get("/events", events)])
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.2)
    await runner.setup()
    try:
        await web.TCPSite(runner, place.host, place.port).start()
    except OSError as problem:
        await runner.cleanup()
        raise ParadeError(f"can't serve the dashboard on {place.host}:{place.port}: {problem}") from None
    try:
        yield
    finally:
        await runner.cleanup()


async def _stream(request: web.Request, live: Live) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    with contextlib.suppress(ConnectionError, TimeoutError):
        message, number = live.history(), 0
        while True:
            async with asyncio.timeout(WRITE_S):
                await response.write(message)
            number, message = await live.newer(number)
    return response
