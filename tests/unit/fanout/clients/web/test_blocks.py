"""Lines as server-sent events, read as the HTML standard says (section 9.2.6)."""

import re
from base64 import b64decode
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.clients.web.blocks import BEGINNING, COMMENT, RETRY_MS, begins_with_control, control, events

HISTORY = b"9f31c2"


@dataclass(slots=True)
class Message:
    """What a page is handed."""

    kind: str
    data: str
    last_id: str


class Reader:
    """An EventSource, without the connection."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.last_id = ""
        self.retry_ms = 0
        self._kind, self._data, self._id = "", "", ""

    def feed(self, stream: bytes) -> None:
        for line in re.split("\r\n|\n|\r", stream.decode(errors="replace"))[:-1]:
            if line:
                self._field(*re.fullmatch("([^:]*)(?:: ?)?(.*)", line, re.DOTALL).groups())  # type: ignore[union-attr]
            else:
                self._dispatch()

    def _field(self, name: str, value: str) -> None:
        if name == "event":
            self._kind = value
        elif name == "data":
            self._data += value + "\n"
        elif name == "id" and "\0" not in value:
            self._id = value
        elif name == "retry" and value.isdigit():
            self.retry_ms = int(value)

    def _dispatch(self) -> None:
        self.last_id = self._id
        if self._data:
            self.messages.append(Message(self._kind or "message", self._data[:-1], self.last_id))
        self._kind = self._data = ""


payloads = st.one_of(
    st.binary(max_size=60).map(lambda data: data.replace(b"\n", b"")),
    st.text(max_size=60).map(lambda text: text.replace("\n", "").encode(errors="replace")),
)


@given(st.lists(st.tuples(st.integers(1, 2**53 - 1), payloads), max_size=8))
def test_a_browser_reads_the_same_lines_and_their_cursors(given_lines: list[tuple[int, bytes]]) -> None:
    lines = [b"%d|P|1|50|%b" % line for line in given_lines]
    reader = Reader()
    reader.feed(BEGINNING + COMMENT + events(b"".join(line + b"\n" for line in lines), HISTORY))
    read = [b64decode(each.data) if each.kind == "base64" else each.data.encode() for each in reader.messages]
    assert read == lines
    assert [each.last_id for each in reader.messages] == [f"9f31c2@{number}" for number, _ in given_lines]
    assert {each.kind for each in reader.messages} <= {"message", "base64"}
    assert reader.retry_ms == RETRY_MS


@pytest.mark.parametrize("payload", ["hi", "né 🎉", " blank: id: 7", "data: x", ":", "\0", "\u2028"])
def test_what_can_stand_there_stands_there(payload: str) -> None:
    reader = Reader()
    reader.feed(events(f"7|B|{payload}\n".encode(), HISTORY))
    assert [(each.kind, each.data) for each in reader.messages] == [("message", f"7|B|{payload}")]


@pytest.mark.parametrize("payload", [b"a\rb", b"\r", b"\xff", b"a\r"])
def test_what_could_not_is_base64_and_its_neighbours_are_not(payload: bytes) -> None:
    reader = Reader()
    reader.feed(events(b"6|B|before\n7|B|%b\n8|B|behind\n" % payload, HISTORY))
    assert [each.kind for each in reader.messages] == ["message", "base64", "message"]
    assert b64decode(reader.messages[1].data) == b"7|B|" + payload


@pytest.mark.parametrize(
    ("line", "shown", "last_id"),
    [
        (b"OK abc@5", [], "abc@5"),
        (b"RESUMED abc@5", [], "abc@5"),
        (b"AT 9", [], "9f31c2@9"),
        (b"RESET abc@5 trimmed", [("reset", "RESET abc@5 trimmed")], "abc@5"),
        (b"BYE drain 4000", [("bye", "BYE drain 4000")], ""),
    ],
)
def test_control_lines(line: bytes, shown: list[tuple[str, str]], last_id: str) -> None:
    reader = Reader()
    block, history = control(line, HISTORY, lambda: 0.5)
    reader.feed(block)
    assert [(each.kind, each.data) for each in reader.messages] == shown
    assert reader.last_id == last_id
    assert history == (b"abc" if b"abc" in line else HISTORY)
    assert reader.retry_ms == (2000 if b"BYE" in line else 0)


def test_a_return_is_spread_over_the_time_that_is_given() -> None:
    for chance, retry_ms in ((0.0, 1), (0.25, 1000), (0.999, 3996)):
        reader = Reader()
        reader.feed(control(b"BYE drain 4000", HISTORY, lambda chance=chance: chance)[0])  # type: ignore[misc]
        assert reader.retry_ms == retry_ms


def test_event_lines_and_control_lines_are_told_apart() -> None:
    assert begins_with_control(b"OK a@1\n")
    assert not begins_with_control(b"1|B\n")
