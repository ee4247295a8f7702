"""The dialogue with one source that wants acknowledgements: its bytes in, control lines out.

Rules kept here:

- Nothing is taken before the HELLO is answered with OK, nor while the source leaves too many answers unread: then it is
  not read, which is its own affair and nobody else's. What is held meanwhile is what one read brought.
"""

import asyncio
from dataclasses import dataclass
from typing import Protocol

from contract.control import Position
from listener import hello
from listener.acks import Acks, Producer
from listener.hello import FirstLine, Hello
from listener.sifting import WORDS, Sifter, longest_line
from listener.speaker import Speaker
from listener.stats import ListenerStats
from runtime.edge.peer_log import PeerLog
from runtime.settings import Settings


class Inlet(Protocol):
    """What takes the lines of acknowledged sources."""

    def accept_for(self, acks: Acks, lines: bytes, count: int) -> None:
        """Take events."""

    def refuse_for(self, acks: Acks, word: bytes, reason: str, sample: bytes) -> None:
        """Refuse a line, of which `sample` is the beginning."""


class Greeted(Protocol):
    """Who says HELLO: a source, or a request over HTTP."""

    problem: str
    """Why its own HELLO can't be answered."""

    @property
    def hello(self) -> Hello | None:
        """What it wants."""

    @property
    def acks(self) -> Acks | None:
        """What it has sent and is to be told; None before OK."""

    def welcome(self, producer: Producer | None, wanted: Position, gap: int) -> None:
        """HELLO is answered: lines are taken from now on."""

    def reset(self, wanted: Position, received: int | None) -> None:
        """Redis came back older."""


class Greeter(Protocol):
    """What answers HELLO and tells how the order moves on."""

    def greet(self, dialogue: Greeted) -> None:
        """Answer its HELLO, as soon as Redis is there, and tell it of what happens from then on."""

    def leave(self, dialogue: Greeted) -> None:
        """It ends."""

    @property
    def problem(self) -> str:
        """Why HELLO can't be answered now."""


@dataclass(frozen=True, slots=True)
class Desk:
    """What the dialogues of a listener share."""

    settings: Settings
    inlet: Inlet
    greeter: Greeter
    log: PeerLog
    stats: ListenerStats


class Dialogue:
    """One acknowledged source, from the first bytes of its HELLO on. `acks` is there once it is answered."""

    def __init__(self, desk: Desk, transport: asyncio.Transport, peer: str) -> None:
        settings = desk.settings
        self._desk = desk
        self._transport = transport
        self._speaker = Speaker(transport, desk.log, peer, desk.stats)
        self._first_line = FirstLine()
        self._sifter = Sifter(longest_line(settings.line_bytes, settings.gives_numbers), settings.gives_numbers)
        self.hello: Hello | None = None
        self.problem = ""
        """Why its own HELLO can't be answered."""
        self._is_resting = self._is_paused = self._has_ended = self._is_stopping = False
        self._deadline = self._wait()

    @property
    def acks(self) -> Acks | None:
        """What it has sent and is to be told; None before OK."""
        return self._speaker.acks

    @property
    def is_parting(self) -> bool:
        """It has been told the last."""
        return self._speaker.is_parting

    @property
    def _is_read(self) -> bool:
        """Whether bytes of this source are wanted now: also those that are dropped."""
        if self.is_parting or self.hello is None:
            return True
        return self.acks is not None and not (self.acks.is_full or self._is_resting or self._is_stopping)

    # Bytes

    def feed(self, data: bytes) -> None:
        """Bytes came."""
        if self.is_parting:
            return
        if self.hello is None:
            data = self._greet(data)
        if data:
            self._sifter.put(data)
        self._take_lines()

    def rest(self, is_resting: bool) -> None:
        """No source is read for now, or all are again."""
        self._is_resting = is_resting
        self._read_or_not()

    def stop_reading(self) -> None:
        """The listener stops: what has been taken is still acknowledged."""
        self._is_stopping = True
        self._read_or_not()

    def choke(self, is_choked: bool) -> None:
        """The transport is full, or has room again."""
        self._speaker.is_choked = is_choked
        if not is_choked:
            self._take_lines()

    def end_of_input(self) -> None:
        """The source sends no more, but may still listen: it ends when all its lines are acknowledged."""
        self._has_ended = True
        if self.hello is None:
            self.refuse("a HELLO line needs a line end")
        self._tell()

    def close(self) -> bytes:
        """The connection is gone; returns the bytes of a line without an end, if its lines were taken."""
        self._deadline.cancel()
        self._desk.greeter.leave(self)
        self._speaker.is_parting = True
        return self._sifter.close() if self.acks else b""

    def _greet(self, data: bytes) -> bytes:
        """HELLO comes; returns the bytes behind it."""
        try:
            found = self._first_line.feed(data)
        except ValueError as problem:
            self.refuse(str(problem))
            return b""
        if found is None:
            return b""
        self.hello, rest = found
        self._deadline.cancel()
        self._deadline = self._wait()
        self._desk.greeter.greet(self)
        return rest

    def _take_lines(self) -> None:
        acks, inlet = self.acks, self._desk.inlet
        while acks and not self.is_parting:
            if acks.is_full:
                self._speaker.say()
            if acks.is_full or (piece := self._sifter.next()) is None:
                break
            if piece.reason:
                inlet.refuse_for(acks, WORDS[piece.reason], piece.reason, piece.lines)
            else:
                inlet.accept_for(acks, piece.lines, piece.lines.count(b"\n"))
        self._tell()
        self._read_or_not()

    def _read_or_not(self) -> None:
        if self._is_read == self._is_paused and not self._transport.is_closing():
            self._is_paused = not self._is_paused
            (self._transport.pause_reading if self._is_paused else self._transport.resume_reading)()

    # Answers

    def welcome(self, producer: Producer | None, wanted: Position, gap: int) -> None:
        """HELLO is answered: lines are taken from now on."""
        self._deadline.cancel()
        acks = Acks(producer, wanted.number, self._tell)
        acks.progressed(wanted.number, gap)
        received = producer.received if producer else None
        self._speaker.answer(hello.ok(wanted, self._desk.settings.reach, received), acks)
        self._take_lines()

    def reset(self, wanted: Position, received: int | None) -> None:
        """Redis came back older. A producer has to say HELLO again."""
        if self.acks is None:
            return
        self.acks.reset(hello.reset(wanted, received), wanted.number)
        if received is None:
            self._tell()
        else:
            self.part(b"", "Redis came back older")

    def refuse(self, reason: str) -> None:
        """The HELLO is not accepted."""
        self.part(hello.error(reason), reason)

    def part(self, last: bytes, reason: str) -> None:
        """Say the last, and end the connection."""
        if not self.is_parting:
            self._deadline.cancel()
            self._desk.greeter.leave(self)
            self._speaker.part(last, reason, self._has_ended)
            self._read_or_not()

    def _give_up(self) -> None:
        wait_s = self._desk.settings.registration_s
        late = f"no whole HELLO line within {wait_s:g} s"
        self.refuse(late if self.hello is None else self.problem or self._desk.greeter.problem or "Redis is away")

    def _tell(self) -> None:
        acks = self.acks
        if self.is_parting or acks is None:
            return
        if acks.is_fenced:
            self._desk.stats.fenced += 1
            self.part(hello.bye(b"fenced"), "fenced")
            return
        self._speaker.say()
        if self._has_ended and acks.is_done and not self._speaker.is_choked:
            self.part(b"", "all is acknowledged")

    def _wait(self) -> asyncio.TimerHandle:
        return asyncio.get_running_loop().call_later(self._desk.settings.registration_s, self._give_up)
