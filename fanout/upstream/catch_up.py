"""Reads the journal: the batches that a node missed, or clients that come back."""

from collections.abc import AsyncIterator

from contract.frames import FRAME, Frame, Messages, stream_id
from contract.keys import Keys
from runtime.redis.link import Calls

PARTS = 16
"""Parts read at a time; each holds at most 1,000 users and their lines."""


class JournalGoneError(Exception):
    """The journal no longer has what the node missed, from `batch` on, so its clients would miss lines."""

    def __init__(self, text: str, batch: int) -> None:
        super().__init__(text)
        self.batch = batch


async def missed_batches(calls: Calls, keys: Keys, last: int, until: int) -> AsyncIterator[tuple[Frame, Messages]]:
    """The batches after `last` up to `until`, in order. JournalGoneError when one of them is missing or damaged."""
    async for batches in reads(calls, keys, last, until):
        for batch in batches:
            yield batch


async def reads(calls: Calls, keys: Keys, last: int, until: int) -> AsyncIterator[list[tuple[Frame, Messages]]]:
    """As `missed_batches`, but together those that one command has read."""
    position = f"{last + 1}-0"
    expected = last + 1
    messages: Messages = {}
    while expected <= until:
        parts = await calls.call("XRANGE", keys.deliveries, position, until, "COUNT", PARTS)
        if not parts:
            raise JournalGoneError(f"the journal does not have batch {expected}", expected)
        batches: list[tuple[Frame, Messages]] = []
        for part_id, fields in parts:
            batch, part = stream_id(part_id)
            if batch != expected:
                raise JournalGoneError(f"the journal continues with batch {batch}, not with {expected}", expected)
            messages |= dict(zip(fields[::2], fields[1::2], strict=True))
            position = f"{batch}-{part + 1}"
            if (frame := messages.pop(FRAME.encode(), None)) is not None:
                batches.append((decoded(frame, expected), messages))
                messages, expected = {}, expected + 1
        yield batches


def decoded(payload: bytes, batch: int) -> Frame:
    """The frame of a batch, as the journal has it. JournalGoneError when it is none."""
    try:
        return Frame.decode(payload)
    except ValueError:
        raise JournalGoneError(f"what the journal has for batch {batch} is no frame", batch) from None
