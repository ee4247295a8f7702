"""Server-sent events as the simulator reads them: the lines that come out, and what it does not let pass."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.clients.web.blocks import control, events
from simulator.web.event_stream import MOST_BYTES, EventStream
from tests.unit.simulator.web.cutting import cuts, each_way, heard, pieces

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
BEGUN = HEAD + b"retry: 1000\n\n"
AT_6 = b"id: 9f31c2@6\n\n"
NOW, LATER = b"50 after=now\n", b"50 after=9f31c2@6\n"


def read(data: bytes, registration: bytes = NOW) -> bytes:
    return EventStream(registration, "127.0.0.1:9098").receive(data)


@st.composite
def conversations(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """What the node's own encoder makes of lines, and these lines."""
    history, number, lines, blocks = b"9f31c2", 7, [b"OK 9f31c2@6\n"], [AT_6]
    payloads = st.one_of(
        st.binary(max_size=30), st.text(max_size=10).map(str.encode), st.just(b"\r"), st.just(b"id: 7")
    )
    for _ in range(draw(st.integers(0, 12))):
        kind = draw(st.sampled_from(["events", "events", "AT", "RESET", "RESUMED", "comment"]))
        if kind == "comment":
            blocks.append(b":\n\n")
            continue
        said = b""
        if kind == "events":
            for payload in draw(st.lists(payloads, min_size=1, max_size=5)):
                said += b"%d|B|%b\n" % (number, payload.replace(b"\n", b""))
                number += 1
            blocks.append(events(said, history))
        elif kind == "AT":
            said = b"AT %d\n" % number
        elif kind == "RESET":
            said = b"RESET %b@%d trimmed\n" % (history, number)
        else:
            history = b"h%d" % len(blocks)
            said = b"RESUMED %b@%d\n" % (history, number)
        if kind != "events":
            blocks.append(control(said[:-1], history)[0])
        lines.append(said)
    return BEGUN + b"".join(blocks), b"".join(lines)


@given(conversations(), cuts())
def test_any_cutting_of_the_bytes_gives_the_same_lines(talk: tuple[bytes, bytes], places: list[float]) -> None:
    data, lines = talk
    assert heard(EventStream(NOW, "localhost:9098"), pieces(data, places)) == (lines, b"")


def test_a_conversation_cut_at_every_place() -> None:
    raw = base64.b64encode(b"8|B|\xff")
    data = (
        BEGUN + AT_6 + b"id: 9f31c2@7\ndata: 7|B|gr\xc3\xbc\xc3\x9f\n\n"
        b"event: base64\nid: 9f31c2@8\ndata: " + raw + b"\n\n:\n\nid: 9f31c2@9\n\nid: ab@9\n\n"
        b"event: reset\nid: cd@20\ndata: RESET cd@20 trimmed\n\nid: cd@21\ndata: 21|B\n\n"
        b"event: bye\nretry: 90\ndata: BYE drain 100\n\n"
    )
    lines = (
        "OK 9f31c2@6\n7|B|grüß\n".encode() + b"8|B|\xff\nAT 9\nRESUMED ab@9\nRESET cd@20 trimmed\n21|B\nBYE drain 100\n"
    )
    for parts in each_way(data):
        assert heard(EventStream(NOW, "localhost:9098"), parts) == (lines, b"")


def test_it_asks_with_the_id_of_the_last_event() -> None:
    assert EventStream(NOW, "a:1").hello.startswith(b"GET /events?user=50 HTTP/1.1\r\nHost: a:1\r\n")
    assert b"Last-Event-ID" not in EventStream(NOW, "a:1").hello
    later = EventStream(LATER, "a:1", "/parade/events")
    assert later.hello.startswith(b"GET /parade/events?user=50 HTTP/1.1\r\n")
    assert b"\r\nLast-Event-ID: 9f31c2@6\r\n" in later.hello
    assert later.goodbye() == b""


def test_the_first_place_answers_what_was_asked() -> None:
    assert read(BEGUN + AT_6 + AT_6) == b"OK 9f31c2@6\nAT 6\n"
    assert read(BEGUN + AT_6 + AT_6, LATER) == b"RESUMED 9f31c2@6\nAT 6\n"
    assert (
        read(BEGUN + b"event: reset\nid: a@9\ndata: RESET a@9 away\n\nid: a@9\n\n", LATER) == b"RESET a@9 away\nAT 9\n"
    )


def test_bye_can_come_first_and_without_a_time() -> None:
    assert read(BEGUN + b"event: bye\nretry: 5\ndata: BYE busy 900\n\n") == b"BYE busy 900\n"
    assert read(BEGUN + AT_6 + b"event: bye\ndata: BYE stopping\n\n") == b"OK 9f31c2@6\nBYE stopping\n"
    assert read(BEGUN + b"event: bye\nretry: 1\ndata: BYE busy 0\n\n") == b"BYE busy 0\n"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"id: 9f31c2@8\ndata: 7|B\n\n", "not a block"),
        (b"id: 9f31c2@7\ndata: 77|B\n\n", "not a block"),
        (b"id: other@7\ndata: 7|B\n\n", "an id of the history other came when 9f31c2 held"),
        (b"data: 7|B\n\n", "not a block"),
        (b"id: 9f31c2@7\ndata: 7|B\ndata: more\n\n", "not a block"),
        (b"id: 9f31c2@7\r\ndata: 7|B\n\n", "not a block"),
        (b"id: 9f31c2@7\ndata: 7|B|\r\n\n", "not a block"),
        (b"id:9f31c2@7\ndata:7|B\n\n", "not a block"),
        (b"id: 9f31c2@07\n\n", "not a block"),
        (b"id: 9f31c2@7\ndata: 7|B|\xff\n\n", "not UTF-8"),
        (b"event: base64\nid: 9f31c2@7\ndata: " + base64.b64encode(b"7|B") + b"\n\n", "needs none"),
        (b"event: base64\nid: 9f31c2@7\ndata: " + base64.b64encode(b"8|\xff") + b"\n\n", "the id has number 7"),
        (b"event: base64\nid: 9f31c2@7\ndata: " + base64.b64encode(b"7|\xff\n8|B") + b"\n\n", "the id has number 7"),
        (b"event: base64\nid: 9f31c2@7\ndata: abc\n\n", "not Base64"),
        (b"event: base64\nid: other@7\ndata: N3z/\n\n", "history other"),
        (b"event: reset\nid: 9f31c2@7\ndata: RESET 9f31c2@8 away\n\n", "not a block"),
        (b"event: bye\nretry: 101\ndata: BYE drain 100\n\n", "retry is 101 with b'BYE drain"),
        (b"event: bye\ndata: BYE drain 100\n\n", "retry is not there"),
        (b"event: bye\nretry: 5\ndata: BYE stopping\n\n", "retry is 5"),
        (b"event: bye\nid: 9f31c2@7\ndata: BYE stopping\n\n", "not a block"),
        (b"event: more\ndata: 7|B\n\n", "not a block"),
        (b"retry: 1000\n\n", "not a block"),
        (b"\n\n", "not a block"),
        (b"data: " + bytes(MOST_BYTES), "a block of over"),
    ],
)
def test_what_is_no_such_block_is_an_error(data: bytes, said: str) -> None:
    for before in (b"", b"id: 9f31c2@6\ndata: 6|B\n\n"):
        with pytest.raises(ValueError, match=said):
            read(BEGUN + AT_6 + before + data)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (HEAD + AT_6, "does not begin with retry"),
        (BEGUN + b"id: 9f31c2@7\ndata: 7|B\n\n", "came when none yet held"),
        (HEAD.replace(b"event-stream", b"html"), "'text/html' instead of"),
        (HEAD.replace(b"Connection: close", b"Transfer-Encoding: chunked"), "transfer-encoding: 'chunked'"),
        (b"ERROR a user id\n", "beginning of an HTTP/1.1 answer"),
    ],
)
def test_a_wrong_beginning_is_an_error(data: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read(data)


def test_a_refusal_is_an_error_line() -> None:
    data = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 8\r\n\r\nno user\n"
    for parts in each_way(data):
        assert heard(EventStream(NOW, "localhost:9098"), parts) == (b"ERROR HTTP 400 no user\n", b"")
