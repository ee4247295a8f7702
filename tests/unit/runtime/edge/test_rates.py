"""How often something may happen to one name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runtime.edge.rates import BURST_S, RateLimit


def test_a_burst_then_so_many_a_second() -> None:
    limit = RateLimit(2)
    assert [limit.allows("a", 100) for _ in range(21)] == [True] * 20 + [False]
    assert not limit.allows("a", 100.4)
    assert limit.allows("a", 100.5)
    assert not limit.allows("a", 100.6)
    assert [limit.allows("a", 102.0) for _ in range(4)] == [True, True, True, False]


def test_each_name_has_its_own() -> None:
    limit = RateLimit(0.1)
    assert limit.allows("a", 0)
    assert not limit.allows("a", 1)
    assert limit.allows("b", 1)


def test_less_than_once_in_a_burst_is_still_once() -> None:
    limit = RateLimit(0.01)
    assert limit.allows("a", 0)
    assert not limit.allows("a", 99)
    assert limit.allows("a", 100)


def test_no_limit_remembers_nobody() -> None:
    limit = RateLimit(0)
    assert all(limit.allows("a", 0) for _ in range(1000))
    assert len(limit) == 0


def test_what_was_refused_costs_nothing() -> None:
    limit = RateLimit(1)
    for _ in range(1000):
        limit.allows("a", 0)
    assert limit.allows("a", 1)


def test_names_that_have_their_burst_again_are_forgotten() -> None:
    limit = RateLimit(1)
    for number in range(1000):
        limit.allows(str(number), 0)
    assert len(limit) == 1000
    for number in range(600):
        limit.allows(str(number % 7), BURST_S + number)
    assert len(limit) <= 7


@given(st.lists(st.tuples(st.sampled_from("ab"), st.floats(0, 5)), max_size=200), st.floats(0.1, 10))
def test_never_more_than_the_rate_and_the_burst(tries: list[tuple[str, float]], per_s: float) -> None:
    limit, now_s = RateLimit(per_s), 0.0
    allowed: dict[str, list[float]] = {"a": [], "b": []}
    for name, pause_s in tries:
        now_s += pause_s
        if limit.allows(name, now_s):
            allowed[name].append(now_s)
    for times in allowed.values():
        for first, since_s in enumerate(times):
            for last in range(first, len(times)):
                assert last - first <= per_s * (times[last] - since_s) + max(per_s * BURST_S, 1) + 1e-6


def test_two_are_forgotten_at_a_call_once_they_have_their_burst_again() -> None:
    limit = RateLimit(1)
    for number in range(100):
        limit.allows(str(number), 3.0)
    limit.allows("0", 3.9)
    assert len(limit) == 100, "none has it yet"
    limit.allows("new", 4.0)
    assert len(limit) == 99


@pytest.mark.parametrize("now_s", [4.0, 4.9])
def test_who_was_busy_since_keeps_nobody_else_in_the_table(now_s: float) -> None:
    limit = RateLimit(1)
    for name, when_s in (("busy", 3.0), ("idle", 3.0), ("busy", 3.5)):
        limit.allows(name, when_s)
    assert limit.allows("new", now_s)
    assert len(limit) == 2
    assert sum(limit.allows("busy", now_s) for _ in range(20)) < 10, "what it has used still counts"
