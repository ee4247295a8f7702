"""Redis time from answers that took some while."""

import pytest

from fanout.upstream.clock import RedisClock


def test_the_quickest_answer_counts() -> None:
    clock = RedisClock()
    clock.learn(1000.9, 10.0, 11.0)  # 1000.9 at about 10.5; in truth it was 11.0
    assert clock.age_s(1_000_250, 10.5) == pytest.approx(0.65)
    clock.learn(1003.0, 12.99, 13.01)
    assert clock.age_s(1_003_250, 14.0) == pytest.approx(0.75)
    clock.learn(1004.4, 14.0, 14.5)  # a slow answer says little
    clock.learn(1009.0, 14.0, 18.0)
    assert clock.age_s(1_003_000, 14.0) == pytest.approx(1.0)


def test_how_long_an_answer_took_is_a_difference_whatever_the_clock_shows() -> None:
    clock = RedisClock()
    clock.learn(100.0, 1.0, 3.0)
    clock.learn(105.0, 5.0, 6.5)
    assert clock.age_s(105_000, 6.0) == pytest.approx(0.25), "the second was quicker"
    clock.learn(109.0, 7.0, 14.0)
    assert clock.age_s(105_000, 6.0) == pytest.approx(0.25), "the third was not"


def test_of_two_that_took_no_time_the_later_counts() -> None:
    clock = RedisClock()
    clock.learn(100.0, 1.0, 1.0)
    clock.learn(105.0, 5.0, 5.0)
    assert clock.age_s(105_000, 6.0) == 1.0


def test_before_the_first_answer_the_local_clock_is_all_there_is() -> None:
    assert RedisClock().age_s(1500, 3.0) == 1.5


def test_an_answer_half_as_good_is_taken_after_35_others() -> None:
    clock, answers = RedisClock(), 0
    clock.learn(100.0, 1.0, 1.01)
    while clock.age_s(100_000, 1.005) < 1.0:  # until Redis time was set one second on
        clock.learn(101.0, 0.995, 1.015)
        answers += 1
    assert answers == 36


def test_an_estimate_ages() -> None:
    clock = RedisClock()
    clock.learn(1000.0, 10.0, 10.001)
    for second in range(1, 200):
        clock.learn(1001.0 + second, 10.0 + second, 10.01 + second)  # Redis time was set one second on
    assert clock.age_s(1_201_000, 210.005) == pytest.approx(0.0, abs=0.01)


def test_no_age_is_negative() -> None:
    clock = RedisClock()
    clock.learn(1000.0, 10.0, 10.0)
    assert clock.age_s(1_002_000, 11.0) == 0.0
