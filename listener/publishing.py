"""The listener's web port: `POST /events`, answered once its lines are in Redis, and `GET /source` for WebSockets.

Rules kept here:

- 200 is answered only when Redis has confirmed all lines. With 504, and without an answer, they may have been taken.
  With any other status nothing was, unless it is a producer's: those know their lines again.
- Every wait has a deadline. Connections, bodies, and requests that wait are bounded, and who is over a bound is told
  when to come again.
- A page may publish only when its origin is listed.
"""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web
from aiohttp.typedefs import Handler

from listener.asked import FIRST_LINE, PRODUCER, RefusedError, asked
from listener.bodies import BODY_BYTES, BODY_S, Bodies
from listener.dialogue import Desk
from listener.over_websocket import PATH as SOURCE
from listener.over_websocket import SourceOverWebSocket, refuse_others
from listener.posts import Posts
from listener.server import Source
from runtime.context import Context
from runtime.edge import web as guarded
from runtime.edge.listen import peer_log, web_connections
from runtime.edge.origins import Origins

PATH: Final = "/events"
KEPT_S = 30.0
"""How long a connection is kept for a further request."""
RETRY_S: Final = 1
"""After so many seconds a request that could not be served may come again."""
ALLOWED: Final = {PATH: "POST, OPTIONS", SOURCE: "GET"}
USE: Final = f"lines are published by POST {PATH}, or over a WebSocket at {SOURCE}"
UPGRADE: Final = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13"}


class Publishing:
    """The web port of a listener. `source` makes a source for a new WebSocket."""

    def __init__(self, context: Context, desk: Desk, has_room: asyncio.Event, source: Callable[[], Source]) -> None:
        self._context = context
        self._new_source = source
        self._stats = desk.stats
        self._settings = settings = context.settings
        self._origins = Origins(settings.web_origins)
        self._most_bytes = min(BODY_BYTES, settings.listener_buffer_bytes)
        self._connections = web_connections()
        self._bodies = Bodies(settings.listener_buffer_bytes)
        self._posts = Posts(desk, self._bodies, has_room, most=max(1, self._connections // 2))

    @property
    def held_bytes(self) -> int:
        """Bytes of bodies that no intake has yet."""
        return self._bodies.held_bytes

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Serve the web port for as long as the context lasts; nothing without one."""
        settings = self._settings
        if not settings.web_port:
            yield
            return

        @web.middleware
        async def answered(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._answered(request, handler)

        app = web.Application(middlewares=[answered])
        app.add_routes([web.post(PATH, self._post), web.options(PATH, self._options)])
        app.add_routes([web.get(SOURCE, self._source, allow_head=False)])
        async with guarded.served(
            app,
            settings.host,
            settings.web_port,
            self._connections,
            peer_log(self._context.log),
            kept_s=KEPT_S,
            share_port=settings.share_port,
        ):
            self._context.log.info("publishing", host=settings.host, port=settings.web_port)
            yield

    def stop(self) -> None:
        """Take nothing more; what has been taken is answered when it is in Redis."""
        self._posts.stop()

    async def _post(self, request: web.Request) -> web.StreamResponse:
        connection = guarded.exchange(request)
        connection.allow(BODY_S + guarded.TAKE_S, "the answer was not taken")
        what = asked(request.headers, self._most_bytes)
        self._posts.refuse_if_stopping()
        body = await self._bodies.read(request.content)
        try:
            connection.begin(self._settings.registration_s)
            return _response(200, await self._posts.publish(what, body))
        finally:
            self._bodies.drop(body)

    async def _source(self, request: web.Request) -> web.StreamResponse:
        """A source comes, and is served for as long as it stays."""
        guarded.exchange(request).begin()
        self._posts.refuse_if_stopping()
        refuse_others(request)
        connection = SourceOverWebSocket(self._new_source(), request)
        connection.let_in()
        self._stats.requests["101"] += 1
        return await connection.serve()

    async def _options(self, request: web.Request) -> web.StreamResponse:
        """What a browser asks before a page may publish."""
        headers = {"Allow": ALLOWED[PATH]}
        if "Origin" in request.headers:
            names = f"Content-Type, {PRODUCER}, {FIRST_LINE}"
            headers = {"Access-Control-Allow-Methods": "POST", "Access-Control-Allow-Headers": names}
            headers["Access-Control-Max-Age"] = "600"
        return web.Response(status=204, headers=headers)

    async def _answered(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        origins = request.headers.getall("Origin", [])
        may = len(origins) <= 1 and self._origins.allow(origins[0] if origins else None)
        try:
            if not may:
                raise RefusedError(403, "this origin is not listed: add it to PARADE_WEB_ORIGINS")
            answer = await handler(request)
            if answer.status == HTTPStatus.SWITCHING_PROTOCOLS:
                return answer
        except RefusedError as refusal:
            answer = _response(refusal.status, {"error": refusal.reason, **refusal.facts})
        except web.HTTPException as problem:
            answer = _response(problem.status, {"error": f"{problem.reason}: {USE}"})
            if "Allow" in problem.headers:
                answer.headers["Allow"] = ALLOWED.get(request.path, problem.headers["Allow"])
        if answer.status in (429, 503, 504):
            answer.headers["Retry-After"] = str(RETRY_S)
        if answer.status == HTTPStatus.UPGRADE_REQUIRED:
            answer.headers.update(UPGRADE)
        if origins:
            answer.headers["Vary"] = "Origin"
            if may:
                answer.headers["Access-Control-Allow-Origin"] = origins[0]
                answer.headers["Access-Control-Expose-Headers"] = "Retry-After"
        if self._posts.is_stopping:
            answer.force_close()
        self._stats.requests[str(answer.status)] += 1
        return answer


def _response(status: int, told: dict[str, Any]) -> web.StreamResponse:
    return web.json_response(told, status=status, dumps=lambda value: json.dumps(value) + "\n")
