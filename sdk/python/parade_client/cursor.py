"""What a subscriber says and what its answers mean, over all its connections. Pure: bytes in, events out.

    hello() ──▶ "50 after=now"             ──▶ OK ───────▶ live
    hello() ──▶ "50 after=9f31c2@70000"    ──▶ RESUMED ──▶ live       or RESET: what was between is lost
                                                             │
    end() ◀── BYE, ERROR, or a connection that broke ◀───────┘

Rules kept here:

- The place is that of what was taken last, one line at a time: what has come and was not taken does not count. So it
  can be stored in the same step as the effect of an event.
- A part of a line is dropped with its connection; the whole line comes again over the next one.
- Numbers only grow, over all connections: a line at or below the place was there before, and is an error. So are a line
  before the answer, and an answer to something that was not asked.
- RESUMED with another history says that the place has a new name, and nothing else. An AT never leads back.
- A control line that is not known is for later versions, and means nothing.
"""

from dataclasses import dataclass

from parade_client.errors import ProtocolError
from parade_client.events import Event, parse_event
from parade_client.lines import Control, Lines, Position, is_control, number, parse_control


@dataclass(frozen=True)
class Reset:
    """Events are missing: read what you know about the user anew from where it comes from, and go on from here.

    `position` is the new cursor, and `reason` the server's word, such as `away` or `history`.
    """

    position: str
    reason: str


class Cursor:
    """One subscriber. `after` is a cursor that was stored, or None to begin now."""

    def __init__(self, user: int, after: str | None = None) -> None:
        self.user = user
        self.place = Position.parse(after) if after is not None else None
        self.is_live = False
        """Whether this connection's answer was taken."""
        self.max_wait_ms = 0
        """What the BYE of this connection said."""
        self.parting = ""
        """The last word of this connection, if there was one, and its reason."""
        self.denial = ""
        """The reason of an ERROR."""
        self._lines = Lines()

    def hello(self) -> bytes:
        """The registration line of a new connection."""
        self._lines, self.is_live, self.max_wait_ms, self.parting, self.denial = Lines(), False, 0, "", ""
        return f"{self.user} after={self.place or 'now'}\n".encode()

    @property
    def waits(self) -> bool:
        """Whether a whole line is there that was not taken."""
        return bool(self._lines)

    def put(self, data: bytes) -> None:
        """Bytes came. Raises ProtocolError."""
        self._lines.put(data)

    def take(self) -> Event | Reset | None:
        """Take the next line; returns what the application is to see of it. Raises ProtocolError."""
        line = self._lines.take()
        return self._control(parse_control(line)) if is_control(line) else self._event(parse_event(line))

    def _event(self, event: Event) -> Event:
        if self.place is None or not self.is_live:
            raise ProtocolError(f"{event.line[:80]!r} came before the answer to the registration")
        if event.seq is None or event.seq <= self.place.number:
            raise ProtocolError(f"{event.line[:80]!r} came after {self.place}: it was there before, or is out of order")
        self.place = self.place._replace(number=event.seq)
        return event

    def _control(self, line: Control) -> Reset | None:
        match line.word:
            case "OK" | "RESUMED" | "RESET":
                return self._answer(line)
            case "AT":
                self._mark(line)
            case "BYE":
                self.max_wait_ms = number(line.argument(1) or "0", line)
                self.parting = f"BYE {line.text}"
            case "ERROR":
                self.denial = line.text or "no reason given"
                self.parting = f"ERROR {line.text}"
        return None

    def _answer(self, line: Control) -> Reset | None:
        place, known = line.position(), self.place
        if line.word == "RESUMED" and known is not None and self._is_renamed(place, known):
            pass
        elif self.is_live:
            raise ProtocolError(f"the server said {line} to a connection that had its answer")
        elif line.word == "OK" and known is not None:
            raise ProtocolError(f"the server said {line} in answer to after={known}")
        elif line.word == "RESUMED" and place != known:
            raise ProtocolError(f"the server said {line} in answer to after={known or 'now'}")
        self.place, self.is_live = place, True
        return Reset(str(place), line.argument(1)) if line.word == "RESET" else None

    def _is_renamed(self, place: Position, known: Position) -> bool:
        """Whether this is the same place in another history; in the middle of a connection maybe further on."""
        if place.history == known.history:
            return False
        return place.number >= known.number if self.is_live else place.number == known.number

    def _mark(self, line: Control) -> None:
        if self.place is None or not self.is_live:
            raise ProtocolError(f"the server said {line} before the answer to the registration")
        self.place = self.place._replace(number=max(self.place.number, line.number()))
