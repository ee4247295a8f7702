"""Where a deployment is, and how it is talked to. Pure.

HOST:PORT, parade://HOST:PORT     lines over TCP
ws://HOST:PORT                    WebSocket, at /ws unless a path is given
http://HOST:PORT                  server-sent events, at /events unless a path is given
"""

from typing import Final, NamedTuple
from urllib.parse import urlsplit

from runtime.errors import ParadeError
from simulator.wire import SSE, TCP, WS

SCHEMES: Final = {"parade": TCP, "ws": WS, "http": SSE}
PORTS: Final = {TCP: 9099, WS: 9098, SSE: 9098}
"""Where clients are served, unless the address says it."""
SECURE: Final = ("wss", "https", "parades", "tls")


class Address(NamedTuple):
    """A port of a deployment."""

    transport: str
    host: str
    port: int
    path: str = ""


def parse(text: str, *, ports: dict[str, int] = PORTS, option: str) -> Address:
    """ParadeError, which names the option, when it is no address; `ports` has a port for each transport."""
    scheme = text.partition("://")[0] if "://" in text else ""
    if scheme in SECURE:
        raise ParadeError(f"{option} {text}: this command speaks no TLS; connect to a port behind it")
    example = " or ".join(f"{name}://host:{ports[kind]}" for name, kind in SCHEMES.items() if kind in ports)
    wrong = ParadeError(f"{option} {text}: give an address such as {example}")
    try:
        parts = urlsplit(text if scheme else f"parade://{text}")
        port = parts.port
    except ValueError:
        raise wrong from None
    transport = SCHEMES.get(parts.scheme, "")
    path = parts.path if parts.path != "/" else ""
    is_plain = transport == TCP and not path
    if transport not in ports or not parts.hostname or not (path.isascii() and (is_plain or transport != TCP)):
        raise wrong
    if parts.username is not None or parts.query or parts.fragment or not text.isprintable() or " " in text:
        raise wrong
    return Address(transport, parts.hostname, ports[transport] if port is None else port, path)
