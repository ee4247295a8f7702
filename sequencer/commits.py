"""One commit under way at a time, and what the nodes have written of those before."""

import asyncio
from time import perf_counter

from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.redis.data import shown
from sequencer.batch import Batch
from sequencer.standings import Change, Standings
from sequencer.state import State
from sequencer.stats import SequencerStats
from sequencer.store import LeaseLostError, Store
from sequencer.window import Window


class Commits:
    """The batches of one term on their way to Redis and to the nodes."""

    def __init__(self, context: Context, store: Store, stats: SequencerStats, state: State) -> None:
        settings = context.settings
        self._now_s = context.now_s
        self._log = context.log
        self._store = store
        self._stats = stats
        self._window = Window(settings.window_bytes, settings.window_batches, state.batch)
        silence_s, patience_s = settings.node_silence_s, settings.node_patience_s
        self.standings = Standings(self._window, silence_s, patience_s, look_s=2 * settings.tick_s)
        self.number = self.committed = state.batch
        """The last batch sent, and the last one whose commit Redis has confirmed."""
        self.position = (state.next, state.cursor)
        """The next sequence number and the cursor after the last batch sent."""
        self.skip_to = state.skip_to
        """What that batch gives up: a batch that is made and not sent may give up more, behind what it releases."""
        self.sent_s = self._now_s()
        """When the last batch was sent."""
        self.under_way: asyncio.Task[dict[bytes, bytes]] | None = None

    async def send(self, batch: Batch, *, last: bool = False) -> None:
        """Send the next batch; `settle` waits for its commit."""
        self.number += 1
        self.position, self.skip_to = (batch.next, batch.cursor), batch.skip_to
        self.sent_s = self._now_s()
        self._window.publish(batch.weight)
        self.under_way = asyncio.create_task(self._commit(self.number, batch, last))
        await asyncio.sleep(0)  # lets the task write its command before the next batch is computed

    async def settle(self) -> None:
        """Wait for the commit that is under way, if any."""
        if self.under_way is not None:
            commit, self.under_way = self.under_way, None
            heartbeats = await commit
            self.committed = self.number
            self._observe(heartbeats)

    async def look(self) -> None:
        """Take in the nodes' heartbeats, without a commit."""
        self._observe(await self._store.heartbeats())

    async def look_at_subscriptions(self) -> None:
        """Look which nodes have a subscription: the others are gone."""
        self.standings.subscribed(await self._store.subscriptions(self.standings.names))

    def observe(self, stats: SequencerStats) -> None:
        """Bring what is measured up to date."""
        standings = self.standings
        stats.journal_seconds = self._store.journal.reach_s(self._now_s())
        stats.journal_full = int(self._store.journal.is_full)
        stats.unwritten_bytes = standings.unwritten_bytes
        stats.nodes, stats.nodes_behind = len(standings.names), standings.behind(self.number)
        stats.node_left_behind = {shown(node): reason for node, reason in standings.left_behind.items()}

    async def _commit(self, number: int, batch: Batch, last: bool) -> dict[bytes, bytes]:
        began_s = perf_counter()
        try:
            heartbeats = await self._store.commit(number, batch, last=last)
        except (LeaseLostError, RedisUnavailableError):
            self._stats.commit_errors += 1
            raise
        self._stats.commit_seconds.observe(perf_counter() - began_s)
        self._stats.count(batch.counts, batch.published_bytes)
        return heartbeats

    def _observe(self, heartbeats: dict[bytes, bytes]) -> None:
        for change in self.standings.observe(heartbeats, self._now_s()):
            self._tell(change)

    def _tell(self, change: Change) -> None:
        facts = {"node": shown(change.node), "batches_behind": change.batches}
        if change.reason:
            self._stats.left_behind[change.reason] += 1
            self._log.warning("node_left_behind", **facts, reason=change.reason)
        else:
            self._log.info("node_caught_up", **facts)
