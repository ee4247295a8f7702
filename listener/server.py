"""The sockets of event sources: bytes in, whole lines to the intake, reading paused while it is full."""

import asyncio
from typing import cast

import structlog

from contract import proxy_protocol
from contract.framing import SAMPLE_BYTES, LineFramer
from contract.readiness import Readiness
from contract.settings import Settings
from listener.appender import Appender
from listener.intake import Intake

PAUSE_S = 0.25
"""A source that sends nothing for so long has nothing on its way."""

log = structlog.get_logger()


class Sources:
    """All connected sources and the buffer they share."""

    def __init__(self, settings: Settings, readiness: Readiness) -> None:
        self.proxied = settings.proxy_protocol
        self.intake = Intake(settings.listener_buffer_bytes, self._rest)
        self.appender = Appender(settings, self.intake, readiness)
        self.connected: set[Source] = set()
        self.heard_s = 0.0

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
        self._framer = LineFramer()
        self._proxy_line: bytes | None = b"" if sources.proxied else None
        self._peer = "?"
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        self._peer = str(transport.get_extra_info("peername"))
        self._sources.connected.add(self)
        if self._sources.intake.full:
            self.rest(True)
        if self._proxy_line is None:
            log.info("source_connected", peer=self._peer)

    def data_received(self, data: bytes) -> None:
        self._sources.heard_s = asyncio.get_running_loop().time()
        if self._proxy_line is not None:
            data = self._without_proxy_line(data)
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

    def _without_proxy_line(self, data: bytes) -> bytes:
        self._proxy_line = (self._proxy_line or b"") + data
        try:
            found = proxy_protocol.split(self._proxy_line)
        except proxy_protocol.NotProxiedError:
            self.finish("no PROXY line from the load balancer")
            return b""
        if found is None:
            return b""
        self._peer, rest = found
        self._proxy_line = None
        log.info("source_connected", peer=self._peer)
        return rest

    def _record_refused(self) -> None:
        log.warning("lines_too_long", peer=self._peer, lines=len(self._framer.refused))
        for sample in self._framer.refused:
            self._sources.appender.record("line too long", sample)
        self._framer.refused.clear()
