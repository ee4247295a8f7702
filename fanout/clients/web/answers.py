"""What HTTP is answered with on the web port. Pure."""

from http import HTTPStatus
from math import ceil

from fanout.clients.web.request import ALLOWED, LAST_EVENT_ID

Headers = dict[str, str]


def answer(status: HTTPStatus, headers: Headers, text: str = "") -> bytes:
    """A whole answer, after which the connection ends."""
    body = f"{text}\n".encode() if text else b""
    length = {} if status == HTTPStatus.NO_CONTENT else {"Content-Length": str(len(body))}
    kind = {"Content-Type": "text/plain; charset=utf-8"} if body else {}
    return _head(status, {**headers, **kind, **length}) + body


def refusal(status: HTTPStatus, reason: str, headers: Headers, wait_ms: int = 0) -> bytes:
    """Why a request is not served."""
    more = {}
    if status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        more["Retry-After"] = str(max(1, ceil(wait_ms / 1000)))
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        more["Allow"] = ALLOWED
    return answer(status, {**headers, **more}, reason)


def preflight(headers: Headers) -> bytes:
    """What a browser asks before a page may send headers of its own."""
    allowed = {"Access-Control-Allow-Methods": "GET", "Access-Control-Allow-Headers": LAST_EVENT_ID}
    return answer(HTTPStatus.NO_CONTENT, {"Allow": ALLOWED, **headers, **allowed, "Access-Control-Max-Age": "600"})


def event_stream(headers: Headers) -> bytes:
    """The head of an answer that lasts until the connection ends; no proxy may keep or gather it."""
    kind = {"Content-Type": "text/event-stream", "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return _head(HTTPStatus.OK, {**kind, **headers})


def of_origin(origin: str | None) -> Headers:
    """The headers by which a browser lets an allowed page read the answer."""
    return {"Access-Control-Allow-Origin": origin, "Vary": "Origin"} if origin is not None else {}


def _head(status: HTTPStatus, headers: Headers) -> bytes:
    lines = [f"HTTP/1.1 {status.value} {status.phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode("latin-1")
