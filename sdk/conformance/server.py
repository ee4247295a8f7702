"""A server that follows a script, also a bad one: it plays one transcript of `transcripts.json` to a client library.

    python sdk/conformance/server.py --list
    python sdk/conformance/server.py cut-in-the-middle-of-a-line --port 9099
    python sdk/conformance/server.py cut-in-the-middle-of-a-line --transport ws

It prints a line of JSON when it listens, one for each connection with the lines that it was sent, and the verdict. The
exit status is 0 when the library said what the transcript expects, and 1 when not.

Rules kept here:

- A string stands for bytes by ISO 8859-1, so that any bytes can be written.
- Every wait has a deadline, `--patience` seconds.
- Once the last connection has begun nothing listens any more: one connection too many fails.
"""

import argparse
import json
import socket
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from web import EventStream, WebSocket

TRANSCRIPTS = Path(__file__).with_name("transcripts.json")
LINE_BYTES = 65_536

Step = dict[str, Any]


class DifferenceError(Exception):
    """The library did something else."""


class Transport(Protocol):
    """What carries the protocol's bytes on one connection."""

    def receive(self) -> bytes:
        """What the library says next; empty at the end."""

    def send(self, data: bytes) -> None:
        """Send."""

    def close(self) -> None:
        """Say that the end comes, where that can be said."""


class Tcp:
    """The bytes as they are."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection

    def receive(self) -> bytes:
        """What the library says next; empty at the end."""
        return self._socket.recv(LINE_BYTES)

    def send(self, data: bytes) -> None:
        """Send."""
        self._socket.sendall(data)

    def close(self) -> None:
        """The end of the connection says it."""


TRANSPORTS: dict[str, Callable[[socket.socket], Transport]] = {"tcp": Tcp, "ws": WebSocket, "sse": EventStream}


class Conversation:
    """One connection. `received` has the lines that were sent by the library."""

    def __init__(self, connection: socket.socket, transport: str, patience_s: float) -> None:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(patience_s)
        self.received: list[str] = []
        self._socket = connection
        self._patience_s = patience_s
        self._kind = transport
        self._rest = b""

    def play(self, steps: list[Step]) -> None:
        """Play all steps; the connection is closed behind the last one. Raises DifferenceError."""
        try:
            self._transport = TRANSPORTS[self._kind](self._socket)
        except OSError as problem:
            raise DifferenceError(f"the library opened no {self._kind} connection: {problem}") from None
        is_reset = False
        for step in steps:
            if "expect" in step:
                self._expect(step["expect"])
            elif "send" in step:
                self._send(step["send"].encode("latin-1"), step.get("each", 0), step.get("pause_ms", 0) / 1000)
            elif "expect_close" in step:
                self._expect_close()
            elif "reset" in step:
                # Closing without waiting for what is unsent: the peer gets a reset.
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                is_reset = True
            else:
                time.sleep(step["pause_ms"] / 1000)
        if not is_reset:
            self._transport.close()

    def _expect(self, wanted: str) -> None:
        line = self._line()
        if line != wanted:
            raise DifferenceError(f"expected {wanted!r}, and it said {line!r}")

    def _line(self) -> str:
        while b"\n" not in self._rest:
            data = self._receive()
            if not data:
                raise DifferenceError(f"the library closed the connection after {self._rest!r}")
            self._rest += data
            if len(self._rest) > LINE_BYTES and b"\n" not in self._rest:
                raise DifferenceError("the library sent a line without an end")
        line, _, self._rest = self._rest.partition(b"\n")
        self.received.append(line.decode("latin-1"))
        return self.received[-1]

    def _expect_close(self) -> None:
        if self._rest or (data := self._receive()):
            raise DifferenceError(f"expected that the library closes, and it said {self._rest or data!r}")

    def _receive(self) -> bytes:
        try:
            return self._transport.receive()
        except TimeoutError:
            raise DifferenceError(f"nothing came for {self._patience_s:g} s") from None
        except ConnectionError:
            return b""

    def _send(self, data: bytes, each: int, pause_s: float) -> None:
        size = each or len(data)
        try:
            for at in range(0, len(data), size):
                self._transport.send(data[at : at + size])
                time.sleep(pause_s)
        except OSError as problem:
            raise DifferenceError(f"the library takes nothing: {problem}") from None


def play(transcript: dict[str, Any], transport: str, port: int, patience_s: float) -> bool:
    """Play a transcript to one library; returns whether it said what is expected."""
    problem = ""
    listening = socket.create_server(("127.0.0.1", port))
    listening.settimeout(patience_s)
    say({"listening": listening.getsockname()[1], "transcript": transcript["name"]})
    for number, steps in enumerate(transcript["connections"], 1):
        try:
            connection, _ = listening.accept()
        except TimeoutError:
            problem = f"connection {number} did not come within {patience_s:g} s"
            break
        if number == len(transcript["connections"]):
            listening.close()
        with connection:
            conversation = Conversation(connection, transport, patience_s)
            try:
                conversation.play(steps)
            except DifferenceError as difference:
                problem = f"connection {number}: {difference}"
        say({"connection": number, "received": conversation.received})
        if problem:
            break
    listening.close()
    say({"transcript": transcript["name"], "passed": not problem, "problem": problem or None})
    return not problem


def say(fact: dict[str, Any]) -> None:
    """Print a line of JSON."""
    sys.stdout.write(json.dumps(fact) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Play what the command line names."""
    transcripts = {each["name"]: each for each in json.loads(TRANSCRIPTS.read_text())}
    parser = argparse.ArgumentParser(description="Plays one transcript to a client library.")
    parser.add_argument("transcript", nargs="?", choices=transcripts, metavar="NAME", help="see --list")
    parser.add_argument("--list", action="store_true", help="print all names, and what each is about")
    parser.add_argument(
        "--transport", choices=TRANSPORTS, default="tcp", help="how the library connects (default: tcp)"
    )
    parser.add_argument("--port", type=int, default=0, help="the port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--patience", type=float, default=30.0, metavar="SECONDS", help="the longest wait")
    given = parser.parse_args()
    if given.list:
        for each in transcripts.values():
            sys.stdout.write(f"{each['name']:40} {each['role']:12} {each['about']}\n")
        return 0
    if given.transcript is None:
        parser.error("name a transcript, or give --list")
    return 0 if play(transcripts[given.transcript], given.transport, given.port, given.patience) else 1


if __name__ == "__main__":
    sys.exit(main())
