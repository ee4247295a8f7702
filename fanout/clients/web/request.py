"""What a request to the web port asks for. Pure: bytes in, a verdict out.

    GET /ws HTTP/1.1                                    a WebSocket; its first message is the registration line
    GET /events?user=50&after=9f31c2@70000 HTTP/1.1     server-sent events; Last-Event-ID goes before `after`

Rules kept here:

- A connection has one request, which has no body, and ends with its answer. So there is no second one that could be
  hidden in the first.
- A head has at most `HEAD_BYTES`, however its bytes come.
"""

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import parse_qsl

from aiohttp.base_protocol import BaseProtocol
from aiohttp.http import HttpRequestParser, HttpVersion11, RawRequestMessage
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.streams import EMPTY_PAYLOAD

from fanout.clients.registration import Registered, parse
from runtime.edge.admission import RefusedError

HEAD_BYTES: Final = 8 * 1024
"""Room for cookies of the site and a token."""
HEAD_END: Final = b"\r\n\r\n"
WEBSOCKET: Final = "/ws"
EVENTS: Final = "/events"
LAST_EVENT_ID: Final = "Last-Event-ID"
METHODS: Final = ("GET", "OPTIONS")
ALLOWED: Final = ", ".join(METHODS)


class NotServedError(RefusedError):
    """The request is not served; `status` says why in HTTP's words."""

    def __init__(self, status: HTTPStatus, reason: str) -> None:
        super().__init__(reason)
        self.status = status


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose head is whole."""

    method: str
    path: str
    query: str
    origin: str | None
    last_event_id: str
    head: bytes
    rest: bytes
    """What came behind the head."""


class RequestHead:
    """The head of one request, gathered from its bytes."""

    __slots__ = ("_bytes", "_parser")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._bytes = b""
        self._parser = HttpRequestParser(BaseProtocol(loop), loop, HEAD_BYTES)

    def feed(self, data: bytes) -> Request | None:
        """Take the next bytes: the request, or None while its head has not ended. NotServedError if it is none."""
        self._bytes += data
        if len(self._bytes) > HEAD_BYTES and HEAD_END not in self._bytes[:HEAD_BYTES]:
            too_large = HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
            raise NotServedError(too_large, f"the head of a request has at most {HEAD_BYTES} bytes")
        try:
            messages, _, rest = self._parser.feed_data(data)
        except HttpProcessingError:
            raise NotServedError(HTTPStatus.BAD_REQUEST, "this is not an HTTP request") from None
        if not messages:
            return None
        message, body = messages[0]
        if message.method not in METHODS:
            raise NotServedError(HTTPStatus.METHOD_NOT_ALLOWED, f"this port is for {ALLOWED}")
        if body is not EMPTY_PAYLOAD or len(messages) > 1:
            raise NotServedError(HTTPStatus.BAD_REQUEST, "a request has no body, and a connection has one request")
        return _request(message, self._bytes[: len(self._bytes) - len(rest)], rest)


def _request(message: RawRequestMessage, head: bytes, rest: bytes) -> Request:
    if message.version != HttpVersion11:
        raise NotServedError(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, "this port speaks HTTP/1.1")
    path, _, query = message.path.partition("?")
    origin, last = (_one(message, name) for name in ("Origin", LAST_EVENT_ID))
    if path not in (WEBSOCKET, EVENTS):
        raise NotServedError(HTTPStatus.NOT_FOUND, f"there are {WEBSOCKET} (WebSocket) and {EVENTS}?user=<id>")
    return Request(message.method, path, query, origin, last or "", head, rest)


def _one(message: RawRequestMessage, name: str) -> str | None:
    values = message.headers.getall(name, [])
    if len(values) > 1:
        raise NotServedError(HTTPStatus.BAD_REQUEST, f"there is more than one {name} header")
    return values[0] if values else None


def registered(request: Request) -> Registered:
    """Who wants events, and where that goes on. NotServedError with the reason when that makes no sense."""
    asked = dict(reversed(parse_qsl(request.query, encoding="latin-1", max_num_fields=32)))
    user, after = asked.get("user", ""), request.last_event_id or asked.get("after") or "now"
    try:
        if " " in user + after:
            raise RefusedError("a user id and a cursor have no blanks")
        return parse(f"{user} after={after}".encode("latin-1", errors="replace"))
    except RefusedError as refusal:
        raise NotServedError(HTTPStatus.BAD_REQUEST, f"{refusal}: {EVENTS}?user=50") from None
