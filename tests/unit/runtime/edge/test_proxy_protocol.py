"""The PROXY line, whole and in pieces, and what is none."""

import pytest

from runtime.edge.proxy_protocol import LONGEST_BYTES, Address, NotProxiedError, split

LINE = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 9099\r\n"


@pytest.mark.parametrize(
    ("line", "client"),
    [
        (LINE, ("192.0.2.7", "56324")),
        (b"PROXY TCP6 2001:db8::7 2001:db8::1 4124 443\r\n", ("2001:db8::7", "4124")),
        (b"PROXY UNKNOWN\r\n", ("unknown", "0")),
        (b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n", ("unknown", "0")),
    ],
)
def test_whole_byte_by_byte_and_with_more_behind(line: bytes, client: Address) -> None:
    for end in range(len(line)):
        assert split(line[:end]) is None
    assert split(line) == (client, b"")
    for more in (b"1\n", b"x" * 500 + b"\r\n"):
        assert split(line + more) == (client, more)


def test_the_longest_line_of_the_specification_and_no_longer_one() -> None:
    longest = b"PROXY UNKNOWN " + b" ".join([b"ffff:" * 7 + b"ffff"] * 2 + [b"65535"] * 2) + b"\r\n"
    assert len(longest) == 107
    assert split(longest) == (("unknown", "0"), b"")
    assert split(longest[:-1]) is None
    for longer in (longest.replace(b"\r\n", b"0\r\n"), longest.replace(b"\r\n", b"00")):
        with pytest.raises(NotProxiedError):
            split(longer)


@pytest.mark.parametrize(
    "data", [b"1|B\n", b"P\n", b"PROXY TCP4 a b\r\n", b"PROXY \r\n", b"PROXY " + b"x" * LONGEST_BYTES]
)
def test_what_is_no_proxy_line(data: bytes) -> None:
    with pytest.raises(NotProxiedError):
        split(data)
