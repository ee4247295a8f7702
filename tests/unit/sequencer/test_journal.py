"""The journal keeps the newest batches, within its bytes."""

from sequencer.journal import ENTRY_BYTES, Journal


def test_the_oldest_go_first_and_the_newest_stays() -> None:
    journal = Journal(10_000)
    firsts = [journal.add(batch, 1000 - ENTRY_BYTES) for batch in range(1, 31)]
    assert firsts[:5] == [0] * 5, "what an earlier term left counts as half"
    assert firsts[5:10] == [1] * 5, "its end makes room for ten"
    assert firsts[10:] == list(range(2, 22))
    assert journal.add(31, 1_000_000) == 31
