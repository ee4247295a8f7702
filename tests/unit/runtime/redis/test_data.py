"""What Parade's keys hold makes sense, or is refused with a line that names the key."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import RedisDataError
from runtime.printable import printable
from runtime.redis.data import event_in, number_in, position_in, quoted, shown, wrong_type

STATE = {b"next": b"7", b"batch": b"3", b"cursor": b"17-0", b"epoch": b"9f31c2", b"skip_to": b"0", b"late": b"-1"}
STATE[b"history"] = b"51e07a"


def test_a_position() -> None:
    found = position_in("s", STATE)
    assert (found.next, found.batch, found.cursor, found.epoch, found.skip_to) == (7, 3, b"17-0", b"9f31c2", 0)
    assert found.history == b"51e07a"


def test_a_deployment_that_nobody_has_sequenced() -> None:
    found = position_in("s", {})
    assert (found.next, found.batch, found.cursor, found.epoch, found.skip_to) == (None, 0, b"0-0", b"", 0)


@pytest.mark.parametrize(
    ("field", "junk"),
    [
        *((b"next", junk) for junk in (b"", b"x", b"0", b"-1", b"1.0", b" 1", b"1_0", b"9" * 17)),
        *((b"batch", junk) for junk in (b"", b"x", b"-1")),
        *((b"cursor", junk) for junk in (b"", b"5", b"5-", b"-5", b"5-x", b"5-0 ", b"*", b"$")),
        *((name, junk) for name in (b"epoch", b"history") for junk in (b"a b", b"a@1", b"a\n", b"\xff", b"a=b")),
        *((b"skip_to", b"-1"), (b"late", b"many"), (b"anything", b"else"), (b"received", b"1.5")),
    ],
)
def test_the_first_field_that_makes_no_sense_is_named(field: bytes, junk: bytes) -> None:
    with pytest.raises(RedisDataError, match=rf"(?s)^s has '.*' in its field {field.decode()}, which is not "):
        position_in("s", STATE | {field: junk})


@given(st.dictionaries(st.sampled_from([*STATE, b"other"]), st.binary(max_size=20)))
def test_any_state_is_a_position_or_refused(state: dict[bytes, bytes]) -> None:
    with contextlib.suppress(RedisDataError):
        position_in("s", state)


@pytest.mark.parametrize("junk", [b"", b"junk", b"3|B", b"3|B\n4|B\n", b"0|B\n", b"\n", b"3|X\n", b"x" * 99, b"\xff"])
def test_what_waits_is_one_event(junk: bytes) -> None:
    assert event_in("w", b"3|B\n")[1] == b"3"
    with pytest.raises(RedisDataError, match=r"(?s)^w holds '.*', which is not an event line: ") as found:
        event_in("w", junk)
    told = str(found.value)
    if junk in (b"", b"junk", b"3|B"):
        assert told.endswith(f"delete it with: redis-cli ZREM w {quoted(junk.decode())}")
    else:
        assert told.endswith("and delete it with: redis-cli ZREMRANGEBYSCORE w <score> <score>")


def test_a_number_that_is_not_there() -> None:
    assert number_in("s", "backlog", None, 5) == 5
    assert number_in("s", "backlog", b"0", 5) == 0


def test_commands_can_be_copied_into_a_shell() -> None:
    assert str(wrong_type("{p}:state", "list", "hash")).endswith("redis-cli DEL '{p}:state'")


@given(st.binary())
def test_a_value_in_a_message_is_its_beginning_which_whoever_shows_it_makes_printable(value: bytes) -> None:
    text = shown(value)
    assert len(text) <= 61
    assert printable(text).isprintable()
    assert value.startswith(text.removesuffix("…").encode(errors="surrogateescape"))
