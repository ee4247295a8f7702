"""`python -m tests.bench.crowds`: what others notice while follow sets are read and users come and go.

Three measures on a system of their own each, with follow graphs written straight into Redis. The load runs on the
same cores as the system.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from multiprocessing.synchronize import Event
from typing import Any

import redis

from contract.keys import Keys
from runtime.service import raise_file_limit
from simulator.clients import Clients
from tests.bench.system import System, running

KEYS = Keys("parade")
WAIT_S = 120.0
RATE = 2_000
"""Events a second while others join."""
CLIENTS = 100
EVENTS = 1_000_000
CHUNK = 1_000
GREEDY = 1_000_000_000
"""The id of the user with the large follow set."""


def main() -> None:
    """Measure, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowds", description=__doc__)
    parser.add_argument("--only", default="", help="only measures whose name contains this")
    parser.add_argument("--users", type=int, default=18_000, help="users who are online at a take-over")
    parser.add_argument("--follows", type=int, default=1_000, help="whom each of them follows")
    parser.add_argument("--large", type=int, default=500_000, help="whom the one user follows who joins and leaves")
    parser.add_argument("--behind", type=int, default=100_000, help="status updates that wait behind a gap")
    options = parser.parse_args()
    raise_file_limit()
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "take-over": lambda: take_over(options.users, options.follows),
        "join": lambda: join(options.large),
        "loops": lambda: loops(options.large),
        "gap": lambda: gap(options.behind),
    }
    for name, measure in measures.items():
        if options.only in name:
            print(json.dumps({"measure": name} | measure()), flush=True)


def take_over(users: int, follows: int) -> dict[str, Any]:
    """The sequencer is killed while so many users are online: from the new lease to the first batch and line."""
    with running() as system, connected(system, users) as clients, system.redis() as server:
        ids = range(1, users + 1)
        _follow(server, {user: [(user + step) % users + 1 for step in range(1, follows + 1)] for user in ids})
        lease, batch = server.get(KEYS.lease), _batch(server)
        _kill_leader(system, str(lease))
        killed_s = time.monotonic()
        while server.get(KEYS.lease) in (None, lease):
            time.sleep(0.001)
        taken_s = time.monotonic()
        while _batch(server) == batch:
            time.sleep(0.001)
        first_s = time.monotonic()
        with socket.create_connection(("127.0.0.1", system.event_port)) as source:
            source.sendall(b"1|S|1\n2|B\n")
            while clients.total < follows * len(b"1|S|1\n") + users * len(b"2|B\n"):
                clients.receive(0.05)
                _in_time(first_s)
        return {
            "users": users,
            "follows": follows,
            "lease_free_after_s": round(taken_s - killed_s, 2),
            "first_batch_after_s": round(first_s - taken_s, 2),
            "everyone_told_after_s": round(time.monotonic() - first_s, 2),
        }


def join(large: int) -> dict[str, Any]:
    """Steady broadcasts, and a user who follows many joins and leaves; the longest pause that another user sees."""
    with running() as system, system.redis() as server:
        _follow(server, {GREEDY: range(1, large + 1)})
        with connected(system, 1), _watching(system) as pauses:
            time.sleep(3)
            before_s = pauses[0]
            pauses[0] = 0.0
            with connected(system, 1, first=GREEDY):
                time.sleep(5)
            time.sleep(5)
            return {
                "follows": large,
                "longest_pause_before_s": round(before_s, 3),
                "longest_pause_s": round(pauses[0], 3),
            }


def loops(large: int) -> dict[str, Any]:
    """Throughput alone, beside one loop of joins and leaves of a user who follows many, and beside 50 of others."""
    found: dict[str, Any] = {"follows": large}
    for name, users in (("alone", ()), ("one_large", (GREEDY,)), ("fifty_small", range(GREEDY + 1, GREEDY + 51))):
        with running() as system, system.redis() as server, connected(system, CLIENTS) as clients:
            _follow(server, {GREEDY: range(1, large + 1)})
            with _looping(system.client_port, list(users)) as turns:
                found[name] = round(_throughput(system, clients))
            if users:
                found[f"{name}_turns"] = turns.value
    return found


def gap(behind: int) -> dict[str, Any]:
    """An author with 1,000 online followers posts; all but the first update come before it, or all in order."""
    found: dict[str, Any] = {"behind": behind}
    for name, late in (("in_order", 0), ("after_the_gap", 1)):
        with running() as system, system.redis() as server:
            _follow(server, {user: [GREEDY] for user in range(1, 1_001)})
            with connected(system, 1_000) as clients:
                found[f"{name}_s"] = round(_all_told(system, clients, behind, late), 1)
            statistics: Any = server.info("commandstats")
            found[f"{name}_zadds"] = statistics.get("cmdstat_zadd", {}).get("calls", 0)
    return found


def _all_told(system: System, clients: Clients, events: int, late: int) -> float:
    """Send status updates, the first `late` of them when all others wait; the seconds from then to the last line."""
    lines = [b"%d|S|%d\n" % (number, GREEDY) for number in range(1, events + 1)]
    with socket.create_connection(("127.0.0.1", system.event_port)) as source, system.redis() as server:
        began_s = time.monotonic()
        source.sendall(b"".join(lines[late:]))
        if late:
            _wait_until(lambda: server.zcard(KEYS.waiting) == events - late)
            began_s = time.monotonic()
            source.sendall(b"".join(lines[:late]))
        while clients.total < len(clients.all) * sum(map(len, lines)):
            clients.receive(0.05)
            _in_time(began_s)
    return time.monotonic() - began_s


@contextmanager
def connected(system: System, users: int, first: int = 1) -> Iterator[Clients]:
    """That many users, online."""
    clients = Clients(("127.0.0.1", system.client_port), list(range(first, first + users)), WAIT_S)
    clients.keep = False
    try:
        clients.connect(lambda _: None)
        if first == 1:
            system.wait_until_online(users)
        yield clients
    finally:
        clients.close()


@contextmanager
def _watching(system: System) -> Iterator[list[float]]:
    """Steady broadcasts for as long as the block lasts; the list holds the longest pause in seconds."""
    pauses, ended = [0.0], threading.Event()

    def send() -> None:
        with socket.create_connection(("127.0.0.1", system.event_port)) as source:
            number, began_s = 1, time.monotonic()
            while not ended.wait(0.01):
                due = int((time.monotonic() - began_s) * RATE)
                source.sendall(b"".join(b"%d|B\n" % at for at in range(number, due + 1)))
                number = max(number, due + 1)

    def listen() -> None:
        with socket.create_connection(("127.0.0.1", system.client_port)) as client:
            client.sendall(b"2\n")
            client.recv(1)
            last_s = time.monotonic()
            while not ended.is_set():
                client.recv(1 << 16)
                now_s = time.monotonic()
                pauses[0] = max(pauses[0], now_s - last_s)
                last_s = now_s

    threads = [threading.Thread(target=work, daemon=True) for work in (listen, send)]
    for thread in threads:
        thread.start()
    try:
        yield pauses
    finally:
        ended.set()
        for thread in threads:
            thread.join(WAIT_S)


@contextmanager
def _looping(port: int, users: list[int]) -> Iterator[Any]:
    """A process in which each of the users comes and goes as fast as it can; the value counts the turns."""
    turns, ended = multiprocessing.Value("q", 0), multiprocessing.Event()
    process = multiprocessing.Process(target=_come_and_go, args=(port, users, turns, ended), daemon=True)
    if users:
        process.start()
        time.sleep(1)
    try:
        yield turns
    finally:
        ended.set()
        if users:
            process.join(WAIT_S)


def _come_and_go(port: int, users: list[int], turns: Any, ended: Event) -> None:
    while not ended.is_set():
        peers = []
        for user in users:
            with contextlib.suppress(OSError):
                peers.append(socket.create_connection(("127.0.0.1", port)))
                peers[-1].sendall(b"%d\n" % user)
        time.sleep(0.005)  # the join is posted by then
        for peer in peers:
            peer.close()
        turns.value += len(peers)


def _throughput(system: System, clients: Clients) -> float:
    """Events a second, broadcasts and private messages, until each client has all."""
    lines = [b"%d|B\n" % n if n % 10 == 0 else b"%d|P|7|%d\n" % (n, n % CLIENTS + 1) for n in range(1, EVENTS + 1)]
    expected = sum(len(line) * (CLIENTS if line.endswith(b"B\n") else 1) for line in lines)
    began_s = time.monotonic()

    def send() -> None:
        with socket.create_connection(("127.0.0.1", system.event_port)) as source:
            for start in range(0, EVENTS, CHUNK):
                source.sendall(b"".join(lines[start : start + CHUNK]))

    sending = threading.Thread(target=send, daemon=True)
    sending.start()
    while clients.total < expected:
        clients.receive(0.05)
        _in_time(began_s)
    return EVENTS / (time.monotonic() - began_s)


def _follow(server: "redis.Redis", graph: dict[int, Iterable[int]]) -> None:
    """Write follow sets, both ways."""
    followers: dict[int, list[int]] = {}
    pipeline = server.pipeline(transaction=False)
    for user, authors in graph.items():
        listed = list(authors)
        for start in range(0, len(listed), CHUNK):
            pipeline.sadd(KEYS.following + str(user), *listed[start : start + CHUNK])
        for author in listed:
            followers.setdefault(author, []).append(user)
        if len(pipeline) > 100:
            pipeline.execute()
    for author, users in followers.items():
        pipeline.sadd(KEYS.followers + str(author), *users)
        if len(pipeline) > CHUNK:
            pipeline.execute()
    pipeline.execute()


def _kill_leader(system: System, lease: str) -> None:
    """SIGKILL to the sequencer that holds the lease, which names its process."""
    pid = int(lease.split("-")[-2])
    (found,) = [process for process in system.processes() if process.pid == pid and process.name == "sequencer"]
    os.kill(found.pid, signal.SIGKILL)


def _batch(server: "redis.Redis") -> int:
    return int(str(server.hget(KEYS.state, "batch") or 0))


def _wait_until(condition: Callable[[], object]) -> None:
    began_s = time.monotonic()
    while not condition():
        _in_time(began_s)
        time.sleep(0.02)


def _in_time(began_s: float) -> None:
    if time.monotonic() - began_s > WAIT_S:
        raise TimeoutError(f"not done within {WAIT_S:g} s")


if __name__ == "__main__":
    main()
