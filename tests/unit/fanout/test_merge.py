"""Merging keeps every line once, in sequence order, whichever way it goes."""

from bisect import bisect

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout import merge
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


class Work:
    """What a merge looks up, and what it takes numbers of."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.looked_up: list[str] = []
        self.numbered: list[str] = []
        monkeypatch.setattr(merge, "bisect", self._bisect)
        monkeypatch.setattr(merge, "number", self._number)

    def _bisect(self, lines: list[str], line: str) -> int:
        self.looked_up.append(line)
        return bisect(lines, line)

    def _number(self, line: str) -> int:
        self.numbered.append(line)
        return number(line)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    return Work(monkeypatch)


OWN = [1002, 1501, 1700]


def test_a_few_lines_cost_a_look_up_each(work: Work) -> None:
    lines = text(list(range(2000, 2000 + len(OWN) * SPLICE_BELOW + 1)))
    assert Broadcasts(lines).merged_with(text(OWN)) == text(OWN) + lines
    assert (len(work.looked_up), work.numbered) == (3, [])


def test_many_lines_are_sorted_without_looking_at_any(work: Work) -> None:
    lines = text(list(range(2000, 2000 + len(OWN) * SPLICE_BELOW)))
    assert Broadcasts(lines).merged_with(text(OWN)) == text(OWN) + lines
    fewer = text(list(range(2000, 2010)))
    assert Broadcasts(fewer).merged_with(text(OWN)) == text(OWN) + fewer
    assert (work.looked_up, work.numbered) == ([], [])


def test_only_across_a_power_of_ten_is_the_number_of_each_line_taken_once(work: Work) -> None:
    for broadcasts, own in (([98, 99, 101], [100]), ([97, 98], [99, 100]), ([101, 102], [99])):
        work.numbered.clear()
        assert Broadcasts(text(broadcasts)).merged_with(text(own)) == text(broadcasts + own)
        assert (work.looked_up, len(work.numbered)) == ([], len(broadcasts + own))


@pytest.mark.parametrize("own", [[999], [1000], [2000], [3000], [999, 1501, 2001]])
def test_lines_are_spliced_in_anywhere(own: list[int]) -> None:
    broadcasts = [n for n in range(1001, 2000) if n not in own]
    assert Broadcasts(text(broadcasts)).merged_with(text(own)) == text(broadcasts + own)


def test_one_side_alone_is_passed_on_as_it_is() -> None:
    lines = text([1, 2])
    assert Broadcasts(lines).merged_with(b"") is lines
    assert Broadcasts(b"").merged_with(lines) is lines


def test_number() -> None:
    assert number("666|F|60|50\r\n") == 666


ANY_BYTES = st.binary(max_size=20).map(lambda data: data.replace(b"\n", b"\r"))


@given(st.dictionaries(st.integers(1, 2000), ANY_BYTES, max_size=200), st.integers(0, 10))
def test_payloads_of_any_bytes_are_merged_byte_for_byte(payloads: dict[int, bytes], share: int) -> None:
    lines = {n: b"%d|X|%b\n" % (n, payloads[n]) for n in sorted(payloads)}
    own = b"".join(line for n, line in lines.items() if n % 10 < share)
    broadcasts = b"".join(line for n, line in lines.items() if n % 10 >= share)
    assert Broadcasts(broadcasts).merged_with(own) == b"".join(lines.values())


@pytest.mark.parametrize("payload", [b"\r", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xe2\x80\xa8", bytes(range(11, 256))])
def test_only_lf_ends_a_line(payload: bytes) -> None:
    broadcasts = b"".join(b"%d|B|%b1000|x\n" % (n, payload) for n in range(1001, 1101, 2))
    for own in (b"1002|P|1|2|%b\n" % payload, b"".join(b"%d|P|1|2|%b\n" % (n, payload) for n in range(1002, 1102, 2))):
        merged = Broadcasts(broadcasts).merged_with(own)
        assert sorted((broadcasts + own).split(b"\n")[:-1]) == merged.split(b"\n")[:-1]
