"""Users that go on where they were: each connects again whenever its connection ends, with its cursor.

What is judged is the user, not the connection: its lines over all its connections, byte by byte.
"""

import contextlib
import random
import re
import selectors
import socket
import threading
import time
from typing import Self

from tests.support.deployment import PATIENCE_S, wait_until
from tests.support.peers import LOOPBACK

_position = re.compile(rb"(OK|RESUMED|RESET) ([0-9A-Za-z]+)@([0-9]+)(?: ([a-z]+))?").fullmatch


class Returner:
    """One connection of a user, again and again, to one of some ports after the other."""

    def __init__(self, user: int, ports: list[int], cursor: bytes = b"now") -> None:
        self.user, self.ports = user, ports
        self.cursor = cursor
        self.parts: list[tuple[int, list[bytes]]] = []
        """(number, the lines behind it) from the beginning, and from each RESET on."""
        self.told: list[bytes] = []
        """All control lines."""
        self.connections = 0
        self.live = False
        self.socket: socket.socket | None = None
        self.again_s = 0.0
        self.stays_away = False
        self._incomplete = b""
        self._number = -1
        self._history = b""

    @property
    def lines(self) -> int:
        return sum(len(lines) for _, lines in self.parts)

    def connect(self) -> None:
        """Try the next port."""
        port = self.ports[self.connections % len(self.ports)]
        self.connections += 1
        self._incomplete, self.live = b"", False
        try:
            self.socket = socket.create_connection((LOOPBACK, port), PATIENCE_S)
            self.socket.sendall(b"%d after=%b\n" % (self.user, self.cursor))
        except OSError:
            self.end()

    def end(self, wait_s: float = 0.05) -> None:
        """The connection has ended; a part of a line does not count."""
        if self.socket is not None:
            self.socket.close()
        self.socket, self.live = None, False
        self.again_s = time.monotonic() + random.uniform(0, wait_s)

    def read(self) -> bool:
        """Read what is there; whether the connection goes on."""
        assert self.socket is not None
        try:
            data = self.socket.recv(1 << 18)
        except OSError:
            data = b""
        *lines, self._incomplete = (self._incomplete + data).split(b"\n")
        for line in lines:
            self._take(line)
        return bool(data)

    def _take(self, line: bytes) -> None:
        if line[:1].isdigit():
            assert self.live, f"{line!r} came before a position"
            self._goes_on(int(line[: line.index(b"|")]), above=True)
            self.parts[-1][1].append(line + b"\n")
            return
        self.told.append(line)
        if found := _position(line):
            assert not self.live, f"{line!r} came twice"
            self.live = True
            self._history, number = found[2], int(found[3])
            if found[1] == b"RESUMED":
                assert found[2] + b"@" + found[3] == self.cursor
            else:
                self._number = number
                self.parts.append((number, []))
                self._goes_on(number)
        elif line.startswith(b"AT "):
            self._goes_on(int(line[3:]))
        else:
            assert line.startswith(b"BYE "), line

    def _goes_on(self, number: int, above: bool = False) -> None:
        assert number >= self._number + above, f"{number} came after {self._number}"
        self._number = number
        self.cursor = b"%b@%d" % (self._history, number)

    def differences(self, owed: list[bytes]) -> str:
        """What is wrong with what it has, given all lines of its user in order: empty if nothing is."""
        numbered = [(int(line.split(b"|")[0]), line) for line in owed]
        for at, (after, lines) in enumerate(self.parts):
            wanted = [line for number, line in numbered if number > after]
            if at + 1 < len(self.parts):
                wanted = wanted[: len(lines)]
            if lines != wanted:
                differs = next((n for n, (a, b) in enumerate(zip(lines, wanted, strict=False)) if a != b), None)
                if differs is None:
                    return f"user {self.user} has {len(lines)} of {len(wanted)} lines after {after}: {self.told[-3:]}"
                return f"user {self.user} has {lines[differs]!r} and not {wanted[differs]!r}"
        return ""

    def told_words(self, word: bytes) -> list[bytes]:
        """The control lines that begin with a word."""
        return [line for line in self.told if line.split(b" ")[0] == word]


class Returners:
    """Many of them, read by one thread."""

    def __init__(self, returners: list[Returner]) -> None:
        self.all = returners
        self.problem: BaseException | None = None
        self._selector = selectors.DefaultSelector()
        self._halt = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._halt.set()
        self._thread.join()
        for each in self.all:
            if each.socket is not None:
                each.socket.close()
        self._selector.close()

    def are_live(self) -> None:
        """Wait until each has been told where it is."""
        wait_until(lambda: self.problem or all(each.live for each in self.all), "all are live")
        self.check()

    def check(self) -> None:
        """Raise what went wrong."""
        if self.problem is not None:
            raise self.problem

    def have(self, owed: dict[int, list[bytes]]) -> None:
        """Wait until each has all its lines, and nothing else."""
        deadline = time.monotonic() + PATIENCE_S
        differing = self.all
        while differing:
            self.check()
            late = time.monotonic() > deadline
            differing = [each for each in differing if each.differences(owed[each.user])]
            assert not (late and differing), [each.differences(owed[each.user]) for each in differing[:5]]
            time.sleep(0.05)

    def _run(self) -> None:
        try:
            while not self._halt.is_set():
                now_s = time.monotonic()
                for each in self.all:
                    if each.socket is None and not each.stays_away and each.again_s <= now_s:
                        each.connect()
                        if each.socket is not None:
                            self._selector.register(each.socket, selectors.EVENT_READ, each)
                for key, _ in self._selector.select(0.01):
                    if not key.data.read():
                        self._end(key.data)
                for each in self.all:
                    if each.stays_away and each.socket is not None:
                        self._end(each)
        except BaseException as problem:
            self.problem = problem

    def _end(self, each: Returner) -> None:
        with contextlib.suppress(KeyError, ValueError):
            assert each.socket is not None
            self._selector.unregister(each.socket)
        each.end()
