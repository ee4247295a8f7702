"""Sources that say HELLO, on plain sockets. Every line that they are told is kept."""

import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from tests.support.deployment import PATIENCE_S, Deployment
from tests.support.senders import SenderThread

LOOPBACK = "127.0.0.1"


class AckedSource:
    """One connection. `told` has the lines it was told after the answer to its HELLO, which is `hello`."""

    def __init__(self, port: int, hello: str = "HELLO acks=1") -> None:
        self.socket = socket.create_connection((LOOPBACK, port), PATIENCE_S)
        self._lines = self.socket.makefile("rb")
        self.told: list[str] = []
        self.acked = 0
        """The last ACK so far."""
        self._greet(hello)

    def _greet(self, hello: str) -> None:
        try:
            self.send(f"{hello}\n".encode())
            self.hello = self.line()
        except OSError:
            self.close()
            raise
        self.told.clear()

    def send(self, data: bytes) -> None:
        self.socket.sendall(data)

    def line(self) -> str:
        """The next line; empty when the connection has ended."""
        line = self.read_line()
        self.told += [line] * bool(line)
        if line.startswith("ACK "):
            self.acked = int(line.split()[1])
        return line

    def read_line(self) -> str:
        """The next line of the connection."""
        try:
            return self._lines.readline().decode().removesuffix("\n")
        except ConnectionError:
            return ""

    def wait_for(self, line: str) -> None:
        """Read until it is told this."""
        if line not in self.told:
            while (told := self.line()) != line:
                assert told, f"closed after {self.told[-20:]}, and not told {line}"

    def rest(self) -> list[str]:
        """Everything up to the end of the connection."""
        while self.line():
            pass
        return self.told

    def wait_until_acked(self, lines: int) -> None:
        """Read until so many lines are acknowledged."""
        while self.acked < lines:
            assert self.line(), f"closed after {self.told[-20:]}, and {lines} are not acknowledged"

    def close(self) -> None:
        self._lines.close()
        self.socket.close()


@contextmanager
def acked(system: Deployment, hello: str = "HELLO acks=1", port: int = 0) -> Iterator[AckedSource]:
    """A source that has said HELLO to a listener (of the deployment's port, if no other is given)."""
    found = AckedSource(port or system.event_port, hello)
    try:
        yield found
    finally:
        found.close()


class ProducerThread(SenderThread):
    """Sends its lines as one producer, and goes on after each break at the next of the ports, until all are taken.

    Of the lines that were not acknowledged it knows nothing: it goes by what OK says.
    """

    def __init__(
        self,
        ports: Sequence[int],
        name: str,
        lines: Sequence[bytes],
        pause_s: float = 0.0,
        connect: Callable[[int, str], AckedSource] = AckedSource,
    ) -> None:
        super().__init__()
        self._connect = connect
        self.connections = 0
        self.told: list[str] = []
        self._ports, self._name, self._lines, self._pause_s = ports, name, lines, pause_s

    def send(self) -> None:
        """Send until all is acknowledged."""
        deadline = time.monotonic() + 2 * PATIENCE_S
        while not self._send_once():
            assert time.monotonic() < deadline, f"{self._name} is not done: {self.told[-10:]}"

    def _send_once(self) -> bool:
        try:
            port = self._ports[self.connections % len(self._ports)]
            self.connections += 1
            source = self._connect(port, f"HELLO acks=1 producer={self._name}")
        except OSError:
            time.sleep(0.02)
            return False
        try:
            begin = int(source.hello.rpartition("received=")[2])
            for at in range(begin, len(self._lines), LINES_A_SEND):
                source.send(b"".join(self._lines[at : at + LINES_A_SEND]))
                time.sleep(self._pause_s)
            source.wait_until_acked(len(self._lines) - begin)
            return True
        except (OSError, ValueError, AssertionError):  # it ended, before OK or later
            return False
        finally:
            self.told += source.told
            source.close()


LINES_A_SEND = 50
