"""A missing number: its age, when to warn, when to give it up."""

import pytest

from sequencer.gap import Gap


def test_a_gap_has_an_age_while_others_wait_for_it() -> None:
    gap = Gap(5.0, 0.0)
    gap.watch(3, True, 100.0)
    gap.watch(3, True, 104.0)
    assert gap.age_s(104.0) == 4.0
    assert not gap.is_long(104.0)
    assert gap.is_long(105.0)
    assert not gap.is_over(1000.0), "0 waits forever"
    gap.watch(3, False, 106.0)
    assert gap.age_s(107.0) == 0.0


def test_an_age_is_a_difference_whatever_the_clock_shows() -> None:
    gap = Gap(5.0, 0.0)
    gap.watch(3, True, 2.0)
    assert gap.age_s(9.0) == 7.0


@pytest.mark.parametrize("other", [8, 2])
def test_another_number_is_another_gap(other: int) -> None:
    gap = Gap(5.0, 0.0)
    gap.watch(3, True, 100.0)
    gap.watch(other, True, 104.0)
    assert gap.age_s(106.0) == 2.0


def test_warnings_are_repeated_but_not_often() -> None:
    gap = Gap(5.0, 0.0)
    gap.watch(3, True, 100.0)
    assert [second for second in range(100, 240) if gap.warning_is_due(second)] == [105, 165, 225]
    gap.watch(4, True, 240.0)
    assert not gap.warning_is_due(244.0)
    assert gap.warning_is_due(245.0)


@pytest.mark.parametrize(("again", "due"), [(64.9, False), (65.0, True), (65.1, True), (1000.0, True)])
def test_a_minute_lies_between_two_warnings(again: float, due: bool) -> None:
    gap = Gap(5.0, 0.0)
    gap.watch(3, True, 0.0)
    assert gap.warning_is_due(5.0)
    assert gap.warning_is_due(again) == due


@pytest.mark.parametrize("timeout_s", [0.5, 10.0])
def test_a_policy_gives_it_up_from_then_on(timeout_s: float) -> None:
    gap = Gap(5.0, timeout_s)
    gap.watch(3, True, 100.0)
    assert not gap.is_over(100.0 + timeout_s - 0.1)
    assert gap.is_over(100.0 + timeout_s)
    assert gap.is_over(200.0)
