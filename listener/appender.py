"""Appends what the intake holds to the stream: one entry under way at a time.

While Redis answers slowly the intake fills and entries grow (up to `entry_bytes`). When it is quiet each chunk is
appended alone and at once; chunks that follow closely are gathered for a moment. An append whose answer was lost is
repeated: the sequencer drops the copy, or Redis passes over what is there already (`listener/writer.py`).

A source is told of an append only after Redis has confirmed it, and the replicas that are waited for.
"""

import asyncio
from collections import Counter
from time import perf_counter

from contract.entries import NOT_AN_EVENT, rejected_fields
from listener.acks import Acks
from listener.groups import Entry
from listener.intake import Intake
from listener.stats import ListenerStats
from listener.writer import APPEND, StreamWriter
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.outage import Outage
from runtime.redis.data import number_in
from runtime.redis.link import RedisLink, wait_for_replicas
from runtime.redis.refusals import explained
from runtime.retry import Backoff

__all__ = ["APPEND", "Appender"]

GATHER_S = 0.001
"""How long small chunks that come quickly are gathered after an append. An entry becomes a batch, and a batch costs
a write for each client in the end: at 100,000 events/s, 20 a send, this takes a quarter off the latency."""
POLL_S = 0.005
"""Time between two looks at a backlog that is over its limit; at full speed 5 ms are about 40 KiB."""
STUCK_S = 10.0
"""How long a full stream may stay as it is before the listener says that it is not ready."""
RECORDS_HELD = 256
"""Refused lines that wait to be recorded; a peer that sends more is counted but not recorded."""


class Appender:
    """Moves bytes from the intake to Redis until `drain` says that no more will come."""

    def __init__(self, context: Context, intake: Intake, outage: Outage, stats: ListenerStats) -> None:
        self._context = context
        self._settings = context.settings
        self._outage = outage
        self._stats = stats
        self._keys = context.settings.keys
        self._intake = intake
        self.writer = StreamWriter(context)
        self._wake = asyncio.Event()
        self._draining = False
        self._entry = Entry()
        self._chunks = 0
        self._appended_s = 0.0
        self._records: list[tuple[str, bytes]] = []
        self._refused: Counter[str] = Counter()
        """How many lines were refused and are not counted in Redis yet: `rejected`, and `malformed` among them."""
        self._backoff = Backoff()
        self.link: RedisLink | None = None
        self._full_since_s: float | None = None
        """Since when the stream has been full without a batch that consumed anything; None: it is not."""

    def accept(self, lines: bytes) -> None:
        """Whole lines came from a source."""
        self._stats.received_bytes += len(lines)
        self._stats.received_lines += lines.count(b"\n")
        self._intake.put(lines)
        self._chunks += 1
        self._wake.set()

    def accept_for(self, acks: Acks, lines: bytes, count: int) -> None:
        """Events came from a source that wants acknowledgements."""
        self._stats.received_bytes += len(lines)
        self._stats.received_lines += count
        acks.take(count)
        self._intake.put_for(acks, lines, count)
        self._chunks += 1
        self._wake.set()

    def refuse_for(self, acks: Acks, word: bytes, reason: str, sample: bytes) -> None:
        """A line of such a source is refused; it counts as one of its lines."""
        self._stats.naks[word.decode()] += 1
        acks.refuse(word)
        self._intake.put_for(acks, b"", 1)
        self.record(reason, sample)

    def record(self, reason: str, sample: bytes) -> None:
        """Count a refused line, and keep it for the `rejected` stream if there is room."""
        self._refused["rejected"] += 1
        self._refused["malformed"] += reason == NOT_AN_EVENT
        self._stats.refused_lines += 1
        if len(self._records) < RECORDS_HELD:
            self._records.append((reason, sample))
        self._wake.set()

    def drain(self) -> None:
        """No more will come: `run` returns once everything is appended."""
        self._draining = True
        self._wake.set()

    async def run(self) -> None:
        """Append until drained. Redis away and back is logged once each."""
        while True:
            try:
                await self._append_all(await self._connected())
                return
            except RedisUnavailableError as problem:
                reason = await explained(problem, self.link, self._settings)
                self.close()
                self._stats.append_errors += 1
                self._outage.begins(reason, held_bytes=self._intake.held_bytes)
                await asyncio.sleep(self._backoff.next_s())

    def why_stuck(self) -> str | None:
        """Why nothing can be appended, if it has been so for long."""
        if self._full_since_s is None or (stuck_s := self._context.now_s() - self._full_since_s) < STUCK_S:
            return None
        return f"the stream is full, and nothing of it has been consumed for {stuck_s:.0f} s"

    def close(self) -> None:
        """Drop the connection."""
        self._full_since_s = None
        if self.link is not None:
            self.link.close()
            self.link = None

    async def _connected(self) -> RedisLink:
        self.link = link = await self._context.connect("listener")
        link.closed.add_done_callback(lambda _: self._wake.set())
        await self.writer.prepare(link)
        return link

    async def _append_all(self, link: RedisLink) -> None:
        while not link.closed.done():
            # An entry is forgotten only when Redis has confirmed it.
            self._entry = self._entry or self._taken()
            if self._entry:
                hurried = self._is_hurried()
                await self._append(link)
                if hurried and self._intake.held_bytes < self._settings.entry_bytes // 2 and not self._draining:
                    await asyncio.sleep(GATHER_S)
                continue
            if self._refused:
                await self._write_records(link)
                continue
            self._backoff.reset()
            self._outage.ends()
            if self._draining:
                return
            self._wake.clear()
            await self._wake.wait()
        raise RedisUnavailableError("lost the connection to Redis")

    def _taken(self) -> Entry:
        lines = self._intake.take(self._settings.entry_bytes)
        is_grouped = self._intake.is_marked or self._settings.gives_numbers
        return Entry(lines, self._intake.groups(lines) if is_grouped else [])

    def _is_hurried(self) -> bool:
        """Whether chunks come too fast to append each of them alone."""
        now_s, chunks = self._context.now_s(), self._chunks
        hurried = chunks > 2 or now_s - self._appended_s < 0.8 * GATHER_S
        self._appended_s, self._chunks = now_s, 0
        return hurried

    async def _append(self, link: RedisLink) -> None:
        began_s = perf_counter()
        backlog, verdicts = await self.writer.write(link, self._entry)
        if self._settings.wait_replicas:
            await wait_for_replicas(link, self._settings)
        self._stats.append_seconds.observe(perf_counter() - began_s)
        self._stats.entries += bool(self._entry.lines)
        self._stats.backlog_bytes = backlog
        self._entry = self.writer.settle(self._entry, verdicts)
        self._outage.ends()
        if backlog > self._settings.backlog_bytes:
            await self._wait_for_room(link, backlog)

    async def _wait_for_room(self, link: RedisLink, backlog: int) -> None:
        now_s = self._context.now_s
        self._full_since_s = now_s()
        while backlog > self._settings.backlog_bytes // 4 * 3 and not self._draining:
            await asyncio.sleep(POLL_S)
            before, found = backlog, await link.call("HGET", self._keys.state, "backlog")
            backlog = number_in(self._keys.state, "backlog", found, 0)
            self._stats.backlog_bytes = backlog
            if backlog < before:
                self._full_since_s = now_s()
        self._full_since_s = None

    async def _write_records(self, link: RedisLink) -> None:
        # In one write, so that events wait for one answer only.
        keys, limit = self._keys, self._settings.rejected_entries
        commands: list[tuple[bytes | str | int, ...]] = [
            ("XADD", keys.rejected, "MAXLEN", "~", limit, "*", *rejected_fields(reason, sample))
            for reason, sample in self._records
        ]
        commands += [("HINCRBY", keys.state, name, count) for name, count in self._refused.items() if count]
        self._records, self._refused = [], Counter()
        await link.call_all(commands)
