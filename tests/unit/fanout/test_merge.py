"""Merging keeps every line once, in sequence order, whichever way it goes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.merge import SPLICE_BELOW, Broadcasts, number


def text(numbers: list[int], end: bytes = b"\n") -> bytes:
    return b"".join(b"%d|X%b" % (n, end) for n in sorted(numbers))


@given(st.sets(st.integers(1, 2000), max_size=300), st.integers(0, 10), st.sampled_from([b"\n", b"\r\n"]))
def test_merge_is_a_sort_by_number(numbers: set[int], share: int, end: bytes) -> None:
    own = [n for n in numbers if n % 10 < share]
    broadcasts = [n for n in numbers if n % 10 >= share]
    merged = Broadcasts(text(broadcasts, end)).merged_with(text(own, end))
    assert merged == text(list(numbers), end)


@pytest.mark.parametrize("first", [1_000, 9_000], ids=["one width", "two widths"])
def test_both_ways_give_the_same(first: int) -> None:
    broadcasts = list(range(first, first + 2_000, 2))
    few, many = [first + 1, first + 1_001, first + 1_999], list(range(first + 1, first + 2_001, 2))
    for own in (few, many):
        assert Broadcasts(text(broadcasts)).merged_with(text(own)) == text(broadcasts + own)
    assert len(few) * SPLICE_BELOW < len(broadcasts) < len(many) * SPLICE_BELOW


def test_one_side_alone_is_passed_on_as_it_is() -> None:
    lines = text([1, 2])
    assert Broadcasts(lines).merged_with(b"") is lines
    assert Broadcasts(b"").merged_with(lines) is lines


def test_number() -> None:
    assert number("666|F|60|50\r\n") == 666
