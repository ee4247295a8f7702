"""Stats: declared once, counted cheaply, shown as JSON (test_metrics.py: and as metrics)."""

from collections import Counter
from dataclasses import dataclass
from itertools import pairwise

import pytest

from runtime.stats import SECONDS, Histogram, as_json, by_reason, clear_gauges, counter, gauge, histogram, quantile
from sequencer.stats import SequencerStats


@dataclass
class Stats:
    taken_bytes: int = counter("bytes taken")
    sources: int = gauge("sources now")
    ends: Counter[str] = by_reason("ends")
    wait_seconds: Histogram = histogram("waits", (0.1, 1.0))


@dataclass
class Walker:
    falls: Counter[str] = by_reason("falls", "slipped")


def some_stats() -> Stats:
    stats = Stats(taken_bytes=7, sources=2)
    stats.ends["too late"] += 3
    for seconds in (0.05, 0.1, 0.5, 9.0):
        stats.wait_seconds.observe(seconds)
    return stats


def test_as_json() -> None:
    assert as_json(some_stats()) == {
        "taken_bytes": 7, "sources": 2, "ends": {"too late": 3}, "wait_seconds": [2, 1, 1],
    }  # fmt: skip


def test_two_services_do_not_share_what_they_count() -> None:
    some_stats()
    assert Stats().wait_seconds.counts == [0, 0, 0]
    assert not Stats().ends


def test_whatever_is_counted_begins_at_zero() -> None:
    assert as_json(Stats()) == {"taken_bytes": 0, "sources": 0, "ends": {}, "wait_seconds": [0, 0, 0]}
    assert Stats().wait_seconds.sum == 0.0


@pytest.mark.parametrize("bounds", [(), (0.1,), (0.1, 1.0), (0.1, 1.0, 2.0)])
def test_beyond_the_last_bound_there_is_one_more_count(bounds: tuple[float, ...]) -> None:
    waits = Histogram(bounds)
    waits.observe(9.0)
    assert waits.counts == [0] * len(bounds) + [1]


def test_bounds_of_durations_go_from_half_a_millisecond_to_half_a_minute_in_even_steps() -> None:
    assert (SECONDS[0], SECONDS[-1]) == (0.0005, 30.0)
    assert all(2 <= above / below <= 3 for below, above in pairwise(SECONDS))


def test_whoever_stops_measuring_shows_no_old_gauges() -> None:
    stats = some_stats()
    clear_gauges(stats)
    assert as_json(stats) == as_json(some_stats()) | {"sources": 0}


def test_no_node_is_left_behind_by_a_process_that_stops_measuring() -> None:
    stats = SequencerStats(node_left_behind={"vm-1": "slow"})
    clear_gauges(stats)
    assert stats.node_left_behind == {}


def test_known_reasons_begin_at_zero_for_each_service() -> None:
    first, second = Walker(), Walker()
    first.falls["slipped"] += 1
    assert (first.falls, second.falls) == ({"slipped": 1}, {"slipped": 0})


@pytest.mark.parametrize(
    ("share", "value"),
    [(0.05, 0.5), (0.1, 1.0), (0.2, 1.5), (0.3, 2.0), (0.45, 3.0), (0.6, 4.0), (0.8, 4.0), (1.0, 4.0)],
)
def test_a_quantile_lies_in_its_bucket_as_far_as_its_share_of_it(share: float, value: float) -> None:
    assert quantile([10, 20, 30, 40], share, (1.0, 2.0, 4.0)) == pytest.approx(value)
    assert quantile([10, 0, 20, 30, 40], share, (1.0, 1.0, 2.0, 4.0)) == pytest.approx(value), "an empty one between"


def test_quantiles_of_counts() -> None:
    assert quantile([0, 0, 0], 0.5, (1.0, 2.0)) is None
    assert quantile([10, 0, 0], 0.5, (1.0, 2.0)) == pytest.approx(0.5)
    assert quantile([0, 10, 0], 0.5, (1.0, 2.0)) == pytest.approx(1.5)
    assert quantile([99, 0, 1], 0.99, (1.0, 2.0)) == pytest.approx(1.0)
    assert quantile([3, 3, 0], 0.9, (1.0, 2.0)) == pytest.approx(1.8)
    assert quantile([0, 0, 5], 0.5, (1.0, 2.0)) == 2.0, "beyond the last bound nothing is known"
