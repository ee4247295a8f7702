"""The web dashboard: one page, and the stream of server-sent events that keeps it up to date. It changes nothing.

    /         the page, dashboard.html
    /events   the history of the charts once, then an overview a second

`live.py` looks at the deployment; `access.py`, `password.py` and `seats.py` decide who may see it.
"""

import asyncio
import contextlib
import math
import signal
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import structlog
from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from console.web.access import ASK, NO_PASSWORD, TOO_MANY, Refusal, given_password, headers, is_loopback, refusal
from console.web.live import Live, watch
from console.web.password import Password, network
from console.web.seats import Seats
from runtime.edge import web as guarded
from runtime.edge.listen import limits_of, peer_log
from runtime.edge.peer_log import PeerLog
from runtime.settings import Settings

PAGE = Path(__file__).with_name("dashboard.html").read_text(encoding="utf-8")
MOST_VIEWERS = 50
MOST_CONNECTIONS = 128
"""Viewers, and requests for the page."""
WRITE_S = 10.0
"""How long a viewer may take nothing before its stream ends; its page connects again."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where the dashboard is served, and the password that it asks for."""

    host: str
    port: int
    password: str | None

    @property
    def url(self) -> str:
        return f"http://[{self.host}]:{self.port}/" if ":" in self.host else f"http://{self.host}:{self.port}/"


def run(address: Address, find: Callable[[], Settings]) -> None:
    """Serve until SIGINT or SIGTERM. ParadeError when the port can't be had."""
    asyncio.run(_run(address, find))


async def _run(address: Address, find: Callable[[], Settings]) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    live = Live()
    async with served(address, live):
        print(f"dashboard: {address.url}", flush=True)  # noqa: T201
        if address.password is None and not is_loopback(address.host):
            print("no password is set: anyone who reaches this port sees the page", flush=True)  # noqa: T201
        watching = asyncio.create_task(watch(find, live))
        stopping = asyncio.create_task(stop.wait())
        await asyncio.wait((watching, stopping), return_when=asyncio.FIRST_COMPLETED)
        if watching.done():
            watching.result()
        watching.cancel()


@contextlib.asynccontextmanager
async def served(address: Address, live: Live) -> AsyncIterator[None]:
    """Serve the page and its events for as long as the context lasts. ParadeError when the port can't be had."""
    seats, log, guard = Seats(MOST_VIEWERS), peer_log(structlog.get_logger()), headers(PAGE)

    async def page(_: web.Request) -> web.Response:
        return web.Response(text=PAGE, content_type="text/html")

    async def events(request: web.Request) -> web.StreamResponse:
        viewer = guarded.exchange(request)
        peer = network(viewer.peer)
        taken = seats.take(peer, lambda: viewer.cut_off("another address had no viewer"))
        if taken is None:
            return web.Response(status=503, text=f"{MOST_VIEWERS} viewers are served already")
        try:
            return await _stream(request, live)
        finally:
            seats.give_back(peer, taken)

    async def add_headers(_: web.Request, response: web.StreamResponse) -> None:
        response.headers.update(guard)

    app = web.Application(middlewares=[_access(address.password, log)])
    app.on_response_prepare.append(add_headers)
    app.add_routes([web.get("/", page), web.get("/events", events)])
    async with guarded.served(app, address.host, address.port, limits_of(MOST_CONNECTIONS, 0).most, log):
        yield


def _access(secret: str | None, log: PeerLog) -> Middleware:
    password = Password(secret) if secret is not None else None
    clock = asyncio.get_running_loop().time

    def without_password(request: web.Request) -> web.Response | None:
        """The answer when the password is missing, wrong, or not checked yet; None when it is right or not needed."""
        if password is None:
            return None
        given, address = given_password(request.headers), guarded.exchange(request).peer
        if given is None:
            return _answer(NO_PASSWORD, {"WWW-Authenticate": ASK})
        if wait_s := password.wait_s(address, clock()):
            log.warning("password_not_looked_at", peer=address, reason="too many wrong ones")
            return _answer(TOO_MANY, {"Retry-After": str(math.ceil(wait_s))})
        if password.is_right(given, address, clock()):
            return None
        log.warning("password_wrong", peer=address)
        return _answer(NO_PASSWORD, {"WWW-Authenticate": ASK})

    @web.middleware
    async def access(request: web.Request, handler: Handler) -> web.StreamResponse:
        if refused := refusal(secret, request.headers, request.path):
            return _answer(refused)
        return without_password(request) or await handler(request)

    return access


def _answer(refused: Refusal, extra: dict[str, str] | None = None) -> web.Response:
    return web.Response(status=refused.status, text=refused.text, headers=extra)


async def _stream(request: web.Request, live: Live) -> web.StreamResponse:
    viewer = guarded.exchange(request)
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
    await response.prepare(request)
    message, number = live.history(), 0
    # A viewer that takes nothing is cut off, and the write fails.
    with contextlib.suppress(ConnectionError):
        while True:
            viewer.allow(WRITE_S, "a viewer takes nothing")
            await response.write(message)
            viewer.allow(None)
            number, message = await live.newer(number)
    return response
