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


def test_what_is_older_than_its_seconds_goes() -> None:
    journal = Journal(10_000, limit_s=60.0, now_s=100.0)
    assert [journal.add(1, 0, 110.0), journal.add(2, 0, 150.0), journal.add(3, 0, 160.0)] == [0, 0, 0]
    assert journal.reach_s(160.0) == 60.0, "what an earlier term left counts from the beginning of this one"
    assert journal.add(4, 0, 160.5) == 1
    assert journal.reach_s(160.5) == 50.5
    assert journal.add(5, 0, 500.0) == 5, "the newest is kept"
    assert not journal.is_full


def test_it_is_full_while_batches_go_for_their_bytes() -> None:
    journal = Journal(10_000, limit_s=60.0, now_s=0.0)
    for batch in range(1, 6):
        journal.add(batch, 1000 - ENTRY_BYTES, float(batch))
        assert not journal.is_full
    journal.add(6, 1000 - ENTRY_BYTES, 6.0)
    assert (journal.is_full, journal.reach_s(6.0)) == (True, 5.0)
    journal.add(7, 1000 - ENTRY_BYTES, 7.0)
    assert journal.is_full, "it stays so while nothing has to go"
    journal.add(8, 0, 61.5)
    assert not journal.is_full, "the oldest went for its age"
