"""Heartbeats and reports: what is written is read, other versions are understood, anything else is refused."""

import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.reports import Heartbeat, Report, parse_heartbeat, parse_report

NUMBERS = st.integers(min_value=0, max_value=10**15 - 1)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_what_a_node_writes_is_what_is_read(batch: int, time_ms: int, connections: int, generation: int) -> None:
    text = b"%d %d %d %d 1" % (batch, time_ms, connections, generation)
    assert parse_heartbeat(text) == Heartbeat(batch, time_ms, connections, generation, has_channel=1)


@pytest.mark.parametrize("more", [b" 5", b" 5 6", b" west", b" zone=west x", b" "])
def test_a_heartbeat_with_more_fields_is_understood(more: bytes) -> None:
    assert parse_heartbeat(b"1 2 3 4 1" + more) == Heartbeat(1, 2, 3, 4, 1)


@pytest.mark.parametrize(
    ("text", "expected"),
    [(b"1 2 3 4", Heartbeat(1, 2, 3, 4)), (b"1 2 3", Heartbeat(1, 2, 3)), (b"1 2", Heartbeat(1, 2))],
)
def test_a_heartbeat_that_lacks_a_field_is_understood(text: bytes, expected: Heartbeat) -> None:
    assert parse_heartbeat(text) == expected


@pytest.mark.parametrize(
    "junk",
    [
        *(b"", b"junk", b"1", b"1 2 3 4\n", b" 1 2 3 4", b"1  2 3 4", b"1\t2 3 4"),
        *(b"-1 2 3 4", b"+1 2 3 4", b"1_0 2 3 4", b"1.5 2 3 4", b"1 2 3 x", b"\xff 2 3 4"),
        b"9" * 16 + b" 2 3 4",
    ],
)
def test_anything_else_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match="not a heartbeat"):
        parse_heartbeat(junk)


@given(st.binary(max_size=40))
@example(b"1 2 3 4")
def test_bytes_are_a_heartbeat_or_refused_with_a_value_error(text: bytes) -> None:
    try:
        found = parse_heartbeat(text)
    except ValueError:
        return
    given_fields = [int(field) for field in text.split(b" ")[:4]]
    read_fields = [found.batch, found.time_ms, found.connections, found.generation]
    assert read_fields == given_fields + [0] * (4 - len(given_fields))


FACTS = {"role": "leader", "next": 7, "not_ready": ["a gap"], "latency_seconds": [0, 1, 2], "peers": {"left": 3}}
FACTS["settings"] = {"lease_s": 3.0, "reach": 1000}


def report(**facts: object) -> bytes:
    return b"1700000000000 " + json.dumps(facts).encode()


def test_what_a_service_writes_is_what_is_read() -> None:
    found = parse_report(report(**FACTS))
    assert found == Report(1_700_000_000_000, FACTS)
    assert found.settings == {"lease_s": 3.0, "reach": 1000}
    assert (found.number("next"), found.not_ready) == (7, ["a gap"])


def test_a_report_with_one_more_fact_is_understood() -> None:
    found = parse_report(report(**FACTS, zone={"name": "west", "racks": [1, 2]}))
    assert (found.number("next"), found.not_ready) == (7, ["a gap"])


@pytest.mark.parametrize("lacking", FACTS)
def test_a_report_that_lacks_a_fact_is_understood(lacking: str) -> None:
    found = parse_report(report(**{name: fact for name, fact in FACTS.items() if name != lacking}))
    assert found.number(lacking) == 0
    assert found.not_ready == ([] if lacking == "not_ready" else ["a gap"])
    assert (found.settings == {}) == (lacking == "settings")


@pytest.mark.parametrize(
    "junk",
    [
        *(b"", b"junk", b"1", b"1 ", b"x {}", b"1.5 {}", b"1 []", b"1 7", b"1 {", b"{}"),
        *(report(not_ready="x"), report(latency_seconds={}), report(latency_seconds=["x"]), report(peers=[])),
        *(report(peers={"left": "x"}), report(settings=[]), report(settings={"lease_s": "x"})),
    ],
)
def test_what_is_not_a_report_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match=r"not a report|Expecting"):
        parse_report(junk)
