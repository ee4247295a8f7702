"""The event source: sends prepared bytes over one TCP connection, as fast as it can or on time."""

import math
import socket
import threading
import time
from collections.abc import Iterator, Sequence

from simulator.workload import Block

Arrival = Sequence[tuple[bytes, list[int]]]
"""Blocks as they arrive: the bytes, and how many of them each send has."""


class Source:
    """One connection to the event port."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self._socket = socket.create_connection(address, timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.error: OSError | None = None
        self.started_s = 0.0
        self.due_s = math.inf
        """When the next send of a paced stream is due, by the monotonic clock."""
        self._halted = False
        self._sends: Iterator[bytes] = iter(())
        self._interval_s = 0.0
        self._unsent = b""

    def send(self, data: bytes) -> None:
        """Send at once; OSError when the connection is gone or stuck."""
        self._socket.sendall(data)

    def start(self, arrival: Arrival) -> None:
        """Send everything without a pause, from a thread."""
        self.started_s = time.monotonic()
        threading.Thread(target=self._send_all, args=(arrival,), daemon=True).start()

    def start_paced(self, arrival: Arrival, interval_s: float) -> None:
        """Have one send due each `interval_s` seconds; the loop that receives calls `send_due` often.

        A thread would wait for the interpreter, which the clients keep busy, and be late by up to milliseconds.
        """
        self._socket.setblocking(False)
        self._sends, self._interval_s = _sends(arrival), interval_s
        self._unsent = next(self._sends, b"")
        self.started_s = time.monotonic()
        self.due_s = self.started_s if self._unsent else math.inf

    def send_due(self, now_s: float) -> None:
        """Send what is due, as far as the connection takes it now."""
        while self.due_s <= now_s:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError as problem:
                self.error, self.due_s = problem, math.inf
                return
            self._unsent = self._unsent[sent:]
            if self._unsent:
                return
            self._unsent = next(self._sends, b"")
            self.due_s = self.due_s + self._interval_s if self._unsent else math.inf

    def close(self) -> None:
        """Stop sending and close."""
        self._halted = True
        self._socket.close()

    def _send_all(self, arrival: Arrival) -> None:
        try:
            for data, _ in arrival:
                self._socket.sendall(data)
        except OSError as problem:
            if not self._halted:
                self.error = problem


def arrivals(block: Block) -> tuple[bytes, list[int]]:
    """What the source keeps of a block."""
    return block.arrival, block.sends


def _sends(arrival: Arrival) -> Iterator[bytes]:
    for data, sizes in arrival:
        start = 0
        for size in sizes:
            yield data[start : start + size]
            start += size
