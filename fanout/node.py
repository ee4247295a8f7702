"""A fanout process: one life after another, each under an id of its own.

When a life can't keep its promise any more, its clients' connections are closed, for a connection never skips
anything, and a new life begins under a new id.
"""

import asyncio

import structlog

from fanout.clients.server import ClientServer
from fanout.session import Life
from fanout.stats import EXPELLED, JOURNAL_TOO_SHORT, OLDER_DATA, FanoutStats
from fanout.upstream.catch_up import JournalGoneError
from fanout.upstream.feed import FrameLostError
from fanout.upstream.heartbeat import ExpelledError, StateWentBackError
from runtime.errors import RedisUnavailableError
from runtime.outage import Outage
from runtime.readiness import Readiness
from runtime.redis.link import RedisLink, RedisRefusedError, connect
from runtime.redis.refusals import explained
from runtime.service import Backoff, stopped_within
from runtime.settings import Settings

ENDS = {ExpelledError: EXPELLED, JournalGoneError: JOURNAL_TOO_SHORT, StateWentBackError: OLDER_DATA}
"""What ends a life, and how it is counted."""

LASTING_S = 5.0
"""Connections that lasted so long did work, even when it was a refusal that ended them."""

log = structlog.get_logger()


class Node:
    """A fanout process, life after life."""

    def __init__(self, settings: Settings, server: ClientServer, readiness: Readiness) -> None:
        self._settings = settings
        self._server = server
        self._stats = server.stats
        self._outage = Outage(readiness)
        self._life: Life | None = None
        self.link: RedisLink | None = None
        """The connection for commands, while there is one."""
        readiness.observe = self.observe
        readiness.judges.append(self._hears_nothing)

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until told to stop."""
        backoff, now_s = Backoff(), asyncio.get_running_loop().time
        while not stop.is_set():
            links: list[RedisLink] = []
            began_s = now_s()
            try:
                for purpose in ("subscribe", "command"):
                    name = f"{self._settings.namespace}-fanout-{purpose}"
                    links.append(await connect(self._settings.redis_url, self._settings.redis_timeout_s, name))
                self.link = links[1]
                self._life = self._life or self._begin_life()
                await self._life.serve(links[0], links[1], stop, self._outage.ends)
            except tuple(ENDS) as problem:
                self._end_life(problem)
            except FrameLostError as problem:
                log.warning("frames_missed", reason=str(problem))
                self._stats.frames_missed += 1
                await stopped_within(stop, Backoff.FIRST_S)
            except RedisUnavailableError as problem:
                self._outage.begins(await explained(problem, self.link, self._settings))
                # A refusal that comes as soon as clients are served comes again: that was no success.
                lasted = not isinstance(problem, RedisRefusedError) or now_s() - began_s > LASTING_S
                if self._life is not None and self._life.served and lasted:
                    backoff.reset()
                await stopped_within(stop, backoff.next_s())
            finally:
                self.link = None
                for link in links:
                    link.close()

    def _begin_life(self) -> Life:
        self._stats.lives += 1
        return Life(self._settings, self._server)

    def _end_life(self, problem: Exception) -> None:
        connections = self._server.members.connections
        log.warning("connections_closed", connections=connections, reason=str(problem))
        self._stats.connections_lost[ENDS[type(problem)]] += connections
        self._server.begin_anew()
        if self._life is not None:
            self._life.end()
        self._life = None

    def observe(self) -> FanoutStats:
        """The stats as they are now."""
        server, stats = self._server, self._stats
        stats.peers = server.log.by_reason()
        members = server.members
        stats.connections, stats.lingering_users = members.connections, members.lingering
        stats.users = len(members.users) - members.lingering
        stats.unsent_bytes, stats.slow_clients = server.unsent_bytes(), len(server.behind)
        stats.clients_set_aside = server.aside.total()
        stats.slow_offenders = server.offenders.count(asyncio.get_running_loop().time())
        if self._life is not None:
            self._life.observe(stats)
        return stats

    def about(self) -> dict[str, object]:
        """Who this is, for the report: `node` is its name among the deployment's nodes."""
        return {"node": self._life.node if self._life else ""}

    def _hears_nothing(self) -> str | None:
        # A sequencer that dies is replaced within its lease; only then is something wrong here.
        limit_s = self._settings.lease_s + 2 * self._settings.tick_s
        silent_s = self._life.silent_s() if self._life is not None else 0.0
        return f"no sequencer has been heard for {silent_s:.0f} s" if silent_s > limit_s else None
