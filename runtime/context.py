"""What a service takes from outside: connections to Redis, time, a log, and random names.

Everything that a service does beyond computing goes through a `Context` that it is given, so that the same code runs
in virtual time, on a simulated network, and from one seed (`tests/schedules/`).
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import structlog

from runtime.logs import Log
from runtime.redis.link import RedisLink, connect
from runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Context:
    """One process's way to the outside."""

    settings: Settings
    log: Log = field(default_factory=structlog.get_logger)
    open_link: Callable[[str, float, str], Awaitable[RedisLink]] = connect
    """URL, time limit in seconds, name in CLIENT LIST."""
    random_hex: Callable[[int], str] = secrets.token_hex
    """A random name, as hexadecimal digits; the argument is its length in bytes."""
    least_poll_s: float = 0.0
    """Polls are at least so far apart; in virtual time a schedule takes fewer steps that way."""

    def now_s(self) -> float:
        """Monotonic seconds, those of the event loop."""
        return asyncio.get_running_loop().time()

    async def connect(self, purpose: str) -> RedisLink:
        """A connection to this deployment's Redis. RedisUnavailableError when that fails."""
        settings = self.settings
        name = f"{settings.namespace}-{purpose}"
        return await self.open_link(settings.redis_url, settings.redis_timeout_s, name)
