"""A closed batch → one write to each connection. The node's hot path.

A frame's way, from the subscription to a client's socket:

     1  runtime/redis/link.py         RedisLink.data_received parses what Redis has published.
     2  fanout/upstream/feed.py       Feed._received gathers the lines of each user, which come first; the frame, which
                                      comes last, closes the batch.
     3                                Feed._close_batch decodes the frame, and keeps it aside while the node catches up;
                                      what it missed comes out of the journal (`fanout/upstream/catch_up.py`).
     4                                Feed.take: the batch's number must be the next one, or something was lost.
     5                                Feed._release holds it until it is safe, and hands it on.
     6  here                          Writer.accept: it must continue the history that this node knows, or the session
                                      ends (`fanout/session.py`).
     7  fanout/clients/pressure.py    _must_wait: while too many clients are slow the batch is held here.
     8  fanout/clients/users.py       _write: Users.reach makes users live whose join this batch has consumed.
     9  fanout/merge.py               Broadcasts.merged_with puts a user's own lines and the broadcasts into one order.
    10  fanout/clients/connection.py  connection.write is the transport's own method, or fills a buffer for a client
                                      that is behind. Over the web (`fanout/clients/web/speaking.py`) it encodes them
                                      first, those for all once.
    11  fanout/upstream/heartbeat.py  `written` has advanced, which the next heartbeat tells the sequencer.

Steps 2 to 10 happen in one turn of the event loop, unless the batch is held in step 3, 5 or 7.

Rules kept here:

- Batches are written whole and in order. While the node waits for slow clients they are held. What is held is bounded:
  `written` does not advance, so the sequencer publishes no more than a window; and when it goes on without this node,
  the feed reads nothing more (`has_room`).
"""

import asyncio
from collections import deque

from contract.frames import Frame, Messages, stream_id
from fanout.clients.pressure import Pressure
from fanout.clients.server import ClientServer
from fanout.merge import Broadcasts
from fanout.stretch import Kept
from fanout.upstream.clock import RedisClock
from fanout.upstream.heartbeat import ExpelledError, StateWentBackError
from fanout.upstream.reading import size_of
from runtime.context import Context

WAIT_POLL_S = 0.005
HELD_WINDOWS = 2
"""A node that is waited for has one window to write at most, so it never holds that much."""


class Writer:
    """Writes one node's batches to the clients that are there when it is made."""

    def __init__(self, context: Context, node: str, clients: ClientServer, clock: RedisClock) -> None:
        settings = context.settings
        self.accepted, self.epoch = 0, b""
        """The last batch accepted, and its epoch."""
        self.written = 0
        """The last batch written."""
        self.next = 0
        """The number to be released next after that batch; 0: not known yet."""
        self.advanced = asyncio.Event()
        """Set when `written` has changed."""
        self.kept: Kept | None = None
        """Takes what is written, while newcomers are given what they missed."""
        self._node, self._name = node, node.encode()
        self._clients = clients
        self._users = clients.users
        self._stats = clients.stats
        self._pressure = Pressure(settings.client_buffer_bytes, settings.node_buffer_bytes, settings.client_stall_s)
        self._clock = clock
        self._held: deque[tuple[Frame, Messages]] = deque()
        self._held_bytes = 0
        self._written_some = asyncio.Event()
        self.limit_bytes = HELD_WINDOWS * settings.window_bytes
        """About how much is held of what can't be written yet, before no more is read."""
        self._loop = asyncio.get_running_loop()
        self._poll_s = max(WAIT_POLL_S, context.least_poll_s)

    @property
    def waits(self) -> bool:
        """Whether batches are held back for slow clients."""
        return self._pressure.waiting_since_s is not None

    @property
    def has_room(self) -> bool:
        """Whether more batches may come now."""
        return self._held_bytes < self.limit_bytes

    async def wait_for_room(self) -> None:
        """Wait while there is none."""
        while not self.has_room:
            self._written_some.clear()
            await self._written_some.wait()

    def begin_after(self, batch: int, epoch: bytes, next_number: int = 0) -> None:
        """The node enters the deployment; it owes its clients nothing up to this batch."""
        self.accepted = self.written = batch
        self.epoch, self.next = epoch, next_number

    def accept(self, frame: Frame, messages: Messages) -> None:
        """Write a batch, or hold it while the node waits.

        ExpelledError when the batch takes this node out of the system; StateWentBackError when it does not continue
        the history that this node knows.
        """
        if self._name in frame.gone:
            raise ExpelledError(f"node {self._node} was expelled")
        if not frame.continues(self.epoch, self.accepted):
            raise StateWentBackError(frame.batch, frame.lineage.epoch, self.accepted, self.epoch)
        self.accepted, self.epoch = frame.batch, frame.lineage.epoch
        if self._held or self._must_wait():
            self._held.append((frame, messages))
            self._held_bytes += size_of(frame, messages)
            if len(self._held) == 1:
                self._loop.call_later(self._poll_s, self._continue)
            return
        self._write(frame, messages)

    def close(self) -> None:
        """Write nothing more."""
        self._held.clear()
        self._held_bytes = 0
        self._written_some.set()

    def _continue(self) -> None:
        while self._held and not self._must_wait():
            frame, messages = self._held.popleft()
            self._held_bytes -= size_of(frame, messages)
            self._write(frame, messages)
        self._written_some.set()
        if self._held:
            self._loop.call_later(self._poll_s, self._continue)

    def _must_wait(self) -> bool:
        behind = self._clients.behind
        if not behind:
            self._pressure.waiting_since_s = None
            return False
        for client, reason in self._pressure.check(behind, self._users.connections, self._loop.time()):
            self._clients.close_slow(client, reason)
        return self._pressure.waiting_since_s is not None

    def _write(self, frame: Frame, messages: Messages) -> None:
        users = self._users
        users.reach(stream_id(frame.cursor))
        live = users.live
        if frame.lines:
            broadcasts = Broadcasts(frame.lines)
            self._clients.broadcast = broadcasts.bytes
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
        self.written, self.next = frame.batch, frame.next
        if self.kept is not None:
            self.kept.add(frame, messages)
        if users.ready:
            self._clients.wake.set()
        self.advanced.set()
        self._count(frame, messages)

    def _count(self, frame: Frame, messages: Messages) -> None:
        stats, live = self._stats, self._users.live
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
