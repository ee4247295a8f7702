"""Giving up connections settles near the average and then stops."""

from hypothesis import given
from hypothesis import strategies as st

from fanout.balance import CLEARLY, SLACK, surplus_to_close


def test_only_clearly_more_than_the_average_gives_any_up() -> None:
    assert surplus_to_close(100, [100, 100]) == 0
    assert surplus_to_close(120, [120, 80]) == 0
    assert surplus_to_close(300, [300, 0, 0]) == 20
    assert surplus_to_close(0, [0, 300]) == 0
    assert surplus_to_close(300, [300]) == surplus_to_close(0, []) == 0


def test_clearly_more_is_a_fifth_and_ten() -> None:
    assert surplus_to_close(130, [130, 70]) == 0
    assert surplus_to_close(131, [131, 69]) == 4, "a tenth of the surplus, rounded up"
    assert surplus_to_close(134, [134, 73]) == 0, "the average is 103.5"


def test_a_round_closes_a_hundred_at_most() -> None:
    assert surplus_to_close(10_000, [10_000, 0]) == 100


@given(st.integers(0, 20_000), st.integers(2, 8))
def test_it_settles(connections: int, nodes: int) -> None:
    counts = [connections] + [0] * (nodes - 1)
    for _ in range(2000):
        closing = [surplus_to_close(own, counts) for own in counts]
        for index, count in enumerate(closing):
            counts[index] -= count
            for _ in range(count):
                counts[counts.index(min(counts))] += 1
        if not any(closing):
            break
    assert not any(closing)
    assert max(counts) <= connections / nodes * CLEARLY + SLACK
    assert sum(counts) == connections
