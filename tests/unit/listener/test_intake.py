"""The intake hands out everything in order, in bounded entries, and says when it is full."""

from hypothesis import given
from hypothesis import strategies as st

from listener.intake import Intake

chunks = st.lists(st.lists(st.integers(0, 30), min_size=1).map(lambda sizes: b"".join(b"x" * n + b"\n" for n in sizes)))


@given(chunks, st.integers(1, 200))
def test_everything_comes_out_in_order_and_in_bounded_entries(puts: list[bytes], size: int) -> None:
    intake = Intake(1 << 20, lambda _: None)
    for chunk in puts:
        intake.put(chunk)
    entries = []
    while entry := intake.take(size):
        entries.append(entry)
        assert entry.endswith(b"\n")
        assert len(entry) <= max(size, 31)
    assert b"".join(entries) == b"".join(puts)
    assert intake.held_bytes == 0


def test_full_is_said_once_and_taken_back_below_the_low_mark() -> None:
    said: list[bool] = []
    intake = Intake(100, said.append)
    intake.put(b"x" * 59 + b"\n")
    assert said == []
    intake.put(b"x" * 59 + b"\n")
    intake.put(b"x" * 59 + b"\n")
    assert said == [True]
    intake.take(60)
    intake.take(60)
    assert said == [True]
    intake.take(60)
    assert said == [True, False]
