"""Lines as WebSocket messages: a library that reads them finds the same bytes, in whole lines."""

from hypothesis import given
from hypothesis import strategies as st
from websockets.client import ClientProtocol
from websockets.frames import Frame, Opcode
from websockets.protocol import OPEN
from websockets.uri import parse_uri

from fanout.clients.web.messages import MESSAGE_BYTES, is_text, messages

payloads = st.one_of(
    st.binary(max_size=200).map(lambda data: data.replace(b"\n", b"")),
    st.text(max_size=60).map(lambda text: text.replace("\n", "").encode(errors="replace")),
    st.integers(0, 70_000).map(lambda size: b"x" * size),
)
lines = st.lists(payloads.map(lambda payload: b"7|B|%b\n" % payload), min_size=1, max_size=8)


def read(data: bytes) -> list[Frame]:
    protocol = ClientProtocol(parse_uri("ws://localhost/"), state=OPEN, max_size=None)
    protocol.receive_data(data)
    assert protocol.parser_exc is None
    return [event for event in protocol.events_received() if isinstance(event, Frame)]


@given(lines, st.sampled_from([40, 1000, MESSAGE_BYTES]))
def test_a_library_reads_the_same_lines(given_lines: list[bytes], most: int) -> None:
    longest = max(map(len, given_lines))
    frames = read(messages(b"".join(given_lines), most))
    assert b"".join(bytes(frame.data) for frame in frames) == b"".join(given_lines)
    for frame in frames:
        assert frame.fin
        assert bytes(frame.data).endswith(b"\n")
        assert len(frame.data) <= max(most, longest)
        assert (frame.opcode is Opcode.TEXT) == is_text(bytes(frame.data))


def test_what_is_not_utf_8_is_binary() -> None:
    assert [frame.opcode for frame in read(messages(b"1|B|\xc3\xa9\n") + messages(b"2|B|\xff\n"))] == [
        Opcode.TEXT,
        Opcode.BINARY,
    ]


def test_many_lines_are_several_messages_and_no_line_is_cut() -> None:
    whole = b"".join(b"%d|B|%b\n" % (number, b"y" * 60_000) for number in range(1, 31))
    frames = read(messages(whole))
    assert len(frames) == 30 // (MESSAGE_BYTES // 60_000) + 1
    assert b"".join(bytes(frame.data) for frame in frames) == whole
