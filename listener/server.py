"""The sockets of event sources: bytes in, whole lines to the intake, reading paused while it is full."""

import asyncio
from typing import cast

import structlog

from contract.framing import SAMPLE_BYTES, LineFramer
from contract.settings import Settings
from listener.appender import Appender
from listener.intake import Intake

log = structlog.get_logger()


class Sources:
    """All connected sources and the buffer they share."""

    def __init__(self, settings: Settings) -> None:
        self.intake = Intake(settings.listener_buffer_bytes, self._rest)
        self.appender = Appender(settings, self.intake)
        self.connected: set[Source] = set()

    def _rest(self, full: bool) -> None:
        for source in self.connected:
            source.rest(full)

    def close(self) -> None:
        """Close every source; what they sent so far stays in the intake."""
        for source in list(self.connected):
            source.finish("listener_stopped")


class Source(asyncio.Protocol):
    """One event source's connection."""

    def __init__(self, sources: Sources) -> None:
        self._sources = sources
        self._framer = LineFramer()
        self._peer = "?"
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self._peer = str(transport.get_extra_info("peername"))
        self._sources.connected.add(self)
        if self._sources.intake.full:
            self.rest(True)
        log.info("source_connected", peer=self._peer)

    def data_received(self, data: bytes) -> None:
        lines = self._framer.feed(data)
        if lines:
            self._sources.intake.put(lines)
            self._sources.appender.notify()
        if self._framer.refused:
            self._record_refused()

    def connection_lost(self, exc: Exception | None) -> None:
        self.finish(str(exc or "closed by the source"))

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
        self._transport.close()
        self._transport = None
        self._sources.connected.discard(self)
        tail = self._framer.close()
        if tail:
            self._sources.appender.record("no line end before the source closed", tail[:SAMPLE_BYTES])
        log.info("source_disconnected", peer=self._peer, reason=reason, unterminated_bytes=len(tail))

    def _record_refused(self) -> None:
        log.warning("lines_too_long", peer=self._peer, lines=len(self._framer.refused))
        for sample in self._framer.refused:
            self._sources.appender.record("line too long", sample)
        self._framer.refused.clear()
