"""Whether the Redis server suits, looked at before each term: a promoted replica may be configured otherwise."""

import structlog

from contract.errors import RedisUnsuitableError
from contract.redis_checks import CONFIG_NAMES, Finding, findings, parse_info
from contract.redis_link import Calls, RedisRefusedError
from contract.redis_url import place
from contract.settings import Settings

log = structlog.get_logger()


async def check_server(calls: Calls, settings: Settings, said: set[Finding]) -> None:
    """Warn once of what can do harm. RedisUnsuitableError when the server can't do the job."""
    where = place(settings.redis_url)
    for finding in findings(parse_info(await calls.call("INFO")), await _config(calls), settings):
        if finding.fatal:
            raise RedisUnsuitableError(f"Redis at {where} {finding.problem}; {finding.advice}")
        if finding not in said:
            said.add(finding)
            log.warning("redis_unsuitable", redis=where, problem=finding.problem, advice=finding.advice)
    await _check_permissions(calls, settings)


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
    """Try each command of the commit script: a script that meets a forbidden one midway would be half done."""
    key = settings.keys.check
    for command in (
        ("TYPE", key), ("DEL", key),
        ("SADD", key, "1"), ("SREM", key, "1"),
        ("ZADD", key, "1", "1"), ("ZREMRANGEBYSCORE", key, "1", "1"),
        ("HSET", key, "a", "1"), ("HINCRBY", key, "a", "1"), ("HGETALL", key), ("HDEL", key, "a"),
        ("XADD", key, "*", "a", "1"), ("XTRIM", key, "MINID", "1"), ("XLEN", key), ("DEL", key),
        ("SET", key, "1"), ("GET", key), ("PEXPIRE", key, "0"),
        ("PUBLISH", key, ""),
    ):  # fmt: skip
        try:
            await calls.call(*command)
        except RedisRefusedError as refusal:
            if str(refusal).startswith("NOPERM"):
                where, prefix = place(settings.redis_url), settings.keys.prefix
                raise RedisUnsuitableError(
                    f"Redis at {where} does not let its user run {command[0]}: {refusal}; "
                    f"grant it with: redis-cli ACL SETUSER <user> resetkeys '~{prefix}*' '&{prefix}*' +@all"
                ) from None
