"""Sources over WebSocket, on the listener's web port: `GET /source`.

    C: HELLO acks=1 LF 1|F|60|50 LF     each message: whole lines, text or binary
    S: OK 9f31c2@1 reach=1000000 LF     each message: text, whole lines
    S: ACK 1 LF NEXT 2 LF

Rules kept here:

- To a `Source` this is a transport like that of TCP. While it is not to be read it is handed nothing, not even the end
  of the connection, and nothing is read from the socket; what one read and the library have brought is held.
- Bytes of any kind are an answer to a ping, and who is not read, or takes nothing for now, is not asked: its pong could
  not be seen.
- The last lines are said before Close, and what still comes then is read and dropped until the client answers Close.
"""

import asyncio
from collections import deque
from typing import Final

from aiohttp import WebSocketError, WSMessage, WSMsgType, web

from listener.asked import RefusedError
from listener.outgoing import Outgoing, Pings
from listener.server import Source
from listener.speaker import PART_S
from runtime.edge.web import exchange

PATH: Final = "/source"
MESSAGE_BYTES: Final = 256 * 1024
"""The longest message of a client."""


def refuse_others(request: web.Request) -> None:
    """RefusedError for a request that is no handshake which can be accepted."""
    if "Sec-WebSocket-Protocol" in request.headers:  # a client that asks for one gives up when none is chosen
        raise RefusedError(400, "there are no subprotocols here: leave out Sec-WebSocket-Protocol")
    if not web.WebSocketResponse().can_prepare(request):
        raise RefusedError(426, f"{PATH} is for WebSockets, version 13")


def whole(message: bytes) -> bytes:
    """The lines of a message, the last one with its end, too."""
    return message if not message or message.endswith(b"\n") else message + b"\n"


class SourceOverWebSocket(asyncio.Transport):
    """One connection, as a transport of its source. `serve` is all that happens on it."""

    def __init__(self, source: Source, request: web.Request) -> None:
        super().__init__({"peername": request.get_extra_info("peername")})
        self._source = source
        self._request = request
        self._connection = exchange(request)
        # The library's own heartbeat would take a client for dead whose answers are not read for a while.
        self._socket = web.WebSocketResponse(
            timeout=PART_S, autoclose=False, compress=False, max_msg_size=MESSAGE_BYTES + 1
        )
        self._outgoing = Outgoing(self._socket, self._choke)
        self._pings = Pings(self._ask, self._give_up)
        self._held: deque[bytes | None] = deque()
        """Messages that the source has not been handed yet; None: Close."""
        self._is_read = True
        self._has_ended = self._is_closing = self._is_over = False
        """The client has said its last; the listener says it; the connection is gone."""
        self._problem: Exception | None = None

    def let_in(self) -> None:
        """RefusedError when there are too many."""
        self._source.connection_made(self)
        if self._is_closing:
            raise RefusedError(503, "too many sources are connected, here or from one address")

    async def serve(self) -> web.WebSocketResponse:
        """Answer the handshake, and serve the source until its end."""
        try:
            await self._socket.prepare(self._request)
            self._connection.hand_over(self._pings.heard)
            self._pings.go_on()
            await self._speak()
        except ConnectionError:
            pass  # it has gone in the middle of a message to it
        finally:
            self._is_over = True
            self._pings.stop()
            self._outgoing.unchoke()
            self._deliver()
        return self._socket

    # The transport of a source

    def write(self, data: bytes | bytearray | memoryview) -> None:
        if data and not (self._is_closing or self._is_over):
            self._outgoing.put(bytes(data))

    def pause_reading(self) -> None:
        self._is_read = False
        self._pings.heard()
        self._connection.hold()

    def resume_reading(self) -> None:
        self._is_read = True
        asyncio.get_running_loop().call_soon(self._deliver)  # soon: the source may be in the middle of a message

    def is_closing(self) -> bool:
        return self._is_closing

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        """The server's last word is Close, whoever says it first."""
        self.close()

    def close(self) -> None:
        if not self._is_closing:
            self._end()
            if self._socket.prepared and not self._is_over:
                self._connection.go_on()
                self._connection.allow(2 * PART_S, "Close was not taken")

    def abort(self) -> None:
        self._end()
        if self._connection.transport is not None:
            self._connection.transport.abort()

    def _end(self) -> None:
        self._is_closing = True
        self._held.clear()
        self._outgoing.wake()
        if self._is_over:
            asyncio.get_running_loop().call_soon(self._deliver)

    # What is sent

    async def _speak(self) -> None:
        listening = asyncio.create_task(self._listen())
        try:
            while not self._is_closing:
                await self._outgoing.news()
                await self._outgoing.send()
        finally:
            listening.cancel()
        await asyncio.wait([listening])
        await self._outgoing.end(self._has_ended)
        if not listening.cancelled():
            listening.result()

    def _choke(self, is_full: bool) -> None:
        (self._source.pause_writing if is_full else self._source.resume_writing)()

    def _ask(self) -> None:
        if self._outgoing.is_sending or self._has_ended or not self._is_read:
            self._pings.heard()
        else:
            self._outgoing.ping()

    def _give_up(self) -> None:
        self._problem = ConnectionError("no answer to a ping")
        self.abort()

    # What comes

    async def _listen(self) -> None:
        try:
            while not self._has_ended:
                self._hear(await self._socket.receive())
                self._deliver()
                if self._held:
                    self._connection.hold()  # also again: taking a message has made the library read on
        except Exception:
            self.close()
            raise

    def _hear(self, message: WSMessage) -> None:
        if message.type is WSMsgType.TEXT:
            self._held.append(whole(message.data.encode()))
        elif message.type is WSMsgType.BINARY:
            self._held.append(whole(message.data))
        else:
            self._has_ended = True
            if message.type is WSMsgType.CLOSE:
                self._held.append(None)
            elif isinstance(message.data, WebSocketError):  # the library has said Close
                self._problem = ConnectionError(f"broke the WebSocket protocol ({message.data.code:d})")
                self._connection.allow(PART_S, "Close was not taken")

    def _deliver(self) -> None:
        """Hand the source what it may have, in the end that the connection is gone."""
        while self._held and self._is_read and not self._is_closing:
            message = self._held.popleft()
            if message is not None:
                self._source.data_received(message)
            elif not self._source.eof_received():
                self.close()
        if self._held:
            return
        if self._is_over:
            self._source.connection_lost(self._problem)
        elif self._is_read:
            self._connection.go_on()
