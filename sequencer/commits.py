"""One commit under way at a time, and what the nodes have written of those before."""

import asyncio
from time import perf_counter

from runtime.context import Context
from runtime.errors import RedisUnavailableError
from sequencer.batch import Batch
from sequencer.liveness import Liveness
from sequencer.state import State
from sequencer.stats import SequencerStats
from sequencer.store import LeaseLostError, Store
from sequencer.window import Window


class Commits:
    """The batches of one term on their way to Redis and to the nodes."""

    def __init__(self, context: Context, store: Store, stats: SequencerStats, state: State) -> None:
        settings = context.settings
        self._now_s = context.now_s
        self._store = store
        self._stats = stats
        self.window = Window(settings.window_bytes, settings.window_batches)
        silence_s, patience_s = settings.node_silence_s, settings.node_patience_s
        self.liveness = Liveness(silence_s, patience_s, look_s=2 * settings.tick_s)
        self.number = self.committed = state.batch
        """The last batch sent, and the last one whose commit Redis has confirmed."""
        self.position = (state.next, state.cursor)
        """The next sequence number and the cursor after the last batch sent."""
        self.sent_s = self._now_s()
        """When the last batch was sent."""
        self.under_way: asyncio.Task[dict[bytes, bytes]] | None = None

    async def send(self, batch: Batch, *, last: bool = False) -> None:
        """Send the next batch; `settle` waits for its commit."""
        self.number += 1
        self.position = (batch.next, batch.cursor)
        self.sent_s = self._now_s()
        self.window.publish(self.number, batch.weight)
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

    def to_expel(self) -> dict[bytes, tuple[str, float]]:
        """The nodes that are to be expelled, by the last look."""
        return self.liveness.to_expel(self.window.held_batch)

    def observe(self, stats: SequencerStats) -> None:
        """Bring what is measured up to date."""
        stats.unwritten_bytes = self.window.unwritten_bytes
        stats.nodes, stats.nodes_behind = self.liveness.nodes, self.liveness.behind(self.number)

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
        self.liveness.observe(heartbeats, self._now_s())
        self.window.settle(self.liveness.written())
