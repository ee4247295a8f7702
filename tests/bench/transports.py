"""`python -m tests.bench.transports`: what a node pays for the same lines over TCP, WebSocket and server-sent events.

One node, and all clients say `after=now`, so the lines are the same to the byte. Each run starts a new system, with the
load generator on the same cores; the transports take turns, and a ratio is that of two runs beside each other. The load
is paced, so that all get batches of the same size; `--rate 0` sends as fast as it goes.
"""

import argparse
import json
import math
import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

from rich.console import Console
from rich.table import Table

from runtime.service import raise_file_limit
from simulator.returning import Returners
from simulator.wire import TCP, TRANSPORTS, Way, wires_to
from tests.bench.measure import Figures, used_since
from tests.bench.system_under_test import System, running

WAIT_S = 600.0
SPARE_FILES = 100
LOOPBACK = "127.0.0.1"
PER_SEND = 20
BROADCAST_EACH = 10
"""Every tenth event is a broadcast; the others are private messages."""
FIGURES = {"node_cpu_s": "CPU s of the node", "us_per_line": "µs a line", "peak_mib": "MiB of the node", "seconds": "s"}


def main() -> None:
    """Run the transports in turns; print medians, and ratios to TCP."""
    options = _options()
    if options.clients + SPARE_FILES > raise_file_limit():
        sys.exit(f"{options.clients} clients need more open files: raise `ulimit -Hn`")
    os.environ["PARADE_CLIENT_JOINS_PER_S"] = "0"
    runs: dict[str, list[Figures]] = {transport: [] for transport in TRANSPORTS}
    for number in range(options.runs):
        for transport in _turn(number):
            print(f"{transport}, run {number + 1} of {options.runs} …", file=sys.stderr, flush=True)
            runs[transport].append(run(transport, options.clients, options.events, options.rate, options.payload))
    found = summary(runs)
    if options.json:
        settings = {name: getattr(options, name) for name in ("clients", "events", "rate", "payload", "runs")}
        print(json.dumps(settings | found, indent=2))
    else:
        Console(width=None if sys.stdout.isatty() else 120).print(table(found), highlight=False)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.transports", description=__doc__)
    parser.add_argument("--clients", type=int, default=5_000, help="clients of the node")
    parser.add_argument("--events", type=int, default=5_000, help="events of a run; every tenth is a broadcast")
    parser.add_argument("--rate", type=int, default=500, help="events per second; 0: as fast as it goes")
    parser.add_argument("--payload", type=int, default=40, help="bytes of each event's payload, text")
    parser.add_argument("--runs", type=int, default=3, help="how often the transports take turns")
    parser.add_argument("--json", action="store_true", help="print JSON, with each run")
    return parser.parse_args()


def _turn(number: int) -> tuple[str, ...]:
    """Each turn begins with another transport."""
    first = number % len(TRANSPORTS)
    return TRANSPORTS[first:] + TRANSPORTS[:first]


def run(transport: str, clients: int, events: int, rate: int, payload: int) -> Figures:
    """One run on a new system: what the node used while the lines were delivered."""
    sends = _sends(_lines(events, clients, payload), rate)
    lines, size = _expected(events, clients, payload)
    with running("--fanouts", "1", web=True) as system, _connected(system, transport, clients) as peers:
        before, began_s = system.processes(), time.monotonic()
        with socket.create_connection((LOOPBACK, system.event_port)) as source:
            sending = threading.Thread(target=_send, args=(source, sends, rate), daemon=True)
            sending.start()
            while peers.total < size:
                peers.receive(0.05)
                _check(peers, began_s)
            sending.join(WAIT_S)
        seconds = time.monotonic() - began_s
        (node,) = [used for used in used_since(before, system.processes()) if used["name"] == "fanout"]
        if peers.total != size:
            raise RuntimeError(f"{peers.total - size} bytes too many came over {transport}")
    return {
        "lines": lines,
        "node_cpu_s": node["cpu_s"],
        "us_per_line": round(node["cpu_s"] / lines * 1e6, 3),
        "peak_mib": node["peak_mib"],
        "seconds": round(seconds, 2),
    }


@contextmanager
def _connected(system: System, transport: str, clients: int) -> Iterator[Returners]:
    """Clients of the users 1, 2, 3, …, each told where it begins."""
    port = system.client_port if transport == TCP else system.web_port
    way = Way([(LOOPBACK, port)], wires_to(transport, LOOPBACK, port))
    peers = Returners(way, list(range(1, clients + 1)), WAIT_S, returns=False)
    try:
        peers.connect(lambda _: None)
        began_s = time.monotonic()
        while peers.absent:
            peers.receive(0.05)
            _check(peers, began_s)
        yield peers
    finally:
        peers.close()


def _check(peers: Returners, began_s: float) -> None:
    for client in peers.all:
        if client.closed or client.cursor.problems:
            raise RuntimeError(f"user {client.user}: {client.cursor.problems or 'the connection has ended'}")
    if time.monotonic() - began_s > WAIT_S:
        raise TimeoutError(f"not done within {WAIT_S:g} s")


def _lines(events: int, clients: int, payload: int) -> list[bytes]:
    text = b"x" * payload
    return [
        b"%d|B|%b\n" % (n, text) if n % BROADCAST_EACH == 0 else b"%d|P|7|%d|%b\n" % (n, n % clients + 1, text)
        for n in range(1, events + 1)
    ]


def _expected(events: int, clients: int, payload: int) -> tuple[int, int]:
    """The lines and the bytes that all clients together are owed."""
    counts = [clients if n % BROADCAST_EACH == 0 else 1 for n in range(1, events + 1)]
    sizes = (len(line) * count for line, count in zip(_lines(events, clients, payload), counts, strict=True))
    return sum(counts), sum(sizes)


def _sends(lines: list[bytes], rate: int) -> list[bytes]:
    step = PER_SEND if rate else 1_000
    return [b"".join(lines[start : start + step]) for start in range(0, len(lines), step)]


def _send(source: socket.socket, sends: list[bytes], rate: int) -> None:
    began_s, interval_s = time.monotonic(), PER_SEND / rate if rate else 0.0
    for number, data in enumerate(sends):
        time.sleep(max(0.0, began_s + number * interval_s - time.monotonic()))
        source.sendall(data)


def summary(runs: dict[str, list[Figures]]) -> Figures:
    """The medians of each transport, and the medians and ranges of the ratios to TCP."""
    found: Figures = {"transports": {}, "to_tcp": {}}
    for transport, figures in runs.items():
        found["transports"][transport] = {name: median(each[name] for each in figures) for name in FIGURES}
        found["transports"][transport] |= {"lines": figures[0]["lines"], "runs": figures}
        if transport != TCP:
            pairs = list(zip(figures, runs[TCP], strict=True))
            ratios = [one["node_cpu_s"] / two["node_cpu_s"] if two["node_cpu_s"] else math.nan for one, two in pairs]
            spread = [round(each, 3) for each in (min(ratios), max(ratios))]
            found["to_tcp"][transport] = {"node_cpu": round(median(ratios), 3), "range": spread}
    return found


def table(found: Figures) -> Table:
    """For people."""
    shown = Table("", *FIGURES.values(), "CPU, TCP = 1", "of the pairs", box=None)
    for transport, figures in found["transports"].items():
        ratio = found["to_tcp"].get(transport)
        more = (f"{ratio['node_cpu']:.2f}", "{:.2f} to {:.2f}".format(*ratio["range"])) if ratio else ("", "")
        shown.add_row(transport, *(f"{figures[name]:,.6g}" for name in FIGURES), *more)
    return shown


if __name__ == "__main__":
    main()
