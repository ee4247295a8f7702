"""A node without sockets, and a journal written by hand: for tests of clients that come back.

Everything from a client's bytes to a client's bytes is real, but the transports and the sequencer. What is published
and what has reached the node are two things, so that the journal can be ahead of the node.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, cast

from contract.frames import FRAME, Frame, Lineage, Messages
from fanout.clients.connection import HIGH_WATER_BYTES
from fanout.clients.server import ClientServer
from fanout.clients.tcp import Client
from fanout.resume import Resumption
from fanout.stats import FanoutStats
from fanout.upstream.clock import RedisClock
from fanout.upstream.strangers import Strangers
from fanout.writer import Writer
from runtime.context import Context
from runtime.redis.link import Calls
from runtime.settings import load

HISTORY = b"9f31c2"
LINEAGE = Lineage(b"e1", b"e0@0", HISTORY)
USERS = (b"1", b"2", b"3")


Command = tuple[bytes | str | int, ...]
AtOnce = Callable[[list[Command]], Awaitable[None]]
"""Runs commands in one step, as the sequencer's script does."""


class Transport:
    """Takes what is written while `takes` says so, and holds the rest, as the kernel does."""

    def __init__(self) -> None:
        self.protocol: Client
        self.takes = True
        self.taken = b""
        self.closed = False
        self._unsent = b""

    def write(self, data: bytes | bytearray) -> None:
        assert not self.closed
        self._unsent += data
        if self.takes:
            self.take()
        elif len(self._unsent) > HIGH_WATER_BYTES and not self.protocol.is_behind:
            self.protocol.pause_writing()

    def take(self) -> None:
        """Take all that is there."""
        self.taken, self._unsent = self.taken + self._unsent, b""
        if self.protocol.is_behind:
            self.protocol.resume_writing()

    def get_write_buffer_size(self) -> int:
        return len(self._unsent)

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.taken, self._unsent = self.taken + self._unsent, b""
            asyncio.get_running_loop().call_soon(self.protocol.connection_lost, None)

    def abort(self) -> None:
        self._unsent = b""
        self.close()

    def is_closing(self) -> bool:
        return self.closed

    def get_extra_info(self, _: str) -> Any:
        return ("192.0.2.7", 50_000)

    def pause_reading(self) -> None:
        pass

    resume_reading = pause_reading

    def set_write_buffer_limits(self, high: int) -> None:
        pass


class Miniature:
    """The node, its clients, and what a sequencer would do for them."""

    def __init__(self, calls: Calls, at_once: AtOnce, **settings: object) -> None:
        self.settings = load(**({"namespace": "t", "linger_s": 0} | settings))
        self.context, self.stats = Context(self.settings), FanoutStats()
        self.clients = ClientServer(self.context, self.stats)
        self.writer = Writer(self.context, "n1", self.clients, RedisClock())
        self.expected: dict[bytes, list[bytes]] = {user: [] for user in USERS}
        """All lines of each user that were ever published."""
        self.batch, self.next = 0, 1
        self.since: dict[bytes, int] = dict.fromkeys(USERS, 1)
        """From where on routing is unbroken; of a user who is not there, from the first join with `keep` on."""
        self._link = calls
        self._at_once = at_once
        self._heard: deque[tuple[Frame, Messages]] = deque()
        self._entry = 0
        self._running: asyncio.Task[None] | None = None

    # A sequencer's work

    async def begin(self) -> None:
        """The state of a deployment that has just begun, and a node that has entered it."""
        keys = self.settings.keys
        commands: list[Command] = [("HSET", keys.state, "next", 1, "batch", 0, "history", HISTORY)]
        await self._at_once([*commands, *(("HSET", keys.since, user, 1) for user in self.since)])
        self.writer.begin_after(0, b"e1", 1)

    async def commit(self, events: list[bytes], part_users: int = 1000) -> None:
        """A batch: for each event whom it is for, empty for all. It takes effect; the node has yet to hear it."""
        keys, users, before = self.settings.keys, self.clients.users, self.next
        users.take_pending(1000, asyncio.get_running_loop().time())
        self._entry += 1
        commands: list[Command] = [("HSETNX", keys.since, user.id, before) for user in users.posting.keep]
        for user in users.posting.keep:
            self.since.setdefault(user.id, before)
        users.posted((self._entry, 0))
        lines, messages = b"", Messages()
        for event in events:
            line = b"%d|%b\n" % (self.next, b"P|9|" + event if event else b"B")
            self.next += 1
            for user_id in [event] if event else USERS:
                self.expected[user_id].append(line)
            if event:
                messages[event] = messages.get(event, b"") + line
            else:
                lines += line
        self.batch += 1
        cursor = b"%d-0" % self._entry
        frame = Frame(self.batch, cursor, 0, self.next, LINEAGE, self.batch, lines=lines)
        fields = list(messages.items())
        parts = [fields[at : at + part_users] for at in range(0, len(fields), part_users)]
        last = parts.pop() if parts else []
        for part, users_and_lines in enumerate([*parts, [*last, (FRAME.encode(), frame.encode())]], 1):
            flat = [each for pair in users_and_lines for each in pair]
            commands.append(("XADD", keys.deliveries, f"{self.batch}-{part}", *flat))
        commands.append(("HSET", keys.state, "next", self.next, "batch", self.batch))
        await self._at_once(commands)
        self._heard.append((frame, messages))

    async def trim(self, first: int) -> None:
        """The journal has nothing older than this batch."""
        await self._at_once([("XTRIM", self.settings.keys.deliveries, "MINID", first)])

    # The node's

    def hear(self, most: int = 1_000_000) -> None:
        """The node receives what was published."""
        while self._heard and most:
            self.writer.accept(*self._heard.popleft())
            most -= 1

    def connect(self, link: Calls | None = None) -> None:
        """The node has a connection to Redis."""
        self._link = link or self._link
        strangers = Strangers(self.context.log, "c", HISTORY)
        resumption = Resumption(self.context, self._link, self.clients, self.writer, strangers)
        self._running = asyncio.ensure_future(resumption.run())

    async def disconnect(self) -> None:
        """It has lost it."""
        if self._running is not None:
            self._running.cancel()
            await asyncio.wait([self._running])
            if not self._running.cancelled():
                self._running.result()
            self._running = None

    async def settled(self) -> None:
        """Wait until nothing more happens by itself."""
        for _ in range(100):
            if self._running is not None and self._running.done():
                self._running.result()
            await asyncio.sleep(0)

    # Clients

    def come(self, line: bytes) -> Client:
        """A client connects and sends a line."""
        client, transport = Client(self.clients), Transport()
        transport.protocol = client
        client.connection_made(cast(asyncio.Transport, transport))
        client.data_received(line)
        return client

    def come_back(self, user_id: bytes, number: int) -> Client:
        """A client goes on after a number."""
        return self.come(b"%b after=%b@%d\n" % (user_id, HISTORY, number))

    def owed(self, user_id: bytes, number: int) -> bytes:
        """All lines of a user above a number."""
        return b"".join(line for line in self.expected[user_id] if int(line.split(b"|")[0]) > number)


def transport_of(client: Client) -> Transport:
    """The transport of a client."""
    return cast(Transport, client._transport)


def received(client: Client) -> bytes:
    """All that a client has taken."""
    return transport_of(client).taken
