"""Redis URLs: a server, or a service that Sentinels watch over. Pure.

    redis://host:6379/0                                    a server
    rediss://user:password@host:6380/0?ssl_ca_certs=…      over TLS
    unix:///run/redis.sock                                 on this machine
    redis+sentinel://host:26379,host:26379/service/0       the primary of a service; rediss+sentinel:// over TLS

User and password are those of the data servers; `?sentinel_username=…&sentinel_password=…` those of the Sentinels.
"""

from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from redis.asyncio.connection import SSLConnection, parse_url

from contract.errors import ParadeError

SENTINEL_PORT = 26379


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says. With `sentinels`, host and port are theirs to say."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = None
    tls: bool = False
    ca_file: str | None = None
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = None


def parse(url: str) -> RedisUrl:
    """ParadeError when it is not a URL of these kinds."""
    try:
        scheme, plus, _ = url.partition("://")[0].partition("+")
        if plus:
            return _parse_sentinel(scheme, url)
        return _from_options(parse_url(url))
    except ValueError as problem:
        raise ParadeError(f"{place(url)!r} is not a Redis URL: {problem}") from None


def place(url: str) -> str:
    """The URL without its passwords, for messages."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}"


def _parse_sentinel(scheme: str, url: str) -> RedisUrl:
    parts = urlsplit(url)
    if parts.scheme not in ("redis+sentinel", "rediss+sentinel"):
        raise ValueError("the scheme is one of redis, rediss, unix, redis+sentinel, rediss+sentinel")
    login, at, hosts = parts.netloc.rpartition("@")
    service, _, db = parts.path.strip("/").partition("/")
    if not hosts or not service:
        raise ValueError("give redis+sentinel://host:port,host:port/service/db")
    sentinels = []
    for each in hosts.split(","):
        split = urlsplit(f"//{each}")
        sentinels.append((split.hostname or "", split.port or SENTINEL_PORT))
    plain = f"{scheme}://{login}{at}{hosts.split(',')[0]}/{db or 0}?{parts.query}"
    return _from_options(parse_url(plain), tuple(sentinels), service)


def _from_options(given: Any, sentinels: tuple[tuple[str, int], ...] = (), service: str = "") -> RedisUrl:
    options = dict(given)
    kind = options.pop("connection_class", None)
    known = {name: options[name] for name in ("host", "port", "path", "username", "password") if name in options}
    return RedisUrl(
        **known,
        db=int(options.get("db", 0)),
        tls=kind is SSLConnection,
        ca_file=options.get("ssl_ca_certs"),
        sentinels=sentinels,
        service=service,
        sentinel_username=options.get("sentinel_username"),
        sentinel_password=options.get("sentinel_password"),
    )
