"""What each kind of Redis URL says, and what is said when it says nothing."""

import contextlib
from urllib.parse import quote, unquote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from runtime.errors import ParadeError
from runtime.redis.tls import Tls
from runtime.redis.url import RedisUrl, parse, redacted, without_secrets
from runtime.settings import load


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", RedisUrl()),
        ("redis://h:1/2", RedisUrl("h", 1, db=2)),
        ("redis://[::1]:6379", RedisUrl("::1")),
        ("unix:///run/x.sock?db=3", RedisUrl(path="/run/x.sock", db=3)),
        (
            "rediss://u:p%40w@h:1/2?ssl_ca_certs=/ca.pem",
            RedisUrl("h", 1, db=2, username="u", password="p@w", tls=Tls("/ca.pem")),  # noqa: S106
        ),
        ("redis://:p@ss:w@h", RedisUrl("h", password="p@ss:w")),  # noqa: S106
        ("redis://:50%@h/?db=3&username=u", RedisUrl("h", db=3, username="u", password="50%")),  # noqa: S106
        ("unix:///x?username=u&password=p%40%26w+", RedisUrl(path="/x", username="u", password="p@&w+")),  # noqa: S106
        (
            "rediss://h?ssl_certfile=/c.pem&ssl_keyfile=/k.pem&ssl_password=x%26y&ssl_cert_reqs=none",
            RedisUrl("h", tls=Tls(None, "/c.pem", "/k.pem", "x&y", verify=False)),
        ),
        ("rediss://h?ssl_check_hostname=False", RedisUrl("h", tls=Tls(check_hostname=False))),
        (
            "redis+sentinel://a:1,b,[::1]:3/main/4",
            RedisUrl("a", 1, db=4, sentinels=(("a", 1), ("b", 26379), ("::1", 3)), service="main"),
        ),
        (
            "rediss+sentinel://u:p%2C@a:1,b:2/main?ssl_ca_certs=/ca.pem&sentinel_username=s&sentinel_password=t",
            RedisUrl(
                "a",
                1,
                username="u",
                password="p,",  # noqa: S106
                tls=Tls("/ca.pem"),
                sentinels=(("a", 1), ("b", 2)),
                service="main",
                sentinel_username="s",
                sentinel_password="t",  # noqa: S106
            ),
        ),
    ],
)
def test_what_a_url_says(url: str, expected: RedisUrl) -> None:
    assert parse(url) == expected


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "it begins with one of redis://, rediss://, unix://,"),
        ("localhost:6379", "it begins with one of"),
        ("http://h", "it begins with one of"),
        ("redis+x://h", "it begins with one of"),
        ("http+sentinel://h/s", "it begins with one of"),
        ("redis+sentinel://h:1", "give redis\\+sentinel://host:port,host:port/service/database"),
        ("redis+sentinel:///s", "give redis\\+sentinel"),
        ("redis+sentinel://a,,b/s", "give redis\\+sentinel"),
        ("redis://a,b", "give redis://host:port/database"),
        ("redis://h/zero", "the database as a number"),
        ("redis://h?db=x", "db is a number"),
        ("redis://h:port", "host and port"),
        ("redis://h:65536", "host and port"),
        ("redis://::1:6379", "an IPv6 address goes in brackets"),
        ("unix://run/x.sock", "give unix:///path"),
        ("redis://h/0#1", "it has a #"),
        ("redis://h/ 0", "a blank or a control character"),
        ("redis://h/0?sentinel_password=a@b", "an @ behind the host"),
        ("redis://:a@h?password=b", "password is given twice"),
        ("redis://h?db=1&db=2", "db is given twice"),
        ("redis://h?socket_timeout=1", "the option socket_timeout is not known; there are db, username, password$"),
        ("redis://h?ssl_ca_certs=/x", "the option ssl_ca_certs is not known; there are db, username, password$"),
        ("redis://h?sentinel_password=x", "the option sentinel_password is not known"),
        (
            "rediss://h?ssl_ca_path=/x",
            "the option ssl_ca_path is not known; there are db, .*, ssl_ca_certs,",
        ),
        ("redis+sentinel://h/s?protocol=3", "there are db, username, password, sentinel_username, sentinel_password$"),
        ("rediss://h?ssl_keyfile=/k.pem", "go with an ssl_certfile"),
        ("rediss://h?ssl_cert_reqs=optional", "ssl_cert_reqs is required or none"),
        ("rediss://h?ssl_check_hostname=0", "ssl_check_hostname is true or false"),
    ],
)
def test_what_is_no_redis_url(url: str, why: str) -> None:
    with pytest.raises(ParadeError, match=f"is not a Redis URL: .*{why}"):
        parse(url)


def test_messages_show_the_place_and_no_password() -> None:
    assert redacted("rediss://user:secret@host:1/2?ssl_password=x") == "rediss://host:1/2"
    assert redacted("redis+sentinel://u:secret@a:1,b:2/m/0?sentinel_password=secret") == "redis+sentinel://a:1,b:2/m/0"
    assert redacted("unix://:secret@/run/x.sock?db=1") == "unix:///run/x.sock"
    assert redacted("redis://user:secret") == "redis://***"
    assert redacted("user:secret@host") == "***"


WORDS = ("Xq7Zsecret", "W9vKhidden", "R4tYunseen")
"""Parts of a password, none of which is part of any message."""
BETWEEN = st.text(st.one_of(st.sampled_from("@/:?#&=%[],;+ \\\"'<>{}|^`~*()$!\t\n\x1b"), st.characters()), max_size=4)
PASSWORDS = st.tuples(BETWEEN, BETWEEN, BETWEEN, BETWEEN).map(
    lambda between: between[0] + "".join(word + odd for word, odd in zip(WORDS, between[1:], strict=True))
)
TEMPLATES = (
    "redis://:{}@host:6379/0",
    "redis://user:{}@host",
    "rediss://user:{}@[::1]:1/0?ssl_ca_certs=/ca.pem",
    "redis://user:{}",
    "redis://:{}",
    "redis://user:{}/0",
    "redis:/user:{}@host",
    "redis:user:{}@host",
    "user:{}@host:6379",
    ":{}@host",
    "http://user:{}@host",
    "redis+sentinel://user:{}@a:1,b:2/main/0",
    "redis+sentinel://a:1,b:2/main/0?sentinel_password={}",
    "redis+sentinel://a:1,b:2/main/0?sentinel_password={}&sentinel_username=s&x=1",
    "unix:///run/x.sock?password={}",
    "unix://:{}@/run/x.sock",
    "redis://host/0?password={}",
    "rediss://host/0?ssl_certfile=/c.pem&ssl_password={}",
)


@pytest.mark.slow
@given(st.sampled_from(TEMPLATES), PASSWORDS)
@settings(max_examples=1000)
def test_no_part_of_a_password_is_ever_shown(template: str, password: str) -> None:
    if "host" not in template and template.startswith("redis://"):
        password = password.replace("@", "")  # `redis://:a@b` is a password and a host, whatever was meant
    url = template.format(password)
    texts = [redacted(url)]
    try:
        texts += [repr(parse(url)), f"{parse(url)!s}"] if _is_a_password(parse(url)) else []
    except ParadeError as refused:
        texts += [str(refused), repr(refused), repr(refused.__cause__)]
    with contextlib.suppress(ParadeError):
        texts += [repr(load(redis_url=url)), str(load(redis_url=url))]
    for text in texts:
        assert not [word for word in WORDS if word.lower() in text.lower()], text


def _is_a_password(where: RedisUrl) -> bool:
    # Without an @, a URL can't be told from one whose user meant something else.
    return bool(where.password or where.sentinel_password or (where.tls and where.tls.key_password))


@pytest.mark.slow
@given(st.sampled_from(TEMPLATES), PASSWORDS)
def test_an_encoded_password_is_understood(template: str, password: str) -> None:
    url = template.format(quote(password, safe="", errors="surrogatepass"))
    assert redacted(url) == redacted(template.format("p"))
    with contextlib.suppress(ParadeError):
        where = parse(url)
        found = where.password or where.sentinel_password or (where.tls and where.tls.key_password)
        assert found == unquote(quote(password, safe="", errors="surrogatepass"))


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ("WRONGPASS invalid username-password pair", "WRONGPASS invalid username-password pair"),
        ("ERR unknown command 'AUTH', with args beginning with: 'user' 'se cret' ", "ERR unknown command 'AUTH'"),
        ("ERR what is se\ncret?", "ERR what is ***?"),
    ],
)
def test_what_a_server_says(said: str, told: str) -> None:
    assert without_secrets(said, "se\ncret", None, "") == told
