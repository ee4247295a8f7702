"""Redis away and back: each said once, with how long it took, and shown in the service's readiness."""

import asyncio

import structlog

from contract.readiness import Readiness

log = structlog.get_logger()


class Outage:
    """Whether Redis is away for this service. Away is also a Redis that answers but refuses what the service needs."""

    def __init__(self, readiness: Readiness) -> None:
        self._readiness = readiness
        self._since_s: float | None = None

    def begins(self, reason: str, **facts: object) -> None:
        """Redis is away; saying so again changes nothing."""
        self._readiness.lacks("redis", reason)
        if self._since_s is None:
            self._since_s = asyncio.get_running_loop().time()
            log.warning("redis_away", reason=reason, **facts)

    def ends(self) -> None:
        """Redis takes what there is: a connection alone proves nothing."""
        self._readiness.has("starting", "redis")
        if self._since_s is not None:
            log.info("redis_back", away_s=round(asyncio.get_running_loop().time() - self._since_s, 1))
            self._since_s = None
