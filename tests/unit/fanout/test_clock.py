"""Redis time from answers that took some while."""

import pytest

from fanout.clock import RedisClock


def test_the_quickest_answer_counts() -> None:
    clock = RedisClock()
    clock.learn(1000.5, 10.0, 11.0)  # 1000.5 at about 10.5
    assert clock.age_s(1_000_000, 10.5) == pytest.approx(0.5)
    clock.learn(1003.0, 12.99, 13.01)
    assert clock.age_s(1_003_000, 14.0) == pytest.approx(1.0)
    clock.learn(1009.0, 14.0, 18.0)  # a slow answer says little
    assert clock.age_s(1_003_000, 14.0) == pytest.approx(1.0)


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
