"""What one batch changes, and how that is handed to the commit script. Pure."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from itertools import chain

from contract.frames import Frame, after
from contract.framing import SAMPLE_BYTES

Argument = bytes | str | int
RECORDED_PER_BATCH = 100
"""Refused lines of a batch that are recorded; more are only counted, so that rubbish stays cheap."""


@dataclass(slots=True)
class Batch:
    """All that one commit makes true. Field by field the sections that `commit.lua` reads."""

    next: int
    cursor: bytes
    raw_bytes: int = 0
    counts: Counter[str] = field(default_factory=Counter)
    changes: dict[tuple[bytes, bytes], bytes] = field(default_factory=dict)
    waiting: list[tuple[int, bytes]] = field(default_factory=list)
    joins: list[tuple[bytes, list[bytes]]] = field(default_factory=list)
    leaves: list[tuple[bytes, list[bytes]]] = field(default_factory=list)
    gone: tuple[bytes, ...] = ()
    rejected: list[tuple[str, bytes]] = field(default_factory=list)
    messages: list[tuple[bytes, bytes]] = field(default_factory=list)
    broadcasts: bytes = b""

    @property
    def published_bytes(self) -> int:
        return len(self.broadcasts) + sum(len(lines) for _, lines in self.messages)

    @property
    def weight(self) -> int:
        """What this batch costs those downstream, in bytes."""
        return self.raw_bytes + self.published_bytes

    def arguments(
        self, number: int, token: str, lease_ms: int, rejected_entries: int, journal_first: int
    ) -> list[Argument]:
        """ARGV of `commit.lua`, in the order in which it reads them."""
        frame = Frame(number, self.cursor, self.next, self.gone, self.broadcasts)
        args: list[Argument] = [token, lease_ms, number, self.next, self.cursor, after(self.cursor)]
        args += [self.raw_bytes, rejected_entries, frame.encode(), journal_first]
        counts = [(name, count) for name, count in self.counts.items() if count]
        _section(args, counts)
        _section(args, [pair for pair, change in self.changes.items() if change == b"F"])
        _section(args, [pair for pair, change in self.changes.items() if change == b"U"])
        _section(args, self.waiting)
        _section(args, [(reason, line[:SAMPLE_BYTES]) for reason, line in self.rejected[:RECORDED_PER_BATCH]])
        _section(args, [(node, user) for node, users in self.leaves for user in users])
        _section(args, [(node, user) for node, users in self.joins for user in users])
        args += [len(self.gone), *self.gone]
        _section(args, self.messages)
        return args


def _section(args: list[Argument], pairs: Collection[tuple[Argument, ...]]) -> None:
    args.append(len(pairs))
    args.extend(chain.from_iterable(pairs))
