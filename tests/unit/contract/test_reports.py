"""The reports of the fanout nodes: four numbers, and nothing else passes for them."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from contract.reports import NodeReport, parse_node_report

NUMBERS = st.integers(min_value=0, max_value=10**15 - 1)


@given(NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_what_a_node_writes_is_what_is_read(batch: int, time_ms: int, connections: int, session: int) -> None:
    report = b"%d %d %d %d" % (batch, time_ms, connections, session)
    assert parse_node_report(report) == NodeReport(batch, time_ms, connections, session)


@pytest.mark.parametrize(
    "junk",
    [
        *(b"", b"junk", b"1", b"1 2 3", b"1 2 3 4 5", b"1 2 3 4\n", b" 1 2 3 4", b"1  2 3 4", b"1\t2 3 4"),
        *(b"-1 2 3 4", b"+1 2 3 4", b"1_0 2 3 4", b"1.5 2 3 4", b"1 2 3 x", b"\xff 2 3 4"),
        b"9" * 16 + b" 2 3 4",
    ],
)
def test_anything_else_is_refused(junk: bytes) -> None:
    with pytest.raises(ValueError, match="a node's report is four numbers"):
        parse_node_report(junk)


@given(st.binary(max_size=40))
@example(b"1 2 3 4")
def test_bytes_are_a_report_or_refused_with_a_value_error(report: bytes) -> None:
    try:
        found = parse_node_report(report)
    except ValueError:
        return
    assert b"%d %d %d %d" % (found.batch, found.time_ms, found.connections, found.session)
