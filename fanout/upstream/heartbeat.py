"""Heartbeats: this node is alive, and which batch it has written; the answer is what Redis has committed.

`contract/reports.py` draws a heartbeat's fields. A node has one connection for commands at a time; their number is the
`generation`, which the node counts up. What arrives late, over an earlier one, is refused (`announce.lua`).
"""

import asyncio
import contextlib
from pathlib import Path
from typing import Protocol

from contract.frames import differ
from contract.reports import REPORTS_LUA, parse_heartbeat
from fanout.clients.users import Users
from fanout.upstream.clock import RedisClock
from fanout.upstream.feed import Feed, FrameLostError
from runtime.context import Context
from runtime.redis.link import Calls, Script

BEAT = Script(Path(__file__).with_name("beat.lua"), REPORTS_LUA)
BEAT_S = 0.005
"""Shortest time between two heartbeats."""
IDLE_BEAT_S = 1.0
"""Longest time between two heartbeats."""
SILENCE_S = 1.0
"""Silence beyond a tick after which a frame must have been lost."""


class ExpelledError(Exception):
    """The sequencer has taken this node out of the system."""


class StateWentBackError(Exception):
    """Redis has lost batches that this node has written: it runs on an older copy of its data."""

    def __init__(self, found_batch: int, found_epoch: bytes, batch: int, epoch: bytes) -> None:
        found, written = f"{found_batch} of epoch {found_epoch.decode()}", f"{batch} of epoch {epoch.decode()}"
        super().__init__(
            f"Redis went back to an older copy of its data: it has batch {found}, this node has written {written}"
        )


class Progress(Protocol):
    """How far a node has written."""

    written: int
    """The last batch written."""
    advanced: asyncio.Event
    """Set when `written` has changed."""


class Heartbeat:
    """The heartbeats of one node over one connection."""

    def __init__(
        self,
        context: Context,
        node: str,
        generation: int,
        link: Calls,
        feed: Feed,
        progress: Progress,
        users: Users,
        clock: RedisClock,
    ) -> None:
        self.committed = 0
        """The last batch that Redis is known to have."""
        self.next = 0
        """The number to be released next, as the last answer has it; 0: there is none yet."""
        self._node = node
        self._generation = generation
        self._link = link
        self._feed = feed
        self._progress = progress
        self._users = users
        self._clock = clock
        self._keys = context.settings.keys
        self._silence_s = context.settings.tick_s + SILENCE_S
        self._now_s = context.now_s
        self._sent_s = 0.0

    async def enter(self) -> tuple[int, bytes, bytes]:
        """Become a node of the deployment; returns the last batch before it, its epoch, and the history."""
        await self._link.call("SCRIPT", "LOAD", BEAT.text)
        return await self._beat("new")

    async def resume(self) -> tuple[int, bytes, bytes]:
        """Be the same node on a new connection; returns the batch committed last, its epoch, and the history.

        ExpelledError when it is no longer part of the deployment.
        """
        await self._link.call("SCRIPT", "LOAD", BEAT.text)
        return await self._beat(self._progress.written)

    async def keep_alive(self) -> None:
        """Report if the last report is a second old, beside other work. Errors as in `resume`."""
        if self._now_s() - self._sent_s >= IDLE_BEAT_S:
            await self._beat(self._progress.written)

    async def run(self) -> None:
        """Report the batch written last: soon after it changed, else every second.

        FrameLostError when batches are committed that have not been heard of, which is how the loss of the last
        frame before a silence shows; also when Redis knows fewer batches than this node, or has another history,
        to look into it.
        """
        progress = self._progress
        while True:
            with contextlib.suppress(TimeoutError):
                # Not wait_for: before Python 3.12 it loses a cancellation that comes together with the event.
                async with asyncio.timeout(IDLE_BEAT_S):
                    await progress.advanced.wait()
            progress.advanced.clear()
            heard = self._feed.last_batch
            committed, _, history = await self._beat(progress.written)
            if differ(history, self._feed.strangers.history):  # after a reset; its frames are not handed on
                raise FrameLostError(f"Redis has history {history!r}, this node has {self._feed.strangers.history!r}")
            self._feed.strangers.history = self._feed.strangers.history or history
            if committed < heard:
                raise FrameLostError(f"Redis is at batch {committed}, this node has heard {heard}")
            if committed > heard and self._feed.silent_s() > self._silence_s:
                raise FrameLostError(f"batch {heard + 1} was committed and not heard of")
            await asyncio.sleep(BEAT_S)

    async def connections_of_all(self) -> list[int]:
        """The connections of every node of the deployment, as last reported."""
        found = []
        for text in await self._link.call("HVALS", self._keys.nodes):
            with contextlib.suppress(ValueError):  # not a heartbeat: the sequencer says so, and expels that node
                found.append(parse_heartbeat(text).connections)
        return found

    async def _beat(self, batch: int | str) -> tuple[int, bytes, bytes]:
        keys, arguments = self._keys, (self._node, batch, self._users.connections, self._generation)
        self._sent_s = sent_s = self._now_s()
        answer = await self._link.call("EVALSHA", BEAT.sha, 2, keys.nodes, keys.state, *arguments)
        committed, epoch, now_ms, history, self.next = answer
        self.committed = max(self.committed, committed)
        self._clock.learn(now_ms / 1000, sent_s, self._now_s())
        if committed < 0:
            raise ExpelledError(f"node {self._node} is no longer part of the deployment")
        return int(committed), epoch, history
