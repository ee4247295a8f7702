"""Stats: declared once, counted cheaply, shown as JSON and as metrics."""

from collections import Counter
from dataclasses import dataclass

import pytest
from prometheus_client.parser import text_string_to_metric_families

from contract.metrics import exposition
from contract.stats import Histogram, as_json, by_reason, counter, gauge, histogram, quantile


@dataclass
class Stats:
    taken_bytes: int = counter("bytes taken")
    sources: int = gauge("sources now")
    ends: Counter[str] = by_reason("ends")
    wait_seconds: Histogram = histogram("waits", (0.1, 1.0))


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


def test_as_prometheus_reads_it() -> None:
    text = exposition("toy", some_stats()).decode()
    samples = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert samples["parade_toy_taken_bytes_total",] == 7
    assert samples["parade_toy_sources",] == 2
    assert samples["parade_toy_ends_total", "too late"] == 3
    assert [samples["parade_toy_wait_seconds_bucket", bound] for bound in ("0.1", "1.0", "+Inf")] == [2, 3, 4]
    assert samples["parade_toy_wait_seconds_count",] == 4
    assert samples["parade_toy_wait_seconds_sum",] == pytest.approx(9.65)
    assert "# HELP parade_toy_taken_bytes_total bytes taken" in text
    assert ("process_resident_memory_bytes",) in samples


def test_quantiles_of_counts() -> None:
    assert quantile([0, 0, 0], 0.5, (1.0, 2.0)) is None
    assert quantile([10, 0, 0], 0.5, (1.0, 2.0)) == pytest.approx(0.5)
    assert quantile([0, 10, 0], 0.5, (1.0, 2.0)) == pytest.approx(1.5)
    assert quantile([99, 0, 1], 0.99, (1.0, 2.0)) == pytest.approx(1.0)
    assert quantile([0, 0, 5], 0.5, (1.0, 2.0)) == 2.0, "beyond the last bound nothing is known"
