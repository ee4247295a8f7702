"""Which deployment a simulation is for: the one of this machine, of a Redis, or one that is only reached by its ports.

The last one is asked for the next number as any source asks, with HELLO.
"""

import http.client
import json
import urllib.request
from dataclasses import dataclass
from typing import Any, Final

from console.observe import redis_calls
from console.options import deployment, notes, settings_of
from runtime.errors import ParadeError, RedisUnavailableError
from runtime.printable import printable
from runtime.settings import Settings
from simulator import address, hello
from simulator.address import Address
from simulator.wire import SSE, TCP, TRANSPORTS, WS

HELLO_S: Final = 10.0
"""Longest wait for the answer of an event port."""
SOURCE_PORTS: Final = {TCP: 9090}


@dataclass(frozen=True, slots=True)
class Target:
    """Where the source and the clients connect. `is_elsewhere`: nothing is known of its Redis."""

    settings: Settings
    clients: Address
    is_elsewhere: bool

    def numbers(self, listener: str | None) -> tuple[int, int]:
        """The sequence number wanted next, and how far ahead of it events are taken. ParadeError unless at rest.

        `listener`: URL of a health port to ask instead.
        """
        settings = self.settings
        if listener or not self.is_elsewhere:
            try:
                return _next_number(settings, listener), settings.reach
            except RedisUnavailableError as problem:
                notes.print(printable(f"{problem}; asking the event port for the next number"), soft_wrap=True)
        return hello.ask((settings.host, settings.event_port), HELLO_S)


def find(given: dict[str, Any], events_at: str | None, clients_at: str | None, transport: str | None) -> Target:
    """The target by the options of a command. ParadeError when they contradict each other."""
    if events_at:
        source = address.parse(events_at, ports=SOURCE_PORTS, option="--events-at")
        settings = settings_of(**given | {"host": source.host, "event_port": source.port})
    else:
        settings = deployment(**given)
    return Target(settings, _clients(settings, clients_at, transport), events_at is not None)


def _clients(settings: Settings, clients_at: str | None, transport: str | None) -> Address:
    if transport not in (None, *TRANSPORTS):
        raise ParadeError(f"--transport {transport}: give {', '.join(TRANSPORTS)}")
    if clients_at is None:
        transport = transport or TCP
        port = settings.client_port if transport == TCP else settings.web_port
        if not port:
            raise ParadeError(
                f"--transport {transport} needs the port for HTTP: start the system with `parade up --web-port 9098`, "
                "or say where it is with --web-port or --clients-at"
            )
        return Address(transport, settings.host, port)
    if "://" not in clients_at and transport in (WS, SSE):  # one of the two has to say it
        clients_at = f"{'ws' if transport == WS else 'http'}://{clients_at}"
    found = address.parse(clients_at, option="--clients-at")
    if transport not in (None, found.transport):
        raise ParadeError(f"--clients-at {clients_at} is for --transport {found.transport}, not {transport}")
    return found


def _next_number(settings: Settings, listener: str | None) -> int:
    found = _ask_listener(listener) if listener else redis_calls.position(settings)
    if found["backlog"] or found["waiting"]:
        raise ParadeError(
            f"{found['backlog']} bytes are not consumed yet and {found['waiting']} events wait for number "
            f"{found['next']}; a simulation needs a deployment at rest"
        )
    return found["next"]


def _ask_listener(url: str) -> dict[str, int]:
    if "@" in url:  # urllib would not send it, and the error would show it
        raise ParadeError("--listener-health takes no user and no password")
    try:
        with urllib.request.urlopen(f"{url.rstrip('/')}/readyz", timeout=5) as answer:  # noqa: S310 (the user's own URL)
            facts = json.load(answer)
        return {name: int(facts[name]) for name in ("next", "backlog", "waiting")}
    except (OSError, ValueError, KeyError, http.client.HTTPException) as problem:
        raise ParadeError(f"the listener's health at {url} does not say the next number: {problem}") from None
