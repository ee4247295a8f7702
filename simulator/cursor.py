"""A client that resumes: the protocol of one user over all its connections. Pure: bytes in, event lines out.

    begin() ──▶ "50 after=now"             ──▶ OK ──────▶ live
    begin() ──▶ "50 after=9f31c2@70000"    ──▶ RESUMED ─▶ live       or RESET: the lines between are lost

Rules kept here:

- The cursor is the number of the last whole line, OK, RESUMED, RESET or AT. A part of a line does not count: it is
  dropped when its connection ends, and the whole line must come again over the next one.
- Numbers only grow, over all connections: a line at or below the cursor is a problem.
- A line before the answer, an answer to another question, or a word that a client does not know, is a problem. RESUMED
  with another history is none: positions have a new name from there on.

Whether the lines are the right ones, all of them, is for the oracle.
"""

from collections import Counter
from typing import NamedTuple

from simulator.control import Control, Lines, Position

PROBLEMS = 10
"""The most problems of one client that are kept."""


class Bye(NamedTuple):
    """Why the server is about to end the connection, and the longest time to spread the return over."""

    reason: str
    max_wait_s: float


class Cursor:
    """Where one user is."""

    def __init__(self, user: int) -> None:
        self.user = user
        self.place: Position | None = None
        self.is_live = False
        """Whether the connection has an answer to its registration."""
        self.answer: Position | None = None
        """The position in the last answer to a registration."""
        self.last_answer = ""
        """That answer, as it came."""
        self.bye: Bye | None = None
        self.error = ""
        """The reason for which the server refused this connection."""
        self.answers: Counter[str] = Counter()
        """How often each word came."""
        self.byes: Counter[str] = Counter()
        self.resets: Counter[str] = Counter()
        self.problems: list[str] = []
        self._lines = Lines()

    def end(self) -> None:
        """The connection has ended, or could not be made: what it said about itself counts no longer."""
        self._lines, self.is_live, self.bye, self.error = Lines(), False, None, ""

    def begin(self) -> bytes:
        """A new connection begins: its registration line."""
        self.end()
        return f"{self.user} after={self.place or 'now'}\n".encode()

    def receive(self, data: bytes) -> bytes:
        """The whole event lines that this completes."""
        events: list[bytes] = []
        try:
            for part in self._lines.feed(data):
                if isinstance(part, bytes):
                    self._events(part)
                    events.append(part)
                else:
                    self._control(part)
        except ValueError as problem:
            self.note(str(problem))
        return b"".join(events)

    def note(self, text: str) -> None:
        """The server has done something wrong."""
        if len(self.problems) < PROBLEMS:
            self.problems.append(text)

    def _events(self, lines: bytes) -> None:
        """Take the numbers of the first and the last line; what is between is for the oracle, which sees each byte."""
        last_line = lines[lines.rfind(b"\n", 0, -1) + 1 :]
        first, last = lines[: lines.find(b"|")], last_line[: last_line.find(b"|")]
        if not (first.isdigit() and last.isdigit()):
            self.note(f"neither an event nor a word: {(last_line if first.isdigit() else lines)[:60]!r}")
            return
        if self.place is None or not self.is_live:
            self.note(f"number {int(first)} came before the answer to the registration")
            return
        if int(first) <= self.place.number:
            self.note(f"number {int(first)} came after {self.place.number}")
        self.place = Position(self.place.history, int(last))

    def _control(self, line: Control) -> None:
        self.answers[line.word] += 1
        match line.word:
            case "OK" | "RESUMED" | "RESET":
                self._answer(line)
            case "AT":
                self._mark(line.number)
            case "BYE":
                wait_ms = line.argument(1) or "0"
                if not wait_ms.isdigit():
                    raise ValueError(f"{wait_ms!r} is not a number of milliseconds")
                self.bye = Bye(line.argument(0), int(wait_ms) / 1000)
                self.byes[self.bye.reason] += 1
            case "ERROR":
                self.error = line.text or "for no reason"
            case _:
                self.note(f"{line.word[:60]!r} is not a word that a client knows")

    def _answer(self, line: Control) -> None:
        place = line.position
        if line.word == "RESUMED" and self._is_renamed(place):
            pass  # Redis was restarted: the position is the same, and has another name
        elif self.is_live:
            self.note(f"a second answer to the registration, {line.word} {place}")
        elif line.word == "OK" and self.place is not None:
            self.note(f"OK {place} in answer to after={self.place}")
        elif line.word == "RESUMED" and place != self.place:
            self.note(f"RESUMED {place} in answer to after={self.place or 'now'}")
        elif line.word == "RESET":
            self.resets[line.argument(1) or "for no reason"] += 1
        self.place = self.answer = place
        self.last_answer = f"{line.word} {line.text}"
        self.is_live = True

    def _is_renamed(self, place: Position) -> bool:
        """Whether this is the place of this user in another history: of a live connection, maybe further on."""
        known = self.place
        if known is None or place.history == known.history:
            return False
        return place.number >= known.number if self.is_live else place.number == known.number

    def _mark(self, number: int) -> None:
        if self.place is None or not self.is_live:
            self.note(f"AT {number} came before the answer to the registration")
            return
        if number < self.place.number:
            self.note(f"AT {number} came after {self.place.number}")
        self.place = Position(self.place.history, number)
