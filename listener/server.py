"""The sockets of event sources: bytes in, whole lines out, reading paused while the intake is full.

A source that is not let in, because of one of the limits, is closed; only the log says why.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol, cast

from contract.events import SAMPLE_BYTES
from listener import hello
from listener.dialogue import Desk, Dialogue
from listener.framing import LineFramer
from listener.sifting import LINE_TOO_LONG, longest_line
from listener.speaker import PART_S
from listener.stats import ListenerStats
from runtime.context import Context
from runtime.edge.admission import Admission, RefusedError
from runtime.edge.listen import limits_of, peer_log, web_connections

PAUSE_S = 0.25
"""A source that has sent nothing for this long has nothing on its way."""

PARTS = 100
"""How often it is looked, while acknowledged sources take the last lines, whether all have."""


class Inlet(Protocol):
    """What takes the lines of all sources."""

    def accept(self, lines: bytes) -> None:
        """Take whole lines."""

    def record(self, reason: str, sample: bytes) -> None:
        """Record a refused line, of which `sample` is the beginning."""


class Sources:
    """All connected sources."""

    def __init__(self, context: Context) -> None:
        self.settings = settings = context.settings
        requests = web_connections() if settings.web_port else 0
        self.limits = limits_of(settings.source_connections, settings.source_connections_per_address, requests)
        self.log = peer_log(context.log)
        self.connected: set[Source] = set()
        self.has_room = asyncio.Event()
        """Set while sources are read."""
        self.has_room.set()
        self.heard_s = 0.0
        """When bytes came last."""

    @property
    def resting(self) -> bool:
        """Nothing is read from any source."""
        return not self.has_room.is_set()

    def observe(self, stats: ListenerStats) -> None:
        """Bring what is measured up to date."""
        stats.peers = self.log.by_reason()
        stats.sources = len(self.connected)
        stats.paused = int(self.resting)

    def rest(self, full: bool) -> None:
        """Stop reading from all sources, or continue."""
        (self.has_room.clear if full else self.has_room.set)()
        for source in self.connected:
            source.rest(full)

    async def read_to_a_pause(self, seconds: float) -> None:
        """Wait until no source has sent anything for a moment, or the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.connected and loop.time() < deadline:
            if not self.resting and loop.time() > self.heard_s + PAUSE_S:
                return
            await asyncio.sleep(PAUSE_S / 5)

    def close(self) -> None:
        """Close every source; the intake keeps what they have sent so far. Acknowledged ones only rest."""
        for source in list(self.connected):
            source.stop_reading()

    async def part(self) -> None:
        """All that was read is appended, as far as it can be: say so to those who want to know, and close them."""
        for source in list(self.connected):
            source.part()
        for _ in range(PARTS):
            if not self.connected:
                break
            await asyncio.sleep(PART_S / PARTS)
        for source in list(self.connected):
            source.finish("listener_stopped")


class Source(asyncio.Protocol):
    """One event source's connection. Without a `desk`, nobody is acknowledged anything."""

    def __init__(self, sources: Sources, inlet: Inlet, desk: Desk | None = None, proxied: bool | None = None) -> None:
        self._sources = sources
        self._inlet = inlet
        self._log = sources.log
        settings = sources.settings
        self._framer = LineFramer(longest_line(settings.line_bytes, settings.gives_numbers))
        self._desk = desk
        self._first = b""
        """The first bytes, while they may be the beginning of HELLO."""
        self._dialogue: Dialogue | None = None
        self._take: Callable[[bytes], None] = self._begin
        """What the next bytes are for: bare lines cost no look at anything else."""
        self._admission = Admission(sources.limits, settings.proxy_protocol if proxied is None else proxied)
        self._transport: asyncio.Transport | None = None
        self._deadline: asyncio.TimerHandle | None = None

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        try:
            self._admission.begin(transport.get_extra_info("peername"))
        except RefusedError as refusal:
            self._refuse(str(refusal))
            return
        self._sources.connected.add(self)
        # Soon, and not now: uvloop begins to read after this call, whatever was asked for in it.
        asyncio.get_running_loop().call_soon(self._rest_if_all_do)
        if self._admission.complete:
            self._log.info("source_connected", peer=self._admission.peer)
        else:
            wait_s = self._sources.settings.registration_s
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(wait_s, self._refuse, f"no PROXY line within {wait_s:g} s")

    def data_received(self, data: bytes) -> None:
        self._sources.heard_s = asyncio.get_running_loop().time()
        self._take(data)

    def eof_received(self) -> bool:
        if self._dialogue is None or self._dialogue.is_parting:
            return False
        self._dialogue.end_of_input()
        return True

    def pause_writing(self) -> None:
        if self._dialogue is not None:
            self._dialogue.choke(True)

    def resume_writing(self) -> None:
        if self._dialogue is not None:
            self._dialogue.choke(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish(str(exc or "closed by the source"))

    # Flow and end

    def rest(self, full: bool) -> None:
        """Stop reading, or continue; TCP carries the pause to the source."""
        if self._transport is None or self._transport.is_closing():
            return
        if self._dialogue is not None:
            self._dialogue.rest(full)
        elif full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def _rest_if_all_do(self) -> None:
        if self._sources.resting:
            self.rest(True)

    def stop_reading(self) -> None:
        """Take nothing more of this source, which ends unless it still waits for acknowledgements."""
        if self._dialogue is None:
            self.finish("listener_stopped")
        else:
            self._dialogue.stop_reading()

    def part(self) -> None:
        """Say the last to a source that waits for acknowledgements."""
        if self._dialogue is not None:
            self._dialogue.part(hello.bye(b"stopping"), "listener_stopped")

    def finish(self, reason: str) -> None:
        """End this source; a last line without terminator is refused."""
        if self._transport is None:
            return
        self._end()
        tail = self._unended()
        if tail:
            self._inlet.record("no line end before the source closed", tail[:SAMPLE_BYTES])
        self._log.info("source_disconnected", peer=self._admission.peer, reason=reason, unterminated_bytes=len(tail))

    def _refuse(self, reason: str) -> None:
        connections = self._sources.limits.connections
        self._end()
        self._log.warning("source_refused", peer=self._admission.peer, reason=reason, connections=connections)

    def _end(self) -> None:
        if self._transport is not None:
            self._transport.close()
            self._transport = None
        if self._deadline is not None:
            self._deadline.cancel()
        self._sources.connected.discard(self)
        self._admission.end()

    # Input

    def _begin(self, data: bytes) -> None:
        """The first bytes: of a PROXY line where one is expected, then of HELLO or of event lines."""
        if not self._admission.complete:
            data = self._without_proxy_line(data)
        if not data or self._transport is None:
            return
        self._first = first = self._first + data
        greets = hello.greets(first) if self._desk is not None else False
        if greets is None:
            return
        self._first = b""
        if greets and self._desk is not None:
            self._dialogue = Dialogue(self._desk, self._transport, self._admission.peer)
            self._dialogue.rest(self._sources.resting)
            self._take = self._dialogue.feed
        else:
            self._take = self._take_bare
        self._take(first)

    def _take_bare(self, data: bytes) -> None:
        lines = self._framer.feed(data)
        if lines:
            self._inlet.accept(lines)
        if self._framer.refused:
            self._record_refused()

    def _unended(self) -> bytes:
        """The bytes of a last line that never got its end."""
        if self._dialogue is not None:
            return self._dialogue.close()
        return self._first or self._framer.close()

    def _without_proxy_line(self, data: bytes) -> bytes:
        try:
            data = self._admission.feed(data)
        except RefusedError as refusal:
            self._refuse(str(refusal))
            return b""
        if self._admission.complete:
            if self._deadline is not None:
                self._deadline.cancel()
            self._log.info("source_connected", peer=self._admission.peer)
        return data

    def _record_refused(self) -> None:
        self._log.warning("lines_too_long", peer=self._admission.peer, lines=len(self._framer.refused))
        for sample in self._framer.refused:
            self._inlet.record(LINE_TOO_LONG, sample)
        self._framer.refused.clear()
