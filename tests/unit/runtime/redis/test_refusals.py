"""Redis's refusals in the operator's words."""

import pytest

from contract.keys import Keys
from runtime.redis.refusals import data_problem, keys_of, lacks_a_right, missing_right
from runtime.settings import load

KEYS = Keys("p")
WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value"


@pytest.mark.parametrize(
    ("refusal", "lacks"),
    [
        ("NOPERM User parade has no permissions to run the 'xread' command", True),
        ("NOPERM this user has no permissions to access one of the keys used as arguments", True),
        ("ERR ACL failure in script: User parade has no permissions to run the 'xadd' command script: ab", True),
        ("ERR The user executing the script can't run this command or subcommand script: ab", True),
        ("NOAUTH Authentication required.", False),
        (WRONG_TYPE, False),
        ("LEASE is not held by NOPERM", False),
    ],
)
def test_what_lacks_a_right(refusal: str, lacks: bool) -> None:
    assert lacks_a_right(refusal) == lacks


@pytest.mark.parametrize(
    ("command", "what"),
    [
        (("XREAD", "STREAMS", KEYS.events, b"0-0"), "run XREAD on {p}:events: NOPERM no"),
        (("SUBSCRIBE", KEYS.broadcast.encode()), "run SUBSCRIBE on {p}:broadcast: NOPERM no"),
        (("CLIENT", "SETNAME", "p-fanout"), "run CLIENT SETNAME: NOPERM no"),
        (("INFO",), "run INFO: NOPERM no"),
        (("EVALSHA", "ab", 4, *(f"{{p}}:{n}" for n in range(4))), "run EVALSHA on {p}:0, {p}:1, {p}:2, …: NOPERM no"),
        ((), "do that: NOPERM no"),
    ],
)
def test_the_right_that_is_missing(command: tuple[str | bytes | int, ...], what: str) -> None:
    settings = load(namespace="p", redis_url="redis://user:secret@host:1/0")
    said = str(missing_right("NOPERM no", command, settings))
    assert said.startswith(f"Redis at redis://host:1/0 does not let its user {what}; grant it with: redis-cli ACL")
    assert said.endswith("resetkeys '~{p}:*' '&{p}:*' +@all")


def test_the_key_of_another_type() -> None:
    command = ("EVALSHA", "ab", 2, KEYS.nodes, KEYS.state, "n1")
    assert keys_of(WRONG_TYPE, command, KEYS) == [KEYS.nodes, KEYS.state]
    types = {KEYS.nodes: "hash", KEYS.state: "string"}
    told = "{p}:state is a string and not a hash: delete it with: redis-cli DEL '{p}:state'"
    assert str(data_problem(WRONG_TYPE, command, KEYS, types)) == told
    assert keys_of("OOM no", command, KEYS) == []


@pytest.mark.parametrize(
    ("refusal", "told"),
    [
        ("STATE batch of {p}:state is not a number: x", "{p}:state has 'x' in its field batch, which is not a number:"),
        ("KEYTYPE {p}:followers:2 is not a set: delete it (WRONG…)", "{p}:followers:2 is not a set: delete it with:"),
        ("KEYTYPE {p}:nodes is a list, not a hash: delete it", "{p}:nodes is a list, not a hash: delete it with:"),
        ("JOURNAL {p}:deliveries does not take batch 2: ERR", "{p}:deliveries does not take batch 2: delete it with:"),
        ("ENDLESS {p}:lease holds x and never expires", "{p}:lease holds x and never expires: delete it with:"),
    ],
)
def test_what_the_scripts_found(refusal: str, told: str) -> None:
    assert str(data_problem(refusal, ("EVALSHA", "ab", 0), KEYS, {})).startswith(told)


def test_a_count_that_is_none() -> None:
    found = data_problem("ERR hash value is not an integer", ("HINCRBY", KEYS.state, "rejected", 1), KEYS, {})
    assert str(found).startswith("{p}:state has something in its field rejected, which is not a number:")


@pytest.mark.parametrize("refusal", ["OOM no memory", "READONLY", "SESSION 3 of n is over", "NOSCRIPT", WRONG_TYPE])
def test_what_nobody_can_mend_in_a_key_stays_as_it_is(refusal: str) -> None:
    assert data_problem(refusal, ("GET", KEYS.lease), KEYS, {KEYS.lease: "string"}) is None
