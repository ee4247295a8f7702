"""What one acknowledged source has sent, and what it is to be told. Pure.

Rules kept here:

- `appended` counts the first lines after HELLO that are in Redis, or were refused; it only grows, line by line.
- A refused line is said before the ACK that counts it.
- Of ACK, NEXT and GAP only the newest is kept, so a source that does not listen costs a few numbers. NAK and SKIPPED
  are kept one by one, up to `LINES_HELD`: then nothing more is taken from the source until it has taken these.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import islice

from listener import hello

LINES_HELD = 1000


@dataclass(slots=True)
class Producer:
    """A name under which lines are taken once each. Redis has the same numbers under `key`."""

    key: str
    generation: int
    """Raised by each HELLO; Redis takes nothing from an older one."""
    received: int
    """Lines of it that are in Redis, of all its connections."""


class Acks:
    """One acknowledged source. `on_news` is called when there is something to tell it."""

    def __init__(self, producer: Producer | None, next_number: int, on_news: Callable[[], None]) -> None:
        self.producer = producer
        self.on_news = on_news
        self.taken = self.appended = 0
        self.is_fenced = False
        """A newer HELLO of its producer has been said: nothing of this one is taken any more."""
        self.went_back = False
        """Redis has fewer lines of its producer than it had confirmed."""
        self._lines: list[bytes] = []
        self._acked = self._gap = self._gap_said = 0
        self._next = self._next_said = next_number

    @property
    def is_full(self) -> bool:
        """Nothing more may be taken before this has been said."""
        return len(self._lines) >= LINES_HELD

    @property
    def is_done(self) -> bool:
        """All lines taken are in Redis, or refused."""
        return self.appended == self.taken

    @property
    def is_over(self) -> bool:
        """Lines of it were not taken, so none behind them may be."""
        return self.is_fenced or self.went_back

    # What happens

    def take(self, lines: int) -> None:
        """Lines came that are events."""
        self.taken += lines

    def refuse(self, word: bytes) -> None:
        """A line came that is refused."""
        self.taken += 1
        self._lines.append(hello.nak(self.taken, word))

    def done(self, lines: int) -> None:
        """The next lines are in Redis, and in its replicas where those are waited for."""
        self.appended += lines

    def progressed(self, next_number: int, gap: int, skipped: Iterable[bytes] = ()) -> None:
        """Everything below `next_number` is released or given up; `gap` has been missing for a while, 0: nothing has.

        `skipped` are numbers given up, as `first-last`. Who does not listen is told of no more than fit.
        """
        self._next, self._gap = next_number, gap
        room = max(0, LINES_HELD - len(self._lines))
        self._lines += map(hello.skipped, islice(skipped, room))

    def reset(self, line: bytes, next_number: int) -> None:
        """Redis came back older: what was said before counts no more."""
        self._lines.append(line)
        self._next = self._next_said = next_number
        self._gap = self._gap_said = 0

    # What is said

    def say(self) -> bytes:
        """All that is to be said now, which counts as said."""
        lines, self._lines = self._lines, []
        if self.appended > self._acked:
            self._acked = self.appended
            lines.append(hello.ack(self.appended))
        if self._next != self._next_said:
            self._next_said = self._next
            lines.append(hello.next_number(self._next))
        if self._gap != self._gap_said:
            self._gap_said = self._gap
            if self._gap:
                lines.append(hello.gap(self._gap))
        return b"".join(lines)
