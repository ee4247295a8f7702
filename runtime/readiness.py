"""Whether a service can do its work now, and why not; and what it shows of itself. Pure.

`runtime/health.py` serves a `Status` over HTTP, `runtime/report.py` writes it to Redis.
"""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

Facts = dict[str, object]
Check = Callable[[], str | None]
"""Looks now: a reason not to be ready, or None."""


class Readiness:
    """Reasons not to be ready, each under its name."""

    def __init__(self) -> None:
        self.reasons: dict[str, str] = {"starting": "the service has not started yet"}

    def lacks(self, name: str, reason: str) -> None:
        """Something is missing."""
        self.reasons[name] = reason

    def has(self, *names: str) -> None:
        """What was missing is there again."""
        for name in names:
            self.reasons.pop(name, None)


async def no_facts() -> Facts:
    """Nothing to say."""
    return {}


@dataclass(frozen=True, slots=True)
class Status:
    """What a service shows of itself."""

    readiness: Readiness
    observe: Callable[[], Any]
    """Its stats (`runtime/stats.py`), up to date."""
    checks: tuple[Check, ...] = ()
    """More reasons not to be ready, looked at each time."""
    facts: Callable[[], Awaitable[Facts]] = no_facts
    """Where the deployment stands, for `/readyz`. RedisUnavailableError when Redis does not answer."""
    identity: Callable[[], Facts] = field(default=dict)
    """Who it is, for its report."""

    def why_not(self) -> list[str]:
        """All that is missing now; ready when that is nothing."""
        found = [check() for check in self.checks]
        return [*self.readiness.reasons.values(), *(reason for reason in found if reason)]
