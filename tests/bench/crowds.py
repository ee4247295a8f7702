"""`python -m tests.bench.crowds`: what other users notice while follow sets are loaded and users come and go.

Each measurement starts a new system and writes its follow graph directly into Redis. The load generator runs on the
same cores as the system.
"""

import argparse
import asyncio
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
import uvloop

from contract.keys import Keys
from runtime.service import raise_file_limit
from simulator.clients import Clients
from tests.bench.system_under_test import System, running

KEYS = Keys("parade")
WAIT_S = 400.0
RATE = 2_000
"""Events per second while users join."""
CLIENTS = 100
EVENTS = 1_000_000
CHUNK = 1_000
GREEDY = 1_000_000_000
"""The id of the user with the large follow set."""


def main() -> None:
    """Run the measurements, and print a line of JSON for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crowds", description=__doc__)
    parser.add_argument("--only", default="", help="run only measurements whose name contains this")
    parser.add_argument("--users", type=int, default=18_000, help="users online at a take-over")
    parser.add_argument("--follows", type=int, default=1_000, help="follows of each of these users")
    parser.add_argument("--large", type=int, default=500_000, help="follows of a user who follows many")
    parser.add_argument("--many", type=int, default=12, help="such users online at a take-over")
    parser.add_argument("--behind", type=int, default=100_000, help="status updates that wait behind a gap")
    options = parser.parse_args()
    raise_file_limit()
    measures: dict[str, Callable[[], dict[str, Any]]] = {
        "take-over": lambda: take_over(_circle(options.users, options.follows)),
        "large-take-over": lambda: take_over(dict.fromkeys(range(1, options.many + 1), range(1, options.large + 1))),
        "join": lambda: join(options.large),
        "loops": lambda: loops(options.large),
        "gap": lambda: gap(options.behind),
    }
    for name, measure in measures.items():
        if options.only in name:
            print(json.dumps({"measure": name} | measure()), flush=True)


def _circle(users: int, follows: int) -> dict[int, Iterable[int]]:
    """Each user follows the next ones."""
    ids = range(1, users + 1)
    return {user: [(user + step) % users + 1 for step in range(1, follows + 1)] for user in ids}


def take_over(graph: dict[int, Iterable[int]]) -> dict[str, Any]:
    """Kill the sequencer while the users of a graph are online; seconds to the lease, the first batch, the first lines.

    The users are 1, 2, 3, …, and the second event goes to all, the first one to the followers of user 1.
    """
    users, fans = len(graph), sum(1 in set(authors) for authors in graph.values())
    with running() as system, connected(system, users) as clients, system.redis() as server:
        _follow(server, graph)
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
            while clients.total < fans * len(b"1|S|1\n") + users * len(b"2|B\n"):
                clients.receive(0.05)
                _check_time(first_s)
        return {
            "users": users,
            "follows": len(list(graph[1])),
            "lease_free_after_s": round(taken_s - killed_s, 2),
            "first_batch_after_s": round(first_s - taken_s, 2),
            "everyone_told_after_s": round(time.monotonic() - first_s, 2),
        }


def join(large: int) -> dict[str, Any]:
    """A user who follows many joins and leaves during steady broadcasts; the longest pause that another user sees."""
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
    """Throughput: alone, while a user who follows many joins and leaves in a loop, and while 50 others do.

    The loops run on the cores of the system. So both also run against a port that only accepts: the difference to that
    is what the system pays for them.
    """
    found: dict[str, Any] = {"follows": large}
    small = range(GREEDY + 1, GREEDY + 51)
    for name, users in (("alone", ()), ("one_large", (GREEDY,)), ("fifty_small", small)):
        for beside in (True, False) if users else (False,):
            with (
                running() as system,
                system.redis() as server,
                connected(system, CLIENTS) as clients,
                _accepting() as unused_port,
            ):
                _follow(server, {GREEDY: range(1, large + 1)})
                with _looping(unused_port if beside else system.client_port, list(users)) as turns:
                    found[name + "_beside" * beside] = round(_throughput(system, clients))
                if users:
                    found[name + "_beside" * beside + "_turns"] = turns.value
    return found


@contextmanager
def _accepting() -> Iterator[int]:
    """The port of a process that accepts connections and closes them when their peer does."""
    with socket.create_server(("127.0.0.1", 0), backlog=128) as listening:
        process = multiprocessing.Process(target=_accept, args=(listening,), daemon=True)
        process.start()
        try:
            yield listening.getsockname()[1]
        finally:
            process.terminate()
            process.join(WAIT_S)


def _accept(listening: socket.socket) -> None:
    class Unused(asyncio.Protocol):
        """Reads and says nothing."""

    async def serve() -> None:
        async with await asyncio.get_running_loop().create_server(Unused, sock=listening) as server:
            await server.serve_forever()

    uvloop.run(serve())


def gap(behind: int) -> dict[str, Any]:
    """An author with 1,000 online followers posts: all in order, or with the first update arriving last."""
    found: dict[str, Any] = {"behind": behind}
    for name, late in (("in_order", 0), ("after_the_gap", 1)):
        with running() as system, system.redis() as server:
            _follow(server, {user: [GREEDY] for user in range(1, 1_001)})
            server.config_set("slowlog-max-len", 1_000)
            server.slowlog_reset()
            with connected(system, 1_000) as clients:
                found[f"{name}_s"] = round(_seconds_to_deliver(system, clients, behind, late), 1)
            statistics: Any = server.info("commandstats")
            found[f"{name}_zadds"] = statistics.get("cmdstat_zadd", {}).get("calls", 0)
            slow: Any = server.slowlog_get(1_000)
            found[f"{name}_slowest_script_s"] = max((entry["duration"] for entry in slow), default=0) / 1e6
    return found


def _seconds_to_deliver(system: System, clients: Clients, events: int, late: int) -> float:
    """Send status updates, the first `late` of them after all others; seconds from then to the last line."""
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
            _check_time(began_s)
    return time.monotonic() - began_s


@contextmanager
def connected(system: System, users: int, first: int = 1) -> Iterator[Clients]:
    """This number of users, connected and online."""
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
    """Send steady broadcasts during the block; the list holds the longest pause in seconds."""
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
    """A process in which each user joins and leaves as fast as possible; the value counts the turns."""
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
    """Events per second (broadcasts and private messages) until each client has received all."""
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
        _check_time(began_s)
    return EVENTS / (time.monotonic() - began_s)


def _follow(server: "redis.Redis", graph: dict[int, Iterable[int]]) -> None:
    """Write a follow graph into Redis, in both directions."""
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
    """Send SIGKILL to the sequencer that holds the lease; the lease contains its process id."""
    pid = int(lease.split("-")[-2])
    (found,) = [process for process in system.processes() if process.pid == pid and process.name == "sequencer"]
    os.kill(found.pid, signal.SIGKILL)


def _batch(server: "redis.Redis") -> int:
    return int(str(server.hget(KEYS.state, "batch") or 0))


def _wait_until(condition: Callable[[], object]) -> None:
    began_s = time.monotonic()
    while not condition():
        _check_time(began_s)
        time.sleep(0.02)


def _check_time(began_s: float) -> None:
    if time.monotonic() - began_s > WAIT_S:
        raise TimeoutError(f"not done within {WAIT_S:g} s")


if __name__ == "__main__":
    main()
