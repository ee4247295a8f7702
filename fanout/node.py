"""A fanout process: one session after another, each under a new id.

A client connection never skips a line. When a session can no longer keep that promise, its connections are closed, and
the next session begins.
"""

import asyncio

from fanout.clients.server import ClientServer
from fanout.marks import Marks
from fanout.session import NodeSession
from fanout.stats import EXPELLED, JOURNAL_TOO_SHORT, OLDER_DATA, FanoutStats
from fanout.upstream.catch_up import JournalGoneError
from fanout.upstream.feed import FrameLostError
from fanout.upstream.heartbeat import ExpelledError, StateWentBackError
from runtime import tasks
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.outage import Outage
from runtime.readiness import Facts
from runtime.redis.link import RedisLink, RedisRefusedError
from runtime.redis.refusals import explained
from runtime.retry import Backoff, stopped_within

ENDS: dict[type[Exception], str] = {
    ExpelledError: EXPELLED,
    JournalGoneError: JOURNAL_TOO_SHORT,
    StateWentBackError: OLDER_DATA,
}
"""What ends a session, and how it is counted."""

LASTING_S = 5.0
"""Connections that lasted this long did work, even if a refusal ended them."""


class Node:
    """A fanout process, session after session."""

    def __init__(self, context: Context, clients: ClientServer, outage: Outage, stats: FanoutStats) -> None:
        self.link: RedisLink | None = None
        """The connection for commands, while there is one."""
        self._context = context
        self._clients = clients
        self._outage = outage
        self._stats = stats
        self._backoff = Backoff()
        self._session: NodeSession | None = None

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop. Redis away and back is logged once each."""
        # Beside the sessions: a client that opted in hears from the node even while Redis is away.
        marking = asyncio.create_task(Marks(self._clients, self._next_number).run())
        try:
            await self._run(stop)
        finally:
            await tasks.end([marking])

    async def _run(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            links: list[RedisLink] = []
            began_s, served = self._context.now_s(), False
            try:
                for purpose in ("subscribe", "command"):
                    link = await self._context.connect(f"fanout-{purpose}")
                    links.append(link)
                self.link = links[1]
                session = self._session = self._session or self._begin_session()
                generation = await session.connect(links[0], links[1])
                self._outage.ends()
                served = True
                await session.serve(generation, stop)
            except tuple(ENDS) as problem:
                self._end_session(problem)
            except FrameLostError as problem:
                self._context.log.warning("frames_missed", reason=str(problem))
                self._stats.frames_missed += 1
                await stopped_within(stop, Backoff.FIRST_S)
            except RedisUnavailableError as problem:
                await self._redis_away(problem, began_s if served else None)
                await stopped_within(stop, self._backoff.next_s())
            finally:
                self.link = None
                for link in links:
                    link.close()

    async def _redis_away(self, problem: RedisUnavailableError, served_since_s: float | None) -> None:
        self._outage.begins(await explained(problem, self.link, self._context.settings))
        if served_since_s is None:
            return
        # A refusal as soon as clients are served will come again: that was no success.
        if not isinstance(problem, RedisRefusedError) or self._context.now_s() - served_since_s > LASTING_S:
            self._backoff.reset()

    def _next_number(self) -> int:
        return self._session.next_number() if self._session is not None else 0

    def _begin_session(self) -> NodeSession:
        self._stats.lives += 1
        return NodeSession(self._context, self._clients, self._stats)

    def _end_session(self, problem: Exception) -> None:
        connections = self._clients.users.connections
        self._context.log.warning("connections_closed", connections=connections, reason=str(problem))
        self._stats.connections_lost[ENDS[type(problem)]] += connections
        self._clients.begin_anew()
        if self._session is not None:
            self._session.end()
        self._session = None

    # For its status

    def observe(self) -> FanoutStats:
        """The stats as they are now."""
        self._clients.observe()
        if self._session is not None:
            self._session.observe()
        return self._stats

    def identity(self) -> Facts:
        """Who this is, for the report: `node` is its name among the deployment's nodes."""
        return {"node": self._session.node if self._session else ""}

    def why_silent(self) -> str | None:
        """What is wrong if no sequencer has been heard for too long."""
        # A sequencer that dies is replaced within its lease; only then is something wrong here.
        settings = self._context.settings
        limit_s = settings.lease_s + 2 * settings.tick_s
        silent_s = self._session.silent_s() if self._session is not None else 0.0
        return f"no sequencer has been heard for {silent_s:.0f} s" if silent_s > limit_s else None
