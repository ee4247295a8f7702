"""A closed batch → one write a connection. The node's hot path.

Rules kept here:

- Batches are written whole and in order. While the node waits for slow clients they are held, bounded by
  the sequencer's window: `written` does not advance, so no more than that is published.
"""

import asyncio
from collections import deque

from contract.frames import Frame, Messages, stream_id
from fanout.clients.pressure import Pressure
from fanout.clients.server import ClientServer
from fanout.clients.users import Members
from fanout.merge import Broadcasts
from fanout.upstream.clock import RedisClock

WAIT_POLL_S = 0.005


class Writer:
    """Writes one life's batches to its members."""

    def __init__(self, members: Members, server: ClientServer, pressure: Pressure, clock: RedisClock) -> None:
        self.written = 0
        self.advanced = asyncio.Event()
        self._members = members
        self._server = server
        self._pressure = pressure
        self._clock = clock
        self._stats = server.stats
        self._held: deque[tuple[Frame, Messages]] = deque()
        self._loop = asyncio.get_running_loop()

    def deliver(self, frame: Frame, messages: Messages) -> None:
        """Write a batch, or hold it while the node waits."""
        if self._held or self._must_wait():
            self._held.append((frame, messages))
            if len(self._held) == 1:
                self._loop.call_later(WAIT_POLL_S, self._go_on)
            return
        self._write(frame, messages)

    def close(self) -> None:
        """Write nothing more."""
        self._held.clear()

    def _go_on(self) -> None:
        while self._held and not self._must_wait():
            self._write(*self._held.popleft())
        if self._held:
            self._loop.call_later(WAIT_POLL_S, self._go_on)

    def _must_wait(self) -> bool:
        behind = self._server.behind
        if not behind:
            self._pressure.waiting_since_s = None
            return False
        for client, reason in self._pressure.judge(behind, self._members.connections, self._loop.time()):
            self._server.close_slow(client, reason)
        return self._pressure.waiting_since_s is not None

    def _write(self, frame: Frame, messages: Messages) -> None:
        members = self._members
        members.reach(stream_id(frame.cursor))
        live = members.live
        if frame.lines:
            broadcasts = Broadcasts(frame.lines)
            for user_id, user in live.items():
                data = broadcasts.bytes
                if user_id in messages:
                    data = broadcasts.merged_with(messages[user_id])
                for connection in user.connections:
                    connection.write(data)
        else:
            for user_id, own in messages.items():
                if user_id in live:
                    for connection in live[user_id].connections:
                        connection.write(own)
        self.written = frame.batch
        self.advanced.set()
        self._count(frame, messages)

    def _count(self, frame: Frame, messages: Messages) -> None:
        stats, live = self._stats, self._members.live
        stats.batches += 1
        if frame.lines:
            connections = sum(len(user.connections) for user in live.values())
            stats.notifications += connections * frame.lines.count(b"\n")
            stats.sent_bytes += connections * len(frame.lines)
        for user_id, own in messages.items():
            if user_id in live:
                connections = len(live[user_id].connections)
                stats.notifications += connections * own.count(b"\n")
                stats.sent_bytes += connections * len(own)
        if frame.since_ms:
            stats.latency_seconds.observe(self._clock.age_s(frame.since_ms, self._loop.time()))
