"""The entries of the event stream, and those of the stream of refused lines. Pure.

An entry of `events` is one of three:

    raw     <event lines>                          what sources sent, as it came; written by the listener
    node    <node>  leave <users>  join <users>    who left and who came to a node, ids separated by blanks;
                                                   `leave *`: the node itself leaves, with all its users
            keep <users>  forget <users>           also in such an entry: those of the users who join whose place is
                                                   kept when they leave, and those who leave whose place is not
    skip_to <number>                               give up the missing numbers below it; written by `parade skip`

An entry of `rejected`:

    reason <why>  line <the beginning of a refused line, or `first-last` of numbers that were skipped>

Rules kept here:

- Readers take fields by name and ignore those they do not know.
- What makes no sense is refused, never fatal.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Final

from contract.events import (
    MAX_SEQUENCE,
    Event,
    malformed,
    malformed_unnumbered,
    numbered_run,
    parse,
    parse_unnumbered,
    unnumbered_run,
)

_number = itemgetter(1)

EVERYONE: Final = b"*"
"""In place of the users who left: all of the node's."""
SKIPPED: Final = "skipped"
"""Numbers given up while they were missing: the name of their count in the state hash, and the reason under which they
are recorded."""

NOT_AN_EVENT: Final = "not an event"
NUMBERED: Final = "numbered, and Parade numbers the events here"
UNNUMBERED: Final = "without a number, and the sources number the events here"
"""Why a line is refused where it is cut into events."""

Refused = list[tuple[str, bytes]]
"""(reason, line) of each line that could not be parsed."""


@dataclass(slots=True)
class Entry:
    """One stream entry. `refused` has one that makes no sense, with the reason."""

    id: bytes
    raw: bytes = b""
    refused: Refused = field(default_factory=list)
    node: bytes = b""
    skip_to: int = 0
    joins: list[bytes] = field(default_factory=list)
    leaves: list[bytes] = field(default_factory=list)
    keep: list[bytes] = field(default_factory=list)
    """Of those who join, the users whose place is kept for a while when they leave."""
    forget: list[bytes] = field(default_factory=list)
    """Of those who leave, the users whose place is kept no longer."""

    @property
    def node_leaves(self) -> bool:
        """The node leaves, with all its users."""
        return self.leaves == [EVERYONE]

    def events(self) -> tuple[list[Event], Refused]:
        """The events, and the lines that are not events. Those are among the events too, without a number."""
        events = parse(self.raw)
        # Only a chunk with refused lines has an event without number, and only that one is gone through.
        if all(map(_number, events)):
            return events, self.refused
        return events, [(why_refused(line, unnumbered_run, UNNUMBERED), line) for line in malformed(self.raw)]

    def unnumbered_events(self) -> tuple[list[Event], Refused]:
        """The same where Parade numbers the events: those with `*` as their number."""
        events = parse_unnumbered(self.raw)
        if all(map(_number, events)):
            return events, self.refused
        return events, [(why_refused(line, numbered_run, NUMBERED), line) for line in malformed_unnumbered(self.raw)]


def why_refused(line: bytes, other: Callable[[bytes], re.Match[bytes] | None], reason: str) -> str:
    """`reason` when the line is an event of the `other` kind; else it is none at all."""
    found = other(line)
    return reason if found and found.end() == len(line) > 0 else NOT_AN_EVENT


def raw_fields(lines: bytes) -> tuple[str, bytes]:
    """The fields of an entry of event lines."""
    return "raw", lines


def presence_fields(
    node: str,
    leaves: Iterable[bytes],
    joins: Iterable[bytes],
    keep: Iterable[bytes] = (),
    forget: Iterable[bytes] = (),
) -> tuple[str | bytes, ...]:
    """The fields of an entry that says who left a node and who came; at least one of both."""
    lists = (("leave", leaves), ("join", joins), ("keep", keep), ("forget", forget))
    users = [(name, b" ".join(ids)) for name, ids in lists]
    return "node", node, *(part for name, ids in users if ids for part in (name, ids))


def skip_fields(number: int) -> tuple[str, int]:
    """The fields of an entry that asks to skip to a number."""
    return "skip_to", number


def parse_entry(entry_id: bytes, fields: list[bytes]) -> Entry:
    """Make sense of an entry of `events`."""
    values = dict(zip(fields[::2], fields[1::2], strict=True))
    entry = Entry(entry_id)
    if b"raw" in values:
        entry.raw = values[b"raw"]
    elif b"node" in values and values.keys() & {b"join", b"leave"}:
        entry.node = values[b"node"]
        entry.joins = values.get(b"join", b"").split()
        entry.leaves = values.get(b"leave", b"").split()
        entry.keep = values.get(b"keep", b"").split()
        entry.forget = values.get(b"forget", b"").split()
    elif (skip_to := values.get(b"skip_to", b"")).isdigit() and len(skip_to) <= len(str(MAX_SEQUENCE)):
        entry.skip_to = int(skip_to)
    else:
        entry.refused = [("unknown stream entry", b" ".join(fields))]
    return entry


def rejected_fields(reason: str, line: bytes) -> tuple[str, str, str, bytes]:
    """The fields of an entry of `rejected`."""
    return "reason", reason, "line", line
