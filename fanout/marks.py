"""Position marks: clients that opted in learn how far they have everything, although nothing is for them.

Rules kept here:

- A mark is the number before the next one that is not written yet, and is written between two batches. So whoever has
  got it has every line up to it.
- Only to connections that are live, have taken what was written to them, and have got nothing since the last look.
"""

import asyncio
from collections.abc import Callable

from fanout.clients.server import ClientServer

AT_S = 5.0
"""Time between two looks, so the marks of a quiet connection come 5 to 10 s after its last line, and then every 5 s."""
A_TURN = 256
"""Connections looked at in one turn of the event loop."""


class Marks:
    """Writes marks to the clients; `next_number` says what is written next (0: that is not known)."""

    def __init__(self, clients: ClientServer, next_number: Callable[[], int]) -> None:
        self._clients = clients
        self._next_number = next_number

    async def run(self) -> None:
        """Look every 5 s."""
        while True:
            await asyncio.sleep(AT_S)
            await self.look()

    async def look(self) -> None:
        """Write a mark to those that are quiet."""
        clients = self._clients
        for count, client in enumerate(list(clients.opted_in), 1):
            next_number = self._next_number()
            if client in clients.opted_in and not client.is_behind and next_number:
                if client.is_quiet:
                    client.write(b"AT %d\n" % (next_number - 1))
                client.is_quiet = True
            if count % A_TURN == 0:
                await asyncio.sleep(0)
