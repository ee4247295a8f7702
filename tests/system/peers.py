"""Test sources and clients: plain sockets, everything received is kept."""

import contextlib
import selectors
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from simulator.oracle import Oracle
from simulator.workload import Workload, blocks
from tests.system.deployment import PATIENCE_S

LOOPBACK = "127.0.0.1"


class Peer:
    """One client connection and all it has received."""

    def __init__(self, port: int, user: int | None = None) -> None:
        self.user = user
        self.socket = socket.create_connection((LOOPBACK, port), PATIENCE_S)
        self.received = b""
        self.closed = self.reset = False
        if user is not None:
            self.send(b"%d\r\n" % user)

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def read(self) -> None:
        """Take what is there (called when the socket is readable)."""
        try:
            data = self.socket.recv(1 << 20)
        except ConnectionError:
            data = b""
            self.reset = True
        self.received += data
        self.closed = not data

    def wait_for(self, ending: bytes) -> None:
        """Read until what was received ends so."""
        while not self.received.endswith(ending):
            self.read()
            assert not self.closed, f"closed after {self.received[-200:]!r}"

    def wait_until_closed(self) -> bytes:
        """Read to the end; returns all that was received."""
        while not self.closed:
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
            connected.append(Peer(port, user))  # noqa: PERF401 (those made so far must be closed)
        yield connected
    finally:
        for peer in connected:
            peer.close()


class Audience:
    """Many peers read by one thread, so that they can come and go while a test does other things."""

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


def has_heard(peer: Peer, ending: bytes) -> bool:
    """Whether what the peer has received ends so."""
    return peer.received.endswith(ending)


def last_number(received: bytes) -> int:
    """The sequence number of the last whole line; 0 when there is none."""
    line = received[: received.rfind(b"\n") + 1].rstrip(b"\n").rpartition(b"\n")[2]
    return int(line.split(b"|")[0]) if line else 0


def assert_unbroken(whole: bytes, peer: Peer, seen_before: int, to_the_end: bool) -> None:
    """What the peer received is one unbroken run of `whole`, begun at a line after its registration."""
    if not peer.received:
        assert not to_the_end, f"user {peer.user} heard nothing"
        return
    at = whole.find(peer.received)
    assert at == 0 or whole[at - 1 : at] == b"\n", f"user {peer.user} has a hole, a duplicate or a wrong line"
    if b"|" in peer.received:
        assert int(peer.received.split(b"|", 1)[0]) > seen_before
    if to_the_end:
        assert at + len(peer.received) == len(whole), f"user {peer.user} did not hear the end"


def source(port: int, data: bytes) -> None:
    """Send everything over one connection."""
    with socket.create_connection((LOOPBACK, port), PATIENCE_S) as connection:
        connection.sendall(data)


def slowly(port: int, data: bytes, seconds: float) -> threading.Thread:
    """Send everything over one connection in about so many seconds, from a thread."""

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
    """An oracle that keeps all bytes for the users, and the events in order of arrival."""
    oracle = Oracle(users, keep=True)
    arrival = b""
    for block in blocks(work):
        oracle.feed(block)
        arrival += block.arrival
    return oracle, arrival


def expect_everything(clients: Iterable[Peer], oracle: Oracle) -> None:
    """Each client receives all that the oracle expects for its user, and nothing else."""
    for client in clients:
        assert client.user is not None
        expected = oracle.expected[client.user].bytes
        client.wait_for(expected[-20:])
        assert client.received == expected


def edges(oracle: Oracle) -> set[tuple[str, str]]:
    """(follower, followee) of all the oracle's clients who follow someone."""
    return {(str(follower), str(followee)) for followee, fans in oracle.followers.items() for follower in fans}
