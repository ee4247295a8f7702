"""`/ws`: messages of whole lines, pings, and how such a connection ends.

Rules kept here:

- The handshake and what a client sends are checked by a library; what the node sends in masses is encoded by
  `messages.py`, once for all.
- Nothing is compressed. Each connection would need its own copy of a broadcast, and memory to compress it with.
- Who has not answered a ping by the time of the next one is gone. One that is behind gets no ping: it can't see it.
- The server's last frame is Close; the connection ends when the client has answered it, or after a while.
"""

from http import HTTPStatus
from typing import Final

from websockets.frames import DATA_OPCODES, Frame
from websockets.http11 import Request as Handshake
from websockets.protocol import OPEN
from websockets.server import ServerProtocol

from fanout.clients.registration import PAIRS_BYTES
from fanout.clients.web.messages import messages
from fanout.clients.web.request import WEBSOCKET, NotServedError, Request

PING_S: Final = 20.0
A_CHUNK: Final = 16
"""Frames in one piece of input from which the connection is paused: nobody needs as many."""

DONE, GOING_AWAY, REFUSED, LATER = 1000, 1001, 1008, 1013
"""Status codes of Close (RFC 6455, section 7.4, and its registry)."""


class WebSocket:
    """One WebSocket; bytes in, messages and bytes to send out."""

    every_s = PING_S

    def __init__(self) -> None:
        self._protocol = ServerProtocol(max_size=PAIRS_BYTES)
        self._message = b""
        self._is_asked = False
        """A ping has not been answered."""

    def accept(self, request: Request) -> bytes:
        """Answer the handshake. NotServedError when it is none."""
        self._protocol.receive_data(request.head)
        handshake = next(iter(self._protocol.events_received()), None)
        if not isinstance(handshake, Handshake):
            raise NotServedError(HTTPStatus.BAD_REQUEST, f"{WEBSOCKET} is for WebSockets")
        response = self._protocol.accept(handshake)
        if response.status_code != HTTPStatus.SWITCHING_PROTOCOLS:
            raise NotServedError(HTTPStatus(response.status_code), f"{WEBSOCKET} is for WebSockets, version 13")
        self._protocol.send_response(response)
        return self._to_send()

    def received(self, data: bytes) -> tuple[list[bytes], bool]:
        """Take the client's bytes: its whole messages, and whether there is more than a client has to say."""
        self._is_asked = False
        self._protocol.receive_data(data)
        said: list[bytes] = []
        frames = self._protocol.events_received()
        for frame in frames:
            if isinstance(frame, Frame) and frame.opcode in DATA_OPCODES:
                self._message += frame.data
                if frame.fin:
                    said.append(self._message)
                    self._message = b""
        return said, bool(said) or len(frames) > A_CHUNK

    def answers(self) -> bytes:
        """What the protocol itself has to send: pongs, and Close in answer to Close or to nonsense."""
        return self._to_send()

    @property
    def is_over(self) -> bool:
        """The client has said Close, which is answered or is the answer, or it has sent nonsense."""
        return self._protocol.close_rcvd is not None or self._protocol.eof_sent

    @property
    def problem(self) -> str:
        """Why the server ends it, if the client has broken the protocol."""
        return str(self._protocol.parser_exc or "")

    def keep_alive(self) -> bytes | None:
        """A ping; None when the last one has not been answered."""
        if self._is_asked:
            return None
        self._is_asked = True
        if self._protocol.state is OPEN:
            self._protocol.send_ping(b"")
        return self._to_send()

    def last(self, reason: str) -> bytes:
        """Close, with the code for this reason to end the connection."""
        return self._close(GOING_AWAY if reason else DONE)

    def refusal(self, reason: str, wait_ms: int) -> bytes:
        """Why a registration is refused, and Close."""
        line = f"BYE busy {wait_ms}\n" if wait_ms else f"ERROR {reason}\n"
        return messages(line.encode()) + self._close(LATER if wait_ms else REFUSED)

    def _close(self, code: int) -> bytes:
        if self._protocol.state is OPEN:
            self._protocol.send_close(code)
        return self._to_send()

    def _to_send(self) -> bytes:
        return b"".join(self._protocol.data_to_send())
