"""The commands' connection to Redis: a blocking client that reads a URL as `runtime/redis/link.py` does."""

import contextlib
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel, SentinelConnectionPool, SentinelManagedConnection

from runtime.errors import RedisUnavailableError, RedisUnsuitableError
from runtime.redis import url as redis_url
from runtime.redis.checks import findings
from runtime.redis.refusals import data_problem, keys_of, lacks_a_right, missing_right
from runtime.redis.tls import Tls
from runtime.redis.url import RedisUrl, redacted, without_secrets
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


class _TlsConnection(redis.SSLConnection):
    """Uses our TLS context: the library's trusts this machine's authorities as well as those of `ssl_ca_certs`."""

    def __init__(self, *, tls: Tls, **options: Any) -> None:
        self._tls = tls
        super().__init__(**options)

    def _wrap_socket_with_ssl(self, sock: socket.socket) -> socket.socket:
        try:
            return self._tls.context().wrap_socket(sock, server_hostname=self.host)
        except RedisUnavailableError as problem:
            raise redis.ConnectionError(str(problem)) from None


class _TlsToPrimary(SentinelManagedConnection, _TlsConnection):
    pass


class _Sentinels(Sentinel):
    """The library's class uses other TLS settings for the Sentinels, and its error names none of them."""

    def __init__(self, where: RedisUrl, options: dict[str, Any]) -> None:
        super().__init__([])  # type: ignore[no-untyped-call]
        login = {"username": where.sentinel_username, "password": where.sentinel_password}
        self.sentinels = [
            redis.Redis(connection_pool=_pool(where, options | login | {"host": host, "port": port}))
            for host, port in where.sentinels
        ]
        self._addresses = where.sentinels

    def discover_master(self, service_name: str) -> tuple[str, int]:
        problems = []
        for (host, port), client in zip(self._addresses, self.sentinels, strict=True):
            try:
                found: Any = client.sentinel_get_master_addr_by_name(service_name)
            except redis.RedisError as problem:
                problems.append(f"{host}:{port}: {problem}")
                continue
            if found:
                return found[0].decode(), int(found[1])
            problems.append(f"{host}:{port}: knows no service {service_name}")
        raise redis.ConnectionError(f"no Sentinel names the primary of {service_name}: {'; '.join(problems)}")


class NamingClient(redis.Redis):
    """A client whose errors have the `command` that was refused."""

    def execute_command(self, *args: Any, **options: Any) -> Any:
        try:
            return super().execute_command(*args, **options)  # type: ignore[no-untyped-call]
        except redis.ResponseError as problem:
            problem.command = args  # type: ignore[attr-defined]
            raise


def client_of(where: RedisUrl, timeout_s: float) -> "redis.Redis":
    """A client that connects with its first command. redis.RedisError from then on."""
    options: dict[str, Any] = {
        # RESP2, because a server that is too old to know RESP3 must get to say how old it is.
        "protocol": 2,
        "socket_connect_timeout": timeout_s,
        "socket_timeout": timeout_s,
        # The library would try ten times, and so notice a server that hangs only after a minute.
        "retry": Retry(NoBackoff(), 0),
    }
    login: dict[str, Any] = {"username": where.username, "password": where.password, "db": where.db}
    if where.sentinels:
        kind = {"connection_class": _TlsToPrimary, "tls": where.tls} if where.tls else {}
        sentinels = _Sentinels(where, options)
        pool: Any = SentinelConnectionPool(where.service, sentinels, **kind, **options, **login)  # type: ignore[no-untyped-call]
        return NamingClient.from_pool(pool)
    if where.path is not None:
        return NamingClient(unix_socket_path=where.path, **options, **login)
    return NamingClient.from_pool(_pool(where, options | login | {"host": where.host, "port": where.port}))


def _pool(where: RedisUrl, options: dict[str, Any]) -> redis.ConnectionPool:
    kind: dict[str, Any] = {"connection_class": _TlsConnection, "tls": where.tls} if where.tls else {}
    return redis.ConnectionPool(**kind, **options)
