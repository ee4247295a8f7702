"""The ports that one `parade up` takes: each is free, and no two are the same, before anything is started."""

import socket
from collections.abc import Iterable
from dataclasses import dataclass

from runtime.edge.port_refusal import refusal
from runtime.errors import ParadeError

MOST = 65535


@dataclass(frozen=True, slots=True)
class Port:
    """A port on an address, and what it is called in messages."""

    name: str
    host: str
    number: int


def check(ports: Iterable[Port]) -> None:
    """ParadeError when two of the ports are the same, when any program has one of them, or when one is no port."""
    names: dict[int, str] = {}
    for port in ports:
        if port.number > MOST:
            raise ParadeError(f"{port.name} would be {port.number}, and {MOST} is the highest port")
        if port.number and port.number in names:
            both = f"{names[port.number]} and {port.name} are both {port.number}"
            raise ParadeError(f"{both}: each needs a port of its own")
        names[port.number] = port.name
        _check_free(port.host, port.number)


def _check_free(host: str, number: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as problem:
            raise ParadeError(refusal(host, number, problem)) from None
