"""Asks a deployment's event port where the numbers are, as any source can."""

import socket
import time
from typing import Final, NamedTuple

from runtime.errors import ParadeError
from simulator.control import Control, Lines

REST_S: Final = 1.5
"""How long to listen for a sign that events are on their way: a missing number is said after a second."""


class Welcome(NamedTuple):
    """The number that is wanted next, and how far ahead of it events are taken."""

    next: int
    reach: int


def ask(address: tuple[str, int], timeout_s: float, rest_s: float = REST_S) -> Welcome:
    """Say HELLO, and listen for a moment. ParadeError without an answer, or when events are on their way."""
    place = f"the event port, {address[0]}:{address[1]},"
    try:
        with socket.create_connection(address, timeout_s) as connection:
            connection.sendall(b"HELLO acks=1\n")
            return _heard(connection, place, timeout_s, rest_s)
    except TimeoutError:
        raise ParadeError(f"{place} does not answer HELLO within {timeout_s:g} s: is it the event port?") from None
    except (OSError, ValueError) as problem:
        raise ParadeError(f"{place} does not say the next number: {problem}") from None


def _heard(connection: socket.socket, place: str, timeout_s: float, rest_s: float) -> Welcome:
    lines, found, end_s = Lines(), None, time.monotonic() + timeout_s
    while (left_s := end_s - time.monotonic()) > 0:
        connection.settimeout(left_s)
        try:
            data = connection.recv(4096)
        except TimeoutError:
            break
        if not data:
            raise ConnectionError("it closed the connection")
        for line in lines.feed(data):
            if not isinstance(line, Control) or line.word == "ERROR":
                raise ValueError(line.text if isinstance(line, Control) else f"it sends {line[:60]!r}")
            if line.word == "OK" and found is None:
                found, end_s = _welcome(line), time.monotonic() + rest_s
            elif line.word in ("NEXT", "GAP", "SKIPPED") and line.argument(0) != str(found.next if found else 0):
                _not_at_rest(place, "others send events now")
            elif line.word == "GAP":
                _not_at_rest(place, f"events wait for number {line.number}")
    if found is None:
        raise TimeoutError
    return found


def _welcome(line: Control) -> Welcome:
    reach = line.pairs.get("reach", "")
    if not (reach.isascii() and reach.isdigit()):
        raise ValueError(f"OK says reach={reach!r}")
    return Welcome(line.position.number, int(reach))


def _not_at_rest(place: str, why: str) -> None:
    raise ParadeError(f"{place} says that {why}; a simulation needs a deployment at rest")
