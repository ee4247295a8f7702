"""Whose lines an entry has: exact through every cut, and what Redis says of each group reaches the right source."""

from collections import defaultdict
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import listener.groups
from listener.acks import Acks, Producer
from listener.groups import ANYBODY, DONE, FENCED, NEVER, WENT_BACK, Entry, Group
from listener.intake import Intake

MANY = 1 << 20


def acks(producer: Producer | None = None) -> Acks:
    return Acks(producer, 1, lambda: None)


def intake() -> Intake:
    return Intake(MANY, lambda _: None)


puts = st.lists(
    st.tuples(st.integers(0, 3), st.lists(st.one_of(st.none(), st.integers(0, 30)), min_size=1, max_size=6)),
    max_size=30,
)
"""Who sends (0: nobody who wants to know), and lines: sizes, or None for a refused one."""


@given(puts, st.lists(st.integers(1, 60), min_size=1))
def test_every_line_is_counted_once_for_its_source_in_its_order(
    given: list[tuple[int, list[int | None]]], sizes: list[int]
) -> None:
    held, sources = intake(), [None, acks(), acks(), acks()]
    sent: dict[int, list[bytes]] = defaultdict(list)
    events = b""
    for who, lines in given:
        source = sources[who]
        for size in lines:
            line = b"" if size is None else b"%d" % who * size + b"\n"
            if source is None:
                if line:
                    held.put(line)
            else:
                held.put_for(source, line, 1)
                sent[who].append(line)
            events += line
    counted: dict[int, int] = defaultdict(int)
    written = b""
    at = 0
    while held.held_bytes or held.is_marked:
        entry = held.take(sizes[at % len(sizes)])
        at += 1
        groups = held.groups(entry)
        assert sum(group.size for group in groups) == len(entry)
        before = 0
        for group in groups:
            part = entry[before : before + group.size]
            before += group.size
            if group.acks is None:
                assert part.count(b"\n") == group.lines
                continue
            who = sources.index(group.acks)
            mine = sent[who][counted[who] : counted[who] + group.lines]
            assert b"".join(mine) == part, "a cut comes between two lines, and refused ones are where they were"
            counted[who] += group.lines
        for one, other in pairwise(groups):
            assert one.acks is not other.acks, "what follows each other is one group"
        written += entry
    assert written == events
    assert {who: len(lines) for who, lines in sent.items()} == dict(counted)


def test_refused_lines_take_no_memory_while_nothing_is_appended() -> None:
    held, one, other = intake(), acks(), acks()
    for _ in range(1000):
        for each in (one, other):
            held.put_for(each, b"", 1)
    assert len(held._marks) == 2
    assert [(group.acks, group.lines) for group in held.groups(held.take(100))] == [(one, 1000), (other, 1000)]
    assert not held.is_marked


def test_bare_lines_leave_no_mark() -> None:
    held = intake()
    held.put(b"1|B\n2|B\n")
    assert not held.is_marked
    assert held.groups(held.take(100)) == [Group(None, 8, 2)]


# What Redis is asked, and what it says


def test_the_arguments_of_groups() -> None:
    own, orders, older = Producer("own", 5, 101), Producer("p:orders", 9, 41), Producer("p:orders", 8, 30)
    groups = [
        Group(acks(orders), 8, 3),
        Group(None, 4, 1),
        Group(acks(older), 4, 1),
        Group(acks(orders), 0, 2),
        Group(acks(), 4, 1),
    ]
    entry = Entry(b"x" * 20, groups)
    assert entry.keys(None) == ["p:orders"]
    assert entry.arguments(None) == [
        *(1, 9, 41, 3, 8),
        *(ANYBODY, 0, 0, 1, 4),
        *(1, 8, 30, 1, 4),
        *(1, 9, 44, 2, 0),
        *(ANYBODY, 0, 0, 1, 4),
    ]
    assert entry.keys(own) == ["p:orders", "own"]
    assert entry.arguments(own)[5:10] == [2, 5, 101, 1, 4]
    assert entry.arguments(own)[20:] == [2, 5, 102, 1, 4], "the second group is behind the first"


@pytest.mark.parametrize("verdict", [FENCED, WENT_BACK])
def test_of_a_source_whose_lines_were_refused_no_later_ones_are_taken(verdict: int) -> None:
    orders = Producer("p:orders", 9, 40)
    one = acks(orders)
    Entry(b"1|B\n", [Group(one, 4, 1)]).settled(None, [verdict])
    later = Entry(b"2|B\n", [Group(one, 4, 1)])
    assert later.arguments(None) == [1, NEVER, 40, 1, 4]


def test_only_what_is_confirmed_counts_so_an_append_that_is_repeated_says_the_same_again() -> None:
    orders = Producer("p:orders", 9, 40)
    one = acks(orders)
    entry = Entry(b"1|B\n2|B\n", [Group(one, 8, 3)])
    assert entry.arguments(None) == entry.arguments(None)
    assert not entry.settled(None, [DONE])
    assert (orders.received, one.appended) == (43, 3)


def test_a_group_that_is_refused_is_nobodys_but_its_sources() -> None:
    orders, invoices = Producer("p:orders", 9, 40), Producer("p:invoices", 1, 0)
    first, second, third, bare = acks(orders), acks(invoices), acks(), acks()
    entry = Entry(b"", [Group(first, 4, 1), Group(second, 4, 1), Group(third, 4, 1), Group(bare, 0, 2)])
    assert not entry.settled(None, [FENCED, WENT_BACK, DONE, DONE])
    assert (first.is_fenced, first.went_back, first.appended, orders.received) == (True, False, 0, 40)
    assert (second.is_fenced, second.went_back, second.appended, invoices.received) == (False, True, 0, 0)
    assert (third.appended, bare.appended) == (1, 2)


def test_lines_under_the_listeners_own_name_are_left_to_append_again_and_no_other() -> None:
    own, orders = Producer("own", 5, 100), Producer("p:orders", 9, 40)
    one, two = acks(orders), acks()
    groups = [Group(None, 4, 1), Group(one, 5, 1), Group(two, 6, 2)]
    rest = Entry(b"1|B\n22|B\n3|B\r\n\n", groups).settled(own, [WENT_BACK, DONE, FENCED])
    assert (rest.lines, rest.groups) == (b"1|B\n3|B\r\n\n", [groups[0], groups[2]])
    assert (one.appended, two.appended, two.is_fenced, own.received) == (1, 0, False, 100)


def test_each_source_is_told_once() -> None:
    told: list[str] = []
    one, two = Acks(None, 1, lambda: told.append("one")), Acks(None, 1, lambda: told.append("two"))
    entry = Entry(b"", [Group(one, 4, 1), Group(None, 4, 1), Group(two, 4, 1), Group(one, 4, 2)])
    entry.confirmed()
    entry.tell()
    assert (told, one.appended, two.appended) == (["one", "two"], 3, 1)


def test_the_script_and_we_say_the_same() -> None:
    text = (Path(listener.groups.__file__).parent / "append_groups.lua").read_text()
    assert f"local DONE, FENCED, WENT_BACK = {DONE}, {FENCED}, {WENT_BACK}\n" in text
    assert f"if place == {ANYBODY} then -- no producer\n" in text


def test_what_there_is_to_append_and_to_count() -> None:
    assert not Entry()
    assert Entry(b"1|B\n")
    assert Entry(b"", [Group(acks(), 0, 1)])
    own, orders = Producer("own", 5, 100), Producer("p:orders", 9, 40)
    assert [Entry(b"", [Group(who, 0, 1)]).is_counted(None) for who in (None, acks(), acks(orders))] == [0, 0, 1]
    assert Entry(b"", [Group(None, 0, 1)]).is_counted(own)
    assert not Entry(b"1|B\n").is_counted(own)


def test_an_answer_that_is_not_about_these_groups_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        Entry(b"", [Group(acks(), 0, 1)]).settled(None, [DONE, DONE])
