"""Stream entries: what makes sense is parsed, what does not is refused and never fatal."""

import pytest

from contract.entries import (
    EVERYONE,
    NOT_AN_EVENT,
    NUMBERED,
    UNNUMBERED,
    Entry,
    parse_entry,
    presence_fields,
    raw_fields,
    rejected_fields,
    skip_fields,
)
from contract.events import MAX_SEQUENCE


def read(fields: tuple[str | bytes | int, ...]) -> Entry:
    """What a reader makes of the fields that a writer hands to XADD."""
    return parse_entry(b"1-0", [part if isinstance(part, bytes) else str(part).encode() for part in fields])


def test_event_lines() -> None:
    entry = parse_entry(b"1-0", [b"raw", b"1|B\nrubbish\n2|B\n"])
    events, refused = entry.events()
    assert [event[0] for event in events if event[1]] == [b"1|B\n", b"2|B\n"]
    assert refused == [("not an event", b"rubbish\n")]


def test_joins_and_leaves() -> None:
    entry = parse_entry(b"1-0", [b"node", b"n1", b"leave", b"3", b"join", b"1 2"])
    assert (entry.node, entry.joins, entry.leaves) == (b"n1", [b"1", b"2"], [b"3"])


@pytest.mark.parametrize("number", [2, 70_001, MAX_SEQUENCE])
def test_a_skip(number: int) -> None:
    entry = parse_entry(b"1-0", [b"skip_to", b"%d" % number])
    assert (entry.skip_to, entry.refused) == (number, [])


@pytest.mark.parametrize("text", [b"", b"-1", b"x", b"10000000000000000"])
def test_what_is_no_skip(text: bytes) -> None:
    entry = parse_entry(b"1-0", [b"skip_to", text])
    assert (entry.skip_to, entry.refused) == (0, [("unknown stream entry", b"skip_to " + text)])


def test_poison() -> None:
    for fields in ([b"x", b"y"], [b"join", b"1"], [b"node", b"n1"]):
        entry = parse_entry(b"1-0", fields)
        events, refused = entry.events()
        assert events == []
        assert [reason for reason, _ in refused] == ["unknown stream entry"]
        assert not entry.node


def test_what_writers_write_is_what_is_read() -> None:
    assert read(raw_fields(b"1|B\n")) == Entry(b"1-0", raw=b"1|B\n")
    presence = read(presence_fields("n1", [b"3"], [b"1", b"2"]))
    assert presence == Entry(b"1-0", node=b"n1", leaves=[b"3"], joins=[b"1", b"2"])
    assert not presence.node_leaves
    assert read(skip_fields(7)) == Entry(b"1-0", skip_to=7)
    assert rejected_fields("late", b"1|B\n") == ("reason", "late", "line", b"1|B\n")


def test_whose_place_is_kept_and_whose_is_not() -> None:
    entry = read(presence_fields("n1", [b"3", b"4"], [b"1", b"2"], [b"2"], [b"4"]))
    assert (entry.keep, entry.forget) == ([b"2"], [b"4"])
    entry = read(presence_fields("n1", [b"3"], [b"1"]))
    assert (entry.keep, entry.forget) == ([], [])


def test_presence_has_only_the_fields_that_say_something() -> None:
    assert presence_fields("n1", [], [b"1"]) == ("node", "n1", "join", b"1")
    assert presence_fields("n1", [b"1", b"2"], []) == ("node", "n1", "leave", b"1 2")
    assert read(presence_fields("n1", [EVERYONE], [])).node_leaves


@pytest.mark.parametrize(
    "fields", [[b"raw", b"1|B\n"], [b"node", b"n1", b"leave", b"3", b"join", b"1"], [b"skip_to", b"7"]]
)
def test_a_field_of_a_later_version_is_ignored(fields: list[bytes]) -> None:
    more = [b"zone", b"west"]
    assert parse_entry(b"1-0", fields + more) == parse_entry(b"1-0", more + fields) == parse_entry(b"1-0", fields)


def test_lines_of_the_other_kind_are_refused_and_it_is_said_why() -> None:
    entry = parse_entry(b"1-0", [b"raw", b"1|B\n*|B\n*|X\n2|P|1|2|*\n"])
    events, refused = entry.events()
    assert [event[0] for event in events if event[1]] == [b"1|B\n", b"2|P|1|2|*\n"]
    assert refused == [(UNNUMBERED, b"*|B\n"), (NOT_AN_EVENT, b"*|X\n")]
    events, refused = entry.unnumbered_events()
    assert [event[0] for event in events if event[1]] == [b"*|B\n"]
    assert refused == [(NUMBERED, b"1|B\n"), (NOT_AN_EVENT, b"*|X\n"), (NUMBERED, b"2|P|1|2|*\n")]


def test_an_unknown_entry_is_refused_where_parade_gives_the_numbers_too() -> None:
    events, refused = parse_entry(b"1-0", [b"x", b"y"]).unnumbered_events()
    assert (events, [reason for reason, _ in refused]) == ([], ["unknown stream entry"])


def test_a_last_line_without_its_end_is_no_event_of_either_kind() -> None:
    for raw in (b"1|B", b"*|B"):
        entry = parse_entry(b"1-0", [b"raw", raw])
        assert entry.events()[1] == entry.unnumbered_events()[1] == [(NOT_AN_EVENT, raw)]
