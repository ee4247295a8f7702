"""The frame that closes a batch on the broadcast channel, and stream ids.

A frame is a header line of `name=value` pairs and the batch's broadcast lines:

    batch=42 cursor=1732391092341-0 next=70001 gone=
    69998|B

`batch` counts up by one from frame to frame, so a missing one shows. `cursor` is the last stream entry
that the batch consumed: a join at or before it is in force from this batch on. `gone` names the nodes
that this batch takes out of the system; such a node must not write the batch.
"""

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


@dataclass(frozen=True, slots=True)
class Frame:
    """One batch as the nodes see it. `lines` holds whole broadcast lines in sequence order."""

    batch: int
    cursor: bytes
    next: int
    gone: tuple[bytes, ...] = ()
    lines: bytes = b""

    def encode(self) -> bytes:
        header = (self.batch, self.cursor, self.next, b",".join(self.gone))
        return b"batch=%d cursor=%b next=%d gone=%b\n%b" % (*header, self.lines)

    @classmethod
    def decode(cls, payload: bytes) -> Self:
        """Parse a frame. ValueError or KeyError when it is not one."""
        header, _, lines = payload.partition(b"\n")
        fields = dict(pair.split(b"=", 1) for pair in header.split(b" "))
        gone = tuple(name for name in fields[b"gone"].split(b",") if name)
        return cls(int(fields[b"batch"]), fields[b"cursor"], int(fields[b"next"]), gone, lines)
