"""Schedules, each judged byte by byte; and proof that the judge notices when something is broken.

Those here are the same in every run. `python -m tests.schedules --first 2000 --count 10000` plays others.
"""

import pytest

from tests.schedules.world import play

SCHEDULES = 2_000
CHUNK = 500


@pytest.mark.parametrize(
    "first", [0, *(pytest.param(first, marks=pytest.mark.slow) for first in range(CHUNK, SCHEDULES, CHUNK))]
)
def test_schedules(first: int) -> None:
    for seed in range(first, first + CHUNK):
        try:
            play(seed)
        except AssertionError as problem:
            pytest.fail(f"{problem}\nIts trace: python -m tests.schedules --seed {seed}", pytrace=False)


def test_a_seed_gives_the_same_schedule_again() -> None:
    for seed in range(50):
        once: list[str] = []
        again: list[str] = []
        play(seed, once.append)
        play(seed, again.append)
        assert once == again
