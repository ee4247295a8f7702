"""Where a deployment is: what addresses mean, and what is said about wrong ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.errors import ParadeError
from simulator.address import Address, parse
from simulator.wire import SSE, TCP, WS

SOURCE = {TCP: 9090}


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("parade.example:7000", Address(TCP, "parade.example", 7000)),
        ("parade.example", Address(TCP, "parade.example", 9099)),
        ("parade://10.0.0.7", Address(TCP, "10.0.0.7", 9099)),
        ("[::1]:7000", Address(TCP, "::1", 7000)),
        ("ws://parade.example", Address(WS, "parade.example", 9098)),
        ("ws://parade.example:80/", Address(WS, "parade.example", 80)),
        ("ws://parade.example:80/feeds/ws", Address(WS, "parade.example", 80, "/feeds/ws")),
        ("http://parade.example:80/feeds", Address(SSE, "parade.example", 80, "/feeds")),
        ("http://[::1]", Address(SSE, "::1", 9098)),
    ],
)
def test_addresses(text: str, found: Address) -> None:
    assert parse(text, option="--at") == found


def test_an_event_port_is_tcp_and_has_a_default_of_its_own() -> None:
    assert parse("parade.example", ports=SOURCE, option="--events-at") == Address(TCP, "parade.example", 9090)
    with pytest.raises(ParadeError, match=r"--events-at ws://a: give an address such as parade://host:9090$"):
        parse("ws://a", ports=SOURCE, option="--events-at")


@pytest.mark.parametrize(
    "text",
    [
        *("", ":", ":9099", "a:b", "a:70000", "a:-1", "ftp://a", "a/ws", "parade://a/x", "ws://", "ws:///ws"),
        *("ws://me@a", "ws://a?user=5", "ws://a#b", "http://a/\u00fc", "ws://a/ b", "ws://a/\r\nX: y", "[::1"),
    ],
)
def test_what_is_no_address_is_said(text: str) -> None:
    with pytest.raises(
        ParadeError, match=r"(?s)^--at .*: give an address such as parade://host:9099 or ws://host:9098"
    ):
        parse(text, option="--at")


@pytest.mark.parametrize("scheme", ["wss", "https"])
def test_tls_is_not_spoken(scheme: str) -> None:
    with pytest.raises(ParadeError, match="speaks no TLS"):
        parse(f"{scheme}://a", option="--at")


@given(st.text(max_size=20))
def test_any_text_is_an_address_or_an_error(text: str) -> None:
    try:
        found = parse(text, option="--at")
    except ParadeError:
        return
    assert found.host
    assert 0 <= found.port < 65_536
