"""`python -m tests.bench.protocol`: what acknowledgements, numbers by Parade and away users cost.

Each measurement starts a new system, with the load generator on the same cores. The ways to be compared take turns.
"""

import argparse
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any

from contract.keys import Keys
from runtime.service import raise_file_limit
from simulator.clients import Clients
from tests.bench.system_under_test import System, running

KEYS = Keys("parade")
WAIT_S = 400.0
CLIENTS = 100
CHUNK = 1_000
AT_ONCE = 2_000
"""Users that register together before they go away."""
LOOPBACK = "127.0.0.1"


def main() -> None:
    """Run the measurements, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.protocol", description=__doc__)
    parser.add_argument("--only", default="", help="run only measurements whose name contains this")
    parser.add_argument("--runs", type=int, default=3, help="how often the ways take turns")
    parser.add_argument("--events", type=int, default=1_000_000, help="events of a run")
    parser.add_argument("--away", type=int, default=100_000, help="users who are away")
    options = parser.parse_args()
    raise_file_limit()
    os.environ |= {"PARADE_LINGER_S": "0", "PARADE_CLIENT_JOINS_PER_S": "0", "PARADE_AWAY_S": "280"}
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "acks": lambda: acks(options.events, options.runs),
        "away": lambda: away(options.events, options.runs, options.away),
    }
    for name, measure in measures.items():
        if options.only in name:
            print(json.dumps({"measure": name} | measure()), flush=True)


def acks(events: int, runs: int) -> dict[str, Any]:
    """Events per second of a plain source, an acknowledged one, and a producer whose events Parade numbers."""
    ways = {"plain": b"", "acks": b"HELLO acks=1\n", "producer": b"HELLO acks=1 producer=bench\n"}
    rates: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, hello in ways.items():
            os.environ["PARADE_NUMBERING"] = "parade" if name == "producer" else "sources"
            with running() as system, connected(system) as clients:
                rates[name].append(_throughput(system, clients, _lines(events, name != "producer"), hello))
    os.environ.pop("PARADE_NUMBERING")
    found = {name: round(median(values)) for name, values in rates.items()}
    pairs = {name: [a / b for a, b in zip(rates[name], rates["plain"], strict=True)] for name in ("acks", "producer")}
    ratios = {f"{name}_to_plain": round(median(values), 3) for name, values in pairs.items()}
    return {"events": events, "runs": runs} | found | ratios


def away(events: int, runs: int, users: int) -> dict[str, Any]:
    """Memory of each away user, and events per second without and with away users; half of the events are for them."""
    rates: dict[str, list[float]] = {"nobody_away": [], "away": []}
    found: dict[str, Any] = {"users": users, "events": events, "runs": runs}
    for _ in range(runs):
        for name, values in rates.items():
            with running() as system, connected(system) as clients, system.redis() as server:
                before = _memory(system, server)
                if name == "away":
                    began_s = time.monotonic()
                    _go_away(system, server, users)
                    found["went_away_s"] = round(time.monotonic() - began_s, 1)
                    after = _memory(system, server)
                    found |= {f"{part}_bytes_each": round((after[part] - before[part]) / users) for part in before}
                lines = _lines(events, True, aside=users)
                values.append(_throughput(system, clients, lines, b""))
                found[f"journal_mib_{name}"] = round(int(server.memory_usage(KEYS.deliveries) or 0) / 2**20, 1)
                if name == "away" and int(server.zcard(KEYS.away)) != users:
                    raise RuntimeError("some users were no longer away at the end")
    pairs = [a / b for a, b in zip(rates["away"], rates["nobody_away"], strict=True)]
    return found | {name: round(median(values)) for name, values in rates.items()} | {"ratio": round(median(pairs), 3)}


@contextmanager
def connected(system: System) -> Iterator[Clients]:
    """Clients of the users 1, 2, 3, …, online."""
    clients = Clients((LOOPBACK, system.client_port), list(range(1, CLIENTS + 1)), WAIT_S)
    clients.keep = False
    try:
        clients.connect(lambda _: None)
        system.wait_until_online(CLIENTS)
        yield clients
    finally:
        clients.close()


def _lines(events: int, numbered: bool, aside: int = 0) -> list[bytes]:
    """A broadcast in ten, private messages else; every second of those to one of `aside` users after the clients."""
    lines = []
    for n in range(1, events + 1):
        number = b"%d" % n if numbered else b"*"
        receiver = CLIENTS + 1 + n % aside if aside and n % 2 else n % CLIENTS + 1
        lines.append(number + (b"|B\n" if n % 10 == 0 else b"|P|7|%d\n" % receiver))
    return lines


def _throughput(system: System, clients: Clients, lines: list[bytes], hello: bytes) -> float:
    """Events per second until each client has received all, and the source its last acknowledgement."""
    expected = sum(_received_bytes(number, line) for number, line in enumerate(lines, 1))
    chunks = [b"".join(lines[start : start + CHUNK]) for start in range(0, len(lines), CHUNK)]
    began_s = time.monotonic()
    with socket.create_connection((LOOPBACK, system.event_port)) as source:
        sending = [threading.Thread(target=_send, args=(source, [hello, *chunks]), daemon=True)]
        if hello:
            sending.append(threading.Thread(target=_read_until, args=(source, b"ACK %d\n" % len(lines)), daemon=True))
        for thread in sending:
            thread.start()
        while clients.total < expected:
            clients.receive(0.05)
            _check_time(began_s)
        for thread in sending:
            thread.join(WAIT_S)
    return len(lines) / (time.monotonic() - began_s)


def _received_bytes(number: int, line: bytes) -> int:
    """The bytes that all clients together get of an event."""
    size = len(b"%d" % number) + len(line) - line.index(b"|")
    if line.endswith(b"|B\n"):
        return CLIENTS * size
    return size if int(line.rpartition(b"|")[2]) <= CLIENTS else 0


def _send(source: socket.socket, chunks: list[bytes]) -> None:
    for chunk in chunks:
        source.sendall(chunk)


def _read_until(source: socket.socket, last: bytes) -> None:
    heard = b""
    while last not in heard:
        heard = heard[-len(last) :] + source.recv(1 << 16)


def _go_away(system: System, server: Any, users: int) -> None:
    """So many users register, are told where they are, and leave."""
    for first in range(CLIENTS + 1, CLIENTS + users + 1, AT_ONCE):
        peers = []
        for user in range(first, min(first + AT_ONCE, CLIENTS + users + 1)):
            peer = socket.create_connection((LOOPBACK, system.client_port), WAIT_S)
            peer.sendall(b"%d after=now\n" % user)
            peers.append(peer)
        for peer in peers:
            if not peer.recv(64).startswith(b"OK "):
                raise RuntimeError("a client was not told OK")
            peer.close()
    began_s = time.monotonic()
    while int(server.zcard(KEYS.away)) < users:
        _check_time(began_s)
        time.sleep(0.05)


def _memory(system: System, server: Any) -> dict[str, int]:
    """Resident memory of the sequencer, and what Redis uses for its data, in bytes."""
    sequencer = next(process for process in system.processes() if process.name == "sequencer")
    return {"sequencer": 1024 * sequencer.rss_kib, "redis": int(server.info("memory")["used_memory_dataset"])}


def _check_time(began_s: float) -> None:
    if time.monotonic() - began_s > WAIT_S:
        raise TimeoutError(f"not done within {WAIT_S:g} s")


if __name__ == "__main__":
    main()
