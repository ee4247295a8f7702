"""Redis away and back: each is logged once, with the duration, and shown in the service's readiness."""

from runtime.context import Context
from runtime.errors import RedisDataError, RedisRightsError
from runtime.readiness import Readiness

AGAIN_S = 60.0
"""Time between two log lines about the same problem that the operator has to fix. A service that works for a moment
and then meets it again would log it every time."""
REASONS_KEPT = 100


class Outage:
    """Whether Redis is away for this service, which includes a Redis that answers but refuses what is needed."""

    def __init__(self, context: Context, readiness: Readiness) -> None:
        self._context = context
        self._readiness = readiness
        self._since_s: float | None = None
        self._is_told = False
        self._told_s: dict[str, float] = {}

    def begins(self, problem: Exception, **facts: object) -> None:
        """Redis is away. Repeating it changes nothing, unless it is another problem that the operator has to fix."""
        reason, now_s = str(problem), self._context.now_s()
        self._readiness.lacks("redis", reason)
        is_new = self._since_s is None
        if is_new:
            self._since_s = now_s
        is_to_mend = isinstance(problem, RedisDataError | RedisRightsError)
        if self._is_due(reason, now_s) if is_to_mend else is_new:
            self._is_told = True
            self._context.log.warning("redis_away", reason=reason, **facts)

    def ends(self) -> None:
        """Redis accepts the service's work; a connection alone proves nothing."""
        self._readiness.has("starting", "redis")
        if self._since_s is None:
            return
        if self._is_told:
            self._context.log.info("redis_back", away_s=round(self._context.now_s() - self._since_s, 1))
        self._since_s, self._is_told = None, False

    def _is_due(self, reason: str, now_s: float) -> bool:
        last_s = self._told_s.get(reason)
        if last_s is not None and now_s - last_s < AGAIN_S:
            return False
        if len(self._told_s) >= REASONS_KEPT:
            self._told_s.clear()
        self._told_s[reason] = now_s
        return True
