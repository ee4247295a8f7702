"""Redis URLs: a server, or a service that Sentinels watch over. Pure.

    redis://host:6379/0                                    a server
    rediss://user:password@host:6380/0?ssl_ca_certs=…      over TLS
    unix:///run/redis.sock                                 on this machine
    redis+sentinel://host:26379,host:26379/service/0       the primary of a service; rediss+sentinel:// over TLS

User and password are those of the data servers; `?sentinel_username=…&sentinel_password=…` those of the Sentinels.

Rules kept here:

- Any other URL is refused, and so is an unknown option: connecting in another way than asked for would be worse.
- No part of a password gets into a message. In a wrong URL any part may be one: a password that contains `@` or `/`
  reads as a host, a path or an option. So nothing of such a URL is shown or quoted.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from urllib.parse import unquote

from runtime.errors import ParadeError
from runtime.redis.tls import Tls

SENTINEL_PORT = 26379
HIDDEN = "***"
ENCODED = "in a user or password, and behind the host, write @ as %40, / as %2F, : as %3A, # as %23, ? as %3F, & as %26"

_SCHEMES = ("redis", "rediss", "unix", "redis+sentinel", "rediss+sentinel")
_LOGIN_OPTIONS = ("db", "username", "password")
_SENTINEL_OPTIONS = ("sentinel_username", "sentinel_password")
_TLS_OPTIONS = (
    "ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_password", "ssl_cert_reqs", "ssl_check_hostname",
)  # fmt: skip
_SECRET_OPTIONS = ("password", "sentinel_password", "ssl_password")

_PARTS = re.compile(r"([^/?#]*)([^?#]*)(?:\?([^#]*))?")
_HOST = re.compile(r"(?:\[([0-9A-Fa-f:.]+(?:%25[\w.-]+)?)\]|([\w.-]*))(?::([0-9]{0,5}))?")
_SERVICE = re.compile(r"/([\w.-]+)(?:/([0-9]{0,6}))?/?")
_DATABASE = re.compile(r"/?([0-9]{0,6})/?")
_OPTION_NAME = re.compile(r"[A-Za-z0-9_.-]{1,40}")


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """What a URL says. With `sentinels`, they name host and port."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None
    db: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    tls: Tls | None = None
    sentinels: tuple[tuple[str, int], ...] = ()
    service: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = field(default=None, repr=False)


def parse(url: str) -> RedisUrl:
    """Parse a URL. ParadeError when it is of no such kind, or has an unknown option."""
    try:
        return _Parts(url).meaning()
    except ValueError as problem:
        raise ParadeError(f"{redacted(url)} is not a Redis URL: {problem}") from None


def redacted(url: str) -> str:
    """The URL without user, password and options, for messages; of a wrong URL at most the scheme."""
    try:
        parts = _Parts(url)
    except ValueError:
        scheme = url.partition("://")[0]
        return f"{scheme}://{HIDDEN}" if scheme in _SCHEMES else HIDDEN
    return f"{parts.scheme}://{parts.hosts}{parts.path}"


def redacted_within(text: str, given: Iterable[str]) -> str:
    """A text that may quote what was given (options, a setting), with each URL of it redacted."""
    for each in given:
        if found := re.search(r"[a-z+]+://.*", each, re.DOTALL):
            text = text.replace(found[0], redacted(found[0]))
    return text


def without_secrets(text: str, *secrets: str | None) -> str:
    """What a server or a library says, for messages.

    A server that does not know AUTH quotes its arguments, up to 128 bytes of them and not as they were sent.
    """
    text = text.partition(", with args beginning with")[0]
    for secret in filter(None, secrets):
        if len(secret) > 3:  # a shorter one is in any text
            text = text.replace(secret, HIDDEN)
    return text


class _Parts:
    """The parts of a URL as written, each checked. ValueError says what is wrong and quotes nothing."""

    def __init__(self, url: str) -> None:
        self.scheme, _, rest = url.partition("://")
        if self.scheme not in _SCHEMES:
            raise ValueError(f"it begins with one of {', '.join(f'{scheme}://' for scheme in _SCHEMES)}")
        if any(each.isspace() or not each.isprintable() for each in rest):
            raise ValueError("it has a blank or a control character: write those percent-encoded, a blank as %20")
        found = _PARTS.fullmatch(rest)
        if found is None:
            raise ValueError(f"it has a #; {ENCODED}")
        authority, self.path, self.query = found.groups(default="")
        if "@" in self.path + self.query:
            raise ValueError(f"it has an @ behind the host; {ENCODED}")
        self.login, _, self.hosts = authority.rpartition("@")
        self.addresses = [_address(each) for each in self.hosts.split(",")]
        self.service, self.database = self._of_path()

    def meaning(self) -> RedisUrl:
        """ValueError for an option that is unknown, or useless there."""
        options = dict(self._options())
        username, colon, password = self.login.partition(":")
        for name, given in (("username", username), ("password", password)):
            if given and name in options:
                raise ValueError(f"{name} is given twice")
        login = {"username": unquote(username), "password": unquote(password) if colon else ""}
        host, port = self.addresses[0]
        return RedisUrl(
            host=host or "127.0.0.1",
            port=port or (SENTINEL_PORT if self.service else 6379),
            path=unquote(self.path) if self.scheme == "unix" else None,
            db=_number("db", options.get("db", self.database) or "0"),
            username=login["username"] or options.get("username"),
            password=login["password"] or options.get("password"),
            tls=_tls(options) if self.scheme.startswith("rediss") else None,
            sentinels=tuple((name, number or SENTINEL_PORT) for name, number in self.addresses if self.service),
            service=self.service,
            sentinel_username=options.get("sentinel_username"),
            sentinel_password=options.get("sentinel_password"),
        )

    def _of_path(self) -> tuple[str, str]:
        """(service, database)"""
        if self.scheme == "unix":
            if self.hosts or len(self.path) < 2:
                raise ValueError(f"give unix:///path/of/the.sock; {ENCODED}")
            return "", ""
        if self.scheme.endswith("+sentinel"):
            found = _SERVICE.fullmatch(self.path)
            if found is None or not all(host for host, _ in self.addresses):
                raise ValueError(f"give {self.scheme}://host:port,host:port/service/database; {ENCODED}")
            return found[1], found[2] or ""
        found = _DATABASE.fullmatch(self.path)
        if found is None or len(self.addresses) > 1:
            raise ValueError(f"give {self.scheme}://host:port/database, the database as a number; {ENCODED}")
        return "", found[1]

    def _options(self) -> Iterator[tuple[str, str]]:
        known = [*_LOGIN_OPTIONS]
        known += _TLS_OPTIONS if self.scheme.startswith("rediss") else ()
        known += _SENTINEL_OPTIONS if self.service else ()
        seen: set[str] = set()
        for pair in filter(None, self.query.split("&")):
            name, _, value = pair.partition("=")
            if name not in known:
                raise ValueError(_unknown(name, known, seen))
            if name in seen:
                raise ValueError(f"{name} is given twice")
            seen.add(name)
            if value:
                yield name, unquote(value)


def _address(text: str) -> tuple[str, int | None]:
    found = _HOST.fullmatch(text)
    if found is None or int(found[3] or 0) > 65535:
        raise ValueError(f"host and port are wrong (an IPv6 address goes in brackets); {ENCODED}")
    return unquote(found[1] or found[2] or ""), int(found[3]) if found[3] else None


def _unknown(name: str, known: list[str], seen: set[str]) -> str:
    # What follows a password among the options may be the rest of it.
    shown = _OPTION_NAME.fullmatch(name) and not seen.intersection(_SECRET_OPTIONS)
    which = f"the option {name} is not known" if shown else f"an option is not known ({ENCODED})"
    return f"{which}; there are {', '.join(known)}"


def _tls(options: dict[str, str]) -> Tls:
    certfile, keyfile = options.get("ssl_certfile"), options.get("ssl_keyfile")
    if certfile is None and (keyfile is not None or "ssl_password" in options):
        raise ValueError("ssl_keyfile and ssl_password go with an ssl_certfile")
    return Tls(
        ca_certs=options.get("ssl_ca_certs"),
        certfile=certfile,
        keyfile=keyfile,
        key_password=options.get("ssl_password"),
        verify=_choice(options, "ssl_cert_reqs", yes="required", no="none"),
        check_hostname=_choice(options, "ssl_check_hostname", yes="true", no="false"),
    )


def _choice(options: dict[str, str], name: str, *, yes: str, no: str) -> bool:
    value = options.get(name, yes).lower()
    if value not in (yes, no):
        raise ValueError(f"{name} is {yes} or {no}")
    return value == yes


def _number(name: str, text: str) -> int:
    if not re.fullmatch("[0-9]{1,6}", text):
        raise ValueError(f"{name} is a number")
    return int(text)
