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
    entries: list[bytes] = []
    while entry := intake.take(size):
        if entries:
            next_line = entry[: entry.index(b"\n") + 1]
            assert len(entries[-1]) + len(next_line) > size, "as many lines as fit"
        entries.append(entry)
        assert entry.endswith(b"\n")
        assert len(entry) <= max(size, 31)
    assert b"".join(entries) == b"".join(puts)
    assert intake.held_bytes == 0


def test_many_small_chunks_make_one_entry() -> None:
    intake = Intake(1 << 20, lambda _: None)
    for _ in range(1000):
        intake.put(b"1|B\n")
    assert intake.take(401) == b"1|B\n" * 100
    assert intake.held_bytes == 3600


def test_empty_lines_fill_an_entry_to_its_last_byte() -> None:
    intake = Intake(1 << 20, lambda _: None)
    for chunk in (b"1|B\n", b"\n\n", b"\n2|B\n"):
        intake.put(chunk)
    assert [intake.take(5), intake.take(5), intake.take(5)] == [b"1|B\n\n", b"\n\n", b"2|B\n"]


def test_a_last_line_without_its_end_is_handed_out_whole_with_what_came_before() -> None:
    intake = Intake(1 << 20, lambda _: None)
    for _ in range(2):
        intake.put(b"1|B\n")
        intake.put(b"no end")
    assert [intake.take(10), intake.take(9), intake.take(9)] == [b"1|B\nno end", b"1|B\n", b"no end"]


def test_the_high_mark_is_the_limit_and_the_low_mark_half_of_it() -> None:
    said: list[bool] = []
    intake = Intake(100, said.append)
    for size, expected in ((99, []), (1, [True])):
        intake.put(b"x" * (size - 1) + b"\n")
        assert said == expected
    intake.take(99)
    assert said == [True, False]
    for chunk in (49, 1, 1, 49):
        intake.put(b"x" * (chunk - 1) + b"\n")
    assert (intake.held_bytes, said) == (101, [True, False, True])
    assert (intake.take(1), said) == (b"\n", [True, False, True])
    intake.take(49)
    assert (intake.held_bytes, said) == (51, [True, False, True]), "above half of the limit the sockets rest"
    intake.take(1)
    assert (intake.held_bytes, said) == (50, [True, False, True, False])


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
