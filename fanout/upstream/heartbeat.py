"""Tells the stream who came to this node and who left, and the sequencer how far it has written."""

import asyncio
import contextlib
from pathlib import Path

import structlog

from contract.entries import EVERYONE, presence_fields
from contract.frames import stream_id
from contract.reports import REPORTS_LUA, parse_heartbeat
from fanout.clients.users import Members, User
from fanout.stats import FanoutStats
from fanout.upstream.clock import RedisClock
from fanout.upstream.feed import Feed, FrameLostError
from fanout.writer import Writer
from runtime.redis.link import RedisLink, RedisRefusedError, Script
from runtime.settings import Settings

BEAT = Script(Path(__file__).with_name("beat.lua"), REPORTS_LUA)
ANNOUNCE = Script(Path(__file__).with_name("announce.lua"), REPORTS_LUA)
AHEAD_POLL_S = 0.01
"""How often a node that may tell nothing more looks whether the sequencer has caught up."""
BEAT_S = 0.005
"""Shortest time between two heartbeats."""
IDLE_BEAT_S = 1.0
FULL_S = 1.0
"""Time between tries to tell who came while Redis has its memory full."""
SILENCE_S = 1.0
"""Silence beyond a tick after which something must have been lost."""

log = structlog.get_logger()


class ExpelledError(Exception):
    """The sequencer has taken this node out of the system."""


class StateWentBackError(Exception):
    """Redis has lost batches that this node has written: an old copy of the data is in use."""


class Membership:
    """One node id's standing in the deployment, told over one connection: the `session`, counted up by the node."""

    def __init__(
        self,
        node: str,
        session: int,
        link: RedisLink,
        feed: Feed,
        members: Members,
        clock: RedisClock,
        settings: Settings,
        stats: FanoutStats,
    ) -> None:
        self._node = node
        self._session = session
        self._link = link
        self._feed = feed
        self._members = members
        self._settings = settings
        self._keys = settings.keys
        self._silence_s = settings.tick_s + SILENCE_S
        self._news = asyncio.Event()
        self._now = asyncio.get_running_loop().time
        self.committed = 0
        """The last batch that Redis is known to have."""
        self._clock = clock
        self._stats = stats

    def notify(self) -> None:
        """Someone came or left."""
        self._news.set()

    async def enter(self) -> tuple[int, bytes]:
        """Become a node of the deployment; returns the last batch before it, and its epoch."""
        await self._load_scripts()
        return await self._beat("new")

    async def resume(self, written: int) -> tuple[int, bytes]:
        """Be the node that it was, on a new connection; returns the batch committed last, and its epoch."""
        await self._load_scripts()
        committed = await self._beat(written)
        self._members.tell_again()
        return committed

    async def leave(self) -> None:
        """Stop being one; all users leave with it."""
        await self._link.call("XADD", self._keys.events, "*", *presence_fields(self._node, [EVERYONE], []))

    async def announce(self) -> None:
        """Post joins and leaves as they come, many in one entry when they come together.

        A node is at most `entries_ahead` entries ahead of the sequencer; what comes meanwhile is told together, and
        who leaves and comes back meanwhile costs nothing.
        """
        members = self._members
        while True:
            await self._wait_for_news()
            leaves, joins = members.take_news(self._settings.entry_users, self._now())
            # Who left is not here any more, so nobody here needs what is given up.
            if leaves:
                self._feed.unsubscribe(leaves)
            try:
                # Confirmed before the join is posted, so nothing of the batch that consumes it is missed.
                if joins:
                    await self._feed.subscribe([user.id for user in joins])
                entry = await self._post(leaves, joins)
            except RedisRefusedError as refusal:
                await self._wait_for_memory(refusal)
            else:
                members.told(stream_id(entry))
                self._stats.joins += len(joins)

    async def _wait_for_news(self) -> None:
        while True:
            wait_s = self._members.news_in_s(self._now())
            if self._members.entries_ahead >= self._settings.entries_ahead:
                await asyncio.sleep(AHEAD_POLL_S)
                continue
            if wait_s is not None and wait_s <= 0:
                return
            self._news.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._news.wait()

    async def _post(self, leaves: list[bytes], joins: list[User]) -> bytes:
        fields = presence_fields(self._node, leaves, (user.id for user in joins))
        keys, arguments = (self._keys.events, self._keys.nodes), (self._session, *fields)
        return bytes(await self._link.call("EVALSHA", ANNOUNCE.sha, len(keys), *keys, *arguments))

    async def _wait_for_memory(self, refusal: RedisRefusedError) -> None:
        # Those who are here already are served on meanwhile.
        if not str(refusal).startswith("OOM"):
            raise refusal
        log.warning("joins_wait", reason=str(refusal))
        self._members.refused()
        await asyncio.sleep(FULL_S)

    async def beat(self, writer: Writer) -> None:
        """Report the batch written last: soon after it changed, else every second.

        FrameLostError when batches are committed of which nothing is heard, which is how the loss of the last
        frame before a silence shows; also when Redis knows fewer batches than this node, to look into it.
        """
        loop = asyncio.get_running_loop()
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
                async with asyncio.timeout(IDLE_BEAT_S):
                    await writer.advanced.wait()
            writer.advanced.clear()
            heard = self._feed.last_batch
            committed, _ = await self._beat(writer.written)
            if committed < heard:
                raise FrameLostError(f"Redis is at batch {committed}, this node has heard {heard}")
            if committed > heard and loop.time() - self._feed.heard_s > self._silence_s:
                raise FrameLostError(f"batch {heard + 1} was committed and not heard of")
            await asyncio.sleep(BEAT_S)

    async def connections_of_all(self) -> list[int]:
        """The connections of every node of the deployment, as last reported; what is no report counts for nothing."""
        found = []
        for report in await self._link.call("HVALS", self._keys.nodes):
            with contextlib.suppress(ValueError):  # the sequencer says so, and expels that node
                found.append(parse_heartbeat(report).connections)
        return found

    async def _load_scripts(self) -> None:
        for script in (BEAT, ANNOUNCE):
            await self._link.call("SCRIPT", "LOAD", script.text)

    async def _beat(self, batch: int | str) -> tuple[int, bytes]:
        keys, arguments = self._keys, (self._node, batch, self._members.connections, self._session)
        sent_s = self._now()
        committed, epoch, now_ms = await self._link.call("EVALSHA", BEAT.sha, 2, keys.nodes, keys.state, *arguments)
        self.committed = max(self.committed, committed)
        self._clock.learn(now_ms / 1000, sent_s, self._now())
        if committed < 0:
            raise ExpelledError(f"node {self._node} is no longer part of the deployment")
        return int(committed), epoch
