"""Holding the lease: one process sequences, term after term, and the others stand by."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from runtime import tasks
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.outage import Outage
from runtime.redis.checks import Finding
from runtime.redis.link import Calls, RedisLink
from runtime.redis.refusals import explained
from runtime.report import withdraw
from runtime.retry import Backoff, stopped_within
from runtime.stats import clear_gauges
from sequencer.beacon import Beacon
from sequencer.checks import check_server
from sequencer.graph import Graph
from sequencer.history import Sent
from sequencer.stats import SequencerStats
from sequencer.store import LeaseLostError, Store
from sequencer.succession import LOOK_S
from sequencer.term import Term

WENT_BACK = "Redis came back with older data; sources should send again from `next` on, and clients connect again"

CheckServer = Callable[[Calls, Context, set[Finding]], Awaitable[None]]


class Candidate:
    """One sequencer process: stands by until the lease is free, then sequences until it loses it.

    `name` is the one of its report, which it withdraws when it has done its work.
    """

    def __init__(
        self,
        context: Context,
        outage: Outage,
        stats: SequencerStats,
        name: str = "",
        check: CheckServer = check_server,
    ) -> None:
        self._context = context
        self._settings = context.settings
        self._log = context.log
        self._outage = outage
        self._stats = stats
        self._name = name
        self._check_server = check
        self._term: Term | None = None
        self.link: RedisLink | None = None
        """The connection for commits, while there is one."""
        self._committed = 0
        self._sent: Sent | None = None
        self._said: set[Finding] = set()
        self._backoff = Backoff()
        self.token = f"{socket.gethostname()}-{os.getpid()}-{context.random_hex(3)}"

    async def run(self, stop: asyncio.Event) -> None:
        """Sequence or stand by until told to stop. Redis away and back is logged once each."""
        while not stop.is_set():
            links: list[RedisLink] = []
            beacon, keeping = Beacon(self._context, self.token), None
            try:
                for purpose in ("commit", "read"):
                    link = await self._context.connect(f"sequencer-{purpose}")
                    links.append(link)
                self.link = links[0]
                await self._check_server(links[0], self._context, self._said)
                # Before the lease is taken: a leader without a subscription would be taken for one that has ended.
                await beacon.light()
                keeping = asyncio.create_task(beacon.keep())
                await self._serve(links[0], links[1], stop)
            except LeaseLostError as problem:
                self._log.warning("lease_lost", reason=str(problem))
                self._stats.term_ends["lease lost"] += 1
                self._leads_no_more()
                await stopped_within(stop, self._backoff.next_s())
            except RedisUnavailableError as problem:
                self._stats.term_ends["Redis lost"] += self._term is not None
                self._leads_no_more()
                self._outage.begins(await explained(problem, self.link, self._settings))
                await stopped_within(stop, self._backoff.next_s())
            finally:
                if stop.is_set() and self.link is not None:
                    await withdraw(self.link, self._settings.keys, self._name)
                self._leads_no_more()
                self.link = None
                await tasks.end([keeping])
                beacon.put_out()
                for link in links:
                    link.close()

    def _leads_no_more(self) -> None:
        # At once, and not after the pause before the next try: another may lead by then.
        self._term = None
        clear_gauges(self._stats)

    def observe(self) -> SequencerStats:
        """The stats as they are now."""
        self._stats.lease_held = int(self._term is not None)
        if self._term is not None:
            self._term.observe(self._stats)
        return self._stats

    def identity(self) -> dict[str, object]:
        """Who this is, for the report."""
        role = "standby" if self._term is None else "leader"
        return {"token": self.token, "role": role, "durable": self._settings.durable}

    def _has_committed(self) -> None:
        # Loading proves nothing: what makes every commit fail shows only here.
        self._backoff.reset()
        self._outage.ends()

    def why_stuck(self) -> str | None:
        """What keeps events from being released, if anything does."""
        return self._term.why_stuck() if self._term is not None else None

    async def _serve(self, commits: RedisLink, reads: RedisLink, stop: asyncio.Event) -> None:
        store = Store(
            commits,
            self._settings,
            self.token,
            random_hex=self._context.random_hex,
            on_commit=self._has_committed,
            now_s=self._context.now_s,
            sent=self._sent,
        )
        try:
            await self._lead_or_stand_by(store, reads, stop)
        finally:
            self._sent = store.sent

    async def _lead_or_stand_by(self, store: Store, reads: RedisLink, stop: asyncio.Event) -> None:
        await store.prepare()
        if not await store.acquire():
            self._outage.ends()
            self._log.info("standing_by")
            while not await store.acquire():
                if await stopped_within(stop, LOOK_S):
                    return
        await while_held(store, self._sequence(store, reads, stop))

    async def _sequence(self, store: Store, reads: RedisLink, stop: asyncio.Event) -> None:
        graph = Graph(store.calls, self._settings.keys)
        term = Term(self._context, store, graph, reads, self._stats)
        await term.begin()
        if term.commits.committed < self._committed:
            facts = {"batch": term.commits.committed, "committed": self._committed}
            self._log.error("state_went_back", **facts, advice=WENT_BACK)
        self._term = term
        self._stats.terms += 1
        try:
            await term.run(stop)
        finally:
            self._committed = term.commits.committed


async def while_held(store: Store, work: Coroutine[Any, Any, None]) -> None:
    """Do work that needs the lease and renew it beside; stop at once when it is lost."""
    working, keeping = asyncio.ensure_future(work), asyncio.ensure_future(store.keep_lease())
    try:
        await asyncio.wait({working, keeping}, return_when=asyncio.FIRST_COMPLETED)
        for task in (working, keeping):
            if task.done():
                return task.result()
    finally:
        await tasks.end([working, keeping])
