"""Clients that opted in: where each goes on, and that it misses nothing on the way.

A resume's way, from the registration line to "live":

     1  fanout/clients/registration.py  `50 after=9f31c2@70000`: Registration.feed. Client._register serves it as a
                                        *newcomer* (`fanout/clients/newcomer.py`), to which no batch is written yet.
     2  fanout/upstream/presence.py     Its user is joined with `keep`, unless its place is kept here already. The batch
                                        that consumes the entry makes sure of the user's `since`, the number from which
                                        routing has been unbroken.
     3  fanout/clients/users.py         Users.reach: that batch is here, and the newcomers of the user are *ready*.
     4  here                            Resumption.run is woken. _admit: who goes on from now is told OK.
     5                                  _check: Redis says what has been released, how far earlier histories go on in
                                        this one, and `since` of all who wait, in one question. A position of another
                                        history, too new a number, or routing that began later, is told RESET.
     6  here, upstream/search.py        _begin: the place in the journal where the first of them goes on. What comes
                                        before the journal's beginning is told RESET.
     7  fanout/sweep.py                 Sweep.run: from there on the journal is read once for all of them, several
                                        batches at a time; meanwhile Writer._write keeps what it writes.
     8                                  _give: each gets its lines above its own number; before the first ones, RESUMED.
     9                                  _finish: what was kept begins where the journal was read up to. Each gets its
                                        lines of that, and in the same turn
    10  fanout/clients/users.py         Users.make_live: it is among the connections that batches are written to. The
                                        next batch is the next one that it gets.

A newcomer that is told OK or RESET is live in the same turn, behind the batch that was written last, which is the
position that it is told.

Rules kept here:

- RESUMED is told only when everything after the number can be given: the history is ours, the number was released,
  `since` is not behind the next number, and the journal has the batch of that. RESET tells the reason, and nothing of
  what was missed is sent.
- A client told RESUMED gets every line or is closed. When the journal is trimmed below it, because it reads too slowly,
  it is closed, comes back, and is told RESET.
- A number above what this node has written, and below what is released, waits until the node has written it.
- Whoever is not finished when the connection to Redis is lost goes on with the next one.
- One sweep at a time; whoever comes meanwhile waits for the next one.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

from contract.control import Position
from contract.histories import Histories
from contract.keys import Keys
from fanout.clients.newcomer import Newcomer
from fanout.clients.pressure import ACCEPTS_NOTHING
from fanout.clients.server import SLOW, ClientServer
from fanout.measure import too_large
from fanout.stats import AHEAD, AWAY, HISTORY, LARGE, TRIMMED
from fanout.sweep import A_TURN, Sweep
from fanout.upstream.catch_up import JournalGoneError
from fanout.upstream.search import Place, beginning, place_before
from fanout.upstream.strangers import Strangers
from fanout.writer import Writer
from runtime.context import Context
from runtime.redis.data import number_in
from runtime.redis.link import Calls

ASKED = 500
"""Users whose `since` is asked for in one command; what they are told is written in one turn of the event loop."""


class Resumption:
    """Serves newcomers over one connection to Redis; they outlast it."""

    def __init__(
        self, context: Context, link: Calls, clients: ClientServer, writer: Writer, strangers: Strangers
    ) -> None:
        self._settings = context.settings
        self._keys: Keys = context.settings.keys
        self._log = context.log
        self._now_s = context.now_s
        self._link = link
        self._clients = clients
        self._users = clients.users
        self._writer = writer
        self._strangers = strangers
        self._gone = 0
        """The journal is known not to have this batch."""

    async def run(self) -> None:
        """Serve newcomers as they become ready."""
        wake = self._clients.wake
        wake.set()
        while True:
            await wake.wait()
            wake.clear()
            # Without a history there is no position; a sequencer gives the deployment one.
            if self._users.ready and self._writer.next and self._strangers.history:
                await self._round()

    async def _round(self) -> None:
        await self._admit()
        await self._check()
        self._close_stalled()
        try:
            await self._sweep()
        except JournalGoneError as problem:
            self._log.info("journal_trimmed_while_resuming", reason=str(problem))
            self._gone = max(self._gone, problem.batch)
            self._clients.wake.set()

    async def _admit(self) -> None:
        async for newcomer in self._in_turns(self._users.ready.values()):
            if newcomer.after is None:
                self._tell(newcomer, b"OK %b\n")

    async def _check(self) -> None:
        asking = [newcomer for newcomer in self._users.ready.values() if newcomer.after and not newcomer.may_resume]
        for at in range(0, len(asking), ASKED):
            await self._check_some(asking[at : at + ASKED])

    async def _check_some(self, asking: list[Newcomer]) -> None:
        keys, users = self._keys, [newcomer.user_id for newcomer in asking]
        questions: list[tuple[bytes | str | int, ...]] = [("HMGET", keys.state, b"next"), ("GET", keys.histories)]
        questions.append(("HMGET", keys.since, *users))
        (committed,), earlier, found = await self._link.call_all(questions)
        histories = Histories(self._strangers.history, earlier or b"")
        for newcomer, since in zip(asking, found, strict=True):
            wanted = newcomer.number + 1
            newcomer.after = newcomer.after and histories.here(newcomer.after)
            if newcomer.after is None:
                self._reset(newcomer, HISTORY)
            elif wanted > number_in(keys.state, "next", committed, 0):
                self._reset(newcomer, AHEAD)
            elif since is None or not since.isdigit() or int(since) > wanted:
                self._reset(newcomer, AWAY)
            else:
                newcomer.may_resume = True

    def _close_stalled(self) -> None:
        # The pressure of slow clients (`pressure.py`) closes whoever holds up the node; this one holds up only itself.
        now_s, most_s = self._now_s(), self._settings.client_stall_s
        ready = self._users.ready.values()
        for newcomer in [each for each in ready if each.connection.is_behind or each.moved_s is not None]:
            if newcomer.stalled_s(now_s) > most_s:
                self._clients.close_slow(newcomer.connection, ACCEPTS_NOTHING)

    async def _sweep(self) -> None:
        end = Place(self._writer.written, self._writer.next - 1)
        ready = [each for each in self._users.ready.values() if each.may_resume and not each.connection.is_behind]
        newcomers = [newcomer for newcomer in ready if newcomer.number <= end.number]
        lowest = min((newcomer.number for newcomer in newcomers), default=end.number)
        begin = end if lowest == end.number else await self._begin(newcomers, lowest, end)
        # Those who were told RESET meanwhile are live.
        newcomers = [newcomer for newcomer in newcomers if newcomer.connection in self._users.ready]
        if newcomers:
            sweep = Sweep(self._clients, self._writer, newcomers, begin)
            if sweep.is_full:
                sweep = Sweep(self._clients, self._writer, [each for each in newcomers if not each.resumed], begin)
            await sweep.run(self._link, self._keys)

    async def _begin(self, newcomers: list[Newcomer], lowest: int, end: Place) -> Place:
        """Where the journal has to be read from. Those that miss more than it has, or than they may, are told."""
        link, keys, most_bytes = self._link, self._keys, self._settings.resume_bytes
        covered = await beginning(link, keys, self._gone, end)
        if lowest < covered.number:
            async for newcomer in self._in_turns(newcomers):
                if newcomer.number < covered.number:
                    self._trimmed(newcomer)
            lowest = covered.number
        begin = await place_before(link, keys, covered, end, lowest)
        if most_bytes < self._settings.journal_bytes:
            for newcomer in await too_large(link, keys, begin, end, newcomers, most_bytes):
                self._reset(newcomer, LARGE)
        return begin

    # What they are told

    def _trimmed(self, newcomer: Newcomer) -> None:
        if newcomer.resumed:
            self._clients.stats.replays_lost += 1
            self._log.info("replay_lost", user=newcomer.user_id.decode(), number=newcomer.number)
            newcomer.connection.close(SLOW)
        else:
            self._reset(newcomer, TRIMMED)

    def _reset(self, newcomer: Newcomer, reason: str) -> None:
        if newcomer.connection in self._users.ready:
            self._clients.stats.resets[reason] += 1
            self._tell(newcomer, b"RESET %%b %b\n" % reason.encode())

    def _tell(self, newcomer: Newcomer, line: bytes) -> None:
        position = Position(self._strangers.history, self._writer.next - 1)
        newcomer.connection.write(line % bytes(position))
        self._clients.make_live(newcomer)

    async def _in_turns(self, newcomers: Iterable[Newcomer]) -> AsyncIterator[Newcomer]:
        for count, newcomer in enumerate(list(newcomers), 1):
            if newcomer.connection in self._users.ready:
                yield newcomer
            if count % A_TURN == 0:
                await asyncio.sleep(0)
