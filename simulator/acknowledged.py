"""The event source of `--acks`: reads its answers, and comes back when its connection ends. Never blocks.

What is sent, acknowledged and sent again is decided in `ledger.py`; this is the socket and the clock. The receiving
loop calls `send_due` often.
"""

import math
import random
import selectors
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from simulator.dial import check, dial
from simulator.ledger import Ledger
from simulator.pieces import Piece
from simulator.report import percentiles

RECEIVE_BYTES = 64 * 1024
RETRY_S = (0.05, 0.25)
"""The shortest and the longest pause before a connection is tried again."""
ANSWER_S = 5.0
"""The longest wait for a connection and for OK, before another one is tried."""
SILENCE_S = 10.0
"""How long lines may be on their way without any answer, before another connection is tried: a listener that is stopped
does not close it."""
ONCE_BYTES = 1024 * 1024
"""The most bytes that are sent in one go, so that the clients are read between."""
REFUSALS = {
    "numbered": "this deployment numbers the events itself (PARADE_NUMBERING=parade): give --producers",
    "unnumbered": "--producers needs a deployment that numbers the events (PARADE_NUMBERING=parade, for its listeners "
    "and sequencers); in this one the sources do",
}
"""By the reason of a NAK."""
SOON_S = 0.001
"""When to look again while something can't be sent yet."""


class Link:
    """One source's connection to the event port, made again whenever it ends."""

    def __init__(
        self,
        address: tuple[str, int],
        ledger: Ledger,
        selector: selectors.BaseSelector,
        silence_s: float = SILENCE_S,
    ) -> None:
        self.ledger = ledger
        self.connections = 0
        self.unsent = memoryview(b"")
        """The part of what was taken from the ledger that the connection has not accepted yet."""
        self._address = address
        self._selector = selector
        self.silence_s = silence_s
        self._heard_s = 0.0
        self._socket: socket.socket | None = None
        self._is_connected = False
        self._next_s = 0.0
        """Without a connection: when to try again. Without an answer: when to give this connection up."""

    @property
    def is_down(self) -> bool:
        return self._socket is None

    def step(self, now_s: float) -> None:
        """Do what can be done without waiting."""
        try:
            if self._socket is None:
                if now_s >= self._next_s:
                    self._dial(now_s)
            elif not self._is_connected:
                self._connect(self._socket)
            else:
                self._read(self._socket, now_s)
                self._write(self._socket)
            self._check_answers(now_s)
        except BlockingIOError:
            pass
        except OSError:
            self.close()
            self._next_s = now_s + random.uniform(*RETRY_S)

    def _check_answers(self, now_s: float) -> None:
        if self._socket is None or not self.ledger.pieces.unacknowledged:
            self._heard_s = now_s
        is_late = now_s > self._next_s if not self.ledger.is_open else now_s - self._heard_s > self.silence_s
        if self._socket is not None and is_late:
            raise TimeoutError("no answer")

    def close(self) -> None:
        """End the connection."""
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
        self._socket = None
        self.unsent = memoryview(b"")
        self.ledger.begin()

    def _dial(self, now_s: float) -> None:
        self._socket = dial(self._address)
        self._is_connected, self._next_s = False, now_s + ANSWER_S
        self._selector.register(self._socket, selectors.EVENT_WRITE)

    def _connect(self, connection: socket.socket) -> None:
        if not any(key.fileobj is connection for key, _ in self._selector.select(0)):
            return
        check(connection)
        self._selector.modify(connection, selectors.EVENT_READ)
        self._is_connected = True
        self.connections += 1
        self.ledger.begin()
        self.unsent = memoryview(self.ledger.hello)
        self._write(connection)

    def _read(self, connection: socket.socket, now_s: float) -> None:
        try:
            data = connection.recv(RECEIVE_BYTES)
        except BlockingIOError:
            return
        if not data:
            raise ConnectionResetError("closed")
        self._heard_s = now_s
        self.ledger.receive(data, now_s)

    def _write(self, connection: socket.socket) -> None:
        budget = ONCE_BYTES
        while budget > 0:
            if not self.unsent:
                self.unsent = memoryview(self.ledger.take())
                if not self.unsent:
                    return
            sent = connection.send(self.unsent)
            self.unsent = self.unsent[sent:]
            budget -= sent


class AckedSource:
    """One source: its link, and the pieces in their time."""

    def __init__(
        self, address: tuple[str, int], timeout_s: float, ledger: Ledger, selector: selectors.BaseSelector
    ) -> None:
        self.ledger = ledger
        self.link = Link(address, ledger, selector)
        self.error: OSError | None = None
        """Set when there was no connection for too long."""
        self.started_s = 0.0
        self.due_s = math.inf
        """When `send_due` is to be called next, if no answer comes before."""
        self.sent = 0
        """Lines that were given to the ledger."""
        self._timeout_s = timeout_s
        self._open_s = time.monotonic()
        """When there was a connection last."""
        self._selector = selector
        self._pieces: Iterator[Piece] = iter(())
        self._coming: Piece | None = None
        self._added = 0
        self._interval_s = 0.0

    def open(self) -> None:
        """Connect, and wait for OK. Raises OSError."""
        end_s = time.monotonic() + self._timeout_s
        while not self.ledger.is_open:
            self.link.step(time.monotonic())
            if self.link.is_down:
                raise ConnectionResetError("; ".join(self.ledger.problems) or "HELLO was not answered")
            if time.monotonic() > end_s:
                raise TimeoutError(f"HELLO was not answered within {self._timeout_s:g} s")
            self._selector.select(SOON_S)

    def send(self, data: bytes) -> None:
        """Send a line soon. Raises OSError when there was no connection for too long."""
        number = int(data[: data.find(b"|")])
        self.ledger.pieces.add(Piece(number, number + 1, data))
        self.sent += 1
        self.send_due(time.monotonic())
        if self.error is not None:
            raise self.error

    def start(self, pieces: Iterable[Piece], interval_s: float = 0.0) -> None:
        """Send all pieces, one every `interval_s` seconds; the receiving loop must call `send_due` often."""
        self._pieces, self._interval_s = iter(pieces), interval_s
        self._coming = next(self._pieces, None)
        self.started_s = time.monotonic()
        self.due_s = self.started_s

    @property
    def is_done(self) -> bool:
        """Whether everything was sent and acknowledged."""
        return self._coming is None and not self.ledger.pieces.unacknowledged

    @property
    def refusal(self) -> str:
        """Why the deployment takes no such events; empty when it does."""
        return next((REFUSALS[why] for why in self.ledger.refused if why in REFUSALS), "")

    def send_due(self, now_s: float) -> None:
        """Send what is due as far as the connection accepts it, read answers, connect again if necessary."""
        self._add(now_s)
        self.link.step(now_s)
        if self.ledger.is_open or self.is_done:
            self._open_s = now_s
        elif now_s - self._open_s > self._timeout_s:
            self.error = TimeoutError(f"no connection for {self._timeout_s:g} s")
        is_idle = self.ledger.is_open and not self.link.unsent and not self.ledger.has_more
        self.due_s = self._next_piece_s() if is_idle else now_s + SOON_S

    def sent_events(self) -> int:
        """How many events are in Redis, as far as it is known."""
        return self.sent - self.ledger.pieces.unacknowledged

    def close(self) -> None:
        """End the connection."""
        self.link.close()

    def _next_piece_s(self) -> float:
        return math.inf if self._coming is None else self.started_s + self._added * self._interval_s

    def _add(self, now_s: float) -> None:
        """Give the ledger what is due; without a schedule, no more than can be sent soon."""
        budget = 0 if not self._interval_s and self.ledger.pieces.waits else ONCE_BYTES
        while self._coming is not None and budget > 0 and self.ledger.may_add and self._next_piece_s() <= now_s:
            if self._interval_s:
                self._coming.due_s = self._next_piece_s()
            budget -= len(self._coming.data)
            self.ledger.pieces.add(self._coming)
            self._added += 1
            self.sent += self._coming.lines
            self._coming = next(self._pieces, None)


def facts(sources: list[AckedSource]) -> dict[str, Any]:
    """What the sources were answered, for the report."""
    ledgers = [source.ledger for source in sources]
    latencies = [seconds for ledger in ledgers for seconds in ledger.pieces.latencies]
    sent = sum(source.sent for source in sources)
    return {
        "sent": sent,
        "lines": sent - sum(ledger.pieces.unacknowledged for ledger in ledgers),
        "sent_again": sum(ledger.pieces.again for ledger in ledgers),
        "connections": sum(source.link.connections for source in sources),
        "acks": sum(ledger.answers["ACK"] for ledger in ledgers),
        "gaps": sum(ledger.answers["GAP"] for ledger in ledgers),
        "refused": dict(sum((ledger.refused for ledger in ledgers), Counter())),
        "goodbyes": dict(sum((ledger.goodbyes for ledger in ledgers), Counter())),
        "latency_ms": percentiles(latencies, [1] * len(latencies)),
    }


def problems(name: str, source: AckedSource, left_out: int | None = None) -> list[str]:
    """What is wrong with the answers that a source got, or did not get."""
    ledger = source.ledger
    found = [*ledger.problems, *(f"RESET {place}: Redis came back with older data" for place in ledger.resets)]
    if ledger.pieces.unacknowledged:
        found.append(f"{ledger.pieces.unacknowledged:,} of {source.sent:,} lines are not acknowledged")
    if ledger.lost and ledger.lost != left_out:
        found.append(f"number {ledger.lost} was acknowledged, and is missing")
    given_up = [numbers for numbers in ledger.skipped if numbers != f"{left_out}-{left_out}"]
    if given_up:
        found.append(f"numbers were given up: {', '.join(given_up[:5])}")
    return [f"{name}: {problem}" for problem in found]
