"""The users of a round who come back with their cursors: what is judged is a user, over all connections and nodes.

Each has one connection at a time, to any node; they cut it themselves, lose it with its node, or leave one that is
silent. Their lines together must be all that they are owed, each once. A RESET is a difference, unless its reason is a
new history and Redis was killed in this round; then the user goes on from the position in it.

The protocol of a client is the simulator's (`simulator/cursor.py`), which shares no code with the services.
"""

import contextlib
import re
import socket
import struct
import threading
import time
from bisect import bisect_left, bisect_right
from collections import Counter
from random import Random

from simulator.cursor import Cursor
from tests.support.peers import Audience, Peer

STEP_S = 0.01
CUT = 0.01
"""The chance in each step that a user cuts its connection."""
UNANSWERED_S = 1.0
"""How long a user waits for an answer, then it tries another node."""
PAUSE_S = 0.2
LEFT_OPEN_S = 1.0
"""How long a connection that its user has left stays open."""


class Follower:
    """One user over all its connections. `whole`: all that it is owed in this round."""

    def __init__(self, user: int, whole: bytes) -> None:
        self.cursor = Cursor(user)
        self.whole = whole
        self.position = 0
        self.problem = ""
        self._numbers = [int(number) for number in re.findall(rb"^(\d+)\|", whole, re.MULTILINE)]
        self._starts = [0, *(end.end() for end in re.finditer(rb"\n", whole))]

    @property
    def last_number(self) -> int:
        """The number of the last line received; 0 before the first."""
        index = bisect_left(self._starts, self.position)
        return self._numbers[index - 1] if index else 0

    def hear(self, data: bytes) -> None:
        """Take what came over the connection."""
        was_live = self.cursor.is_live
        lines = self.cursor.receive(data)
        if self.cursor.is_live and not was_live:
            self._answered()
        if not self.whole.startswith(lines, self.position):
            owed = self.whole[self.position : self.position + 60]
            self._difference(f"after {self.last_number} came {lines[:60]!r} instead of {owed!r}")
        self.position += len(lines)
        index = bisect_left(self._starts, self.position)
        place = self.cursor.place
        if place is not None and index < len(self._numbers) and self._numbers[index] <= place.number:
            self._difference(f"{self._numbers[index]} did not come, and the position is {place}")

    def _answered(self) -> None:
        """A RESET goes on behind its position; any other answer where the user was."""
        answer = self.cursor.answer
        if answer is None or not self.cursor.resets:
            return
        position = self._starts[bisect_right(self._numbers, answer.number)]
        if position < self.position:
            self._difference(f"RESET {answer} after {self.last_number} goes back")
        self.position = max(position, self.position)

    def _difference(self, text: str) -> None:
        self.problem = self.problem or f"resuming user {self.cursor.user}: {text}"


class Connection(Peer):
    """One connection of a user that follows on."""

    def __init__(self, port: int, follower: Follower) -> None:
        self.follower = follower
        self.begun_s = time.monotonic()
        super().__init__(port)
        self.user = follower.cursor.user
        try:
            self.send(follower.cursor.begin())
        except OSError:
            self.close()
            raise

    def read(self) -> None:
        try:
            data = self.socket.recv(1 << 18)
        except ConnectionError:
            data = b""
        self.closed = not data
        self.follower.hear(data)

    @property
    def is_unanswered(self) -> bool:
        return not self.follower.cursor.is_live and time.monotonic() > self.begun_s + UNANSWERED_S


class Returners:
    """All users who come back."""

    def __init__(self, ports: list[int], owed: dict[int, bytes], rng: Random) -> None:
        self.connections = 0
        self._ports = ports
        self._rng = rng
        self.followers = [Follower(user, whole) for user, whole in owed.items()]
        self._open: dict[Follower, Connection] = {}
        self._next_s: dict[Follower, float] = dict.fromkeys(self.followers, 0.0)
        self._left: list[tuple[float, socket.socket]] = []
        self._audience = Audience()
        self._halt = threading.Event()
        self._cuts = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> "Returners":
        self._audience.__enter__()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()
        self._audience.__exit__()
        for _until_s, connection in self._left:
            connection.close()

    @property
    def are_served(self) -> bool:
        """Whether each user has an answer to its registration."""
        return all(follower.cursor.is_live for follower in self.followers)

    @property
    def users(self) -> set[str]:
        return {str(follower.cursor.user) for follower in self.followers}

    @property
    def resumed(self) -> int:
        return sum(follower.cursor.answers["RESUMED"] for follower in self.followers)

    @property
    def resets(self) -> Counter[str]:
        """RESETs by their reasons."""
        return sum((follower.cursor.resets for follower in self.followers), Counter())

    def begin(self) -> None:
        """From now on users cut their connections."""
        self._cuts.set()

    def settle(self) -> None:
        """Users come back only when they have lost their connection."""
        self._cuts.clear()

    def behind(self, number: int) -> list[str]:
        """A line about each user that has not received this number yet."""
        behind = [follower for follower in self.followers if follower.last_number < number]
        return [
            f"resuming user {each.cursor.user} does not receive the end after {each.last_number}" for each in behind
        ]

    def finish(self) -> None:
        """Say BYE and close all connections; `differences` are complete after this."""
        self._halt.set()
        self._thread.join()
        for connection in self._open.values():
            with contextlib.suppress(OSError):
                connection.send(b"BYE\n")
            self._drop(connection)

    def differences(self, may_reset: bool) -> list[str]:
        """What is not as it should be; `may_reset`: a new history explains a RESET."""
        differences = [
            difference
            for follower in self.followers
            for difference in [follower.problem, *follower.cursor.problems]
            if difference
        ]
        unexplained = self.resets - (Counter(history=self.resets["history"]) if may_reset else Counter())
        return differences + [f"{count} RESET {reason}" for reason, count in unexplained.items()]

    def _run(self) -> None:
        while not self._halt.wait(STEP_S):
            for follower in self.followers:
                connection = self._open.get(follower)
                if connection is None:
                    self._connect(follower)
                elif connection.closed or connection.is_unanswered:
                    self._lose(connection)
                elif self._cuts.is_set() and self._rng.random() < CUT:
                    self._cut(connection)
            while self._left and self._left[0][0] < time.monotonic():
                self._left.pop(0)[1].close()

    def _connect(self, follower: Follower) -> None:
        if time.monotonic() < self._next_s[follower]:
            return
        try:
            connection = Connection(self._rng.choice(self._ports), follower)
        except OSError:
            self._next_s[follower] = time.monotonic() + STEP_S  # that node is not reachable at the moment
            return
        self.connections += 1
        self._open[follower] = connection
        self._audience.add(connection)

    def _cut(self, connection: Connection) -> None:
        way = self._rng.random()
        if way < 0.3:
            connection.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        elif way < 0.6:  # the node does not learn that nobody reads any more
            self._left.append((time.monotonic() + LEFT_OPEN_S, connection.socket.dup()))
        self._lose(connection)

    def _lose(self, connection: Connection) -> None:
        self._drop(connection)
        del self._open[connection.follower]
        self._next_s[connection.follower] = time.monotonic() + self._rng.uniform(0, PAUSE_S)

    def _drop(self, connection: Connection) -> None:
        self._audience.drop(connection)
        self._audience.all.remove(connection)
