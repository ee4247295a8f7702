"""Test sources, clients and health requests on plain sockets. Everything a client receives is kept."""

import contextlib
import http.client
import json
import selectors
import socket
import struct
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Self

from simulator.oracle import Oracle
from simulator.workload import Workload, blocks
from tests.support.deployment import PATIENCE_S, Deployment, wait_until

LOOPBACK = "127.0.0.1"
CLOSED_S = 4 * PATIENCE_S
"""The longest wait for an end: marks keep coming to a client that opted in, so no single read takes too long."""


class Peer:
    """One client connection and everything it has received."""

    def __init__(self, port: int, user: int | None = None) -> None:
        self.user = user
        self.socket = socket.create_connection((LOOPBACK, port), PATIENCE_S)
        self.received = b""
        self.closed = self.reset = False
        if user is not None:
            try:
                self.send(b"%d\r\n" % user)
            except OSError:
                self.close()
                raise

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> None:
        """Read what has arrived; blocks until something has."""
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
            self.reset = True
        self.received += data
        self.closed = not data

    def wait_for(self, ending: bytes) -> None:
        """Read until what was received has this ending."""
        while not self.received.endswith(ending):
            self.read()
            assert not self.closed, f"closed after {self.received[-200:]!r}"

    def wait_until_closed(self) -> bytes:
        """Read until the connection is closed; returns everything received."""
        deadline = time.monotonic() + CLOSED_S
        while not self.closed:
            assert time.monotonic() < deadline, f"not closed within {CLOSED_S:g} s: {self.received[-200:]!r}"
            self.read()
        return self.received

    def close(self) -> None:
        self.socket.close()


@contextmanager
def peers(port: int, users: Iterable[int]) -> Iterator[list[Peer]]:
    """Connected users, closed at the end."""
    connected: list[Peer] = []
    try:
        for user in users:
            connected.append(Peer(port, user))  # noqa: PERF401 (on an error the earlier ones must be closed)
        yield connected
    finally:
        for peer in connected:
            peer.close()


class Audience:
    """Many peers read by one thread, so that they can connect and leave while the test does other things."""

    def __init__(self) -> None:
        self.all: list[Peer] = []
        self._selector = selectors.DefaultSelector()
        self._lock = threading.Lock()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Audience":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()
        for peer in self.all:
            peer.close()
        self._selector.close()

    def add(self, peer: Peer) -> Peer:
        with self._lock:
            self.all.append(peer)
            self._selector.register(peer.socket, selectors.EVENT_READ, peer)
        return peer

    def drop(self, peer: Peer) -> None:
        """The peer leaves: closes its connection."""
        with self._lock:
            if not peer.closed:
                self._selector.unregister(peer.socket)
                peer.closed = True
            peer.close()

    def _run(self) -> None:
        while not self._halt.is_set():
            with self._lock:
                for key, _ in self._selector.select(0.01):
                    peer = key.data
                    peer.read()
                    if peer.closed:
                        self._selector.unregister(peer.socket)
            time.sleep(0.001)


class Honest:
    """A well-behaved source and client among hostile ones: every event must arrive, once and in order.

    The source sends a broadcast every few milliseconds, over one connection, until the context ends. It allocates the
    sequence numbers of the whole system, so other sources may send only what they get from `reserve`.
    """

    INTERVAL_S = 0.005

    def __init__(self, system: Deployment, user: int = 1_000_000) -> None:
        self._system = system
        self._user = user
        self._expected = b""
        self._next = 1
        self._lock = threading.Lock()
        self._halt = threading.Event()
        self._sending = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        self.client = Peer(self._system.client_port, self._user)
        self._source = socket.create_connection((LOOPBACK, self._system.event_port), PATIENCE_S)
        wait_until(lambda: str(self._user) in self._system.online(), "the honest client is online")
        self._sending.start()
        self.is_served()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None:
                self.is_served()
        finally:
            self._halt.set()
            self._sending.join(PATIENCE_S)
            self._source.close()
        try:
            if kind is None:
                self._hear(len(self._expected))
                assert self.client.received == self._expected
        finally:
            self.client.close()

    def reserve(self, count: int = 1, kind: bytes = b"B", heard: bool = True) -> bytes:
        """The next events, which another source must send now; `heard`: the honest client will receive them."""
        with self._lock:
            lines = b"".join(b"%d|%b\n" % (number, kind) for number in range(self._next, self._next + count))
            self._next += count
            self._expected += lines if heard else b""
            return lines

    def is_served(self) -> None:
        """Wait until a new event was sent, and until everything sent so far has arrived."""
        with self._lock:
            before = self._next
        wait_until(lambda: self._next > before, "the honest source continues to send")
        self._hear(len(self._expected))

    def _hear(self, size: int) -> None:
        while len(self.client.received) < size:
            self.client.read()
            assert not self.client.closed, "the honest client was closed"

    def _send(self) -> None:
        while not self._halt.wait(self.INTERVAL_S):
            with self._lock:
                line = b"%d|B\n" % self._next
                self._source.sendall(line)
                self._next += 1
                self._expected += line


def connect(port: int) -> socket.socket:
    """A connection to a port on loopback."""
    return socket.create_connection((LOOPBACK, port), PATIENCE_S)


def is_closed(connection: socket.socket) -> bool:
    """Whether the other side closes the connection; waits for it."""
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def reset(connection: socket.socket) -> None:
    """Close with a TCP reset instead of an orderly FIN."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def has_ending(peer: Peer, ending: bytes) -> bool:
    """Whether what the peer has received has this ending."""
    return peer.received.endswith(ending)


def last_number(received: bytes) -> int:
    """The sequence number of the last complete line; 0 if there is none."""
    line = received[: received.rfind(b"\n") + 1].rstrip(b"\n").rpartition(b"\n")[2]
    return int(line.split(b"|")[0]) if line else 0


def assert_unbroken(whole: bytes, peer: Peer, seen_before: int, to_the_end: bool) -> None:
    """What the peer received must be one unbroken part of `whole`, starting with a line after its registration."""
    if not peer.received:
        assert not to_the_end, f"user {peer.user} received nothing"
        return
    at = whole.find(peer.received)
    assert at == 0 or whole[at - 1 : at] == b"\n", f"user {peer.user} has a missing, duplicate or wrong line"
    if b"|" in peer.received:
        assert int(peer.received.split(b"|", 1)[0]) > seen_before
    if to_the_end:
        assert at + len(peer.received) == len(whole), f"user {peer.user} did not receive the end"


def source(port: int, data: bytes) -> None:
    """Send everything over one connection."""
    with socket.create_connection((LOOPBACK, port), PATIENCE_S) as connection:
        connection.sendall(data)


def slowly(port: int, data: bytes, seconds: float) -> threading.Thread:
    """Send everything over one connection, in a thread that takes about this many seconds."""

    def send() -> None:
        with contextlib.suppress(OSError), socket.create_connection((LOOPBACK, port), PATIENCE_S) as connection:
            step = max(1, len(data) // 200)
            for start in range(0, len(data), step):
                connection.sendall(data[start : start + step])
                time.sleep(seconds / 200)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


def generated(work: Workload, users: Iterable[int]) -> tuple[Oracle, bytes]:
    """An oracle that has the expected bytes of the users, and the events in order of arrival."""
    oracle = Oracle(users, keep=True)
    arrival = b""
    for block in blocks(work):
        oracle.feed(block)
        arrival += block.arrival
    return oracle, arrival


def expect_everything(clients: Iterable[Peer], oracle: Oracle) -> None:
    """Each client must receive exactly what the oracle expects for its user."""
    for client in clients:
        assert client.user is not None
        expected = oracle.expected[client.user].bytes
        client.wait_for(expected[-20:])
        assert client.received == expected


def edges(oracle: Oracle) -> set[tuple[str, str]]:
    """(follower, followee) for every client of the oracle."""
    return {(str(follower), str(followee)) for followee, fans in oracle.followers.items() for follower in fans}


def health(port: int, path: str = "/readyz", host: str = LOOPBACK) -> tuple[int, dict[str, object]]:
    """Status and body of a health port's answer; status 0 if there is no answer."""
    connection = http.client.HTTPConnection(host, port, timeout=5)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())
    except OSError:
        return 0, {}
    finally:
        connection.close()
