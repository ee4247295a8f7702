"""Who is let in: limits of the process and of an address, and the PROXY line that says whose address counts."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.edge.admission import (
    HEALTH_CONNECTIONS,
    RESERVED_FILES,
    WEB_CONNECTIONS,
    Admission,
    ConnectionLimits,
    RefusedError,
    connections_within,
    health_connections_within,
    web_connections_within,
)

HOME, AWAY = ("192.0.2.7", 1000), ("192.0.2.8", 1000)
LINE = b"PROXY TCP4 203.0.113.5 198.51.100.1 56324 9099\r\n"


def test_the_limit_of_the_process() -> None:
    limits = ConnectionLimits(2, 0)
    first, second, third = (Admission(limits, proxied=False) for _ in range(3))
    first.begin(HOME)
    second.begin(HOME)
    with pytest.raises(RefusedError, match=r"^too many connections$"):
        third.begin(AWAY)
    third.end()
    assert limits.connections == 2
    first.end()
    first.end()
    third.begin(AWAY)
    assert third.complete
    assert third.peer == "192.0.2.8:1000"


def test_the_limit_of_an_address() -> None:
    limits = ConnectionLimits(10, 1)
    first, second, other = (Admission(limits, proxied=False) for _ in range(3))
    first.begin(HOME)
    with pytest.raises(RefusedError, match="from one address"):
        second.begin(HOME)
    assert not second.complete
    second.end()
    other.begin(AWAY)
    first.end()
    second.begin(HOME)
    assert limits.connections == 2


def test_limits_of_hundreds_hold_too() -> None:
    limits = ConnectionLimits(400, 300)
    for _ in range(300):
        Admission(limits, proxied=False).begin(HOME)
    with pytest.raises(RefusedError, match="from one address"):
        Admission(limits, proxied=False).begin(HOME)
    for _ in range(99):  # the one just refused has not ended
        Admission(limits, proxied=False).begin(AWAY)
    with pytest.raises(RefusedError, match=r"^too many connections$"):
        Admission(limits, proxied=False).begin(AWAY)


def test_what_was_taken_is_given_back_once_however_often_it_ends() -> None:
    limits = ConnectionLimits(10, 2)
    first, second, third = (Admission(limits, proxied=False) for _ in range(3))
    first.begin(HOME)
    second.begin(HOME)
    for _ in range(3):
        first.end()
    assert limits.connections == 1
    third.begin(HOME)
    with pytest.raises(RefusedError):
        Admission(limits, proxied=False).begin(HOME)


def test_a_peer_over_ipv6_has_four_parts() -> None:
    admission = Admission(ConnectionLimits(1, 1), proxied=False)
    assert admission.address == "unknown"
    admission.begin(("2001:db8::7", 1000, 0, 0))  # type: ignore[arg-type]
    assert (admission.peer, admission.address) == ("2001:db8::7:1000", "2001:db8::7")


def test_the_address_of_the_proxy_line_counts() -> None:
    limits = ConnectionLimits(10, 1)
    first, second = Admission(limits, proxied=True), Admission(limits, proxied=True)
    first.begin(HOME)
    second.begin(HOME)
    for byte in LINE[:-1]:
        assert first.feed(bytes([byte])) == b""
        assert not first.complete
    assert first.feed(LINE[-1:] + b"5\n") == b"5\n"
    assert first.complete
    assert first.peer == "203.0.113.5:56324"
    assert first.feed(b"more") == b"more"
    with pytest.raises(RefusedError, match="from one address"):
        second.feed(LINE)


def test_who_comes_past_the_balancer_is_refused() -> None:
    admission = Admission(ConnectionLimits(10, 0), proxied=True)
    admission.begin(HOME)
    with pytest.raises(RefusedError, match="load balancer only"):
        admission.feed(b"1|B\n")


def test_a_connection_that_is_gone_again_has_no_address() -> None:
    admission = Admission(ConnectionLimits(1, 1), proxied=False)
    admission.begin(None)
    assert admission.complete
    assert admission.peer == "unknown:0"


@given(st.lists(st.tuples(st.integers(0, 9), st.integers(0, 2))), st.integers(1, 6), st.integers(0, 3))
def test_counts_are_those_of_the_open_connections(steps: list[tuple[int, int]], most: int, each: int) -> None:
    """Any coming and going: a connection is let in exactly when there is room, and nothing stays counted."""
    limits = ConnectionLimits(most, each)
    inside: dict[int, tuple[Admission, int]] = {}
    for number, address in steps:
        if number in inside:
            inside.pop(number)[0].end()
            continue
        admission = Admission(limits, proxied=False)
        of_address = Counter(at for _, at in inside.values())[address]
        room = len(inside) < most and (not each or of_address < each)
        try:
            admission.begin((f"192.0.2.{address}", 1))
            inside[number] = admission, address
        except RefusedError:
            admission.end()
        assert (number in inside) == room
        assert limits.connections == len(inside)
    for admission, _ in inside.values():
        admission.end()
    assert limits.connections == 0
    assert not limits._of_address


@pytest.mark.parametrize("files", [20, 21, 256, 1024, 20_000])
def test_some_open_files_are_left_for_the_process(files: int) -> None:
    assert 0 < connections_within(files) < files
    assert files - connections_within(files) == min(files // 2, RESERVED_FILES)


@pytest.mark.parametrize("files", [20, 64, 256, 1024, 20_000])
def test_the_health_port_leaves_the_process_half_of_what_is_set_aside(files: int) -> None:
    """As many connections again can have been accepted before one of them is closed."""
    most = health_connections_within(files)
    assert 0 < most <= HEALTH_CONNECTIONS
    assert 2 * most <= (files - connections_within(files)) / 2
    assert health_connections_within(256) == HEALTH_CONNECTIONS
    assert [health_connections_within(few) for few in (2, 6, 20)] == [1, 1, 2]


@pytest.mark.parametrize("files", [20, 256, 1024, 20_000])
def test_the_web_port_leaves_half_of_the_connections_to_the_others(files: int) -> None:
    """As many connections again can have been accepted before one of them is closed."""
    most = web_connections_within(files)
    assert 0 < most <= WEB_CONNECTIONS
    assert 2 * most <= connections_within(files) / 2
    assert web_connections_within(20_000) == WEB_CONNECTIONS
