"""A connection that opted in and is not live yet: where it wants to go on, and how far it has come. Pure.

`fanout/resume.py` tells its way.
"""

from dataclasses import dataclass

from contract.control import Position
from fanout.clients.served import ServedClient


@dataclass(slots=True, eq=False)
class Newcomer:
    """One such connection of a user."""

    user_id: bytes
    connection: ServedClient
    after: Position | None
    """Where it goes on; None: from now on."""
    may_resume: bool = False
    """Its history, its number and its user's `since` have been found right; what is left is the journal."""
    resumed: bool = False
    """It has been told RESUMED, so it may not be told anything else, nor miss a line."""
    number: int = 0
    """It has its lines up to here."""
    unsent_bytes: int = 0
    """When it was last seen to be behind."""
    moved_s: float | None = None
    """Since when it has taken nothing; None: it is not behind."""

    def __post_init__(self) -> None:
        if self.after is not None:
            self.number = self.after.number

    def ask_again(self) -> None:
        """Begin anew from where it is: the history has been renewed."""
        if self.after is not None:
            self.after = Position(self.after.history, self.number)
            self.may_resume = self.resumed = False

    def stalled_s(self, now_s: float) -> float:
        """For how long it has taken nothing of what was written to it, by this look and those before."""
        unsent = self.connection.unsent_bytes()
        if not self.connection.is_behind:
            self.moved_s = None
        elif self.moved_s is None or unsent < self.unsent_bytes:
            self.moved_s = now_s
        self.unsent_bytes = unsent
        return 0.0 if self.moved_s is None else now_s - self.moved_s
