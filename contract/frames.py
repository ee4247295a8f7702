"""The frame that closes a batch on the broadcast channel and in the journal, and stream ids. Pure.

A frame is a header line of `name=value` pairs and the batch's broadcast lines:

  batch=42 cursor=1732391092341-0 since=1732391092338 next=701 epoch=c81d04 after=51e07a@40 safe=42 gone= history=9f31c2
  698|B

A batch in the journal (`deliveries`) is one or more stream entries with the ids `<batch>-1`, `<batch>-2`, …:

    42-1   50 <lines for user 50>  51 <lines for user 51>  …
    42-2   52 <lines for user 52>  …  frame <the frame>         the last part has the frame

Readers take the pairs of the header by name and ignore those they do not know.

- `batch` counts up by one from frame to frame, so a missing one shows.
- `cursor` is the last stream entry that the batch consumed: a join at or before it is in force from this batch on.
- `since` is when the oldest entry that the batch consumed came to Redis, in its milliseconds; 0: it consumed none.
- `next` is the sequence number to be released next.
- `epoch` is the sequencer's term, a random name, and `after` the epoch before it with its last batch. This
  is the batch's lineage: after a fail-over to an older copy of the data, numbers repeat but the chain breaks.
- `safe` is the last batch that may be written out. It is the batch itself, unless the sequencer waits for replicas;
  then a separate message `safe=42` follows on the channel once they have it.
- `gone` names the nodes that this batch takes out of the system; such a node must not write the batch.
- `history` is a random name that a deployment gets when it begins, anew after each reset. A frame with another one was
  published by another deployment. It is empty, or not there, in frames of a deployment that has none.
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
"""Begins a message that says up to which batch the replicas have everything."""


def safe_batch(payload: bytes) -> int | None:
    """The number in `safe=42`; None when it is a frame, or should be one."""
    number = payload.removeprefix(SAFE)
    return int(number) if number != payload and number.isdigit() else None


FRAME = "frame"
"""The journal's field that has the frame; all other fields are user ids."""
Messages = dict[bytes, bytes]
"""A batch's lines for each user who got any."""

_VALUES: dict[bytes, "re.Pattern[bytes]"] = {
    **dict.fromkeys((b"batch", b"since", b"next", b"safe"), re.compile(rb"[0-9]+")),
    b"cursor": re.compile(rb"[0-9]+-[0-9]+"),
    b"epoch": re.compile(rb"[0-9A-Za-z]*"),
    b"after": re.compile(rb"[0-9A-Za-z@]*"),
    b"gone": re.compile(rb"[^ \n]*"),
}
"""The pairs of a header that have always been there."""
_HISTORY = re.compile(rb"[0-9A-Za-z]*")
_NODE = re.compile(rb"[^ ,\n]+")
"""What a node can be called. A hash field of another kind in `nodes` is not ours, and would break the header."""


def last_of(epoch: bytes, batch: int) -> bytes:
    """`51e07a@40`: the last batch of an epoch, as `after` names it."""
    return b"%b@%d" % (epoch, batch)


def differ(history: bytes, other: bytes) -> bool:
    """Whether two histories are known to be different ones; an empty one is not known."""
    return history != other and bool(history and other)


@dataclass(frozen=True, slots=True)
class Lineage:
    """A term's position in the chain of epochs, and the history that the chain is of."""

    epoch: bytes
    after: bytes
    history: bytes = b""


@dataclass(frozen=True, slots=True)
class Frame:
    """One batch as the nodes see it. `lines` holds whole broadcast lines in sequence order."""

    batch: int
    cursor: bytes
    since_ms: int
    next: int
    lineage: Lineage
    safe: int
    gone: tuple[bytes, ...] = ()
    lines: bytes = b""

    def encode(self) -> bytes:
        lineage, gone = self.lineage, b",".join(filter(_NODE.fullmatch, self.gone))
        position = (self.batch, self.cursor, self.since_ms, self.next, lineage.epoch, lineage.after, self.safe)
        header = b"batch=%d cursor=%b since=%d next=%d epoch=%b after=%b safe=%d" % position
        return header + b" gone=%b history=%b\n%b" % (gone, lineage.history, self.lines)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a frame. ValueError when it is not one."""
        header, end, lines = payload.partition(b"\n")
        pairs = dict(pair.partition(b"=")[::2] for pair in header.split(b" "))
        if not end or not all(name in pairs and valid.fullmatch(pairs[name]) for name, valid in _VALUES.items()):
            raise ValueError(f"not a frame: {payload[:80]!r}")
        history = pairs.get(b"history", b"")
        if not _HISTORY.fullmatch(history):
            raise ValueError(f"not a frame: {payload[:80]!r}")
        return cls(
            batch=int(pairs[b"batch"]),
            cursor=pairs[b"cursor"],
            since_ms=int(pairs[b"since"]),
            next=int(pairs[b"next"]),
            lineage=Lineage(pairs[b"epoch"], pairs[b"after"], history),
            safe=int(pairs[b"safe"]),
            gone=tuple(name for name in pairs[b"gone"].split(b",") if name),
            lines=lines,
        )

    def continues(self, epoch: bytes, batch: int) -> bool:
        """Whether the past of this frame has `batch` of `epoch` as the batch before this one."""
        return self.batch == batch + 1 and (self.lineage.epoch == epoch or self.lineage.after == last_of(epoch, batch))
