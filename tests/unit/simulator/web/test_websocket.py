"""One WebSocket of the simulator: the lines that come out, what it answers, and what it does not let pass."""

import base64
import hashlib
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.web.frames import BINARY, CLOSE, PING, TEXT, masked
from simulator.web.websocket import GUID, WebSocket
from tests.unit.simulator.web.cutting import cuts, each_way, heard, pieces
from tests.unit.simulator.web.test_websocket_frames import frame

REGISTRATION = b"50 after=now\n"
REGISTERED = masked(TEXT, b"50 after=now", bytes(4))
LINES = st.lists(st.binary(max_size=40).map(lambda data: b"7|B|" + data.replace(b"\n", b"") + b"\n"), min_size=1)


def begun() -> WebSocket:
    return WebSocket(REGISTRATION, "127.0.0.1:9098", chance=bytes)


def accepted(accept: str = "", more: str = "") -> bytes:
    key = base64.b64encode(bytes(16)).decode()
    right = base64.b64encode(hashlib.sha1(f"{key}{GUID}".encode()).digest()).decode()  # noqa: S324 (RFC 6455)
    return (
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        f"{more}Sec-WebSocket-Accept: {accept or right}\r\n\r\n"
    ).encode()


def text(data: bytes) -> bytes:
    return frame(0x80 | TEXT, data)


def close(code: int) -> bytes:
    return frame(0x80 | CLOSE, code.to_bytes(2, "big"))


def in_messages(lines: list[bytes]) -> bytes:
    """Each line in a message of its own, by its kind."""
    return b"".join(frame(0x80 | (TEXT if _is_text(line) else BINARY), line) for line in lines)


def _is_text(line: bytes) -> bool:
    return line.decode(errors="replace").encode() == line


def test_it_asks_for_a_websocket() -> None:
    hello = WebSocket(REGISTRATION, "[::1]:9098", "/parade/ws").hello.decode()
    assert hello.startswith("GET /parade/ws HTTP/1.1\r\nHost: [::1]:9098\r\n")
    (key,) = re.findall(r"Sec-WebSocket-Key: (\S+)\r\n", hello)
    assert len(base64.b64decode(key)) == 16
    assert hello.endswith("Sec-WebSocket-Version: 13\r\n\r\n")


@given(LINES, cuts())
def test_any_cutting_of_the_bytes_gives_the_same_lines(lines: list[bytes], places: list[float]) -> None:
    data = accepted() + text(b"OK 9f31c2@6\n") + in_messages(lines)
    said, replies = heard(begun(), pieces(data, places))
    assert said == b"OK 9f31c2@6\n" + b"".join(lines)
    assert replies == REGISTERED


def test_a_conversation_cut_at_every_place() -> None:
    data = accepted() + frame(0x80 | PING, b"hi") + text(b"OK a@6\n7|B\n") + text(b"BYE drain 10\n") + close(1001)
    expected = REGISTERED + masked(10, b"hi", bytes(4)) + masked(CLOSE, b"\x03\xe9", bytes(4))
    for parts in each_way(data):
        assert heard(begun(), parts) == (b"OK a@6\n7|B\nBYE drain 10\n", expected)


def test_registration_waits_for_the_handshake() -> None:
    websocket = begun()
    assert websocket.receive(accepted()[:-1]) == websocket.reply() == b""
    assert websocket.receive(b"\n") == b""
    assert websocket.reply() == REGISTERED


def test_goodbye_is_answered_with_close() -> None:
    websocket = begun()
    assert websocket.goodbye() == b""
    websocket.receive(accepted() + text(b"OK a@6\n"))
    websocket.reply()
    assert websocket.goodbye() == masked(TEXT, b"BYE", bytes(4))
    assert websocket.receive(text(b"7|B\n") + close(1000)) == b"7|B\n"
    assert websocket.goodbye() == masked(CLOSE, b"\x03\xe8", bytes(4))[:0]


@pytest.mark.parametrize(
    ("last", "code"),
    [(b"ERROR no\n", 1008), (b"BYE busy 900\n", 1013), (b"BYE drain 10\n", 1001), (b"7|B\nBYE stopping\n", 1001)],
)
def test_close_belongs_to_the_line_before_it(last: bytes, code: int) -> None:
    assert begun().receive(accepted() + text(last) + close(code)) == last
    for wrong in {1000, 1001, 1008, 1013} - {code}:
        with pytest.raises(ValueError, match=f"Close {wrong} came after b'(BYE|ERROR)"):
            begun().receive(accepted() + text(last) + close(wrong))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"220 mail\r\n", "beginning of an HTTP/1.1 answer"),
        (accepted("wrong"), "does not belong to the key"),
        (accepted(more="Sec-WebSocket-Extensions: permessage-deflate\r\n"), "extensions"),
        (accepted(more="Upgrade: websocket\r\n"), "upgrade came twice"),
        (accepted().replace(b"Upgrade: websocket", b"Upgrade: h2c"), "'h2c' instead of 'websocket'"),
        (accepted() + text(b"7|B\n8|"), "in the middle of a line"),
        (accepted() + text(b""), "in the middle of a line"),
        (accepted() + text(b"7|B|\xff\n"), "a text message is not UTF-8"),
        (accepted() + frame(0x82, b"7|B\n"), "a binary message is UTF-8"),
        (accepted() + close(1000), "Close 1000 came after no BYE or ERROR"),
        (accepted() + text(b"BYE drain 9\n") + frame(0x88, b""), "Close 0 came after b'BYE drain"),
        (accepted() + text(b"BYE drain 9\n") + text(b"8|B\n") + close(1001), "Close 1001 came after no BYE"),
        (accepted() + text(b"BYE drain 9\n") + close(1001) + text(b"8|B\n"), "behind Close"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "no text of a known length"),
        (b"HTTP/1.1 101\r\n\r\n", "is no status"),
        (b"HTTP/1.1 101 Switching\r\nno field\r\n\r\n", "not a header field"),
        (b"HTTP/1.1 101 Switching\r\nX: " + bytes(20_000), "over 16,384 bytes"),
    ],
)
def test_what_the_server_may_not_do_is_an_error(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        begun().receive(data)


def test_a_refusal_is_an_error_line() -> None:
    data = b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 5\r\nContent-Length: 9\r\n\r\ntoo many\n"
    for parts in each_way(data):
        assert heard(begun(), parts) == (b"ERROR HTTP 503 (Retry-After: 5) too many\n", b"")
    with pytest.raises(ValueError, match="more behind the text"):
        begun().receive(data + b"x")
    websocket = begun()
    websocket.receive(data)
    assert websocket.goodbye() == b""
