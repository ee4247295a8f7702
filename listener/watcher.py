"""Answers HELLO, and tells acknowledged sources how the order moves on. Looks at Redis only while there are any.

One look serves all of them: three reads every 100 ms. The stream of refused lines is read only when numbers
were given up, and a producer's count only when Redis may have lost something.
"""

import asyncio
import contextlib
from collections.abc import Callable

from contract.control import Position
from contract.entries import SKIPPED
from contract.frames import after
from contract.histories import server_in
from listener.acks import Producer
from listener.dialogue import Greeted
from listener.progress import Look, News, Progress
from listener.stats import ListenerStats
from listener.writer import StreamWriter
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.redis.data import name_in, number_in
from runtime.redis.link import RedisLink, RedisRefusedError, wait_for_replicas
from runtime.redis.refusals import explained

LOOK_S = 0.1
REFUSED_A_READ = 1000
"""Entries of the stream of refused lines that are read at once."""
NO_HISTORY = "this deployment has no history yet: no sequencer has begun it"


class Watcher:
    """Serves all acknowledged sources of a listener."""

    def __init__(
        self, context: Context, writer: StreamWriter, link: Callable[[], RedisLink | None], stats: ListenerStats
    ) -> None:
        self._context = context
        self._settings = context.settings
        self._writer = writer
        self._link = link
        self._stats = stats
        self._dialogues: dict[Greeted, None] = {}
        self._registered: dict[Greeted, Producer] = {}
        """Those of them that wait for their OK, and have their producer's count."""
        self._wake = asyncio.Event()
        self._progress = Progress()
        self._owed = News()
        self._seen_refused = b""
        self._refreshed_s = 0.0
        self.problem = ""

    # Dialogues

    def greet(self, dialogue: Greeted) -> None:
        """Answer its HELLO as soon as possible."""
        self._dialogues[dialogue] = None
        self._wake.set()

    def leave(self, dialogue: Greeted) -> None:
        """It ends."""
        self._dialogues.pop(dialogue, None)
        self._registered.pop(dialogue, None)

    def observe(self, stats: ListenerStats) -> None:
        """Bring what is measured up to date."""
        stats.acknowledged_sources = sum(dialogue.acks is not None for dialogue in self._dialogues)
        stats.producers = len(self._producers())

    def _producers(self) -> dict[Greeted, Producer]:
        found = {dialogue: dialogue.acks.producer for dialogue in self._dialogues if dialogue.acks}
        return {dialogue: producer for dialogue, producer in found.items() if producer}

    # Looking

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            if not self._dialogues:
                self._wake.clear()
                await self._wake.wait()
                self._progress, self._seen_refused = Progress(), b""
            self._wake.clear()
            await self._step()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(LOOK_S, self._context.least_poll_s)):
                    await self._wake.wait()

    async def _step(self) -> None:
        link = self._link()
        if link is None:
            self.problem = "Redis is away"
            return
        try:
            await self._register(link)
            look = await self._look(link)
            if look is None:
                self.problem = NO_HISTORY
                return
            # What is new is owed until it has been told, for any question to Redis can fail.
            self._owed = self._progress.see(look, self._context.now_s()).with_earlier(self._owed)
            await self._reset(link, look)
            skipped = await self._skipped(link) if self._owed.has_skipped else []
            self._owed = News()
            for dialogue in list(self._dialogues):
                if dialogue.acks is not None:
                    dialogue.acks.progressed(look.next, self._progress.gap, skipped)
                    dialogue.acks.on_news()
            self._welcome(look)
            await self._refresh(link)
            self.problem = ""
        except RedisUnavailableError as problem:
            self.problem = str(await explained(problem, link, self._settings))

    async def _register(self, link: RedisLink) -> None:
        new = [each for each in self._dialogues if each.acks is None and each not in self._registered]
        named = [(each, each.hello) for each in new if each.hello and each.hello.producer]
        for dialogue, hello in named:
            try:
                producer = await self._writer.register(link, hello.producer, hello.generation)
            except RedisRefusedError as refusal:
                if str(refusal).startswith("NOSCRIPT"):
                    link.close()  # the next connection loads the scripts anew
                    raise
                dialogue.problem = str(await explained(refusal, link, self._settings))
                continue
            dialogue.problem = ""
            if dialogue in self._dialogues:
                self._registered[dialogue] = producer
        if named and self._settings.wait_replicas:
            await wait_for_replicas(link, self._settings)

    async def _look(self, link: RedisLink) -> Look | None:
        """What Redis says; None in a deployment that no sequencer has begun."""
        keys = self._settings.keys
        if not self._seen_refused:
            newest = await link.call("XREVRANGE", keys.rejected, "+", "-", "COUNT", 1)
            self._seen_refused = newest[0][0] if newest else b"0-0"
        fields = ("HMGET", keys.state, "next", "history", "skipped")
        lowest = ("ZRANGE", keys.waiting, 0, 0, "WITHSCORES")
        found, first, server = await link.call_all([fields, lowest, ("GET", keys.server)])
        if self._settings.wait_replicas:
            # WAIT is about what its own connection has written: this changes nothing and comes after all that was read.
            await link.call("HINCRBY", keys.state, "skipped", 0)
            await wait_for_replicas(link, self._settings)
        number = number_in(keys.state, "next", found[0], 0)
        history = name_in(keys.state, "history", found[1], "the name of a history")
        skipped = number_in(keys.state, "skipped", found[2], 0)
        # What waits and is the next itself is released as soon as a sequencer can: it is not missing.
        waits_for_it = bool(first) and float(first[1]) > number
        run_id, _ = server_in(server or b"")  # the rest changes with each take-over, and that loses nothing
        return Look(number, history, skipped, waits_for_it, run_id) if number and history else None

    async def _skipped(self, link: RedisLink) -> list[bytes]:
        """The numbers that were given up since the last time, as `first-last`."""
        found: list[bytes] = []
        while True:
            key, first = self._settings.keys.rejected, after(self._seen_refused)
            entries = await link.call("XRANGE", key, first, "+", "COUNT", REFUSED_A_READ)
            for entry, fields in entries:
                self._seen_refused = entry
                values = dict(zip(fields[::2], fields[1::2], strict=False))
                if values.get(b"reason") == SKIPPED.encode():
                    found.append(values.get(b"line", b""))
            if len(entries) < REFUSED_A_READ:
                return found

    async def _reset(self, link: RedisLink, look: Look) -> None:
        """Tell those from whom Redis may have lost something where to go on."""
        is_back = self._owed.is_back
        if is_back:
            self._registered.clear()  # their counts are of the time before
        back = [each for each in self._dialogues if each.acks and (is_back or each.acks.went_back)]
        producers = self._producers()
        for dialogue in back:
            received = None
            if dialogue in producers:
                key = producers[dialogue].key
                received = number_in(key, "received", await link.call("HGET", key, "received"), 0)
            self._stats.resets += 1
            dialogue.reset(Position(look.history, look.next), received)

    def _welcome(self, look: Look) -> None:
        for dialogue in list(self._dialogues):
            named = bool(dialogue.hello and dialogue.hello.producer)
            if dialogue.acks is None and (not named or dialogue in self._registered):
                producer = self._registered.pop(dialogue, None)
                dialogue.welcome(producer, Position(look.history, look.next), self._progress.gap)

    async def _refresh(self, link: RedisLink) -> None:
        now_s = self._context.now_s()
        if now_s - self._refreshed_s > self._settings.producer_s / 4:
            self._refreshed_s = now_s
            await self._writer.refresh(link, list(self._producers().values()))
