"""The sockets of event sources: bytes in, whole lines to the intake, reading paused while it is full.

A source that is not let in, for one of the limits, is closed; it has no way to be told why but the log.
"""

import asyncio
from typing import cast

from contract.events import SAMPLE_BYTES
from listener.appender import Appender
from listener.framing import LineFramer
from listener.intake import Intake
from listener.stats import ListenerStats
from runtime.edge.admission import Admission, RefusedError
from runtime.edge.listen import limits_of, peer_log
from runtime.readiness import Readiness
from runtime.settings import Settings

PAUSE_S = 0.25
"""A source that sends nothing for so long has nothing on its way."""
STUCK_S = 10.0
"""How long a full stream may stay as it is before the listener says that it is not ready."""


class Sources:
    """All connected sources and the buffer they share."""

    def __init__(self, settings: Settings, readiness: Readiness) -> None:
        self.settings = settings
        self.limits = limits_of(settings.source_connections, settings.source_connections_per_address)
        self.log = peer_log()
        self.intake = Intake(settings.listener_buffer_bytes, self._rest)
        self.stats = ListenerStats()
        self.appender = Appender(settings, self.intake, readiness, self.stats)
        self.connected: set[Source] = set()
        self.heard_s = 0.0
        readiness.observe = self.observe
        readiness.judges.append(self._is_stuck)

    def observe(self) -> ListenerStats:
        """The stats as they are now."""
        self.stats.peers = self.log.by_reason()
        self.stats.sources = len(self.connected)
        self.stats.held_bytes = self.intake.held_bytes
        self.stats.paused = int(self.intake.full)
        return self.stats

    def _is_stuck(self) -> str | None:
        since_s = self.appender.full_since_s
        if since_s is None or (stuck_s := asyncio.get_running_loop().time() - since_s) < STUCK_S:
            return None
        return f"the stream is full, and nothing of it has been consumed for {stuck_s:.0f} s"

    def take(self, lines: bytes) -> None:
        """Whole lines came from a source."""
        self.stats.received_bytes += len(lines)
        self.stats.received_lines += lines.count(b"\n")
        self.intake.put(lines)
        self.appender.notify()

    def _rest(self, full: bool) -> None:
        for source in self.connected:
            source.rest(full)

    async def read_to_a_pause(self, seconds: float) -> None:
        """Wait until no source has sent anything for a moment, or the time is over."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + seconds
        while self.connected and loop.time() < deadline:
            if not self.intake.full and loop.time() > self.heard_s + PAUSE_S:
                return
            await asyncio.sleep(PAUSE_S / 5)

    def close(self) -> None:
        """Close every source; what they sent so far stays in the intake."""
        for source in list(self.connected):
            source.finish("listener_stopped")


class Source(asyncio.Protocol):
    """One event source's connection."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
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
        if self._sources.intake.full:
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
            self._sources.take(lines)
        if self._framer.refused:
            self._record_refused()

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish(str(exc or "closed by the source"))

    # Flow and end

    def rest(self, full: bool) -> None:
        """Stop or go on reading; TCP carries the pause to the source."""
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
            self._sources.appender.record("no line end before the source closed", tail[:SAMPLE_BYTES])
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
            self._sources.appender.record("line too long", sample)
        self._framer.refused.clear()
