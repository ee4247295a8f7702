"""One deployment, looked at once a second for all viewers: a hundred viewers cost Redis no more than one.

Each look becomes one message, made once. A viewer holds no queue: it takes the newest message when it is ready for
one, and a slow viewer misses those in between. The history of the charts is kept here, for new viewers.
"""

import asyncio
import json
from collections import deque
from collections.abc import Callable
from typing import Any

from console.observe.compare import overview
from console.observe.overview import Overview
from console.observe.snapshot import Snapshot, read
from runtime.errors import ParadeError
from runtime.printable import printable
from runtime.redis.blocking import connected
from runtime.redis.url import redacted
from runtime.settings import Settings

LOOK_S = 1.0
SPAN_S = 300
"""How far the charts reach back."""
LOOKS_APART = 2
"""Rates come from the difference to the look before the last one. Services report once a second, so two looks that are
one second apart may have no report between them."""


class Live:
    """The newest message and the history. Belongs to one event loop."""

    def __init__(self) -> None:
        self._history: deque[dict[str, Any]] = deque(maxlen=int(SPAN_S / LOOK_S))
        self._message = b""
        self._number = 0
        self._changed = asyncio.Event()

    def publish(self, facts: dict[str, Any], point: dict[str, Any] | None = None) -> None:
        """A new message for all viewers; `point` is what the charts keep of it."""
        if point is not None:
            self._history.append(point)
        self._message = event("overview", {**facts, "point": point})
        self._number += 1
        self._changed.set()
        self._changed = asyncio.Event()

    def history(self) -> bytes:
        """What a new viewer is sent first."""
        return event("history", list(self._history))

    async def newer(self, number: int) -> tuple[int, bytes]:
        """The newest message and its number, as soon as that is above `number`."""
        while self._number <= number:
            await self._changed.wait()
        return self._number, self._message


async def watch(find: Callable[[], Settings], live: Live) -> None:
    """Look and publish until cancelled. `find` names the deployment each time that it has to be found again."""
    while True:
        try:
            await _look(find(), live)
        except ParadeError as problem:
            live.publish({"problem": printable(str(problem))})
        await asyncio.sleep(LOOK_S)


async def _look(settings: Settings, live: Live) -> None:
    where = {"namespace": printable(settings.namespace), "redis": redacted(settings.redis_url)}
    looks: deque[Snapshot] = deque(maxlen=LOOKS_APART)
    with connected(settings) as client:
        while True:
            # In a thread: the client blocks, up to redis_timeout_s, and viewers come and go meanwhile.
            now = await asyncio.to_thread(read, client, settings.keys)
            seen = overview(now, looks[0] if looks else None)
            live.publish({"overview": seen.as_json(), "where": where}, point_of(seen))
            looks.append(now)
            await asyncio.sleep(LOOK_S)


def point_of(seen: Overview) -> dict[str, Any]:
    """What the charts show of one look."""
    rates = seen.rates
    return {
        "time_ms": seen.time_ms,
        "received": rates.received if rates else None,
        "released": rates.released if rates else None,
        "notifications": rates.notifications if rates else None,
        "p50_ms": seen.latency_p50_ms,
        "p99_ms": seen.latency_p99_ms,
        "backlog_bytes": seen.backlog.bytes,
    }


def event(name: str, data: object) -> bytes:
    """A server-sent event (https://html.spec.whatwg.org/multipage/server-sent-events.html). JSON has no line ends."""
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
