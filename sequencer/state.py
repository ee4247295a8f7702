"""Where a deployment stands between two batches, as Redis has it. Pure."""

from dataclasses import dataclass, field

from contract.events import Event


@dataclass(slots=True)
class State:
    """What a term begins with."""

    next: int
    """The sequence number to be released next."""
    batch: int
    """The last batch that was committed."""
    cursor: bytes
    """The last stream entry that it consumed."""
    skip_to: int = 0
    """Missing numbers below this are given up."""
    waiting: list[Event] = field(default_factory=list)
    online: dict[bytes, list[bytes]] = field(default_factory=dict)
    """node → its users"""
    since: dict[bytes, int] = field(default_factory=dict)
    """user whose place is kept → the number from which routing has been unbroken"""
    away_s: dict[bytes, float] = field(default_factory=dict)
    """user who is away → for how many seconds yet, the shortest time first"""
    renewed: str = ""
    """Why a new history begins with this term; empty when it does not."""
