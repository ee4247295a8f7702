"""The event source: sends prepared bytes over one TCP connection, as fast as it can or on time."""

import socket
import threading
import time
from collections.abc import Callable, Sequence

from simulator.workload import Block


class Source:
    """One connection to the event port."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self._socket = socket.create_connection(address, timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.error: OSError | None = None
        self.done = False
        self._halt = threading.Event()

    def send(self, data: bytes) -> None:
        """Send at once; OSError when the connection is gone or stuck."""
        self._socket.sendall(data)

    def start(self, arrival: Sequence[tuple[bytes, list[int]]], interval_s: float | None) -> None:
        """Send all blocks from a thread: piece by piece every `interval_s`, or with no pause at all."""
        work: Callable[[], None]
        if interval_s is None:
            work = lambda: self._send_all(arrival)  # noqa: E731
        else:
            work = lambda: self._send_on_time(arrival, interval_s)  # noqa: E731
        self.started_s = time.monotonic()
        threading.Thread(target=self._guarded, args=(work,), daemon=True).start()

    def close(self) -> None:
        """Stop sending and close."""
        self._halt.set()
        self._socket.close()

    def _guarded(self, work: Callable[[], None]) -> None:
        try:
            work()
        except OSError as problem:
            if not self._halt.is_set():
                self.error = problem
        self.done = True

    def _send_all(self, arrival: Sequence[tuple[bytes, list[int]]]) -> None:
        for data, _ in arrival:
            self._socket.sendall(data)

    def _send_on_time(self, arrival: Sequence[tuple[bytes, list[int]]], interval_s: float) -> None:
        due = self.started_s
        for data, sizes in arrival:
            start = 0
            for size in sizes:
                pause = due - time.monotonic()
                if pause > 0:
                    time.sleep(pause)
                if self._halt.is_set():
                    return
                self._socket.sendall(data[start : start + size])
                start += size
                due += interval_s


def arrivals(block: Block) -> tuple[bytes, list[int]]:
    """What the source keeps of a block."""
    return block.arrival, block.sends
