"""A source with acknowledgements: what it says, and what the answers mean. Pure.

Rules kept here:

- ACK counts the lines of one connection after HELLO: it only grows, and never says more than was sent.
- NEXT never passes a number that was not sent yet, and only grows.
- After a connection has ended, what is not acknowledged and not below the number in OK is sent again, whatever an ACK
  that was on its way would have said.
- OK with another history than before says what RESET says: the source was not connected when that was told.
- A piece is kept until it is acknowledged and NEXT has passed it, `KEPT_BYTES` of them at most: then `may_add` is
  false.

A producer (`ProducerLedger`), whose lines Parade numbers, goes by the count in `received=` instead of by numbers. It
does not learn its numbers, so it keeps its last lines in case that Redis comes back with older data.
"""

from collections import Counter

from simulator.control import Control, Lines
from simulator.pieces import Piece, Pieces

KEPT_BYTES = 32 * 1024 * 1024
KEPT_IN_CASE_BYTES = 1024 * 1024
"""Acknowledged lines that a producer keeps in case that Redis comes back with older data."""
PROBLEMS = 10
"""The most problems of one source that are kept."""


class Ledger:
    """The lines of one source that numbers them itself, over all its connections."""

    def __init__(self) -> None:
        self.pieces = Pieces()
        self.is_open = False
        """Whether OK has come on this connection."""
        self.next = 0
        """The number wanted next, from OK, NEXT or RESET."""
        self.answers: Counter[str] = Counter()
        self.refused: Counter[str] = Counter()
        """NAKs by reason."""
        self.goodbyes: Counter[str] = Counter()
        """BYEs by reason."""
        self.skipped: list[str] = []
        self.resets: list[str] = []
        """Positions from which to send again, because Redis came back with older data."""
        self.problems: list[str] = []
        self.gap = 0
        """The last number of which it was said that it is missing."""
        self._lines = Lines()
        self._history = ""
        self._acknowledged = 0

    @property
    def hello(self) -> bytes:
        return b"HELLO acks=1\n"

    @property
    def may_add(self) -> bool:
        return self.pieces.kept_bytes < KEPT_BYTES

    @property
    def has_more(self) -> bool:
        """Whether something can be sent now."""
        return self.is_open and self.pieces.waits

    def take(self) -> bytes:
        """The next lines to send, which count as sent from now on; empty when there are none."""
        return self.pieces.take() if self.has_more else b""

    def begin(self) -> None:
        """A new connection, on which nothing was sent yet."""
        self._lines = Lines()
        self._acknowledged = 0
        self.is_open = False
        self.pieces.begin()

    @property
    def lost(self) -> int:
        """The number that is missing now although it was acknowledged; 0: none is.

        For a moment that may be so of any number: what is said of it was true a moment ago.
        """
        return self.gap if self.gap == self.next and self.pieces.has_acknowledged(self.gap) else 0

    def receive(self, data: bytes, now_s: float) -> None:
        """Take what the listener answers."""
        try:
            for part in self._lines.feed(data):
                if isinstance(part, bytes):
                    self._problem(f"an answer that is no word: {part[:60]!r}")
                else:
                    self._answer(part, now_s)
        except ValueError as problem:
            self._problem(str(problem))

    def _answer(self, line: Control, now_s: float) -> None:
        self.answers[line.word] += 1
        if line.word not in ("OK", "BYE", "ERROR") and not self.is_open:
            self._problem(f"{line.word[:60]} {line.text[:200]} came before OK")
            return
        match line.word:
            case "OK":
                self._ok(line)
            case "ACK":
                self._ack(line.number, now_s)
            case "NEXT":
                self._next(line.number)
            case "GAP":
                # It is on its way, or was left out on purpose: after a loss, OK and RESET say what to send again.
                self.gap = line.number
            case "SKIPPED":
                self.skipped.append(line.argument(0))
            case "NAK":
                self.refused[line.argument(1)] += 1
                self._problem(f"line {line.number} of a connection was refused: {line.argument(1)}")
            case "RESET":
                self._reset(line)
            case "BYE":
                self.goodbyes[line.argument(0)] += 1
            case _:
                self._problem(f"the answer {line.word[:60]} {line.text[:200]}".rstrip())

    def _ok(self, line: Control) -> None:
        if self.is_open:
            self._problem("a second OK")
            return
        self.is_open = True
        if self._history in ("", line.position[0]):
            self._history, self.next = line.position
            self._continue(line)
        else:
            self._reset(line)

    def _ack(self, count: int, now_s: float) -> None:
        if count <= self._acknowledged:
            self._problem(f"ACK {count} came after ACK {self._acknowledged}")
        elif count > self.pieces.sent:
            self._problem(f"ACK {count} came when {self.pieces.sent} lines were sent")
        else:
            self.pieces.acknowledge(count - self._acknowledged, now_s)
            self._acknowledged = count
            self.pieces.forget(self._is_over)

    def _next(self, number: int) -> None:
        if number < self.next:
            self._problem(f"NEXT {number} came after {self.next}")
        elif not self._can_be_next(number):
            self._problem(f"NEXT {number} came when only numbers below {self.pieces.end} were sent")
        self.next = number
        self.pieces.forget(self._is_over)

    def _reset(self, line: Control) -> None:
        self.resets.append(str(line.position))
        self._history, self.next = line.position
        self.pieces.lose()
        self._void()
        self._continue(line)

    def _continue(self, line: Control) -> None:
        self._settle(line.word, line.pairs.get("received", ""))
        self.pieces.send_again()
        self.pieces.forget(self._is_over)

    def _problem(self, text: str) -> None:
        if len(self.problems) < PROBLEMS:
            self.problems.append(text)

    # What differs when Parade gives the numbers

    def _can_be_next(self, number: int) -> bool:
        return number <= self.pieces.end

    def _void(self) -> None:
        """Redis came back with older data: acknowledgements from the wanted number on no longer count."""
        forgotten = self.pieces.forgotten_end
        if forgotten > self.next:
            self._problem(f"number {self.next} is wanted again, and lines below {forgotten} are forgotten")
        for piece in self.pieces.kept:
            if piece.end > self.next:
                piece.acknowledged = 0

    def _settle(self, word: str, received: str) -> None:  # noqa: ARG002 (for producers)
        """What OK or RESET says is in Redis counts as acknowledged."""
        self.pieces.end = self.pieces.end or self.next
        for piece in self.pieces.kept:
            if piece.end <= self.next:  # its acknowledgement was lost with the connection
                piece.acknowledged = piece.lines

    def _is_over(self, piece: Piece) -> bool:
        return piece.end <= self.next


class ProducerLedger(Ledger):
    """The lines of one source whose lines Parade numbers."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    @property
    def hello(self) -> bytes:
        return f"HELLO acks=1 producer={self._name}\n".encode()

    def _can_be_next(self, number: int) -> bool:
        return number > 0  # the others' lines count too

    def _void(self) -> None:
        pass  # `received` says it

    def _settle(self, word: str, received: str) -> None:
        if not received.isdigit():
            raise ValueError(f"{word} has no received=")
        count, sent, forgotten = int(received), self.pieces.end, self.pieces.forgotten_end
        if not forgotten <= count <= sent:
            self._problem(f"{word} says received={count}, and {sent} were sent and the first {forgotten} forgotten")
        for piece in self.pieces.kept:
            taken = min(max(0, count - piece.first), piece.lines)
            if taken < piece.acknowledged:
                self._problem(f"line {piece.first + taken + 1} was acknowledged, and received={count}")
            piece.acknowledged = taken

    def _is_over(self, piece: Piece) -> bool:
        return self.pieces.kept_bytes - len(piece.data) >= KEPT_IN_CASE_BYTES
