"""An outage is logged once; what the operator has to fix at most once a minute, however often it recurs."""

import asyncio

import pytest
from structlog.testing import capture_logs

from runtime.context import Context
from runtime.errors import RedisDataError, RedisRightsError, RedisUnavailableError
from runtime.outage import Outage
from runtime.readiness import Readiness
from runtime.settings import load

JUNK = RedisDataError("k", "is a list", "delete it")


async def test_an_outage_is_said_once_and_its_end() -> None:
    readiness = Readiness()
    outage = Outage(Context(load()), readiness)
    with capture_logs() as lines:
        outage.begins(RedisUnavailableError("gone"), held_bytes=3)
        outage.begins(RedisUnavailableError("still gone"))
        assert list(readiness.reasons.values()) == ["the service has not started yet", "still gone"]
        outage.ends()
        outage.ends()
        outage.begins(RedisUnavailableError("gone"))
    assert [(line["event"], line.get("reason")) for line in lines] == [
        ("redis_away", "gone"),
        ("redis_back", None),
        ("redis_away", "gone"),
    ]
    assert lines[0]["held_bytes"] == 3


async def test_what_is_to_be_mended_is_said_though_redis_is_away_already() -> None:
    outage = Outage(Context(load()), Readiness())
    with capture_logs() as lines:
        outage.begins(RedisUnavailableError("gone"))
        for _ in range(3):
            outage.begins(JUNK)
            outage.begins(RedisRightsError("no right"))
    assert [line["reason"] for line in lines] == ["gone", "k is a list: delete it", "no right"]


async def test_what_comes_again_and_again_is_said_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    now_s = 0.0
    monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: now_s, raising=False)
    outage = Outage(Context(load()), Readiness())
    with capture_logs() as lines:
        for second in range(121):
            now_s = float(second)
            outage.begins(JUNK)
            outage.ends()
    said = [line["event"] for line in lines]
    assert said == ["redis_away", "redis_back"] * 3
