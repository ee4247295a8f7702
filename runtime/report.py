"""What each service says about itself in Redis, once a second: for `parade status` and everything else that looks.

`contract/reports.py` draws the fields.
"""

import asyncio
import contextlib
import json
import secrets
import socket
from collections.abc import Callable
from pathlib import Path

from contract.keys import Keys
from contract.reports import REPORTS_LUA
from runtime.agreement import shared
from runtime.context import Context
from runtime.errors import RedisUnavailableError
from runtime.readiness import Status
from runtime.redis.link import Calls, RedisRefusedError, Script
from runtime.redis.refusals import lacks_a_right
from runtime.stats import as_json

REPORT = Script(Path(__file__).with_name("report.lua"), REPORTS_LUA)
REPORT_S = 1.0
FORGET_S = 60.0
"""Silence after which a service is no longer shown."""


class Reporter:
    """Tells Redis how a service is doing, while there is a connection."""

    def __init__(self, context: Context, name: str, status: Status, link: Callable[[], Calls | None]) -> None:
        self._log = context.log
        self._keys = context.settings.keys
        self._settings = shared(context.settings, name.partition("/")[0])
        self._name = name
        self._status = status
        self._link = link
        self._withdrawn = False
        self._has_warned = False

    async def run(self) -> None:
        """Report until cancelled."""
        while True:
            await self._report()
            await asyncio.sleep(REPORT_S)

    async def withdraw(self) -> None:
        """The service ends: it is not shown any more."""
        self._withdrawn = True
        link = self._link()
        if link is not None:
            await withdraw(link, self._keys, self._name)

    async def _report(self) -> None:
        link, status = self._link(), self._status
        if link is None or self._withdrawn:
            return
        about = {**status.identity(), "settings": self._settings, "not_ready": status.why_not()}
        facts = {**about, **as_json(status.observe())}
        arguments = (self._keys.services, self._name, json.dumps(facts), int(FORGET_S * 1000))
        try:
            await link.call("EVAL", REPORT.text, 1, *arguments)
        except RedisRefusedError as refusal:
            self._warn(str(refusal))
        except RedisUnavailableError:
            pass  # the part that works on this connection says so

    def _warn(self, refusal: str) -> None:
        # Any other refusal also meets the part that works on this connection.
        if not self._has_warned and (refusal.startswith("WRONGTYPE") or lacks_a_right(refusal)):
            self._has_warned = True
            self._log.warning("report_refused", key=self._keys.services, reason=refusal)


async def withdraw(calls: Calls, keys: Keys, name: str) -> None:
    """Take a service's report away, if Redis can be reached."""
    with contextlib.suppress(RedisUnavailableError):
        await calls.call("HDEL", keys.services, name)


def service_name(service: str) -> str:
    """`listener/<host>-<random>`: a name for this process."""
    return f"{service}/{socket.gethostname()}-{secrets.token_hex(3)}"
