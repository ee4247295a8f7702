"""Whether a service can do its work now, and why not; and what it counts. Pure; `runtime/health.py` serves it."""

from collections.abc import Awaitable, Callable
from typing import Any

Facts = Callable[[], Awaitable[dict[str, object]]]
Judge = Callable[[], str | None]
"""Looks now: a reason not to be ready, or None."""


async def no_facts() -> dict[str, object]:
    return {}


class Readiness:
    """Reasons not to be ready, each under a name of its own; ready means that there is none.

    `observe` returns the service's stats (`runtime/stats.py`), up to date.
    """

    def __init__(self, facts: Facts = no_facts) -> None:
        self.reasons: dict[str, str] = {"starting": "the service has not started yet"}
        self.judges: list[Judge] = []
        self.facts = facts
        self.observe: Callable[[], Any] = lambda: None

    def lacks(self, name: str, reason: str) -> None:
        """Something is missing."""
        self.reasons[name] = reason

    def has(self, *names: str) -> None:
        """What was missing is there again."""
        for name in names:
            self.reasons.pop(name, None)

    def why_not(self) -> list[str]:
        """All that is missing now."""
        found = [judge() for judge in self.judges]
        return [*self.reasons.values(), *(reason for reason in found if reason)]
