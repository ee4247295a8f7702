"""The sockets of event sources: bytes in, whole lines out, reading paused while the intake is full.

A source that is not let in, because of one of the limits, is closed; only the log says why.
"""

import asyncio
from typing import Protocol, cast

from contract.events import SAMPLE_BYTES
from listener.framing import LineFramer
from listener.stats import ListenerStats
from runtime.context import Context
from runtime.edge.admission import Admission, RefusedError
from runtime.edge.listen import limits_of, peer_log

PAUSE_S = 0.25
"""A source that has sent nothing for this long has nothing on its way."""


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
        self.limits = limits_of(settings.source_connections, settings.source_connections_per_address)
        self.log = peer_log(context.log)
        self.connected: set[Source] = set()
        self.resting = False
        """Nothing is read from any source."""
        self.heard_s = 0.0
        """When bytes came last."""

    def observe(self, stats: ListenerStats) -> None:
        """Bring what is measured up to date."""
        stats.peers = self.log.by_reason()
        stats.sources = len(self.connected)
        stats.paused = int(self.resting)

    def rest(self, full: bool) -> None:
        """Stop reading from all sources, or continue."""
        self.resting = full
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
        """Close every source; the intake keeps what they have sent so far."""
        for source in list(self.connected):
            source.finish("listener_stopped")


class Source(asyncio.Protocol):
    """One event source's connection."""

    def __init__(self, sources: Sources, inlet: Inlet) -> None:
        self._sources = sources
        self._inlet = inlet
        self._log = sources.log
        self._framer = LineFramer()
        self._admission = Admission(sources.limits, sources.settings.proxy_protocol)
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
        if self._sources.resting:
            self.rest(True)
        if self._admission.complete:
            self._log.info("source_connected", peer=self._admission.peer)
        else:
            wait_s = self._sources.settings.registration_s
            loop = asyncio.get_running_loop()
            self._deadline = loop.call_later(wait_s, self._refuse, f"no PROXY line within {wait_s:g} s")

    def data_received(self, data: bytes) -> None:
        self._sources.heard_s = asyncio.get_running_loop().time()
        if not self._admission.complete:
            data = self._without_proxy_line(data)
        lines = self._framer.feed(data)
        if lines:
            self._inlet.accept(lines)
        if self._framer.refused:
            self._record_refused()

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish(str(exc or "closed by the source"))

    # Flow and end

    def rest(self, full: bool) -> None:
        """Stop reading, or continue; TCP carries the pause to the source."""
        if self._transport is None or self._transport.is_closing():
            return
        if full:
            self._transport.pause_reading()
        else:
            self._transport.resume_reading()

    def finish(self, reason: str) -> None:
        """End this source; a last line without terminator is refused."""
        if self._transport is None:
            return
        self._end()
        tail = self._framer.close()
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
            self._inlet.record("line too long", sample)
        self._framer.refused.clear()
