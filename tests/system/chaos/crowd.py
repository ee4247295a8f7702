"""The clients of a round: they join, leave and come back, and every byte is compared as it arrives.

A connection must receive one unbroken part of what its user is owed, starting with a whole line. The bytes are not
kept, so the memory of a round does not grow with the number of its connections.
"""

import contextlib
import socket
import struct
import threading
import time
from random import Random

from tests.support.peers import Audience, Peer

STEP_S = 0.01
COMING = 0.3
"""The chance in each step that a user joins, and also that one leaves."""


class Checked(Peer):
    """A connection that knows everything its user is owed in this round: `whole`."""

    def __init__(self, port: int, user: int, whole: bytes) -> None:
        self.whole = whole
        self.began: int | None = None
        self.from_the_start = False
        """Whether it was served before the first event was sent, and so must receive everything."""
        self.position = 0
        self.port = port
        self.heard_s = time.monotonic()
        """When something came last."""
        self.problem = ""
        self._head = b""
        super().__init__(port, user)

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            data = b""
        except TimeoutError:
            return
        self.closed = not data
        self.heard_s = time.monotonic()
        if not self.problem:
            self._compare(data)

    @property
    def last_number(self) -> int:
        """The number of the last whole line received; 0 before the first."""
        if self.began is None:
            return 0
        end = self.whole.rfind(b"\n", 0, self.position)
        return int(self.whole[self.whole.rfind(b"\n", 0, max(0, end)) + 1 : end].split(b"|")[0]) if end > 0 else 0

    def _compare(self, data: bytes) -> None:
        if self.began is None:
            self._head += data
            end = self._head.find(b"\n") + 1
            if not end and not (self.closed and self._head):
                return
            beginning = self._head[:end] or self._head
            at = 0 if self.whole.startswith(beginning) else self.whole.find(b"\n" + beginning) + 1
            if not at and not self.whole.startswith(beginning):
                self.problem = f"user {self.user}: starts with {beginning[:100]!r}, which it must not receive"
                return
            if at and self.from_the_start:
                self.problem = f"user {self.user}: starts with {beginning[:100]!r} instead of the first event"
                return
            self.began = self.position = at
            data, self._head = self._head, b""
        if self.whole.startswith(data, self.position):
            self.position += len(data)
            return
        self.problem = self._difference(data)

    def _difference(self, data: bytes) -> str:
        owed = self.whole[self.position : self.position + len(data)]
        same = next((i for i, (a, b) in enumerate(zip(data, owed, strict=False)) if a != b), len(owed))
        start = data.rfind(b"\n", 0, same) + 1
        return (
            f"user {self.user}: after {self.last_number} came {data[start : start + 60]!r} "
            f"instead of {owed[start : start + 60]!r}"
        )


class Crowd:
    """`steady` users keep one connection each for the whole round; others come and go."""

    def __init__(self, ports: list[int], owed: dict[int, bytes], steady: int, most: int, rng: Random) -> None:
        self.differences: list[str] = []
        self.checked = self.reconnects = self.bytes = 0
        self.steady: dict[int, Checked] = {}
        self._ports = ports
        self._owed = owed
        self._steady_users = sorted(owed)[:steady]
        self._most = most
        self._rng = rng
        self._visitors: list[Checked] = []
        self._audience = Audience()
        self._halt = threading.Event()
        self._joins_and_leaves = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Crowd":
        self._audience.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()
        self._audience.__exit__()

    def begin(self) -> None:
        """All steady users are served now, so they must receive everything; others start to come and go."""
        for peer in self.steady.values():
            peer.from_the_start = True
        self._joins_and_leaves.set()

    def settle(self) -> None:
        """Users stop joining and leaving; only those who lose their connection come back."""
        self._joins_and_leaves.clear()

    @property
    def present(self) -> list[Checked]:
        """The open connections."""
        return [peer for peer in [*self.steady.values(), *self._visitors] if not peer.closed]

    def have_received(self, number: int) -> bool:
        """Whether all users are connected, and each connection has received the line with this number."""
        everyone = [*self.steady.values(), *self._visitors]
        return all(not peer.closed and peer.last_number >= number for peer in everyone)

    def finish(self) -> None:
        """Close all connections; `differences` is complete after this."""
        self._halt.set()
        self._thread.join()
        for peer in [*self.steady.values(), *self._visitors]:
            self._close(peer)

    def _run(self) -> None:
        while not self._halt.wait(STEP_S):
            self._reconnect()
            if self._joins_and_leaves.is_set():
                self._join_or_leave()

    def _reconnect(self) -> None:
        for user in self._steady_users:
            peer = self.steady.get(user)
            if peer is None or peer.closed:
                self._replace(peer, user)
        for peer in [peer for peer in self._visitors if peer.closed]:
            # It is listed until its successor is, so that `have_received` misses nobody.
            self._replace(peer, peer.user or 0)
            self._visitors.remove(peer)

    def _replace(self, old: Checked | None, user: int) -> None:
        if old is not None and old in self._audience.all:
            self.reconnects += 1
            self._close(old)
        new = self._connect(user)
        if new is None:
            return
        if user in self._steady_users and (old is None or self.steady.get(user) is old):
            self.steady[user] = new
        else:
            self._visitors.append(new)

    def _join_or_leave(self) -> None:
        rng = self._rng
        if rng.random() < COMING and len(self._visitors) < self._most:
            peer = self._connect(rng.choice(list(self._owed)))
            if peer is not None:
                self._visitors.append(peer)
        if rng.random() < COMING and self._visitors:
            peer = self._visitors.pop(rng.randrange(len(self._visitors)))
            if rng.random() < 0.5:  # a reset instead of an orderly end
                with contextlib.suppress(OSError):
                    peer.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._close(peer)

    def _connect(self, user: int) -> Checked | None:
        try:
            peer = Checked(self._rng.choice(self._ports), user, self._owed[user])
            return self._audience.add(peer)  # type: ignore[return-value]
        except OSError:
            time.sleep(STEP_S)  # that node is not reachable at the moment
            return None

    def _close(self, peer: Checked) -> None:
        self._audience.drop(peer)
        self._audience.all.remove(peer)
        self.checked += 1
        if peer.began is not None:
            self.bytes += peer.position - peer.began
        if peer.problem:
            self.differences.append(peer.problem)
