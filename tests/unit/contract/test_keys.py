"""Names of keys and channels: a database separates keys, but not channels."""

import pytest

from contract.keys import Keys
from runtime.settings import load


def test_channels_carry_the_number_of_their_database() -> None:
    assert (Keys("parade").user, Keys("parade").broadcast) == ("{parade}:user:", "{parade}:broadcast")
    assert (Keys("parade", 3).user, Keys("parade", 3).broadcast) == ("{parade}:3:user:", "{parade}:3:broadcast")
    assert Keys("parade", 3).types == Keys("parade").types


@pytest.mark.parametrize(
    ("url", "channel"),
    [
        ("redis://127.0.0.1", "{p}:broadcast"),
        ("redis://127.0.0.1/0", "{p}:broadcast"),
        ("redis://127.0.0.1/3", "{p}:3:broadcast"),
        ("rediss://user:secret@host:6380/03", "{p}:3:broadcast"),
        ("redis://127.0.0.1?db=3", "{p}:3:broadcast"),
        ("unix:///run/redis.sock?db=3", "{p}:3:broadcast"),
        ("redis+sentinel://a:1,b:2/service/3", "{p}:3:broadcast"),
    ],
)
def test_the_number_is_that_of_the_url(url: str, channel: str) -> None:
    assert load(namespace="p", redis_url=url).keys.broadcast == channel


def test_the_type_of_each_key() -> None:
    keys = Keys("p")
    assert keys.type_of(keys.followers + "1") == "set"
    assert keys.type_of(keys.producer + "orders-7") == "hash"
    assert keys.type_of(keys.away) == "zset"
    assert keys.type_of("another") == ""
