"""What a fanout node says about itself in the `nodes` hash: one line of four numbers. Pure; `beat.lua` writes it."""

import re
from dataclasses import dataclass

_REPORT = re.compile(rb"([0-9]{1,15}) ([0-9]{1,15}) ([0-9]{1,15}) ([0-9]{1,15})")
"""Up to 15 digits: more than any of them ever has, and Lua counts exactly so far."""


@dataclass(frozen=True, slots=True)
class NodeReport:
    """A node's last heartbeat."""

    batch: int
    """The last batch that it has written to its clients."""
    time_ms: int
    """When it said so, in Redis time."""
    connections: int
    """The client connections that it has."""
    session: int
    """Which of its connections to Redis said so, counted up by the node (`announce.lua`)."""


def parse_node_report(report: bytes) -> NodeReport:
    """`<batch> <time, ms> <connections> <session>`. ValueError when it is anything else."""
    found = _REPORT.fullmatch(report)
    if found is None:
        raise ValueError(f"a node's report is four numbers, not {report[:80]!r}")
    return NodeReport(*map(int, found.groups()))
