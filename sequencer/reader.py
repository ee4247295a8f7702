"""Reads the event stream ahead of the batches, in bounded memory.

What is read ahead stays raw. Its events are objects only while they are dealt with, which keeps them in the
processor's cache: parsing ahead, two entries at a time, made the sequencer's work on each event half as dear again.
"""

import asyncio
from collections import deque
from dataclasses import dataclass, field
from operator import itemgetter

from contract.events import MAX_SEQUENCE, Event, malformed, parse
from runtime.redis.link import RedisLink, Reply
from runtime.settings import Settings

_number = itemgetter(1)

USER_BYTES = 40
"""What a user is worth in bytes of events, some two of them. A batch may be so much larger for each user online, since
it costs a write for each: the fewer batches, the fewer writes. And a join or leave costs a batch so much."""
READ_BYTES = 256 * 1024
"""About how much one XREAD asks for; the next one is sized by the entries of the last."""
READ_ENTRIES = 1000
BLOCK_MS = 1000


Refused = list[tuple[str, bytes]]
"""(reason, line) of each line that could not be parsed."""


@dataclass(slots=True)
class Entry:
    """One stream entry: `raw` event lines, or a `node` with who came and left, or a `skip_to`.

    `skip_to` asks to give up the numbers below it that are missing. `refused` holds an entry that is none of these.
    """

    id: bytes
    raw: bytes = b""
    refused: Refused = field(default_factory=list)
    node: bytes = b""
    skip_to: int = 0
    joins: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)

    @property
    def weight(self) -> int:
        """What it costs a batch, in bytes."""
        return len(self.raw) + USER_BYTES * (len(self.joins) + len(self.leaves))

    def events(self) -> tuple[list[Event], Refused]:
        """Its events, and what is none; a line that is none is among the events, too, without a number."""
        events = parse(self.raw)
        # Only a chunk with refused lines has an event without number, and only that one is gone through.
        if all(map(_number, events)):
            return events, self.refused
        return events, [("not an event", line) for line in malformed(self.raw)]


def parse_entry(entry_id: bytes, fields: list[bytes]) -> Entry:
    """Make sense of an entry; what makes none is refused, never fatal."""
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    entry = Entry(entry_id)
    if b"raw" in values:
        entry.raw = values[b"raw"]
    elif b"node" in values and values.keys() & {b"join", b"leave"}:
        entry.node = values[b"node"]
        entry.joins = values.get(b"join", b"").split()
        entry.leaves = values.get(b"leave", b"").split()
    elif (skip_to := values.get(b"skip_to", b"")).isdigit() and len(skip_to) <= len(str(MAX_SEQUENCE)):
        entry.skip_to = int(skip_to)
    else:
        entry.refused = [("unknown stream entry", b" ".join(fields))]
    return entry


def batch_limit(least_bytes: int, users: int, window_bytes: int) -> int:
    """Bytes of events after which a batch is closed: more with more users, but so that the window holds several."""
    return max(least_bytes, min(least_bytes + USER_BYTES * users, window_bytes // 4))


def take_batch(entries: deque[Entry], limit_bytes: int) -> deque[Entry]:
    """Remove the first entries that make one batch: about `limit_bytes` of events.

    A join comes before all events of its batch, so whoever joins gets the whole batch.
    """
    taken: deque[Entry] = deque()
    size, events_began = 0, False
    while entries and size < limit_bytes and not (entries[0].joins and events_began):
        entry = entries.popleft()
        taken.append(entry)
        size += entry.weight
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
        self._held_bytes -= sum(entry.weight for entry in taken)
        self._room.set()
        return taken

    def give_back(self, entries: deque[Entry]) -> None:
        """The last entries taken did not fit into the batch: they come first again."""
        if entries:
            self._held_bytes += sum(entry.weight for entry in entries)
            self._entries.extendleft(reversed(entries))

    def _keep(self, entries: list[Reply]) -> None:
        size = 0
        for entry_id, fields in entries:
            entry = parse_entry(entry_id, fields)
            self._entries.append(entry)
            size += entry.weight
        self._last_id = entries[-1][0]
        self._held_bytes += size
        average = size // len(entries) + 64
        self._count = max(1, min(READ_ENTRIES, READ_BYTES // average))
        self._arrived.set()
