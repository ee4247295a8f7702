"""Reads the event stream ahead of the batches, in bounded memory.

Entries that are read ahead stay raw. Their events are objects only while they are dealt with, which keeps them in the
processor's cache: parsing ahead, two entries at a time, made each event 50 % more expensive for the sequencer.
"""

import asyncio
from collections import deque

from contract.entries import Entry, parse_entry
from runtime.redis.link import RedisLink, Reply
from runtime.settings import Settings

USER_BYTES = 40
"""Extra bytes per batch for each online user, since a batch costs a write for each: larger batches, fewer writes. A
join or leave takes as many bytes of a batch."""
READ_BYTES = 256 * 1024
"""About how much one XREAD asks for; the next one is sized by the entries of the last."""
READ_ENTRIES = 1000
BLOCK_MS = 1000


def weight(entry: Entry) -> int:
    """What an entry costs a batch, in bytes."""
    return len(entry.raw) + USER_BYTES * (len(entry.joins) + len(entry.leaves))


def batch_limit(least_bytes: int, users: int, window_bytes: int) -> int:
    """Bytes of events after which a batch is closed: more with more users, but so that the window holds several."""
    return max(least_bytes, min(least_bytes + USER_BYTES * users, window_bytes // 4))


def take_batch(entries: deque[Entry], limit_bytes: int) -> deque[Entry]:
    """Remove the first entries that make one batch: about `limit_bytes` of events.

    A join comes before all events of its batch, so a user who joins gets the whole batch.
    """
    taken: deque[Entry] = deque()
    size, events_began = 0, False
    while entries and size < limit_bytes and not (entries[0].joins and events_began):
        entry = entries.popleft()
        taken.append(entry)
        size += weight(entry)
        events_began = events_began or not entry.node
    return taken


class Reader:
    """Entries after `cursor`, in order."""

    def __init__(self, link: RedisLink, settings: Settings, cursor: bytes) -> None:
        self._link = link
        self._key = settings.keys.events
        self._limit_bytes = settings.batch_bytes
        self._last_id = cursor
        self._entries: deque[Entry] = deque()
        self._held_bytes = 0
        self._count = 1
        self._arrived = asyncio.Event()
        self._room = asyncio.Event()

    async def run(self) -> None:
        """Read ahead until cancelled. RedisUnavailableError when the link fails."""
        while True:
            while self._held_bytes > 2 * self._limit_bytes or len(self._entries) > 2 * READ_ENTRIES:
                self._room.clear()
                await self._room.wait()
            reply = await self._link.call(
                "XREAD", "COUNT", self._count, "BLOCK", BLOCK_MS, "STREAMS", self._key, self._last_id
            )
            if reply:
                self._keep(reply[0][1])

    @property
    def empty(self) -> bool:
        return not self._entries

    def interrupt(self) -> None:
        """Let a `take` that waits return at once."""
        self._arrived.set()

    async def take(self, wait_s: float, limit_bytes: int) -> deque[Entry]:
        """Entries for one batch of about `limit_bytes`; empty when nothing came within `wait_s` seconds."""
        self._limit_bytes = limit_bytes
        if not self._entries:
            if wait_s <= 0:
                return deque()
            self._arrived.clear()
            try:
                async with asyncio.timeout(wait_s):
                    await self._arrived.wait()
            except TimeoutError:
                return deque()
        taken = take_batch(self._entries, limit_bytes)
        self._held_bytes -= sum(weight(entry) for entry in taken)
        self._room.set()
        return taken

    def give_back(self, entries: deque[Entry]) -> None:
        """Entries that did not fit into the batch come first again."""
        if entries:
            self._held_bytes += sum(weight(entry) for entry in entries)
            self._entries.extendleft(reversed(entries))

    def _keep(self, entries: list[Reply]) -> None:
        size = 0
        for entry_id, fields in entries:
            entry = parse_entry(entry_id, fields)
            self._entries.append(entry)
            size += weight(entry)
        self._last_id = entries[-1][0]
        self._held_bytes += size
        average = size // len(entries) + 64
        self._count = max(1, min(READ_ENTRIES, READ_BYTES // average))
        self._arrived.set()
