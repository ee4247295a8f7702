"""One request to publish, on the way that the lines of acknowledged sources take.

It says HELLO, hands its lines to the intake, and waits until they are in Redis. A producer's lines have numbers in the
request, and Redis has the count: what is in the stream already is passed over.

Rules kept here:

- All lines that it hands over follow the producer's count, so each of them is taken once or not at all.
- A line is looked at again in a repeated request, so that the answer says the same, but recorded only once.
"""

import asyncio
from typing import Any, Final

from contract.control import Position
from listener.acks import Acks, Producer
from listener.asked import Asked, RefusedError
from listener.dialogue import Desk
from listener.hello import Hello
from listener.sifting import WORDS, Piece, Sifter, longest_line

REFUSED_TOLD: Final = 100
"""Refused lines that an answer names; more are only counted."""
PIECES_AT_ONCE: Final = 500
"""How many pieces of a body are dealt with before others have their turn."""


class Post:
    """One request. `acks` is there once its HELLO is answered, and with it what it has sent."""

    def __init__(self, desk: Desk, asked: Asked) -> None:
        self.hello = Hello(asked.producer)
        self.has_said_hello = False
        self.acks: Acks | None = None
        self.problem = ""
        self._desk = desk
        self._first = asked.first
        self._wanted = Position(b"", 0)
        self._news = asyncio.Event()
        self._lines = self._refused_lines = 0
        self._refused: list[dict[str, Any]] = []

    @property
    def generation(self) -> int:
        """The one under which the producer's next request can go on; 0 when there is none."""
        if self.acks is None:
            return self.hello.generation
        producer = None if self.acks.is_over else self.acks.producer
        return producer.generation if producer else 0

    # What answers HELLO calls these.

    def welcome(self, producer: Producer | None, wanted: Position, gap: int) -> None:  # noqa: ARG002
        """HELLO is answered. How the order moves on is of no interest."""
        self._desk.greeter.leave(self)
        self._wanted = wanted
        self.acks = Acks(producer, wanted.number, self._news.set)
        self._news.set()

    def reset(self, wanted: Position, received: int | None) -> None:
        """Redis came back older: what it answers from now on is what counts."""

    # The request, step by step

    async def greet(self, generation: int) -> None:
        """Say HELLO, and wait for the answer. RefusedError when the body begins behind the producer's next line.

        `generation` is that of the producer's last request, 0 when there is none.
        """
        self.hello = Hello(self.hello.producer, generation)
        self.has_said_hello = True
        self._desk.greeter.greet(self)
        try:
            await self._news.wait()
        finally:
            self._desk.greeter.leave(self)
        received = self._received
        if received is not None and self._first > received + 1:
            reason = f"line {received + 1} of the producer is the next one: begin with that"
            raise RefusedError(409, reason, {"received": received})

    async def take(self, lines: bytes) -> None:
        """Hand over what is not in the stream yet."""
        settings = self._desk.settings
        sifter = Sifter(longest_line(settings.line_bytes, settings.gives_numbers), settings.gives_numbers)
        sifter.put(lines)
        known = max(0, (self._received or 0) + 1 - self._first)
        pieces = 0
        while (piece := sifter.next()) is not None:
            self._take_piece(piece, known)
            pieces += 1
            if pieces % PIECES_AT_ONCE == 0:
                await asyncio.sleep(0)

    async def confirmed(self) -> None:
        """Wait until all of it is in Redis. RefusedError when another sender of the producer came in between."""
        acks = self._acks
        while not (acks.is_done or acks.is_over):
            self._news.clear()
            await self._news.wait()
        if acks.is_over:
            why = "another sender of this producer came in between" if acks.is_fenced else "Redis came back older"
            raise RefusedError(503, f"{why}: send it again")

    def answer(self) -> dict[str, Any]:
        """What its sender is told in the end."""
        received = self._received
        told: dict[str, Any] = {"accepted": self._lines - self._refused_lines}
        if received is not None:
            told["received"] = max(received, self._first - 1 + self._lines)
        told |= {"next": self._wanted.number, "history": self._wanted.history.decode()}
        return told | {"refused_lines": self._refused_lines, "refused": self._refused}

    @property
    def _acks(self) -> Acks:
        if self.acks is None:
            raise RuntimeError("HELLO is not answered yet")
        return self.acks

    @property
    def _received(self) -> int | None:
        """How many lines of the producer are taken, as far as is known now."""
        producer = self._acks.producer
        return producer.received if producer else None

    def _take_piece(self, piece: Piece, known: int) -> None:
        """Take events, or refuse a line; the first `known` lines of the request are in the stream already."""
        inlet, acks = self._desk.inlet, self._acks
        if piece.reason:
            self._lines += 1
            self._refuse(WORDS[piece.reason].decode())
            if self._lines > known:
                inlet.refuse_for(acks, WORDS[piece.reason], piece.reason, piece.lines)
                acks.say()  # there is nobody to be told line by line
            return
        count = piece.lines.count(b"\n")
        passed_over = min(count, max(0, known - self._lines))
        self._lines += count
        if passed_over < count:
            new = piece.lines.split(b"\n", passed_over)[-1] if passed_over else piece.lines
            inlet.accept_for(acks, new, count - passed_over)

    def _refuse(self, word: str) -> None:
        self._refused_lines += 1
        if len(self._refused) < REFUSED_TOLD:
            self._refused.append({"line": self._lines, "reason": word})
