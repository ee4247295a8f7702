"""The user clients that say `after=now`: with `--resume` they cut their connections, lose them, and come back with
their cursors. Clients over HTTP are always such ones, and have a single connection without `--resume`.

    away ──▶ connecting ──▶ asking ──▶ live
     ▲            │            │         │ cut by the client itself, or ended by the server, after BYE or not
     └────────────┴────────────┴─────────┘ after a pause

Each client's event lines, over all its connections, are judged together: their bytes are added up here, whole lines
only. The protocol is in `cursor.py`, the habits are in `habits.py`, and `wire.py` takes the lines out of what comes;
this is the sockets and the clock.
"""

import math
import random
import select
import selectors
import socket
import struct
import time
from array import array
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from simulator.clients import RECEIVE_BYTES, Selecting
from simulator.dial import check, dial
from simulator.habits import LEAVE_OPEN, RESET, WAYS, Habits
from simulator.returner import Returner
from simulator.timers import Timers
from simulator.wire import Way

ANSWER_S = 10.0
"""The longest wait for a connection and the answer to the registration; then the client tries again."""
LEFT_OPEN_S = 2.0
"""How long a connection that the client has left stays open."""
GOODBYE_S = 1.0
"""The longest wait for the end of all connections after BYE."""
ANSWERED_EACH = 100
"""After so many new connections the clients look at what has come."""
ENDED, REFUSED, UNANSWERED, UNREACHABLE = "ended", "refused", "unanswered", "unreachable"
"""How a connection ends that the client does not cut; the last one was never made."""
AT_ONCE = struct.pack("ii", 1, 0)
"""SO_LINGER: closing sends a reset."""


class Returners:
    """All clients of a simulation, in the place of `Clients`."""

    def __init__(self, way: Way, users: list[int], timeout_s: float, *, returns: bool = True) -> None:
        self._nodes = way.nodes
        self._timeout_s = timeout_s
        self._selector = selectors.DefaultSelector()
        self._timers = Timers()
        self.returns = returns
        """Whether clients come back whose connection has ended."""
        self.all = [Returner(user, way.wires) for user in users]
        self.keep = False
        self.last_byte_s = 0.0
        self.total = 0
        self.latencies = array("d")
        self.weights = array("q")
        self.due_s: Callable[[int], float] | None = None
        self.between: Callable[[float], None] = lambda _: None
        self.on_lines: Callable[[int, bytes], None] = lambda *_: None
        """Called with the user and the whole event lines of each read."""
        self.also: Sequence[Selecting] = ()
        """What else ends a wait for bytes."""
        self.events: Counter[str] = Counter()
        """How connections ended, and how often."""

    def connect(self, on_step: Callable[[int], None]) -> None:
        """Connect and register every client. Raises OSError if the port refuses a connection."""
        for count, client in enumerate(self.all, 1):
            client.socket = socket.create_connection(random.choice(self._nodes), self._timeout_s)
            client.socket.setblocking(False)
            self._selector.register(client.socket, selectors.EVENT_READ, client)
            client.register(client.socket)
            self._give_up_later(client, client.socket)
            on_step(count)
            if count % ANSWERED_EACH == 0:  # over WebSocket they register when the handshake is answered
                self.receive(0.0)

    def begin(self, seed: int, first: int, end: int) -> None:
        """From now on the clients cut their connections, while the numbers from `first` to before `end` come."""
        for client in self.all:
            client.habits = Habits(random.Random(f"{seed} {client.user}"), first, end)

    def close(self) -> None:
        """Say BYE, so that no place is kept, and wait a moment until the server has ended the connections."""
        self.returns = False
        self._timers.run(math.inf)  # ends those that were left open: BYE counts only over a user's last connection
        self.receive(0.1)
        for client in self.all:
            client.say_goodbye()
        end_s = time.monotonic() + GOODBYE_S
        while any(client.socket for client in self.all) and time.monotonic() < end_s:
            self.receive(0.05)
        for client in self.all:
            if client.socket is not None:
                client.socket.close()
        self._selector.close()

    def receive(self, wait_s: float) -> int:
        """Read what has arrived, waiting up to `wait_s` seconds; returns the number of bytes of event lines."""
        before = self.total
        for key, _ in self._selector.select(0) or self._wait(wait_s):
            client: Returner = key.data
            if client.socket is key.fileobj:  # and not one that was left a moment ago
                step = self._read if client.is_connected else self._connected
                step(client, client.socket)
        self._timers.run(time.monotonic())
        return self.total - before

    def _wait(self, wait_s: float) -> list[tuple[selectors.SelectorKey, int]]:
        wait_s = min(wait_s, self._timers.due_s - time.monotonic())
        select.select([self._selector, *self.also], [], [], max(0.0, wait_s))
        return self._selector.select(0)

    @property
    def absent(self) -> int:
        """How many clients have no live connection."""
        return sum(not client.cursor.is_live for client in self.all)

    # Coming

    def _dial(self, client: Returner) -> None:
        if not self.returns:
            return
        try:
            client.socket = dial(random.choice(self._nodes))
        except OSError:
            self.events[UNREACHABLE] += 1
            self._comes_back(client)
        else:
            self._selector.register(client.socket, selectors.EVENT_WRITE, client)
            self._give_up_later(client, client.socket)

    def _connected(self, client: Returner, connection: socket.socket) -> None:
        try:
            check(connection)
        except OSError:
            self._ends(client, connection, UNREACHABLE)
        else:
            self._selector.modify(connection, selectors.EVENT_READ, client)
            client.register(connection)

    def _give_up_later(self, client: Returner, connection: socket.socket) -> None:
        def give_up() -> None:
            if client.socket is connection and not client.cursor.is_live and self.returns:
                self._ends(client, connection, UNANSWERED)

        self._timers.add(time.monotonic() + ANSWER_S, give_up)

    # Being there

    def _read(self, client: Returner, connection: socket.socket) -> None:
        data = _read_from(connection)
        if not data:
            if data is not None:
                self._ends(client, connection, REFUSED if client.cursor.error else ENDED)
            return
        # What comes behind the place of a cut is thrown away, as if the client had not read it.
        size = client.habits.split(len(data)) if client.habits.may_cut else len(data)
        self._take(client, data[:size])
        way = client.cuts()
        if way:
            self._cut(client, connection, way)
            return
        if size < len(data):
            self._take(client, data[size:])
        client.answer()

    def _take(self, client: Returner, data: bytes) -> None:
        lines = client.hear(data, self.keep)
        if not lines:
            return
        self.last_byte_s = time.monotonic()
        if self.due_s is not None:
            self.latencies.append(self.last_byte_s - self.due_s(_any_number(lines)))
            self.weights.append(len(lines))
        self.total += len(lines)
        self.on_lines(client.user, lines)
        self.between(self.last_byte_s)

    # Going

    def _cut(self, client: Returner, connection: socket.socket, way: str) -> None:
        if way == RESET:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, AT_ONCE)
        self._ends(client, connection, way, LEFT_OPEN_S if way == LEAVE_OPEN else 0.0)

    def _ends(self, client: Returner, connection: socket.socket, why: str, left_open_s: float = 0.0) -> None:
        self.events[why] += 1
        self._selector.unregister(connection)
        if left_open_s:
            self._timers.add(time.monotonic() + left_open_s, connection.close)
        else:
            connection.close()
        self._comes_back(client)

    def _comes_back(self, client: Returner) -> None:
        pause_s = client.pause_s()
        client.socket, client.is_connected = None, False
        if not self.returns:
            return
        client.cursor.end()
        self._timers.add(time.monotonic() + pause_s, lambda: self._dial(client))


def facts(clients: Returners) -> dict[str, Any]:
    """What became of the connections, for the report."""
    answers, resets, goodbyes = (Counter[str]() for _ in range(3))
    for client in clients.all:
        answers += client.cursor.answers
        resets += client.cursor.resets
        goodbyes += client.cursor.byes
    events = clients.events
    return {
        "cut": {way: events[way] for way in WAYS},
        "ended": events[ENDED],
        "refused": events[REFUSED],
        "failed": events[UNANSWERED] + events[UNREACHABLE],
        "resumed": answers["RESUMED"],
        "resets": dict(resets),
        "goodbyes": dict(goodbyes),
        "marks": answers["AT"],
    }


def _read_from(connection: socket.socket) -> bytes | None:
    """What has come; nothing when the connection has ended, None when there is nothing yet."""
    try:
        return connection.recv(RECEIVE_BYTES)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _any_number(lines: bytes) -> int:
    """The number of a line chosen at random, each byte equally likely, which so stands for all of them."""
    start = lines.rfind(b"\n", 0, int(random.random() * len(lines))) + 1
    number = lines[start : lines.find(b"|", start)]
    return int(number) if number.isdigit() else 0
