"""What each service says about itself in Redis, once a second: for `parade status` and whoever else looks."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path

from contract.errors import RedisUnavailableError
from contract.keys import Keys
from contract.readiness import Readiness
from contract.redis_link import Calls, Script
from contract.stats import as_json

REPORT = Script(Path(__file__).with_name("report.lua"))
REPORT_S = 1.0
FORGET_S = 60.0
"""Silence after which a service is no longer shown."""


class Reporter:
    """Tells Redis how a service is doing, while `calls` has a connection."""

    def __init__(self, keys: Keys, name: str, readiness: Readiness, calls: Callable[[], Calls | None]) -> None:
        self._keys = keys
        self._name = name
        self._readiness = readiness
        self._calls = calls

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._report()
            await asyncio.sleep(REPORT_S)

    async def _report(self) -> None:
        calls = self._calls()
        if calls is None:
            return
        facts = {"not_ready": self._readiness.why_not(), **as_json(self._readiness.observe())}
        arguments = (self._keys.services, self._name, json.dumps(facts), int(FORGET_S * 1000))
        try:
            await calls.call("EVAL", REPORT.text, 1, *arguments)
        except RedisUnavailableError:
            pass  # whoever works with the connection says so
