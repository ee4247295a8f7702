"""What the commands ask of Redis, each with a clear error when it does not answer or does not suit."""

import contextlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis

from contract.keys import Keys
from contract.reports import parse_heartbeat
from runtime.errors import ParadeError, RedisDataError, RedisUnavailableError, RedisUnsuitableError
from runtime.printable import printable
from runtime.redis import url as redis_url
from runtime.redis.blocking import client_of
from runtime.redis.checks import findings
from runtime.redis.data import number_in
from runtime.redis.refusals import data_problem, keys_of, lacks_a_right, missing_right
from runtime.redis.url import redacted, without_secrets
from runtime.settings import Settings


@contextmanager
def connected(settings: Settings) -> Iterator["redis.Redis"]:
    """A client for a few commands. RedisUnavailableError when the server can't be reached or refuses."""
    with client_of(redis_url.parse(settings.redis_url), settings.redis_timeout_s) as client:
        try:
            yield client
        except redis.RedisError as problem:
            raise _in_words(problem, client, settings) from None


def _in_words(problem: redis.RedisError, client: "redis.Redis", settings: Settings) -> RedisUnavailableError:
    refusal, command = told(problem, settings), getattr(problem, "command", ())
    if isinstance(problem, redis.exceptions.NoPermissionError) or lacks_a_right(refusal):
        return missing_right(refusal, command, settings)
    types: dict[str, str] = {}
    with contextlib.suppress(redis.RedisError):
        types = {key: _type(client, key) for key in keys_of(refusal, command, settings.keys)}
    known = data_problem(refusal, command, settings.keys, types)
    return known or RedisUnavailableError(f"Redis at {redacted(settings.redis_url)}: {refusal}{_hint(settings)}")


def _type(client: "redis.Redis", key: str) -> str:
    found: Any = client.type(key)
    return bytes(found).decode()


def told(problem: redis.RedisError, settings: Settings) -> str:
    """What went wrong, for messages: without the password, which a server may quote."""
    where = redis_url.parse(settings.redis_url)
    return without_secrets(str(problem), where.password, where.sentinel_password)


def _hint(settings: Settings) -> str:
    # With a URL given or found, it is that server's fault; the default one is only a guess.
    if "redis_url" in settings.model_fields_set:
        return ""
    return "; no `parade up` of yours runs on this machine: start it, or give --redis-url"


def check_server(settings: Settings) -> None:
    """Make sure that a suitable server answers."""
    where = redacted(settings.redis_url)
    with connected(settings) as client:
        info = {name: str(value) for name, value in client.info().items()}
    for finding in findings(info, {}, settings):
        if finding.fatal:
            raise RedisUnsuitableError(f"Redis at {where} {finding.problem}; {finding.advice}")


def is_sequencing(settings: Settings) -> str | None:
    """Who holds the lease, if anyone."""
    with connected(settings) as client:
        holder = client.get(settings.keys.lease)
    return holder.decode(errors="surrogateescape") if isinstance(holder, bytes) else None


def fresh_nodes(settings: Settings, since_ms: int) -> int:
    """How many nodes have reported since a moment of Redis time."""
    with connected(settings) as client:
        reports: Any = client.hvals(settings.keys.nodes)
    fresh = 0
    for report in reports:
        with contextlib.suppress(ValueError):  # it is somebody else's; the sequencer says so
            fresh += parse_heartbeat(report).time_ms >= since_ms
    return fresh


def now_ms(settings: Settings) -> int:
    """Redis time in milliseconds."""
    with connected(settings) as client:
        seconds, microseconds = client.time()
    return int(seconds) * 1000 + int(microseconds) // 1000


def position(settings: Settings) -> dict[str, int]:
    """`next` sequence number, `backlog` bytes that are not consumed yet, events `waiting` for a number."""
    keys = settings.keys
    with connected(settings) as client:
        found: Any = client.hmget(keys.state, "next", "backlog")
        waiting = int(client.zcard(keys.waiting))
    number, backlog = found
    return {
        "next": number_in(keys.state, "next", number, settings.first_sequence),
        "backlog": number_in(keys.state, "backlog", backlog, 0),
        "waiting": waiting,
    }


def nodes_of(client: "redis.Redis", keys: Keys, user: str) -> list[str]:
    """The nodes that a user is connected to."""
    nodes: Any = client.hkeys(keys.nodes)
    online = keys.online.encode()
    return [printable(node) for node in sorted(nodes) if client.sismember(online + node, user)]


def refuse_while_sequencing(settings: Settings) -> None:
    """ParadeError while someone sequences."""
    try:
        holder = is_sequencing(settings)
    except RedisDataError:  # a lease that is none is nobody's, and a reason to reset
        return
    if holder:
        raise ParadeError(f"{holder} is sequencing; stop the system first")


def reset(settings: Settings) -> int:
    """Delete every key of the deployment; returns how many. ParadeError while someone sequences."""
    refuse_while_sequencing(settings)
    deleted = 0
    with connected(settings) as client:
        pattern = literally(settings.keys.prefix) + "*"
        keys = []
        for key in client.scan_iter(match=pattern, count=1000):
            keys.append(key)
            if len(keys) == 1000:
                deleted += int(client.unlink(*keys))
                keys = []
        if keys:
            deleted += int(client.unlink(*keys))
    return deleted


def literally(text: str) -> str:
    """A pattern that matches this text and nothing else, where Redis takes patterns."""
    return re.sub(r"([\[\]*?\\^])", r"\\\1", text)
