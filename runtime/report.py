"""What each service says about itself in Redis, once a second: for `parade status` and whoever else looks."""

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

import structlog

from contract.keys import Keys
from contract.reports import REPORTS_LUA
from runtime.errors import RedisUnavailableError
from runtime.readiness import Readiness
from runtime.redis.link import Calls, RedisRefusedError, Script
from runtime.redis.refusals import lacks_a_right
from runtime.stats import as_json

log = structlog.get_logger()

REPORT = Script(Path(__file__).with_name("report.lua"), REPORTS_LUA)
REPORT_S = 1.0
FORGET_S = 60.0
"""Silence after which a service is no longer shown."""


class Reporter:
    """Tells Redis how a service is doing, while `calls` has a connection."""

    def __init__(
        self,
        keys: Keys,
        name: str,
        readiness: Readiness,
        calls: Callable[[], Calls | None],
        about: Callable[[], dict[str, object]] = dict,
    ) -> None:
        self._keys = keys
        self._name = name
        self._readiness = readiness
        self._calls = calls
        self._about = about
        self._withdrawn = False
        self._has_said = False

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._report()
            await asyncio.sleep(REPORT_S)

    async def withdraw(self) -> None:
        """The service ends: it is not shown any more."""
        self._withdrawn = True
        calls = self._calls()
        if calls is not None:
            with contextlib.suppress(RedisUnavailableError):
                await calls.call("HDEL", self._keys.services, self._name)

    async def _report(self) -> None:
        calls = self._calls()
        if calls is None or self._withdrawn:
            return
        stats = as_json(self._readiness.observe())
        facts = {**self._about(), "not_ready": self._readiness.why_not(), **stats}
        arguments = (self._keys.services, self._name, json.dumps(facts), int(FORGET_S * 1000))
        try:
            await calls.call("EVAL", REPORT.text, 1, *arguments)
        except RedisRefusedError as refusal:
            self._say(str(refusal))
        except RedisUnavailableError:
            pass  # whoever works with the connection says so

    def _say(self, refusal: str) -> None:
        # Other refusals meet whoever works with the connection, too.
        if not self._has_said and (refusal.startswith("WRONGTYPE") or lacks_a_right(refusal)):
            self._has_said = True
            log.warning("report_refused", key=self._keys.services, reason=refusal)


def service_name(service: str) -> str:
    """`listener/<host>-<random>`: a name for this process."""
    return f"{service}/{socket.gethostname()}-{secrets.token_hex(3)}"
