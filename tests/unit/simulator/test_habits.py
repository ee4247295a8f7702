"""A client cuts as often as planned, and comes back neither too soon nor all at once."""

from random import Random

import pytest

from simulator.cursor import Bye
from simulator.habits import BACK_OFF_S, PAUSE_S, REFUSED_S, WAYS, Habits


@pytest.mark.parametrize("seed", range(20))
def test_every_cut_happens_between_the_first_and_the_last_number(seed: int) -> None:
    habits = Habits(Random(seed), 101, 1101, cuts=4)
    assert not habits.cuts_at(100)
    ways = [way for number in range(101, 1101) if (way := habits.cuts_at(number))]
    assert 1 <= len(ways) <= 4
    assert set(ways) <= set(WAYS)
    assert not habits.may_cut


def test_a_client_that_sees_few_numbers_cuts_once_for_all_that_are_due() -> None:
    habits = Habits(Random(1), 1, 1001, cuts=4)
    assert habits.cuts_at(1000)
    assert not habits.cuts_at(1000)


def test_all_ways_are_used_and_the_seed_decides() -> None:
    def ways(seed: int) -> list[str]:
        habits = Habits(Random(seed), 1, 10_000, cuts=30)
        return [way for number in range(1, 10_000) if (way := habits.cuts_at(number))]

    assert set(ways(3)) == set(WAYS)
    assert ways(3) == ways(3)
    assert ways(3) != ways(4)


def test_a_split_can_be_anywhere() -> None:
    habits = Habits(Random(1), 1, 2)
    assert {habits.split(3) for _ in range(200)} == {0, 1, 2, 3}


def pauses(habits: Habits, bye: Bye | None = None, *, refused: bool = False, failed: bool = False) -> list[float]:
    return [habits.pause_s(bye, refused=refused, failed=failed) for _ in range(300)]


def test_the_return_after_a_goodbye_is_spread_over_its_time() -> None:
    found = pauses(Habits(Random(1), 1, 2), Bye("drain", 8.0))
    assert min(found) < 1.0
    assert 7.0 < max(found) <= 8.0


def test_the_return_after_a_cut_is_soon() -> None:
    for bye in (None, Bye("slow", 0.0)):
        assert max(pauses(Habits(Random(1), 1, 2), bye)) <= PAUSE_S


def test_attempts_that_fail_come_less_and_less_often_until_one_is_served() -> None:
    habits = Habits(Random(1), 1, 2)
    found = [habits.pause_s(None, refused=False, failed=True) for _ in range(8)]
    for attempt, pause in enumerate(found):
        back_off = min(BACK_OFF_S[1], BACK_OFF_S[0] * 2**attempt)
        assert back_off / 2 <= pause <= back_off
    habits.served()
    assert habits.pause_s(None, refused=False, failed=True) <= BACK_OFF_S[0]


def test_who_is_refused_waits_a_second_at_least() -> None:
    assert min(pauses(Habits(Random(1), 1, 2), refused=True)) >= REFUSED_S
