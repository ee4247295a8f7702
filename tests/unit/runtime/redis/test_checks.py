"""What is found wrong with a server, how bad it is, and the command that mends it."""

import pytest

from runtime.redis.checks import findings, parse_info
from runtime.settings import load

GOOD_INFO = {"redis_version": "7.0.15", "maxmemory": "0", "maxmemory_policy": "noeviction", "aof_enabled": "1"}
BUFFERS = "client-output-buffer-limit"
GOOD_CONFIG = {BUFFERS: "normal 0 0 0 slave 1 1 60 pubsub 33554432 8388608 60", "save": ""}


def test_a_suitable_server() -> None:
    assert findings(GOOD_INFO, GOOD_CONFIG, load()) == []
    assert findings(GOOD_INFO, {}, load()) == [], "where the configuration can't be read"
    for version in ("6.2", "6.2.0", "10.1.0"):
        assert findings(GOOD_INFO | {"redis_version": version}, GOOD_CONFIG, load()) == []
    assert findings({"redis_version": "7.0.15"}, {}, load()) == [], "where it says no more"


@pytest.mark.parametrize(
    ("info", "config", "fatal", "problem", "advice"),
    [
        ({"redis_version": "6.0.16"}, {}, True, "is version 6.0.16", "6.2 or newer"),
        ({"maxmemory": "1", "maxmemory_policy": "allkeys-lru"}, {}, True, "allkeys-lru", "maxmemory-policy noeviction"),
        ({"maxmemory_policy": "volatile-ttl"}, {}, False, "volatile-ttl", "maxmemory-policy noeviction"),
        ({"aof_enabled": "0"}, {}, False, "loses everything", "appendonly yes"),
        ({"aof_enabled": "0"}, {"save": "3600 1"}, False, "after the last snapshot", "appendonly yes"),
        ({}, {BUFFERS: "pubsub 1000 0 0"}, False, "1000 bytes behind", f"{BUFFERS} 'pubsub 33554432 16777216 60'"),
        ({}, {BUFFERS: "pubsub 0 1000 9"}, False, "1000 bytes for 9 s", BUFFERS),
    ],
)  # fmt: skip
def test_what_does_not_suit(
    info: dict[str, str], config: dict[str, str], fatal: bool, problem: str, advice: str
) -> None:
    (found,) = findings(GOOD_INFO | info, GOOD_CONFIG | config, load())
    assert found.fatal == fatal
    assert problem in found.problem
    assert advice in found.advice


def test_a_policy_that_nothing_triggers_is_not_fatal() -> None:
    (found,) = findings({"redis_version": "7.0.15", "maxmemory_policy": "allkeys-lru"}, {}, load())
    assert not found.fatal


@pytest.mark.parametrize(
    ("hard", "soft", "suits"),
    [
        (0, 0, True),
        (0, 2000, True),
        (0, 1999, False),
        (0, 3000, True),
        (4000, 0, True),
        (3999, 0, False),
        (5000, 0, True),
        (4000, 2000, True),
        (1, 0, False),
        (0, 1, False),
        (3999, 2000, False),
        (4000, 1999, False),
    ],
)
def test_a_subscriber_may_be_four_windows_behind_and_two_for_long(hard: int, soft: int, suits: bool) -> None:
    window_bytes = 1024 * 1000
    limits = {BUFFERS: f"pubsub {hard * 1024} {soft * 1024} 60"}
    assert (findings(GOOD_INFO, limits, load(window_bytes=window_bytes)) == []) == suits


def test_the_answer_to_info() -> None:
    answer = b"# Server\r\nredis_version:7.0.15\r\nexecutable:/a:b/redis\xff\r\n\r\n# Memory\r\nmaxmemory:0\r\n"
    assert parse_info(answer) == {"redis_version": "7.0.15", "executable": "/a:b/redis\ufffd", "maxmemory": "0"}


def test_what_is_meant_to_be_lost_is_no_finding() -> None:
    assert findings(GOOD_INFO | {"aof_enabled": "0"}, GOOD_CONFIG, load(durable=False)) == []
