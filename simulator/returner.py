"""One user of those that say `after=now`: its cursor, its connection, and the event lines that have come."""

import contextlib
import random
import socket
import zlib

from simulator.cursor import Cursor
from simulator.habits import Habits
from simulator.web.websocket import WebSocket
from simulator.wire import Wire, Wires


class Returner:
    """One user over all its connections, and the event lines that have come."""

    def __init__(self, user: int, wires: Wires) -> None:
        self.user = user
        self.cursor = Cursor(user)
        self._wires = wires
        self._wire: Wire | None = None
        """None without a connection, and when nothing more can be read from it."""
        self.habits = Habits(random.Random(user), 0, 1, cuts=0)
        self.socket: socket.socket | None = None
        self.is_connected = False
        self.size = self.checksum = 0
        self.kept: list[bytes] = []

    @property
    def closed(self) -> bool:
        return self.socket is None

    @property
    def received(self) -> bytes:
        return b"".join(self.kept)

    def register(self, connection: socket.socket) -> None:
        """A new connection begins."""
        self.is_connected = True
        self._wire = self._wires(self.cursor.begin())
        with contextlib.suppress(OSError):  # then reading fails as well
            connection.send(self._wire.hello)

    def hear(self, data: bytes, keep: bool) -> bytes:
        """Take what has come; returns the whole event lines."""
        if self._wire is None:
            return b""
        try:
            lines = self.cursor.receive(self._wire.receive(data))
        except ValueError as problem:
            self.cursor.note(str(problem))
            self._wire = None
            return b""
        self.size += len(lines)
        self.checksum = zlib.crc32(lines, self.checksum)
        if keep and lines:
            self.kept.append(lines)
        if self.cursor.is_live:
            self.habits.served()
        return lines

    def answer(self) -> None:
        """Send what the transport itself has to say."""
        if self._wire is not None and self.socket is not None and (reply := self._wire.reply()):
            with contextlib.suppress(OSError):  # then reading fails as well
                self.socket.send(reply)

    def say_goodbye(self) -> None:
        """Ask that no place is kept."""
        if self._wire is not None and self.socket is not None:
            with contextlib.suppress(OSError):
                self.socket.send(self._wire.goodbye())
                if not isinstance(self._wire, WebSocket):  # which has to answer Close
                    self.socket.shutdown(socket.SHUT_WR)

    def cuts(self) -> str:
        """The way in which the client cuts its connection now; empty if it does not."""
        place = self.cursor.place
        return self.habits.cuts_at(place.number) if self.cursor.is_live and place is not None else ""

    def pause_s(self) -> float:
        """How long to stay away, now that the connection has ended."""
        cursor = self.cursor
        refused = bool(cursor.error)
        return self.habits.pause_s(cursor.bye, refused=refused, failed=not (cursor.is_live or refused))
