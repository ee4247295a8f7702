"""HTTP in front of the clients' port of the double: its lines as WebSocket messages and as server-sent events."""

import base64
import hashlib
import re
import socket
import threading
from contextlib import suppress
from typing import IO

from simulator.web.websocket import GUID
from tests.unit.simulator.double import Double, Server
from tests.unit.simulator.web.test_websocket_frames import frame

CODES = {b"BYE": 1001, b"ERROR": 1008}


class Gateway:
    """`wrong` names what it does wrong; see where it is asked for."""

    def __init__(self, double: Double, wrong: str = "") -> None:
        self._double = double
        self.wrong = wrong
        self.pongs = 0
        self.asked: list[str] = []
        """The heads of all requests."""
        self._server = Server(self._serve)
        self.port = self._server.port

    def stop(self) -> None:
        self._server.stop()

    def _serve(self, connection: socket.socket, lines: IO[bytes]) -> None:
        head = "".join(iter(lambda: lines.readline().decode(), "\r\n"))
        self.asked.append(head)
        with socket.create_connection(("127.0.0.1", self._double.client_port)) as behind, behind.makefile("rb") as said:
            if head.startswith("GET /ws "):
                self._messages(connection, lines, head, behind, said)
            else:
                self._events(connection, lines, head, behind, said)
        connection.shutdown(socket.SHUT_RDWR)  # and so ends the thread that reads it

    # WebSocket

    def _messages(
        self, connection: socket.socket, heard: IO[bytes], head: str, behind: socket.socket, said: IO[bytes]
    ) -> None:
        (key,) = re.findall(r"Sec-WebSocket-Key: (\S+)", head)
        accept = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest()).decode()  # noqa: S324 (RFC 6455)
        fields = f"Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {accept}"
        connection.sendall(f"HTTP/1.1 101 Switching Protocols\r\n{fields}\r\n\r\n".encode() + frame(0x89, b"there?"))
        behind.sendall(_message(heard) + b"\n")
        self._pass_on(heard, behind)
        last = b""
        for line in said:
            if not line.endswith(b"\n"):
                break
            last = line
            connection.sendall(frame(0x82 if self.wrong == "messages are binary" else 0x81, line))
        code = CODES.get(last.partition(b" ")[0], 1000)
        connection.sendall(frame(0x88, (1000 if self.wrong == "Close has another code" else code).to_bytes(2, "big")))

    def _pass_on(self, heard: IO[bytes], behind: socket.socket) -> None:
        """Pass on what the client says, and that it has gone."""

        def listen() -> None:
            with suppress(OSError, ValueError):  # closed by the other thread
                while message := _message(heard):
                    self.pongs += message == b"there?"
                    if message == b"BYE":
                        behind.sendall(b"BYE\n")
            with suppress(OSError):
                behind.shutdown(socket.SHUT_RDWR)

        threading.Thread(target=listen, daemon=True).start()

    # Server-sent events

    def _events(
        self, connection: socket.socket, heard: IO[bytes], head: str, behind: socket.socket, said: IO[bytes]
    ) -> None:
        (user,) = re.findall(r"\?user=([0-9]+) ", head)
        after = re.findall(r"Last-Event-ID: (\S+)", head)
        behind.sendall(f"{user} after={after[0] if after else 'now'}\n".encode())
        self._pass_on(heard, behind)
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\nretry: 1000\n\n:\n\n")
        for line in said:
            if line.endswith(b"\n"):
                connection.sendall(self._block(line))

    def _block(self, line: bytes) -> bytes:
        if line[:1].isdigit():
            number = int(line.partition(b"|")[0]) + (self.wrong == "ids are of the next event")
            return b"id: 9f31c2@%d\ndata: %b\n" % (number, line)
        word, place = line.split()[:2]
        if word == b"RESET":
            return b"event: reset\nid: %b\ndata: %b\n" % (place, line)
        if word == b"BYE":
            return b"event: bye\nretry: 5\ndata: %b\n" % line
        return b"id: %b\n\n" % (place if word != b"AT" else b"9f31c2@" + place)


def _message(heard: IO[bytes]) -> bytes:
    """The next message of a client, which is short and not empty; empty when it has gone."""
    head = heard.read(6)
    if len(head) < 6:
        return b""
    length, mask = head[1], head[2:]
    return bytes(byte ^ mask[at % 4] for at, byte in enumerate(heard.read(length & 0x7F)))
