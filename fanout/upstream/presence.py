"""Presence: posts to the stream which users came to this node and which left.

A join's way, from a client's registration line to "live":

     1  fanout/clients/tcp.py         Client.data_received gathers the line, Client._register checks it.
     2  fanout/clients/connection.py  ClientConnection._join: not too often (ClientServer.may_join); it sets the event
                                      `changed`, which wakes `run` below.
     3  fanout/clients/users.py       Users.add: the user is *pending*.
     4  here                          _wait_until_pending: not more than `entries_ahead` entries ahead of the sequencer.
     5  fanout/clients/users.py       Users.take_pending: all who came and left meanwhile go into one entry.
     6  fanout/upstream/feed.py       Feed.subscribe: Redis has confirmed the channel before the join is posted, so no
                                      line of the batch that consumes it is missed.
     7  here, announce.lua            _post: the entry is in the stream, unless a later generation has begun. It names
                                      those who opted in under `keep`, too.
     8  fanout/clients/users.py       Users.posted: the users are *joining*, at the entry's id.
     9  sequencer/assembly.py         The batch that consumes the entry puts the users online. It is routed for them,
                                      and the `cursor` of its frame is the entry's id or a later one.
    10  fanout/writer.py              The frame arrives: Writer._write calls
    11  fanout/clients/users.py       Users.reach: the cursor covers the entry; the users are *live*. This batch is the
                                      first one that is written to their connections. Those that opted in are
                                      now *ready*, and `fanout/resume.py` goes on from here.

A leave goes the same way from step 3 on, `linger_s` after the user's last connection ended; its channel is unsubscribed
before it is posted. When Redis's memory is full, steps 5 to 7 are repeated (`_wait_for_memory`). After a loss of the
connection they are repeated for all users who are not live (`Users.post_again`): a repeated join is harmless.
"""

import asyncio
import contextlib
from pathlib import Path

from contract.entries import EVERYONE, presence_fields
from contract.frames import stream_id
from contract.reports import REPORTS_LUA
from fanout.clients.users import Pending, Users
from fanout.stats import FanoutStats
from fanout.upstream.feed import Feed
from runtime.context import Context
from runtime.redis.link import Calls, RedisRefusedError, Script

ANNOUNCE = Script(Path(__file__).with_name("announce.lua"), REPORTS_LUA)
AHEAD_POLL_S = 0.01
"""How often a node that may post nothing more looks whether the sequencer has caught up."""
FULL_S = 1.0
"""Time between tries to post while Redis's memory is full."""


class Presence:
    """The joins and leaves of one node, posted over one connection; `generation` is that connection's number."""

    def __init__(
        self,
        context: Context,
        node: str,
        generation: int,
        link: Calls,
        feed: Feed,
        users: Users,
        changed: asyncio.Event,
        stats: FanoutStats,
    ) -> None:
        self._node = node
        self._generation = generation
        self._link = link
        self._feed = feed
        self._users = users
        self._changed = changed
        self._stats = stats
        self._settings = context.settings
        self._keys = context.settings.keys
        self._log = context.log
        self._now_s = context.now_s
        self._ahead_poll_s = max(AHEAD_POLL_S, context.least_poll_s)

    async def prepare(self) -> None:
        """Load what `run` needs."""
        await self._link.call("SCRIPT", "LOAD", ANNOUNCE.text)

    async def run(self) -> None:
        """Post joins and leaves as they come, many in one entry when they come together.

        A node is at most `entries_ahead` entries ahead of the sequencer. What comes meanwhile is posted together, and
        leaving and coming back meanwhile costs nothing.
        """
        users = self._users
        while True:
            await self._wait_until_pending()
            leaves, joins = users.take_pending(self._settings.entry_users, self._now_s())
            posting = users.posting
            # A user who left is no longer here, so no user here needs the channel.
            if leaves:
                self._feed.unsubscribe(leaves)
            try:
                # Confirmed before the join is posted, so nothing of the batch that consumes it is missed.
                if joins:
                    await self._feed.subscribe([user.id for user in joins])
                entry = await self._post(posting)
            except RedisRefusedError as refusal:
                await self._wait_for_memory(refusal)
            else:
                users.posted(stream_id(entry))
                self._stats.joins += len(joins)

    async def _wait_until_pending(self) -> None:
        while True:
            wait_s = self._users.pending_in_s(self._now_s())
            if self._users.entries_ahead >= self._settings.entries_ahead:
                await asyncio.sleep(self._ahead_poll_s)
                continue
            if wait_s is not None and wait_s <= 0:
                return
            self._changed.clear()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(wait_s):
                    await self._changed.wait()

    async def _post(self, posting: Pending) -> bytes:
        joins, keep = ([user.id for user in users] for users in (posting.joins, posting.keep))
        forget = [user_id for user_id, said_bye in posting.leaves.items() if said_bye]
        fields = presence_fields(self._node, posting.leaves, joins, keep, forget)
        keys, arguments = (self._keys.events, self._keys.nodes), (self._generation, *fields)
        return bytes(await self._link.call("EVALSHA", ANNOUNCE.sha, len(keys), *keys, *arguments))

    async def _wait_for_memory(self, refusal: RedisRefusedError) -> None:
        # Users who are live are served meanwhile.
        if not str(refusal).startswith("OOM"):
            raise refusal
        self._log.warning("joins_wait", reason=str(refusal))
        self._users.not_posted()
        await asyncio.sleep(FULL_S)

    async def leave(self) -> None:
        """Stop being a node; all its users leave with it."""
        await self._link.call("XADD", self._keys.events, "*", *presence_fields(self._node, [EVERYONE], []))
