"""The backend of the feed: it sends what people do to Parade as events, which Parade numbers, and serves the page.

    page ──POST /events──▶ this ──Source──▶ Parade ──WebSocket──▶ page

What a page is told it gets from Parade itself, over the web port: nothing comes back through here.
"""

import asyncio
import json
import math
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

from aiohttp import web

from parade_client import Event, Follow, ParadeClientError, PrivateMessage, Source, StatusUpdate, Unfollow

PEOPLE = {1: "Ada", 2: "Grace", 3: "Alan", 4: "Barbara", 5: "Edsger", 6: "Frances"}
MOST_TEXT = 500
MOST_SENT = 1000
DURABLE_S = 10.0
"""How long an event may take to be in Redis before a page is told that it is not sure."""

HOST = os.environ.get("FEED_HOST", "127.0.0.1")
PORT = int(os.environ.get("FEED_PORT", "8000"))
WEB_PORT = int(os.environ.get("FEED_PARADE_WEB_PORT", "9098"))
LISTENER = os.environ.get("FEED_PARADE_LISTENER", "parade://127.0.0.1:9090")

HERE = Path(__file__).resolve().parent
LIBRARY = HERE.parents[1] / "sdk" / "js" / "src"
SOURCE = web.AppKey("source", Source)
SENT = web.AppKey("sent", dict[str, "asyncio.Task[None]"])
"""What was sent of late, by the id that the page gave it."""


def event_of(act: dict[str, Any]) -> Event:
    """The event for what a page says that somebody did. Raises ValueError."""
    who = person(act.get("from"))
    match act.get("kind"):
        case "follow":
            return Follow(who, person(act.get("to")))
        case "unfollow":
            return Unfollow(who, person(act.get("to")))
        case "post":
            return StatusUpdate(who, payload(act.get("text")))
        case "message":
            return PrivateMessage(who, person(act.get("to")), payload(act.get("text")))
    raise ValueError("kind is follow, unfollow, post or message")


def person(given: object) -> int:
    """The id of somebody who exists."""
    if not isinstance(given, int) or given not in PEOPLE:
        raise ValueError(f"{given!r} is nobody here")
    return given


def payload(text: object) -> bytes:
    """A text as JSON, which has no line end in it, as an event's line must not."""
    if not isinstance(text, str) or not 1 <= len(text.strip()) <= MOST_TEXT:
        raise ValueError(f"a text has 1 to {MOST_TEXT} characters")
    return json.dumps({"text": text.strip()}, ensure_ascii=False).encode()


async def act(request: web.Request) -> web.Response:
    """`POST /events`: answered when the event is in Redis."""
    try:
        given = await request.json()
        sending = send_once(request.app, str(given.get("id") or ""), event_of(given))
    except (ValueError, AttributeError) as problem:
        raise web.HTTPBadRequest(text=str(problem)) from None
    try:
        await asyncio.wait_for(asyncio.shield(sending), DURABLE_S)
    except (TimeoutError, ParadeClientError) as problem:
        raise web.HTTPServiceUnavailable(text=f"not sure yet that it was sent {problem}".strip()) from None
    return web.json_response({}, status=201)


def send_once(app: web.Application, name: str, event: Event) -> "asyncio.Task[None]":
    """Send an event, unless one with this name was sent before: a page tries again when it is not sure."""
    sent = app[SENT]
    if name and name in sent:
        return sent[name]
    task = asyncio.ensure_future(app[SOURCE].send(event))
    task.add_done_callback(lambda done: done.cancelled() or done.exception())  # maybe nobody waits for it any more
    if name:
        sent[name] = task
    if len(sent) > MOST_SENT:
        del sent[next(iter(sent))]
    return task


async def settings(_: web.Request) -> web.Response:
    """`GET /settings`: what the page has to know."""
    return web.json_response({"people": PEOPLE, "webPort": WEB_PORT})


async def index(_: web.Request) -> web.FileResponse:
    """The page."""
    return web.FileResponse(HERE / "page" / "index.html")


async def source(app: web.Application) -> AsyncIterator[None]:
    """One source for all pages; as the producer `feed` it has each of its lines taken once."""
    async with Source(LISTENER, producer="feed", patience_s=math.inf) as app[SOURCE]:
        yield


def main() -> None:
    """Serve until SIGTERM or Ctrl-C."""
    app = web.Application(client_max_size=16 * 1024)
    app[SENT] = {}
    app.cleanup_ctx.append(source)
    app.router.add_get("/", index)
    app.router.add_get("/settings", settings)
    app.router.add_post("/events", act)
    app.router.add_static("/page", HERE / "page")
    app.router.add_static("/parade-client", LIBRARY)
    web.run_app(app, host=HOST, port=PORT, print=None)


if __name__ == "__main__":
    main()
