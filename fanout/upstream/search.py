"""Finds the place in the journal where a client goes on: which batch ends at or before its number.

Rules kept here:

- No scan: the number of questions grows with the logarithm of the batches that the journal has.
- The journal covers what comes after a number only if it has the batch of that number, or one before it: what its first
  batch began with nobody can tell, except of the very first one.
"""

from dataclasses import dataclass

from contract.frames import FRAME, Frame, stream_id
from contract.keys import Keys
from fanout.upstream.catch_up import JournalGoneError, decoded
from runtime.redis.link import Calls


@dataclass(frozen=True, slots=True)
class Place:
    """Behind a batch, and so behind a number."""

    batch: int
    number: int


BEGINNING = Place(0, 0)


async def beginning(calls: Calls, keys: Keys, gone: int, end: Place) -> Place:
    """From where on the journal is whole, at most `end`; batches up to `gone` are known to be missing."""
    while gone < end.batch:
        found = await calls.call("XRANGE", keys.deliveries, f"{gone + 1}-0", "+", "COUNT", 1)
        batch = stream_id(found[0][0])[0] if found else end.batch
        if batch == 1:
            return BEGINNING
        if batch >= end.batch:
            break
        try:
            return await _behind(calls, keys, batch)
        except JournalGoneError:  # trimmed just now, or damaged
            gone = batch
    return end


async def place_before(calls: Calls, keys: Keys, low: Place, end: Place, number: int) -> Place:
    """The last place between both that is not behind `number`. JournalGoneError when the journal was trimmed meanwhile.

    `low` is not behind it.
    """
    high = end.batch
    if end.number <= number:
        return end
    while high - low.batch > 1:
        middle = await _behind(calls, keys, (low.batch + high) // 2)
        if middle.number <= number:
            low = middle
        else:
            high = middle.batch
    return low


async def _behind(calls: Calls, keys: Keys, batch: int) -> Place:
    parts = await calls.call("XREVRANGE", keys.deliveries, batch, batch, "COUNT", 1)
    fields = dict(zip(parts[0][1][::2], parts[0][1][1::2], strict=True)) if parts else {}
    frame: Frame = decoded(fields.get(FRAME.encode(), b""), batch)
    return Place(batch, frame.next - 1)
