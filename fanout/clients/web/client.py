"""One connection of the web port: its request, and what the client says.

Rules kept here:

- What a client may cost is bounded as over TCP: a time for its request and its registration, its input is read with
  pauses, and its unsent bytes count.
"""

import asyncio
from http import HTTPStatus

from fanout.clients.registration import Registration
from fanout.clients.web.answers import Headers, of_origin, preflight, refusal
from fanout.clients.web.event_stream import EventStream
from fanout.clients.web.port import WebPort
from fanout.clients.web.request import WEBSOCKET, NotServedError, Request, RequestHead, registered
from fanout.clients.web.speaking import SpeakingClient
from fanout.clients.web.websocket import WebSocket
from runtime.edge.admission import RefusedError


class WebClient(SpeakingClient):
    """One client's connection over HTTP: a WebSocket, an event stream, or a request that is not served."""

    def __init__(self, port: WebPort) -> None:
        super().__init__(port)
        self._head: RequestHead | None = RequestHead(asyncio.get_running_loop())
        self._headers: Headers = {}
        port.waits(self)

    # Its request

    def _receive(self, data: bytes) -> None:
        if self._speech is not None:
            self._listen(self._speech, data)
            return
        if self._head is None:  # it has been answered
            return
        try:
            request = self._head.feed(data)
            if request is not None:
                self._head = None
                self._port.waits_no_more(self)
                self._serve(request)
        except NotServedError as refused:
            self._head = None
            self._refuse(str(refused), refused.status)

    def _serve(self, request: Request) -> None:
        if not self._port.origins.allow(request.origin):
            raise NotServedError(HTTPStatus.FORBIDDEN, "this origin is not listed: add it to PARADE_WEB_ORIGINS")
        self._headers = of_origin(request.origin)
        if request.method == "OPTIONS":
            self._cancel_deadline()
            self._transport.write(preflight(self._headers))
            self._transport.close()
        elif request.path == WEBSOCKET:
            self._begin_messages(request)
        else:
            self._begin_events(request)

    def _begin_messages(self, request: Request) -> None:
        speech = WebSocket()
        self._transport.write(speech.accept(request))
        self._speech = speech
        self._keeping = asyncio.get_running_loop().call_later(speech.every_s, self._keep_alive)
        if request.rest:
            self._listen(speech, request.rest)

    def _begin_events(self, request: Request) -> None:
        who = registered(request)
        speech = EventStream(self._port)
        if self._register(who):
            self._transport.write(speech.begin(self._headers))
            self._speech = speech
            self._encode = speech.encode
            self._keep_alive()

    # What it says

    def _listen(self, speech: WebSocket | EventStream, data: bytes) -> None:
        said, is_much = speech.received(data)
        for message in said:
            self._said_whole(message)
        if isinstance(speech, WebSocket):
            if answers := speech.answers():
                self._put(answers)
            if speech.is_over:
                self._leave(speech.problem or "closed by the client")
                self._is_parting = True
                self._finish()
                return
        if is_much:
            self._ignore()

    def _said_whole(self, message: bytes) -> None:
        if self._is_parting:
            return
        lines = message if message.endswith(b"\n") else message + b"\n"
        if self.user_id:
            if self.opted_in:
                self._hear(lines)
            return
        try:
            complete = Registration().feed(lines)
        except RefusedError as refused:
            self._refuse(str(refused))
            return
        if complete and self._register(complete[0]) and self.opted_in:
            self._hear(complete[1])

    def _say_refused(self, reason: str, status: HTTPStatus, wait_ms: int) -> None:
        self._is_parting = True
        if self._speech is None and wait_ms:  # a browser takes any other answer to an event stream as final
            speech = EventStream(self._port)
            self._transport.write(speech.begin(self._headers) + speech.refusal(reason, wait_ms))
        elif self._speech is None:
            self._transport.write(refusal(status, reason, self._headers))
        else:
            self._put(self._speech.refusal(reason, wait_ms))

    def cut_off(self, reason: str) -> None:
        """End it without a word: another connection needs its place."""
        self._clients.log.info("client_refused", peer=self.peer, reason=reason)
        self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._port.waits_no_more(self)
        super().connection_lost(exc)
