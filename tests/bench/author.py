"""The cost of a status update by a much-followed author: it depends on the followers online, not on all followers."""

import socket
import time
from typing import Any

from simulator.clients import Clients
from tests.bench.measure import used_since
from tests.bench.system_under_test import System, running

POSTS = 500
AUTHOR = 1
WAIT_S = 120.0
CHUNK = 10_000


def author(followers: int, online: int) -> dict[str, Any]:
    """Give an author `followers`, the first `online` of them connected, and measure the CPU time of the posts."""
    with running() as system, socket.create_connection(("127.0.0.1", system.event_port)) as source:
        clients = Clients(("127.0.0.1", system.client_port), list(range(2, online + 2)), WAIT_S)
        clients.keep = False
        try:
            clients.connect(lambda _: None)
            system.wait_until_online(online)
            for start in range(1, followers + 1, CHUNK):
                numbers = range(start, min(start + CHUNK, followers + 1))
                source.sendall(b"".join(b"%d|F|%d|%d\n" % (number, number + 1, AUTHOR) for number in numbers))
            _wait_until_released(system, followers)
            before, began_s = system.processes(), time.monotonic()
            posts = [b"%d|S|%d\n" % (number, AUTHOR) for number in range(followers + 1, followers + POSTS + 1)]
            source.sendall(b"".join(posts))
            _receive(clients, sum(map(len, posts)) * online)
            seconds = time.monotonic() - began_s
            used = used_since(before, system.processes())
        finally:
            clients.close()
    return {
        "followers": followers,
        "online": online,
        "posts": POSTS,
        "seconds": round(seconds, 2),
        "cpu_us_per_notification": round(sum(each["cpu_s"] for each in used) / (POSTS * online) * 1e6, 3),
        "processes": used,
    }


def _wait_until_released(system: System, events: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while system.released() < events:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{system.released()} of {events} events were released within {WAIT_S:g} s")
        time.sleep(0.05)


def _receive(clients: Clients, size: int) -> None:
    deadline = time.monotonic() + WAIT_S
    while clients.total < size:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{clients.total} of {size} bytes arrived within {WAIT_S:g} s")
        clients.receive(0.1)
    checksums = {client.checksum for client in clients.all}
    if clients.total != size or len(checksums) != 1:
        raise RuntimeError("the clients did not all receive the same bytes")
