"""WebSocket frames: whole messages come out, and what no server may send is refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.server import ServerProtocol

from simulator.web.frames import BINARY, CLOSE, MOST_BYTES, PING, PONG, TEXT, Frames, Message, masked
from tests.unit.simulator.web.cutting import cuts, pieces

KINDS = {TEXT: Opcode.TEXT, BINARY: Opcode.BINARY, CLOSE: Opcode.CLOSE, PING: Opcode.PING, PONG: Opcode.PONG}
SIZES = st.one_of(st.integers(0, 200), st.sampled_from([125, 126, 127, 65_535, 65_536, MOST_BYTES]))


def frame(first: int, data: bytes) -> bytes:
    """A server's frame."""
    if len(data) < 126:
        return struct.pack("!BB", first, len(data)) + data
    if len(data) < 1 << 16:
        return struct.pack("!BBH", first, 126, len(data)) + data
    return struct.pack("!BBQ", first, 127, len(data)) + data


def parsed(data: bytes) -> list[Message]:
    return list(Frames().feed(data))


@st.composite
def messages(draw: st.DrawFn) -> list[tuple[Message, bytes]]:
    """Messages, and the frames of each; control frames stand between the parts of others too."""
    found = []
    for _ in range(draw(st.integers(0, 4))):
        data = draw(st.sampled_from([b"x", b"\x00", "ü".encode()])) * draw(SIZES)
        data = data[:MOST_BYTES]
        kind = draw(st.sampled_from([TEXT, BINARY]))
        parts = pieces(data, draw(cuts(3)))
        ping = Message(PING, draw(st.binary(max_size=125)))
        for at, part in enumerate(parts):
            if at and draw(st.booleans()):
                found.append((ping, frame(0x80 | PING, ping.data)))
            first = (kind if at == 0 else 0) | (0x80 if at == len(parts) - 1 else 0)
            found.append(
                (Message(kind, data), frame(first, part))
                if first & 0x80
                else (ping._replace(kind=-1), frame(first, part))
            )
    return found


@given(messages(), cuts())
def test_any_cutting_of_the_bytes_gives_the_same_messages(
    found: list[tuple[Message, bytes]], places: list[float]
) -> None:
    wanted = [message for message, _ in found if message.kind >= 0]
    frames = Frames()
    parts = pieces(b"".join(data for _, data in found), places)
    assert [message for part in parts for message in frames.feed(part)] == wanted


@given(st.sampled_from(sorted(KINDS)), st.integers(0, 125))
def test_what_a_library_sends_is_understood(kind: int, size: int) -> None:
    data = Frame(KINDS[kind], b"x" * size).serialize(mask=False)
    assert parsed(data) == [Message(kind, b"x" * size)]


@given(st.sampled_from([0, 1, 125, 126, 127, 4_000]), st.binary(min_size=4, max_size=4))
def test_a_library_understands_what_a_client_sends(size: int, mask: bytes) -> None:
    server = ServerProtocol(max_size=None)
    server.state = server.state.OPEN
    data = bytes(at % 251 for at in range(size))
    reader = server.reader
    reader.feed_data(masked(BINARY, data, mask))
    parsing = Frame.parse(reader.read_exact, mask=True, max_size=None)
    with pytest.raises(StopIteration) as ended:
        next(parsing)
    assert ended.value.value.data == data
    assert reader.buffer == b""


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\xc1\x00", "reserved bit"),
        (b"\x83\x00", "unknown kind 3"),
        (b"\x81\x81\x00\x00\x00\x00x", "mask"),
        (b"\x09\x00", "in parts"),
        (b"\x89\x7e\x00\x7e" + bytes(126), "over 125 bytes"),
        (b"\x81\x7e\x00\x7d" + bytes(125), "shortest form"),
        (b"\x81\x7f" + struct.pack("!Q", 65_535), "shortest form"),
        (b"\x81\x7f" + struct.pack("!Q", MOST_BYTES + 1), "at most 262,144"),
        (b"\x80\x00", "a part of no message"),
        (b"\x01\x00\x81\x00", "between the parts"),
        (frame(0x01, bytes(MOST_BYTES)) + frame(0x80, b"x"), "a message of over"),
        (frame(0x01, bytes(200_000)) + frame(0x80, bytes(100_000)), "a message of over"),
    ],
)  # fmt: skip
def test_what_no_server_may_send_is_refused(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        parsed(data)


def test_the_greatest_message_is_taken() -> None:
    assert parsed(frame(0x81, bytes(MOST_BYTES))) == [Message(TEXT, bytes(MOST_BYTES))]
    assert parsed(frame(0x89, bytes(125))) == [Message(PING, bytes(125))]
