"""Whether a service can do its work now, and why not. Pure; `contract/health.py` serves it over HTTP."""

from collections.abc import Awaitable, Callable

Facts = Callable[[], Awaitable[dict[str, object]]]


async def no_facts() -> dict[str, object]:
    return {}


class Readiness:
    """Reasons not to be ready, each under a name of its own; ready means that there is none."""

    def __init__(self, facts: Facts = no_facts) -> None:
        self.reasons: dict[str, str] = {"starting": "the service has not started yet"}
        self.facts = facts

    def lacks(self, name: str, reason: str) -> None:
        """Something is missing."""
        self.reasons[name] = reason

    def has(self, *names: str) -> None:
        """What was missing is there again."""
        for name in names:
            self.reasons.pop(name, None)
