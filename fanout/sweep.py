"""One reading of the journal for all newcomers that wait: each gets what it missed, and is live after that.

`fanout/resume.py` tells what comes before. Steps 7 to 10 of a newcomer's way are here.

Rules kept here:

- A newcomer has its lines up to `number`, each once and in order, whenever a sweep ends, however it ends. So the next
  one goes on from there.
- A newcomer becomes live in the same turn of the event loop in which it gets its last lines: those of the batches that
  the node has written since the sweep has read where it was. So no line falls between, and none comes twice.
- Nobody is waited for. A newcomer that has not taken what it got is left out; a later sweep goes on with it.
- What newcomers have not taken is bounded together, far below what makes the node wait for its clients.
- A turn of the event loop is short: so many connections, or so many bytes.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable

from contract.keys import Keys
from fanout.clients.newcomer import Newcomer
from fanout.clients.server import ClientServer
from fanout.stretch import Kept, Stretch
from fanout.upstream.catch_up import reads
from fanout.upstream.search import Place
from fanout.writer import Writer
from runtime.redis.link import Calls

A_TURN = 128
"""Connections written to in one turn of the event loop: about a millisecond."""
A_TURN_BYTES = 1 << 20
LITTLE_BYTES = 4 * 1024
"""So much is written to a newcomer even when others have not taken what they got: it may be all that it missed."""
UNSENT_PART = 4
"""Newcomers may have this part of the bytes unsent at which a node waits for its clients."""


class Sweep:
    """Serves some newcomers; `end` leaves each of them where the next sweep can go on."""

    def __init__(self, clients: ClientServer, writer: Writer, newcomers: Iterable[Newcomer], begin: Place) -> None:
        self._clients = clients
        self._users = clients.users
        self._stats = clients.stats
        self._writer = writer
        self._place = begin
        """What has been read: each newcomer has its lines up to here, if its own number is not larger."""
        self._served = dict.fromkeys(newcomers)
        self._of_user: dict[bytes, list[Newcomer]] = {}
        ready = self._users.ready.values()
        self._unsent_bytes = sum(each.connection.unsent_bytes() for each in ready if each.connection.is_behind)
        self._most_unsent_bytes = clients.settings.node_buffer_bytes // UNSENT_PART
        self._turn_bytes = 0

    @property
    def is_full(self) -> bool:
        """Newcomers have not taken what they got; more of it has to wait."""
        return self._unsent_bytes >= self._most_unsent_bytes

    async def run(self, calls: Calls, keys: Keys) -> None:
        """Serve them. JournalGoneError when the journal has lost what they need."""
        writer = self._writer
        try:
            async for newcomer in self._in_turns(list(self._served)):
                self._of_user.setdefault(newcomer.user_id, []).append(newcomer)
            while self._served:
                kept = writer.kept = Kept(writer.written, writer.next - 1, writer.limit_bytes)
                await self._read(calls, keys, kept.last)
                await self._finish(kept)
        finally:
            writer.kept = None
            for newcomer in self._served:
                newcomer.number = max(newcomer.number, self._place.number)

    async def _read(self, calls: Calls, keys: Keys, until: int) -> None:
        async for batches in reads(calls, keys, self._place.batch, until):
            if not self._served:
                return
            if batches:
                stretch = Stretch(batches, self._place.number)
                await self._give(stretch)
                self._place = Place(stretch.last, stretch.upto)

    async def _give(self, stretch: Stretch) -> None:
        if stretch.broadcasts.bytes:
            concerned = list(self._served)
        else:
            concerned = [newcomer for user_id in stretch.own for newcomer in self._of_user.get(user_id, ())]
        async for newcomer in self._in_turns(concerned):
            if newcomer.number < stretch.upto:
                lines = stretch.lines(newcomer.user_id, newcomer.number)
                if self._takes_more(newcomer, stretch.after, len(lines)):
                    self._write(newcomer, lines)
                    newcomer.number = stretch.upto

    async def _finish(self, kept: Kept) -> None:
        async for newcomer in self._in_turns(list(self._served)):
            if not kept.is_whole:  # more was written meanwhile than can be kept: it is in the journal
                return
            lines = kept.stretch().lines(newcomer.user_id, newcomer.number)
            if self._takes_more(newcomer, kept.upto, len(lines)):
                self._write(newcomer, lines)
                self._clients.make_live(newcomer)
                del self._served[newcomer]

    async def _in_turns(self, newcomers: list[Newcomer]) -> AsyncIterator[Newcomer]:
        for count, newcomer in enumerate(newcomers, 1):
            if newcomer.connection not in self._users.ready:
                self._served.pop(newcomer, None)  # its connection has ended
            elif newcomer in self._served:
                yield newcomer
            if count % A_TURN == 0 or self._turn_bytes > A_TURN_BYTES:
                self._turn_bytes = 0
                await asyncio.sleep(0)

    def _takes_more(self, newcomer: Newcomer, upto: int, size: int) -> bool:
        """Whether it is written to; if not it is left out, and has its lines up to there."""
        if not newcomer.connection.is_behind and (size <= LITTLE_BYTES or not self.is_full):
            return True
        newcomer.number = max(newcomer.number, upto)
        del self._served[newcomer]
        return False

    def _write(self, newcomer: Newcomer, lines: bytes) -> None:
        connection, stats = newcomer.connection, self._stats
        data = lines
        if not newcomer.resumed:
            newcomer.resumed = True
            stats.resumed += 1
            data = b"RESUMED %b\n%b" % (bytes(newcomer.after or b""), lines)
        if data:
            connection.write(data)
            self._turn_bytes += len(data)
            stats.replayed_lines += lines.count(b"\n")
            stats.replayed_bytes += len(lines)
        if connection.is_behind:
            self._unsent_bytes += connection.unsent_bytes()
