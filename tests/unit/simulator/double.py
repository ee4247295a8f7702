"""A system of one process for tests of the simulator: it takes events, and gives every client all of them in order.

It keeps the protocol, unless it is told to do something wrong. It shares no code with the simulator, nor with Parade.
"""

import contextlib
import socket
import socketserver
import struct
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import IO, Self

HISTORY = b"9f31c2"


class Server(socketserver.ThreadingTCPServer):
    """Runs a function for each connection, in a thread."""

    def __init__(self, serve: Callable[[socket.socket, IO[bytes]], None]) -> None:
        self._serve = serve
        self._connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", 0), socketserver.BaseRequestHandler)
        threading.Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def finish_request(self, request: object, client_address: object) -> None:  # noqa: ARG002
        assert isinstance(request, socket.socket)
        self._connections.add(request)
        try:
            with request.makefile("rb") as lines:
                self._serve(request, lines)
        except OSError:
            pass
        self._connections.discard(request)

    def stop(self) -> None:
        self.shutdown()
        for connection in list(self._connections):
            with contextlib.suppress(OSError):  # its peer has ended it
                connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class Double:
    """`wrong` names what it does wrong; see where it is asked for."""

    def __init__(self, first: int = 1, *, wrong: str = "", numbers: bool = False) -> None:
        self.first = first
        self.wrong = wrong
        self.numbers = numbers
        self.released: list[bytes] = []
        self.registrations: list[bytes] = []
        self.hellos: list[bytes] = []
        self.goodbyes = 0
        self.source_cuts: list[int] = []
        """After how many lines of a connection that of a source is cut; the last three are not acknowledged."""
        self.client_cuts: list[int] = []
        """After how many lines of a connection that of a client is ended."""
        self._waiting: dict[int, bytes] = {}
        self._received: Counter[bytes] = Counter()
        self._is_stopping = False
        self._news = threading.Condition()
        self._told: set[socket.socket] = set()
        """Connections of sources that are told NEXT, whoever sent the line."""
        self._sources, self._clients = Server(self._source), Server(self._client)
        self.event_port, self.client_port = self._sources.port, self._clients.port

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with self._news:
            self._is_stopping = True
            self._news.notify_all()
        self._sources.stop()
        self._clients.stop()

    @property
    def _next(self) -> int:
        return self.first + len(self.released)

    # Sources

    def _source(self, connection: socket.socket, lines: IO[bytes]) -> None:
        producer, cut, count, line = b"", None, 0, lines.readline()
        if acks := line.startswith(b"HELLO "):
            self.hellos.append(line)
            producer = line.strip().partition(b"producer=")[2]
            with self._news:
                received = b" received=%d" % self._received[producer] if producer else b""
                connection.sendall(b"OK %b@%d reach=1000000%b\n" % (HISTORY, self._next, received))
                cut = self.source_cuts.pop(0) if self.source_cuts else None
                self._told.add(connection)
            line = lines.readline()
        while line.endswith(b"\n"):
            count += 1
            if self.wrong == "unnumbered lines are refused":
                connection.sendall(b"NAK %d unnumbered\n" % count)
            elif self.wrong != "nothing is released":
                self._take(producer, line)
            if count == cut:
                self._told.discard(connection)
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                return
            if acks and (cut is None or count < cut - 2):
                more = self.wrong == "too much is acknowledged"
                connection.sendall(b"ACK %d\n" % (count + more * 1000))
                self._tell_next()
            line = lines.readline()
        self._told.discard(connection)

    def _tell_next(self) -> None:
        with self._news:
            for connection in self._told:
                with suppress(OSError):  # it is being ended
                    connection.sendall(b"NEXT %d\n" % self._next)

    def _take(self, producer: bytes, line: bytes) -> None:
        number, _, rest = line.partition(b"|")
        with self._news:
            self._received[producer] += 1
            if self.numbers:
                self._number(rest)
            else:
                self._waiting[int(number)] = line
                while self._next in self._waiting:
                    self.released.append(self._waiting.pop(self._next))
            self._news.notify_all()

    def _number(self, rest: bytes) -> None:
        at = len(self.released)
        if at == 50 and self.wrong == "a line is lost":
            self.wrong = "a line was lost"
            return
        if at >= 50 and self.wrong == "two lines are swapped" and _producer(rest) == _producer(self.released[-1]):
            self.wrong = "two lines were swapped"  # those of two producers may come in any order
            self.released.append(b"%d|%b" % (self._next, rest))
            before, self.released[-2] = self.released[-2], b"%d|%b" % (self._next - 2, rest)
            self.released[-1] = b"%d|%b" % (self._next - 1, before.partition(b"|")[2])
            return
        if at == 50 and self.wrong == "a number is given twice":
            self.first -= 1
        self.released.append(b"%d|%b" % (self._next, rest))
        if at == 50 and self.wrong == "a line is taken twice":
            self.released.append(b"%d|%b" % (self._next, rest))
        if at == 50 and self.wrong == "a number is left out":
            self.first += 1

    # Clients

    def _client(self, connection: socket.socket, lines: IO[bytes]) -> None:
        line = lines.readline()
        self.registrations.append(line)
        if self.wrong == "clients are closed":
            return
        after = line.strip().partition(b" after=")[2]
        with self._news:
            done = len(self.released)
            if after == b"now":
                answer = b"OK %b@%d\n" % (HISTORY, self._next - 1)
            elif after and self.wrong == "a client is reset":
                answer = b"RESET %b@%d trimmed\n" % (HISTORY, self._next - 1)
            elif after:
                answer = b"RESUMED %b\n" % after
                done = int(after.partition(b"@")[2]) + 1 - self.first
                done += {"a line is left out": 1, "a line is repeated": -1}.get(self.wrong, 0)
            else:
                answer = b""
            cut = done + self.client_cuts.pop(0) if self.client_cuts else None
        connection.sendall(answer)
        delivering = threading.Thread(
            target=self._deliver, args=(connection, max(0, done), cut, bool(after)), daemon=True
        )
        delivering.start()
        while line := lines.readline():
            self.goodbyes += line == b"BYE\n"
        connection.shutdown(socket.SHUT_RDWR)
        delivering.join()

    def _deliver(self, connection: socket.socket, done: int, cut: int | None, marks: bool) -> None:
        try:
            while True:
                with self._news:
                    if done == len(self.released) and not self._is_stopping:
                        self._news.wait()
                    new = self.released[done:cut]
                    done += len(new)
                if self._is_stopping:
                    return
                mark = b"AT %b\n" % new[-1].partition(b"|")[0] if marks and new else b""
                connection.sendall(b"".join(new) + mark)
                if done == cut:
                    connection.sendall(b"BYE drain 200\n10")
                    connection.shutdown(socket.SHUT_RDWR)
                    return
        except OSError:
            pass


def _producer(line: bytes) -> bytes:
    """Whose line it is, by its last field."""
    return line.rpartition(b"|")[2].partition(b".")[0]
