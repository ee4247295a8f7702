"""HTTP for callers none of which can keep the others out: the health port, the dashboard, and a listener's web port.

Rules kept here:

- A connection serves one request and ends, so no idle one is kept alive. Where many small requests are expected, a
  connection is kept for `kept_s` after each answer, and counts meanwhile as one that waits for its request.
- The request's head is there within HEAD_S of connecting, however slowly its bytes come, and the answer is taken
  within TAKE_S of that; otherwise the connection is cut off. A stream sets its own deadlines with `Exchange.allow`.
- A connection that is handed over is counted and bounded by whoever has it then.
- There are never more than `most` connections. For one too many, the connection is closed that has waited longest for
  its request, since an honest caller sends it at once. When none waits, the new one is closed.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, cast

from aiohttp import web
from aiohttp.typedefs import Handler

from runtime.edge.peer_log import PeerLog
from runtime.edge.port_refusal import refusal
from runtime.errors import ParadeError

HEAD_S = 5.0
TAKE_S = 10.0
LINGER_S = 2.0
"""How long the rest of a refused body is read and dropped, so that its sender sees the answer; on kept connections."""


@asynccontextmanager
async def served(
    app: web.Application,
    host: str,
    port: int,
    most: int,
    log: PeerLog,
    *,
    kept_s: float = 0.0,
    share_port: bool = False,
) -> AsyncIterator[None]:
    """Serve an application for as long as the context lasts. ParadeError when the port can't be had.

    `most` is the number of connections; as many more can wait to be accepted. With `kept_s` a handler calls
    `Exchange.begin` itself, when all of its request has come.
    """
    if not kept_s:
        app.middlewares.insert(0, _one_request)
    runner = web.AppRunner(app, handle_signals=False, handler_cancellation=True, shutdown_timeout=0.2)
    await runner.setup()
    connections = Connections(most, log, kept_s)
    try:
        server = await asyncio.get_running_loop().create_server(
            lambda: Exchange(cast(web.Server, runner.server), connections),
            host,
            port,
            backlog=most,
            reuse_port=share_port,
        )
    except OSError as problem:
        await runner.cleanup()
        raise ParadeError(refusal(host, port, problem)) from None
    try:
        yield
    finally:
        server.close()
        await runner.cleanup()
        if log.counts:
            log.close()


class Exchange(web.RequestHandler):
    """One connection, its request and the answer; or one after another."""

    __slots__ = ("_connections", "_deadline", "_heard", "_is_held", "_socket", "peer")

    def __init__(self, server: web.Server, connections: "Connections") -> None:
        loop = asyncio.get_running_loop()
        kept_s = connections.kept_s
        super().__init__(
            server,
            loop=loop,
            access_log=cast(Any, None),
            keepalive_timeout=kept_s,
            lingering_time=LINGER_S if kept_s else 0,
            auto_decompress=False,
        )
        self._connections = connections
        self._deadline: asyncio.TimerHandle | None = None
        self._socket: asyncio.Transport | None = None
        self._heard: Callable[[], None] | None = None
        self._is_held = False
        self.peer = "unknown"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._socket = cast(asyncio.Transport, transport)
        self.peer = str((transport.get_extra_info("peername") or ("unknown",))[0])
        self.allow(HEAD_S, f"no request within {HEAD_S:g} s")
        self._connections.enter(self)

    def connection_lost(self, exc: BaseException | None) -> None:
        super().connection_lost(exc)
        self.allow(None)
        self._socket = self._heard = None
        self._connections.leave(self)

    def data_received(self, data: bytes) -> None:
        if self._heard is not None:
            self._heard()
        super().data_received(data)

    def begin(self, answer_s: float = 0.0) -> None:
        """The request is there; what follows is the answer, which may need so long before it can be taken."""
        self._connections.begin(self)
        self.allow(answer_s + TAKE_S, f"the answer was not taken within {TAKE_S:g} s")

    def hand_over(self, heard: Callable[[], None]) -> None:
        """It is no request any more: who has it counts it and sets its deadlines, and is called when bytes come."""
        self._connections.leave(self)
        self.allow(None)
        self._heard = heard

    def hold(self) -> None:
        """Read nothing more, until `go_on`. What the library has paused itself goes on when it has room."""
        if not self._reading_paused:
            self._is_held = True
            self.pause_reading()

    def go_on(self) -> None:
        """Read again."""
        if self._is_held:
            self._is_held = False
            self.resume_reading()

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """The answer is written; a connection that is kept waits for its next request."""
        finished = await super().finish_response(request, resp, start_time)
        if kept_s := self._connections.kept_s:
            self._connections.wait(self)
            self.allow(kept_s + TAKE_S, f"the answer was not taken within {TAKE_S:g} s")
        return finished

    def allow(self, seconds: float | None, otherwise: str = "") -> None:
        """The connection may last this long from now on (None: without limit); `otherwise` is for the log."""
        if self._deadline is not None:
            self._deadline.cancel()
        ends = seconds is not None and self._socket is not None
        self._deadline = self._loop.call_later(seconds or 0, self.cut_off, otherwise) if ends else None

    def cut_off(self, reason: str) -> None:
        """End the connection now. A plain close would wait until the peer has taken all that is unsent."""
        if self._socket is not None:
            self._connections.log.info("http_cut_off", peer=self.peer, reason=reason)
            self._socket.abort()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A malformed request is the peer's fault: it is counted, where the library would log a traceback."""
        if status >= web.HTTPInternalServerError.status_code:
            return super().handle_error(request, status, exc, message)
        self._connections.log.info("http_cut_off", peer=self.peer, reason="not an HTTP request")
        answer = web.Response(status=status, text="This is not an HTTP request.")
        answer.force_close()
        return answer


class Connections:
    """All connections of one server, and those whose request has not come yet, the oldest first.

    `kept_s` is how long a connection may wait for a further request; 0: there is none.
    """

    def __init__(self, most: int, log: PeerLog, kept_s: float = 0.0) -> None:
        self.log = log
        self.kept_s = kept_s
        self._most = most
        self._all: set[Exchange] = set()
        self._waiting: dict[Exchange, None] = {}

    def enter(self, exchange: Exchange) -> None:
        """A peer has connected."""
        self._all.add(exchange)
        self._waiting[exchange] = None
        if len(self._all) > self._most:
            oldest = next(iter(self._waiting))
            self.leave(oldest)
            oldest.cut_off("too many connections")

    def begin(self, exchange: Exchange) -> None:
        """Its request has come."""
        self._waiting.pop(exchange, None)

    def wait(self, exchange: Exchange) -> None:
        """It waits for its next request."""
        if exchange in self._all:
            self._waiting[exchange] = None

    def leave(self, exchange: Exchange) -> None:
        """A connection has ended."""
        self._all.discard(exchange)
        self._waiting.pop(exchange, None)


def exchange(request: web.Request) -> Exchange:
    """The connection that a request came over."""
    return cast(Exchange, request.protocol)


@web.middleware
async def _one_request(request: web.Request, handler: Handler) -> web.StreamResponse:
    exchange(request).begin()
    try:
        answer = await handler(request)
    except web.HTTPException as refusal:
        refusal.force_close()
        raise
    answer.force_close()
    return answer
