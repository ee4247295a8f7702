"""A missing number: its age, when to warn, when to give it up."""

from sequencer.gap import Gap


def test_a_gap_has_an_age_while_others_wait_for_it() -> None:
    gap = Gap(5.0, 0.0)
    gap.watch(3, True, 100.0)
    gap.watch(3, True, 104.0)
    assert gap.age_s(104.0) == 4.0
    assert not gap.is_long(104.0)
    assert gap.is_long(105.0)
    assert not gap.is_over(1000.0), "it is waited for for ever"
    gap.watch(3, False, 106.0)
    assert gap.age_s(107.0) == 0.0


def test_the_next_gap_is_another_one() -> None:
    gap = Gap(5.0, 0.0)
    gap.watch(3, True, 100.0)
    gap.watch(8, True, 104.0)
    assert gap.age_s(106.0) == 2.0


def test_warnings_are_repeated_but_not_often() -> None:
    gap = Gap(5.0, 0.0)
    gap.watch(3, True, 100.0)
    assert [second for second in range(100, 240) if gap.warning_is_due(second)] == [105, 165, 225]
    gap.watch(4, True, 240.0)
    assert not gap.warning_is_due(244.0)
    assert gap.warning_is_due(245.0)


def test_a_policy_gives_it_up() -> None:
    gap = Gap(5.0, 10.0)
    gap.watch(3, True, 100.0)
    assert not gap.is_over(109.9)
    assert gap.is_over(110.0)
