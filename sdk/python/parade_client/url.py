"""Addresses: `parade://host:9099` for TCP, `ws://host:9098` and `wss://host` for WebSocket. Pure."""

from typing import NamedTuple
from urllib.parse import urlsplit

CLIENT_PORT, EVENT_PORT = 9099, 9090
WEB_PORTS = {"ws": 80, "wss": 443}


class Address(NamedTuple):
    """Where a server listens. `path` is empty over TCP."""

    host: str
    port: int
    scheme: str = "parade"
    path: str = ""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"


def parse(text: str, default_port: int, endpoint: str) -> Address:
    """The address in a URL. Over WebSocket it is that of the endpoint, behind the path in the URL if there is one.

    ValueError says what is wrong with it.
    """
    wanted = f"{text!r} is no address such as 'parade://127.0.0.1:{default_port}' or 'ws://127.0.0.1:9098'"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as problem:
        raise ValueError(f"{wanted}: {problem}") from None
    if parts.scheme not in ("parade", *WEB_PORTS) or not parts.hostname:
        raise ValueError(wanted)
    path = parts.path.rstrip("/")
    if (path and parts.scheme == "parade") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{wanted}: leave out what is not host or port")
    if parts.scheme == "parade":
        return Address(parts.hostname, default_port if port is None else port)
    return Address(
        parts.hostname, WEB_PORTS[parts.scheme] if port is None else port, parts.scheme, f"{path}/{endpoint}"
    )
