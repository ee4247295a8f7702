"""A system whose nodes have a port each, so that it is known which client is where; clients keep their silences."""

import selectors
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

from tests.support.deployment import PATIENCE_S, Deployment, wait_until
from tests.support.peers import Peer, connect
from tests.support.servers import free_port, system_server

NODES, USERS = 3, 10
BROADCAST_EVERY = 50
"""The other events are private messages, to each user in turn."""
STATUS_EVERY = 10
AUTHOR = 10**20 - 1
"""The longest id that there is."""
PIECE_S = 0.002
SUBSCRIBERS = "pubsub 64mb 32mb 10"
"""The limit of Redis's output buffers, as `parade up` and the compose file have it."""

Process = subprocess.Popen[bytes]


class Client(Peer):
    """Compares what it receives, and keeps its silences."""

    def __init__(self, node: int, port: int, user: int) -> None:
        self.node = node
        self.arrived: list[tuple[float, int]] = []
        """(when, how many bytes)"""
        super().__init__(port, user)

    def read(self) -> None:
        before = len(self.received)
        super().read()
        self.arrived.append((time.monotonic(), len(self.received) - before))

    def silences(self, began_s: float, ended_s: float) -> list[tuple[float, float]]:
        """(when it ended, how long) of each silence that ended within this time."""
        times = [began_s, *(when for when, _ in self.arrived if began_s < when < ended_s), ended_s]
        return [(after, after - before) for before, after in pairwise(times)]


class Source(threading.Thread):
    """Sends events at a rate until told to stop; knows what each user is owed.

    `followers` follow an author whose status updates are a tenth of all events: ten lines in place of one.
    """

    def __init__(self, port: int, users: list[int], rate: int, followers: list[int]) -> None:
        super().__init__(daemon=True)
        self.owed: dict[int, list[bytes]] = {user: [] for user in users}
        self.halt = threading.Event()
        self.sent = 0
        self._users, self._rate, self._followers = users, rate, followers
        self._socket = connect(port)

    def run(self) -> None:
        began = time.monotonic()
        with self._socket:
            while not self.halt.wait(PIECE_S):
                due = int((time.monotonic() - began) * self._rate) - self.sent
                if due > 0:
                    self._socket.sendall(self._events(min(due, self._rate // 50 or 1)))

    def _events(self, count: int) -> bytes:
        lines, users = [], self._users
        for number in range(self.sent + 1, self.sent + count + 1):
            told = [users[number % len(users)]]
            if number <= len(self._followers):
                line, told = b"%d|F|%d|%d\n" % (number, self._followers[number - 1], AUTHOR), []
            elif number % BROADCAST_EVERY == 0:
                line, told = b"%d|B\n" % number, users
            elif number % STATUS_EVERY == 0 and self._followers:
                line, told = b"%d|S|%d\n" % (number, AUTHOR), self._followers
            else:
                line = b"%d|P|1|%d\n" % (number, told[0])
            for user in told:
                self.owed[user].append(line)
            lines.append(line)
        self.sent += count
        return b"".join(lines)


class Readers:
    """Reads all clients in one thread."""

    def __init__(self, clients: list[Client]) -> None:
        self.clients = clients
        self._selector = selectors.DefaultSelector()
        for client in clients:
            self._selector.register(client.socket, selectors.EVENT_READ, client)
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._halt.set()
        self._thread.join()
        for client in self.clients:
            client.close()

    def _run(self) -> None:
        while not self._halt.is_set():
            for key, _ in self._selector.select(0.05):
                key.data.read()
                if key.data.closed:
                    self._selector.unregister(key.data.socket)


@contextmanager
def staged(folder: Path, pubsub: str, **settings: object) -> Iterator[tuple[Deployment, dict[int, Process]]]:
    """A ready system: two sequencers, a listener, and nodes with the port of each."""
    port = free_port()
    with (
        system_server(port, "--client-output-buffer-limit", pubsub),
        Deployment(f"redis://127.0.0.1:{port}/0", "blast", folder / "log", durable="false", **settings) as system,
    ):
        for _ in range(2):
            system.start("sequencer")
        ports = [free_port() for _ in range(NODES)]
        nodes = {port: system.start("fanout", client_port=port) for port in ports}
        system.start("listener")
        wait_until(system.sequencer, "a sequencer leads")
        wait_until(lambda: system.redis.hlen(system.keys.nodes) == NODES, "all nodes are known")
        wait_until(lambda: system.logged("listening") == NODES + 1, "all ports are open")
        yield system, nodes


class Served:
    """A system whose nodes have ten clients each, and a source that sends at a steady rate.

    `many`: those of the first node follow an author, so that it has much more to write than the others.
    """

    def __init__(
        self, system: Deployment, nodes: dict[int, Process], clients: list[Client], rate: int, many: bool
    ) -> None:
        self.system = system
        self.ports = list(nodes)
        self.processes = list(nodes.values())
        self.clients = clients
        users = [client.user or 0 for client in clients]
        self.source = Source(system.event_port, users, rate, users[:USERS] if many else [])

    def name_of(self, at: int) -> str:
        """The id of a node: the one that has its users online."""
        keys, user = self.system.keys, 1 + at * USERS
        names = self.system.redis.hkeys(keys.nodes)
        return next(str(name) for name in names if self.system.redis.sismember(keys.online + name, user))

    def stop_sending(self) -> None:
        self.source.halt.set()
        self.source.join()

    def differences(self, struck: int | None = None) -> list[str]:
        """What clients have not received as they are owed it, from their first line on; waits for what is missing.

        At a node that was struck a client may have lost its connection, but not a line before that.
        """
        return [each for client in self.clients if (each := self._difference(client, client.node == struck))]

    def _difference(self, client: Client, may_be_closed: bool) -> str:
        whole = b"".join(self.source.owed[client.user or 0])
        owed = whole[whole.index(client.received[: client.received.index(b"\n") + 1]) :]
        deadline = time.monotonic() + PATIENCE_S
        while not client.closed and len(client.received) < len(owed) and time.monotonic() < deadline:
            time.sleep(0.01)
        received, who = client.received, f"user {client.user} at node {client.node}"
        if not owed.startswith(received):
            at = next(at for at, (one, other) in enumerate(zip(received, owed + b"?", strict=False)) if one != other)
            start = received.rfind(b"\n", 0, at) + 1
            return f"{who} received {received[start : start + 60]!r} and not {owed[start : start + 60]!r}"
        if len(received) < len(owed) and not (may_be_closed and client.closed):
            return f"{who} received {len(received)} of {len(owed)} bytes"
        return ""

    def expect_everything(self, struck: int | None = None) -> None:
        """There are no differences."""
        assert self.differences(struck) == []


@contextmanager
def served(
    folder: Path, rate: int = 10_000, pubsub: str = SUBSCRIBERS, many: bool = False, **settings: object
) -> Iterator[Served]:
    with staged(folder, pubsub, **settings) as (system, nodes):
        clients = [Client(at, port, 1 + at * USERS + n) for at, port in enumerate(nodes) for n in range(USERS)]
        readers = Readers(clients)
        subject = Served(system, nodes, clients, rate, many)
        try:
            wait_until(lambda: len(system.online()) == len(clients), "all users are online")
            subject.source.start()
            wait_until(lambda: all(client.arrived for client in clients), "all users are served")
            yield subject
        finally:
            subject.source.halt.set()
            readers.close()
