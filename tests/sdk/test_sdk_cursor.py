"""What a subscriber makes of bytes, however they are cut; and the lines and events under it."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from parade_client import Broadcast, Event, Follow, PrivateMessage, ProtocolError, Reset, StatusUpdate, Unfollow
from parade_client.cursor import Cursor
from parade_client.events import MAX_ID, parse_event
from parade_client.lines import LINE_BYTES, MAX_NUMBER, Lines, Position, parse_control

ids = st.integers(1, MAX_ID)
payloads = st.none() | st.binary(max_size=20).map(lambda data: data.replace(b"\n", b""))
events = st.one_of(
    st.builds(Broadcast, payloads),
    st.builds(StatusUpdate, ids, payloads),
    st.builds(PrivateMessage, ids, ids, payloads),
    st.builds(Follow, ids, ids, payloads),
    st.builds(Unfollow, ids, ids, payloads),
)


def taken(cursor: Cursor, data: bytes) -> list[Event | Reset]:
    """All that the application sees of these bytes."""
    cursor.put(data)
    found = []
    while cursor.waits:
        if (item := cursor.take()) is not None:
            found.append(item)
    return found


def live(after: str | None = None) -> Cursor:
    """A subscriber at 9f31c2@10."""
    cursor = Cursor(50, after)
    cursor.hello()
    assert taken(cursor, b"OK 9f31c2@10\n") == []
    return cursor


def numbered(some: list[Event]) -> list[Event]:
    return [parse_event(b"%d" % seq + event.line[1:]) for seq, event in enumerate(some, 11)]


@given(st.lists(events, max_size=20), st.data())
def test_any_cutting_of_the_bytes_gives_the_same_events(some: list[Event], data: st.DataObject) -> None:
    expected = numbered(some)
    lines = [event.line for event in expected]
    for at in data.draw(st.lists(st.integers(0, len(lines)), max_size=3).map(lambda found: sorted(found)[::-1])):
        lines.insert(at, data.draw(st.sampled_from([b"AT 5\n", b"WEATHER fine\r\n", b"X\n"])))
    wire = b"OK 9f31c2@10\n" + b"".join(lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=10)))
    cursor = Cursor(50)
    assert cursor.hello() == b"50 after=now\n"
    found: list[Event | Reset] = []
    for begin, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += taken(cursor, wire[begin:end])
    assert found == expected
    assert [event.line for event in found if isinstance(event, Event)] == [event.line for event in expected]
    assert cursor.place == ("9f31c2", 10 + len(some))


@given(st.lists(events, max_size=8), st.lists(st.integers(0, 200), max_size=8))
def test_a_break_at_any_byte_loses_and_repeats_nothing(some: list[Event], breaks: list[int]) -> None:
    expected = numbered(some)
    cursor = Cursor(50)
    cursor.hello()
    found = taken(cursor, b"OK 9f31c2@10\n")
    for sent_bytes in [*breaks, 1000]:
        place = str(cursor.place)
        assert cursor.hello() == f"50 after={place}\n".encode()
        owed = b"".join(event.line for event in expected[len(found) :])
        found += taken(cursor, f"RESUMED {place}\n".encode() + owed[:sent_bytes])
    assert found == expected


def test_the_place_is_that_of_what_was_taken_and_not_of_what_has_come() -> None:
    cursor = live()
    cursor.put(b"11|B\n12|B\nAT 15\n")
    assert cursor.place == ("9f31c2", 10)
    assert cursor.take() == Broadcast(seq=11)
    assert cursor.place == ("9f31c2", 11)
    assert cursor.take() == Broadcast(seq=12)
    assert cursor.take() is None
    assert cursor.place == ("9f31c2", 15)


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("10|B", "came after 9f31c2@10"),
        ("9|B", "came after 9f31c2@10"),
        ("*|B", "came after 9f31c2@10"),
        ("11|X", "is no event"),
        ("11|F|1", "is no event"),
        ("011|B", "is no event"),
        ("11|P|1|02", "is no event"),
        ("hello", "is no event"),
        ("", "is no event"),
        ("OK 9f31c2@11", "had its answer"),
        ("RESET 9f31c2@11 away", "had its answer"),
        ("RESUMED 9f31c2@10", "had its answer"),
        ("RESUMED ab12cd@9", "had its answer"),
        ("RESET 9f31c2", "has no position"),
        ("AT x", "lacks a number"),
        ("AT", "lacks a number"),
        ("BYE drain soon", "lacks a number"),
    ],
)
def test_what_the_protocol_does_not_allow_is_an_error(line: str, problem: str) -> None:
    with pytest.raises(ProtocolError, match=re.escape(problem)):
        taken(live(), f"{line}\n".encode())


@pytest.mark.parametrize("answer", ["OK 9f31c2@10", "RESUMED 9f31c2@11", "RESUMED ab12cd@11", "11|B", "AT 11"])
def test_an_answer_to_another_question_is_an_error(answer: str) -> None:
    cursor = Cursor(50, "9f31c2@10")
    assert cursor.hello() == b"50 after=9f31c2@10\n"
    with pytest.raises(ProtocolError):
        taken(cursor, f"{answer}\n".encode())


def test_a_place_with_a_new_name_is_the_same_place() -> None:
    cursor = Cursor(50, "9f31c2@10")
    cursor.hello()
    assert taken(cursor, b"RESUMED ab12cd@10\n11|B\nRESUMED ef34@13\n14|B\n") == [Broadcast(seq=11), Broadcast(seq=14)]
    assert cursor.place == ("ef34", 14)


def test_what_a_connection_said_about_itself_ends_with_it() -> None:
    cursor = live()
    assert taken(cursor, b"BYE drain 700\n") == []
    assert (cursor.max_wait_ms, cursor.parting) == (700, "BYE drain 700")
    cursor.hello()
    assert (cursor.max_wait_ms, cursor.parting, cursor.is_live) == (0, "", False)
    assert taken(cursor, b"ERROR too many connections\n") == []
    assert cursor.denial == "too many connections"


@pytest.mark.parametrize("text", ["", "now", "9f31c2", "9f31c2@", "9f31c2@01", "9f31c2@x", "@5", f"a@{MAX_NUMBER + 1}"])
def test_a_cursor_that_is_none_is_refused_with_advice(text: str) -> None:
    with pytest.raises(ValueError, match="give what `cursor` was, or None"):
        Cursor(50, text)


@given(events, st.none() | st.integers(1, MAX_NUMBER))
def test_an_event_and_its_line_are_one(event: Event, seq: int | None) -> None:
    line = event.line if seq is None else b"%d" % seq + event.line[1:]
    found = parse_event(line)
    assert (found.line, found.seq, type(found)) == (line, seq, type(event))
    assert type(found)(**{**vars(found), "line": b""}) == found
    assert type(found)(**{**vars(found), "line": b""}).line == line


def test_the_line_end_of_an_event_is_kept_and_is_no_part_of_a_payload() -> None:
    assert (parse_event(b"1|B\r\n").payload, parse_event(b"1|B\r\n").line) == (None, b"1|B\r\n")
    assert parse_event(b"1|B|\r\n").payload == b"\r"


@pytest.mark.parametrize("user", [0, -1, MAX_ID + 1])
def test_a_user_that_is_none_is_refused(user: int) -> None:
    with pytest.raises(ValueError, match="a user id has 1 to 20 digits"):
        Follow(1, user)


def test_what_can_not_be_sent_is_refused_with_advice() -> None:
    with pytest.raises(ValueError, match="Base64"):
        Broadcast(b"a\nb")
    for seq in (0, -1, MAX_NUMBER + 1):
        with pytest.raises(ValueError, match="leave it out if Parade gives it"):
            Broadcast(seq=seq)
    with pytest.raises(TypeError, match="make a Follow"):
        Event()


def test_a_line_without_an_end_costs_no_more_than_the_longest_line() -> None:
    lines = Lines()
    lines.put(b"x" * (LINE_BYTES - 1))
    with pytest.raises(ProtocolError, match="without a line end"):
        lines.put(b"x")


def test_a_control_line() -> None:
    line = parse_control(b"RESET 9f31c2@1400 away received=3 received=4 x=\r\n")
    assert (line.word, line.arguments) == ("RESET", ("9f31c2@1400", "away"))
    assert line.pairs == {"received": "3", "x": ""}
    assert line.position() == Position("9f31c2", 1400)
    assert line.argument(2) == ""
