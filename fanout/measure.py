"""How many bytes clients that come back have missed, before any of them is told that it may go on.

Only a reading of the journal can tell. So where `resume_bytes` is below what the journal can hold, it is read twice:
here the lengths are added up, later the lines are sent. By default it is not below, and nothing is measured.
"""

import asyncio

from contract.frames import Frame, Messages
from contract.keys import Keys
from fanout.clients.newcomer import Newcomer
from fanout.sweep import A_TURN
from fanout.upstream.catch_up import missed_batches
from fanout.upstream.search import Place
from runtime.redis.link import Calls


class Missed:
    """Adds up what some users have missed. Pure."""

    def __init__(self, users: set[bytes]) -> None:
        self._users = users
        self._sizes: list[tuple[int, int, dict[bytes, int]]] = []
        """Of each batch the number before the next one, its broadcasts, and the lines of these users, in bytes."""

    def add(self, frame: Frame, messages: Messages) -> None:
        """The next batch of the journal."""
        own = {user_id: len(messages[user_id]) for user_id in messages.keys() & self._users}
        if own or frame.lines:
            self._sizes.append((frame.next - 1, len(frame.lines), own))

    def size(self, user_id: bytes, number: int) -> int:
        """The bytes of a user's lines above a number; all of the batch with that number counts."""
        return sum(size + own.get(user_id, 0) for upto, size, own in self._sizes if upto > number)


async def too_large(
    calls: Calls, keys: Keys, begin: Place, end: Place, newcomers: list[Newcomer], most_bytes: int
) -> list[Newcomer]:
    """Those that have missed more than `most_bytes` between two places. JournalGoneError as `missed_batches`."""
    missed = Missed({newcomer.user_id for newcomer in newcomers})
    async for frame, messages in missed_batches(calls, keys, begin.batch, end.batch):
        missed.add(frame, messages)
    found = []
    for count, newcomer in enumerate(newcomers, 1):
        if not newcomer.resumed and missed.size(newcomer.user_id, newcomer.number) > most_bytes:
            found.append(newcomer)
        if count % A_TURN == 0:
            await asyncio.sleep(0)
    return found
