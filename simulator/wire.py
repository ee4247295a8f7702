"""How clients and the system talk to each other: over TCP, WebSocket or server-sent events. Pure.

Whatever the wire is, a client is told the lines of docs/protocol.md; a wire takes them out of what comes.
"""

from collections.abc import Callable
from functools import partial
from typing import Final, NamedTuple, Protocol

from simulator.web.event_stream import EventStream
from simulator.web.websocket import WebSocket

TCP, WS, SSE = "tcp", "ws", "sse"
TRANSPORTS: Final = (TCP, WS, SSE)


class Wire(Protocol):
    """One connection of a client."""

    @property
    def hello(self) -> bytes:
        """What to send first."""

    def receive(self, data: bytes) -> bytes:
        """The lines in what has come, or a part of them. ValueError when the server breaks the protocol."""

    def reply(self) -> bytes:
        """What is to be sent now."""

    def goodbye(self) -> bytes:
        """What to send so that no place is kept; empty where a client can't say it."""


class Plain:
    """TCP: the lines themselves."""

    def __init__(self, registration: bytes) -> None:
        self.hello = registration

    def receive(self, data: bytes) -> bytes:
        """The same."""
        return data

    def reply(self) -> bytes:
        """Nothing."""
        return b""

    def goodbye(self) -> bytes:
        """BYE."""
        return b"BYE\n"


Wires = Callable[[bytes], Wire]
"""Makes the wire of a connection from its registration line."""


class Way(NamedTuple):
    """To the clients' side of a deployment."""

    nodes: list[tuple[str, int]]
    wires: Wires


def wires_to(transport: str, host: str, port: int, path: str = "") -> Wires:
    """The wires to this address."""
    name = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    if transport == TCP:
        return Plain
    return partial(WebSocket if transport == WS else EventStream, host=name, path=path)
