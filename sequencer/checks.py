"""Checks the Redis server before each term: a promoted replica may be configured otherwise."""

import contextlib

from runtime.context import Context
from runtime.errors import RedisUnsuitableError
from runtime.redis.checks import CONFIG_NAMES, Finding, findings, parse_info
from runtime.redis.data import wrong_type
from runtime.redis.link import Calls, Command, RedisRefusedError, Reply
from runtime.redis.refusals import lacks_a_right, missing_right
from runtime.redis.url import redacted
from runtime.settings import Settings

UNUSED_ID = "0"
"""An id that no user has, and a name that no node has."""


async def check_server(calls: Calls, context: Context, said: set[Finding]) -> None:
    """Warn once of each risk; `said` has earlier ones. RedisUnsuitableError when the server can't be used."""
    settings = context.settings
    where = redacted(settings.redis_url)
    info = parse_info(await _allowed(calls, settings, ("INFO",)))
    for finding in findings(info, await _config(calls), settings):
        if finding.fatal:
            raise RedisUnsuitableError(f"Redis at {where} {finding.problem}; {finding.advice}")
        if finding not in said:
            said.add(finding)
            context.log.warning("redis_unsuitable", redis=where, problem=finding.problem, advice=finding.advice)
    await _check_permissions(calls, settings)
    await _check_keys(calls, settings)


async def _config(calls: Calls) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in CONFIG_NAMES:
        try:
            answer = await calls.call("CONFIG", "GET", name)
        except RedisRefusedError:  # managed services do not show it
            return {}
        found |= {answer[0].decode(): answer[1].decode()} if answer else {}
    return found


async def _check_permissions(calls: Calls, settings: Settings) -> None:
    """Try each command that is needed: a script that meets a forbidden one midway would be half done."""
    key = settings.keys.check
    for command in (
        ("TYPE", key), ("DEL", key),
        ("SADD", key, "1"), ("SREM", key, "1"),
        ("ZADD", key, "1", "1"), ("ZREM", key, "1"), ("ZREMRANGEBYSCORE", key, "1", "1"),
        ("HSET", key, "a", "1"), ("HINCRBY", key, "a", "1"), ("HGETALL", key), ("HDEL", key, "a"),
        ("XADD", key, "*", "a", "1"), ("XTRIM", key, "MINID", "1"), ("XLEN", key), ("DEL", key),
        ("SET", key, "1"), ("GET", key), ("PTTL", key), ("PEXPIRE", key, "0"),
        ("PUBLISH", key, ""), ("PUBSUB", "NUMSUB", key),
        ("HSETNX", key, "a", "1"), ("HGET", key, "a"), ("HKEYS", key), ("HEXISTS", key, "a"), ("HSCAN", key, 0),
        ("DEL", key),
        ("ZRANGE", key, 0, 0),
        ("SMEMBERS", key), ("SCARD", key), ("SSCAN", key, 0), ("SMISMEMBER", key, "1"),
        ("XRANGE", key, "-", "+", "COUNT", 1),
        ("XREVRANGE", key, "+", "-", "COUNT", 1), ("XREAD", "COUNT", 1, "STREAMS", key, "0"), ("TIME",),
        ("EVAL", "return 1", 0), ("SCRIPT", "LOAD", "return 1"), ("EVALSHA", "of no script", 0),
        *((("WAIT", 0, 1),) if settings.wait_replicas else ()),
    ):  # fmt: skip
        with contextlib.suppress(RedisRefusedError):
            await _allowed(calls, settings, command)


async def _allowed(calls: Calls, settings: Settings, command: Command) -> Reply:
    try:
        return await calls.call(*command)
    except RedisRefusedError as refusal:
        if lacks_a_right(str(refusal)):
            raise RedisUnsuitableError(str(missing_right(str(refusal), command, settings))) from None
        raise


async def _check_keys(calls: Calls, settings: Settings) -> None:
    """Whether each key may be touched, and is of the type that Parade gives it. RedisDataError when it is not."""
    keys = settings.keys
    unused = (keys.followers + UNUSED_ID, keys.following + UNUSED_ID, keys.online + UNUSED_ID)
    needed = {key: wanted for key, wanted in keys.types.items() if key != keys.services}  # which are for show
    for key, wanted in (needed | dict.fromkeys(unused, "set")).items():
        found = (await _allowed(calls, settings, ("TYPE", key))).decode()
        if found not in (wanted, "none"):
            raise wrong_type(key, found, wanted)
