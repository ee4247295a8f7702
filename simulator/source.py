"""The event source: sends prepared bytes over one TCP connection, as fast as possible or on a schedule."""

import math
import socket
import threading
import time
from collections.abc import Iterator, Sequence

from simulator.workload import Block

Arrival = Sequence[tuple[bytes, list[int]]]
"""Blocks in order of arrival: the bytes of each, and the sizes of the pieces in which they are sent."""


class Source:
    """One connection to the event port."""

    is_done = True
    """Whether no answer is waited for; none ever comes."""
    refusal = ""
    """Why the deployment takes no such events; this source is never told."""

    def __init__(self, address: tuple[str, int], timeout_s: float) -> None:
        self._socket = socket.create_connection(address, timeout_s)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.error: OSError | None = None
        self.started_s = 0.0
        self.due_s = math.inf
        """Monotonic time at which the next piece of a paced stream is due; infinity when there is none."""
        self._halted = False
        self._arrival: Arrival = ()
        self._sent_bytes = 0
        self._sends: Iterator[bytes] = iter(())
        self._interval_s = 0.0
        self._unsent = b""

    def send(self, data: bytes) -> None:
        """Send immediately. Raises OSError if the connection is lost or accepts nothing for too long."""
        self._socket.sendall(data)

    def start(self, arrival: Arrival) -> None:
        """Send everything without pauses, in a thread."""
        self._arrival = arrival
        self.started_s = time.monotonic()
        threading.Thread(target=self._send_all, daemon=True).start()

    def start_paced(self, arrival: Arrival, interval_s: float) -> None:
        """Schedule one piece every `interval_s` seconds; the receiving loop must call `send_due` often.

        A thread would compete with the clients for the interpreter and be late by up to several milliseconds.
        """
        self._socket.setblocking(False)
        self._arrival, self._sends, self._interval_s = arrival, _sends(arrival), interval_s
        self._unsent = next(self._sends, b"")
        self.started_s = time.monotonic()
        self.due_s = self.started_s if self._unsent else math.inf

    def send_due(self, now_s: float) -> None:
        """Send what is due, as far as the connection accepts it without blocking."""
        while self.due_s <= now_s:
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                return
            except OSError as problem:
                self.error, self.due_s = problem, math.inf
                return
            self._sent_bytes += sent
            self._unsent = self._unsent[sent:]
            if self._unsent:
                return
            self._unsent = next(self._sends, b"")
            self.due_s = self.due_s + self._interval_s if self._unsent else math.inf

    def sent_events(self) -> int:
        """How many events the connection has taken since the start, as far as it goes; the peer may have read fewer."""
        events, left = 0, self._sent_bytes
        for data, _ in self._arrival:
            if left <= 0:
                break
            events += data.count(b"\n", 0, left)
            left -= len(data)
        return events

    def close(self) -> None:
        """Stop sending and close."""
        self._halted = True
        self._socket.close()

    def _send_all(self) -> None:
        try:
            for data, _ in self._arrival:
                unsent = memoryview(data)
                while unsent:
                    sent = self._socket.send(unsent)
                    self._sent_bytes += sent
                    unsent = unsent[sent:]
        except OSError as problem:
            if not self._halted:
                self.error = problem


def arrivals(block: Block) -> tuple[bytes, list[int]]:
    """The part of a block that the source needs."""
    return block.arrival, block.sends


def _sends(arrival: Arrival) -> Iterator[bytes]:
    for data, sizes in arrival:
        start = 0
        for size in sizes:
            yield data[start : start + size]
            start += size
