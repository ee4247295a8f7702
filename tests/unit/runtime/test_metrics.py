"""Stats as Prometheus reads them, parsed by Prometheus's own parser."""

from collections import Counter
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import exposition
from runtime.stats import Histogram, by_reason, counter, gauge, histogram


@dataclass
class Stats:
    height: int = gauge("how high")
    steps: int = counter("how many")
    falls: Counter[str] = by_reason("falls", "slipped")
    step_seconds: Histogram = histogram("how long", (0.1, 1.0))


def samples(stats: Stats, ready: bool = True) -> dict[tuple[str, str], float]:
    """(name, value of the only label) → value."""
    text = exposition("walker", stats, ready).decode()
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_values() -> None:
    stats = Stats(height=3, steps=4)
    stats.falls['"pushed"\n'] += 2
    found = samples(stats)
    assert found["parade_walker_height", ""] == 3
    assert found["parade_walker_steps_total", ""] == 4
    assert found["parade_walker_falls_total", "slipped"] == 0
    assert found["parade_walker_falls_total", '"pushed"\n'] == 2


def test_a_histogram_is_cumulative_and_bounds_are_inclusive() -> None:
    stats = Stats()
    for seconds in (0.05, 0.1, 0.5, 7.0):
        stats.step_seconds.observe(seconds)
    found = samples(stats)
    buckets = [found["parade_walker_step_seconds_bucket", bound] for bound in ("0.1", "1.0", "+Inf")]
    assert buckets == [2, 3, 4]
    assert found["parade_walker_step_seconds_count", ""] == 4
    assert found["parade_walker_step_seconds_sum", ""] == 7.65


def test_readiness() -> None:
    assert samples(Stats(), ready=True)["parade_walker_ready", ""] == 1
    assert samples(Stats(), ready=False)["parade_walker_ready", ""] == 0


def test_the_meaning_and_the_process_are_shown_too() -> None:
    text = exposition("walker", Stats(), ready=True).decode()
    assert "# HELP parade_walker_steps_total how many\n# TYPE parade_walker_steps_total counter\n" in text
    assert "\npython_info{" in text
