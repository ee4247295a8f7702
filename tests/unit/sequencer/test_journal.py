"""The journal keeps the newest batches, within its bytes."""

from hypothesis import given
from hypothesis import strategies as st

from sequencer.journal import ENTRY_BYTES, Journal


def test_the_oldest_go_first_and_the_newest_stays() -> None:
    journal = Journal(10_000)
    firsts = [journal.add(batch, 1000 - ENTRY_BYTES) for batch in range(1, 31)]
    assert firsts[:5] == [0] * 5, "what an earlier term left counts as half"
    assert firsts[5:10] == [1] * 5, "its end makes room for ten"
    assert firsts[10:] == list(range(2, 22))
    assert journal.add(31, 1_000_000) == 31


@given(st.lists(st.integers(0, 3000), min_size=1), st.integers(0, 20_000))
def test_it_keeps_as_many_of_the_newest_as_fit_and_no_more(sizes: list[int], limit: int) -> None:
    journal, costs = Journal(limit), [limit // 2]
    for batch, size in enumerate(sizes, 1):
        costs.append(size + ENTRY_BYTES)
        first = journal.add(batch, size)
        assert sum(costs[first:]) <= limit or first == batch, "the newest is kept, however large it is"
        assert first == 0 or sum(costs[first - 1 :]) > limit


def test_exactly_the_limit_fits() -> None:
    journal = Journal(1001)
    assert [journal.add(1, 501 - ENTRY_BYTES), journal.add(2, 0)] == [0, 1]
