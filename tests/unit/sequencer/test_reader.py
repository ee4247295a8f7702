"""Stream entries: what makes sense is parsed, what does not is refused and never fatal."""

from sequencer.reader import parse_entry


def test_event_lines() -> None:
    entry = parse_entry(b"1-0", [b"raw", b"1|B\nrubbish\n2|B\n"])
    assert [event[0] for event in entry.events if event[1]] == [b"1|B\n", b"2|B\n"]
    assert entry.refused == [("not an event", b"rubbish\n")]
    assert entry.raw_bytes == 16


def test_joins_and_leaves() -> None:
    entry = parse_entry(b"1-0", [b"node", b"n1", b"leave", b"3", b"join", b"1 2"])
    assert (entry.node, entry.joins, entry.leaves) == (b"n1", [b"1", b"2"], [b"3"])


def test_poison() -> None:
    for fields in ([b"x", b"y"], [b"join", b"1"], [b"node", b"n1"]):
        entry = parse_entry(b"1-0", fields)
        assert [reason for reason, _ in entry.refused] == ["unknown stream entry"]
        assert not entry.node
