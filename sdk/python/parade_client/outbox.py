"""What a source sends and sends again, and what its answers mean, over all its connections. Pure: bytes in, bytes out.

    hello() ──▶ "HELLO acks=1" ──▶ OK ──▶ open: take() gives lines, ACK NEXT GAP SKIPPED NAK RESET come
      ▲                                            │
      └──────────── BYE, ERROR, or a connection that broke

Rules kept here:

- ACK counts the lines of one connection, so after RESET those that were on their way say nothing any more.
- A source that gives the numbers goes by NEXT: what it has passed need not be sent again. A producer goes by the count
  of its lines, `received`.
- OK with another history than before says what RESET says.
- What is kept is bounded: `has_room` is false when it is too much. One line is always taken.
"""

from parade_client.errors import FencedError, ProtocolError
from parade_client.kept import Counted, Entry, Kept, Numbered
from parade_client.lines import Control, Lines, Position, is_control, number, parse_control
from parade_client.way import Way


class Outbox:
    """One source. `producer`: the name of one whose lines are counted; empty: the events have numbers."""

    def __init__(self, producer: str, most_bytes: int) -> None:
        self.producer = producer
        self.is_open = False
        """Whether OK has come on this connection."""
        self.received = 0
        """How many lines of the producer are taken, as far as it is known."""
        self.gap: int | None = None
        """The number that was said to be missing last, while it is."""
        self.parting = ""
        """The last word of this connection, if there was one, and its reason."""
        self.denial = ""
        """The reason of an ERROR."""
        self._most_bytes = most_bytes
        self._numbered, self._counted = Numbered(), Counted(producer)
        self._kept: Kept = self._counted if producer else self._numbered
        self._way = Way()
        self._place: Position | None = None
        self._lines = Lines()
        self._has_asked = self._left_unanswered = False

    # What is sent

    def hello(self) -> bytes:
        """The first line of a new connection."""
        self.is_open, self.parting, self.denial = False, "", ""
        self._left_unanswered, self._has_asked = self._left_unanswered or self._has_asked, True
        self._lines, self._way = Lines(), Way()
        return f"HELLO acks=1 producer={self.producer}\n".encode() if self.producer else b"HELLO acks=1\n"

    def has_room(self, line: bytes) -> bool:
        """Whether this line may be added."""
        return not self._kept.held_bytes or self._kept.held_bytes + len(line) <= self._most_bytes

    def add(self, line: bytes, seq: int | None) -> Entry:
        """A new line to send."""
        entry = self._kept.add(line, seq)
        if self.is_open:
            self._way.send([entry])
        return entry

    def take(self) -> bytes:
        """The next lines to send, which count as sent; empty when there are none."""
        piece = self._way.take()
        for entry in piece:
            self._kept.sent = max(self._kept.sent, entry.ordinal)
        return b"".join(entry.line for entry in piece)

    @property
    def awaits_answers(self) -> bool:
        """Whether lines of this connection are on their way."""
        return self._way.awaits_answers

    # What is answered

    def receive(self, data: bytes) -> list[Entry]:
        """Bytes came; returns the lines that are done by them. Raises ProtocolError, FencedError or LostError."""
        self._lines.put(data)
        while self._lines:
            line = self._lines.take()
            if not is_control(line):
                raise ProtocolError(f"{line[:80]!r} is no answer to a source: is this the port for sources?")
            self._answer(parse_control(line))
        settled, self._kept.settled = self._kept.settled, []
        return settled

    def _answer(self, line: Control) -> None:
        if line.word in ("ACK", "NEXT", "GAP", "SKIPPED", "NAK", "RESET") and not self.is_open:
            raise ProtocolError(f"the server said {line} before OK")
        match line.word:
            case "OK":
                self._ok(line)
            case "ACK":
                self._ack(line)
            case "NEXT":
                self._next(line.number())
            case "GAP":
                self._missing(line.number())
            case "SKIPPED":
                self._skip(line)
            case "NAK":
                self._nak(line)
            case "RESET":
                self._reset(line)
            case "BYE":
                self._bye(line)
            case "ERROR":
                self.denial = line.text or "no reason given"
                self.parting = f"ERROR {line.text}"

    def _ok(self, line: Control) -> None:
        if self.is_open:
            raise ProtocolError(f"the server said {line} to a connection that had its OK")
        place, known = line.position(), self._place
        self._has_asked = False
        if self.producer:
            self.received = number(line.pairs.get("received", ""), line)
            if known is None:
                self._counted.begin(self.received)
            self._counted.go_on(self.received)
        elif known is not None and known.history != place.history:
            self._numbered.go_back(place.number)
        self.is_open = True
        self._go_on(place)

    def _go_on(self, place: Position) -> None:
        """Send everything that is wanted from here on."""
        self._place, self.gap = place, None
        self._numbered.pass_by(place.number)
        self._way.send(self._kept.waiting())

    def _ack(self, line: Control) -> None:
        for entry in self._way.acknowledge(line):
            self._kept.done(entry)
            self.received = max(self.received, entry.ordinal)

    def _nak(self, line: Control) -> None:
        if (entry := self._way.refused(line)) is not None:
            self._kept.done(entry, line.argument(1) or "malformed")

    def _next(self, wanted: int) -> None:
        if self.gap is not None and self.gap < wanted:
            self.gap = None
        self._numbered.pass_by(wanted)

    def _missing(self, wanted: int) -> None:
        """It is sent again if it is here and done, in case that it was lost: once too often does no harm."""
        self.gap = wanted
        kept = self._numbered.entries.values()
        self._way.send(each for each in kept if each.seq == wanted and each.is_done and not each.refusal)

    def _skip(self, line: Control) -> None:
        first, _, last = line.argument(0).partition("-")
        numbers = range(number(first, line), number(last or first, line) + 1)
        for entry in self._numbered.entries.values():
            if entry.seq in numbers:
                self._numbered.done(entry, "skipped")

    def _reset(self, line: Control) -> None:
        if self.producer:
            return  # the server closes, and the next OK says where to go on
        place = line.position()
        self._way.void()
        self._numbered.go_back(place.number)
        self._go_on(place)

    def _bye(self, line: Control) -> None:
        self.parting = f"BYE {line.text}"
        if line.argument(0) != "fenced":
            return
        if self._left_unanswered:
            self._left_unanswered = False  # maybe a HELLO of our own was answered late: go on, the count will tell
            return
        raise FencedError(
            f"a later connection of producer {self.producer!r} has taken over: give each sender a name of its own"
        )
