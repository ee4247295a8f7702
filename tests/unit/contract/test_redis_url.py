"""What each kind of Redis URL says, and what is said when it says nothing."""

import pytest

from contract.errors import ParadeError
from contract.redis_url import RedisUrl, parse, place


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://", RedisUrl()),
        ("redis://h:1/2", RedisUrl("h", 1, db=2)),
        ("redis://[::1]:6379", RedisUrl("::1")),
        ("unix:///run/x.sock?db=3", RedisUrl(path="/run/x.sock", db=3)),
        (
            "rediss://u:p%40w@h:1/2?ssl_ca_certs=/ca.pem",
            RedisUrl("h", 1, db=2, username="u", password="p@w", tls=True, ca_file="/ca.pem"),  # noqa: S106
        ),
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
                tls=True,
                ca_file="/ca.pem",
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
    "url",
    [
        "",
        "localhost:6379",
        "http://h",
        "redis+x://h",
        "http+sentinel://h/s",
        "redis+sentinel://h:1",
        "redis+sentinel:///s",
    ],
)
def test_what_is_no_redis_url(url: str) -> None:
    with pytest.raises(ParadeError, match="is not a Redis URL"):
        parse(url)


def test_messages_never_show_a_password() -> None:
    assert place("rediss://user:secret@host:1/2") == "rediss://host:1/2"
    assert place("redis+sentinel://u:secret@a:1,b:2/m/0?sentinel_password=secret") == "redis+sentinel://a:1,b:2/m/0"
    with pytest.raises(ParadeError) as refused:
        parse("http://user:secret@host")
    assert "secret" not in str(refused.value)
