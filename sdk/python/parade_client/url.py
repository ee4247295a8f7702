"""Addresses: `parade://host:9099`, `parade://host`, `parade://[::1]:9090`. Pure."""

from typing import NamedTuple
from urllib.parse import urlsplit

CLIENT_PORT, EVENT_PORT = 9099, 9090


class Address(NamedTuple):
    """Where a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"parade://[{self.host}]:{self.port}" if ":" in self.host else f"parade://{self.host}:{self.port}"


def parse(text: str, default_port: int) -> Address:
    """The address in a URL. ValueError says what is wrong with it."""
    wanted = f"{text!r} is no address such as 'parade://127.0.0.1:{default_port}'"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as problem:
        raise ValueError(f"{wanted}: {problem}") from None
    if parts.scheme != "parade" or not parts.hostname:
        raise ValueError(wanted)
    if parts.path not in ("", "/") or parts.query or parts.fragment or parts.username is not None:
        raise ValueError(f"{wanted}: leave out what is not host or port")
    return Address(parts.hostname, default_port if port is None else port)
