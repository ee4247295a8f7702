"""The frame that closes a batch on the broadcast channel, and stream ids.

A frame is a header line of `name=value` pairs and the batch's broadcast lines:

    batch=42 cursor=1732391092341-0 since=1732391092338 next=70001 epoch=9f31c2 after=51e07a@40 safe=42 gone=
    69998|B

- `batch` counts up by one from frame to frame, so a missing one shows.
- `cursor` is the last stream entry that the batch consumed: a join at or before it is in force from this batch on.
- `since` is when the oldest entry that the batch consumed came to Redis, in its milliseconds; 0: it consumed none.
- `epoch` is the sequencer's term, a random name, and `after` the epoch before it with its last batch. So a batch says
  which past it continues: after a fail-over to an older copy of the data, numbers repeat but the chain breaks.
- `safe` is the last batch that may be written out. It is the batch itself, unless the sequencer waits for replicas;
  then a message `safe=42` of its own follows on the channel once they have it.
- `gone` names the nodes that this batch takes out of the system; such a node must not write the batch.
"""

import re
from dataclasses import dataclass
from typing import Self

StreamId = tuple[int, int]
"""A Redis stream id as (milliseconds, sequence), which compares in stream order."""


def stream_id(text: bytes) -> StreamId:
    """Parse `1732391092341-0`. ValueError when it is not a stream id."""
    milliseconds, _, sequence = text.partition(b"-")
    return int(milliseconds), int(sequence)


def after(cursor: bytes) -> bytes:
    """The smallest stream id above `cursor`."""
    milliseconds, sequence = stream_id(cursor)
    return b"%d-%d" % (milliseconds, sequence + 1)


SAFE = b"safe="
"""How a message begins which says that replicas have the batches up to a number."""


def safe_batch(payload: bytes) -> int | None:
    """The number in `safe=42`; None when it is a frame, or should be one."""
    number = payload.removeprefix(SAFE)
    return int(number) if number != payload and number.isdigit() else None


_HEADER = re.compile(
    rb"batch=([0-9]+) cursor=([0-9]+-[0-9]+) since=([0-9]+) next=([0-9]+) "
    rb"epoch=([0-9A-Za-z]*) after=([0-9A-Za-z@]*) safe=([0-9]+) gone=([^ \n]*)\n"
)
_NODE = re.compile(rb"[^ ,\n]+")
"""What a node can be called. Other names in the `nodes` hash are somebody else's, and would break the header."""


def last_of(epoch: bytes, batch: int) -> bytes:
    """`51e07a@40`: the last batch of an epoch, as `after` names it."""
    return b"%b@%d" % (epoch, batch)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a term stands in the chain of epochs."""

    epoch: bytes
    after: bytes


@dataclass(frozen=True, slots=True)
class Frame:
    """One batch as the nodes see it. `lines` holds whole broadcast lines in sequence order."""

    batch: int
    cursor: bytes
    since_ms: int
    next: int
    place: Place
    safe: int
    gone: tuple[bytes, ...] = ()
    lines: bytes = b""

    def encode(self) -> bytes:
        place, gone = self.place, b",".join(filter(_NODE.fullmatch, self.gone))
        header = (self.batch, self.cursor, self.since_ms, self.next, place.epoch, place.after, self.safe, gone)
        return b"batch=%d cursor=%b since=%d next=%d epoch=%b after=%b safe=%d gone=%b\n%b" % (*header, self.lines)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a frame. ValueError when it is not one."""
        header = _HEADER.match(payload)
        if header is None:
            raise ValueError(f"not a frame: {payload[:80]!r}")
        batch, cursor, since, number, epoch, last, safe, names = header.groups()
        gone = tuple(name for name in names.split(b",") if name)
        place = Place(epoch, last)
        return cls(int(batch), cursor, int(since), int(number), place, int(safe), gone, payload[header.end() :])

    def continues(self, epoch: bytes, batch: int) -> bool:
        """Whether the past of this frame has `batch` of `epoch` as the batch before this one."""
        return self.batch == batch + 1 and (self.place.epoch == epoch or self.place.after == last_of(epoch, batch))
