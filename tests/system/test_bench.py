"""The benchmark works: tiny loads through all its parts. Their speed is not checked."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from simulator.wire import SSE, TRANSPORTS, WS
from tests.bench import compare, plots, transports
from tests.bench.author import author
from tests.bench.cases import Case
from tests.bench.idle import idle
from tests.bench.measure import run
from tests.bench.summary import summary, table
from tests.bench.system_under_test import PARADE

pytestmark = [pytest.mark.slow, pytest.mark.skipif(sys.platform != "linux", reason="the benchmark reads /proc")]

TINY = Case("tiny", ("--events", "5000"), clients=5)
PACED = Case("paced", ("--events", "3000", "--rate", "3000", "--max-batch", "20"), clients=5, fanouts=1)


def shown(table: object) -> str:
    console = Console(width=200)
    with console.capture() as capture:
        console.print(table)
    return capture.get()


def test_runs_their_table_and_their_plots(tmp_path: Path) -> None:
    results = [summary(case, [run(case), run(case)]) for case in (TINY, PACED)]
    for result, events, fanouts in zip(results, (5_000, 3_000), (2, 1), strict=True):
        assert result["passed"]
        assert (result["runs"], result["events"]) == (2, events)
        processes = {process["name"]: process for process in result["processes"]}
        assert processes.keys() == {"redis", "sequencer", "fanout", "listener"}
        assert processes["fanout"]["count"] == fanouts
        assert sum(process["cpu_s"] for process in processes.values()) > 0
        assert all(10 < process["peak_mib"] < 500 for name, process in processes.items() if name != "redis")
    assert results[0]["latency_ms"] is None
    assert 0 < results[1]["latency_ms"]["p50"] <= results[1]["latency_ms"]["p99"]
    text = shown(table(results))
    assert "2 fanouts" in text
    assert "tiny" in text

    samples = [(0, 0.1), (2, 0.9), *((plots.LONG // 100 * n, 1.0 + 0.1 * n) for n in range(1, 101))]
    assert [round(cost, 6) for _, cost in plots.us_per_event(samples, plots.LONG)] == [2.0] * 19
    ended = [(plots.LONG // 10 * n, 0.1 * n) for n in range(1, 11)] + [(plots.LONG + 5, 1.3)]
    assert [events for events, _ in plots.us_per_event(ended, plots.LONG)][-1] == plots.LONG, (
        "the time after the load does not count"
    )
    swept = [result | {"case": f"sweep: {result['case']}"} for result in results]
    long = results[0] | {"events": plots.LONG, "samples": samples}
    written = plots.draw([*swept, long], tmp_path)
    assert [path.name for path in written] == ["throughput.svg", "latency.svg", "cost.svg"]
    assert all(path.read_text().startswith("<?xml") for path in written)


def test_two_programs_are_compared_alternately() -> None:
    before, after = compare.alternating(TINY, PARADE, 1)
    text = shown(compare.table(TINY, "base", before, after))
    assert "events_per_s" in text
    assert "cpu_us_per_event" in text
    assert "p99" not in text


def test_idle_connections_and_a_followed_author() -> None:
    assert idle(40)["connections"] == 40
    found = author(300, 20)
    assert (found["followers"], found["online"]) == (300, 20)
    assert found["cpu_us_per_notification"] >= 0


def test_the_same_load_over_http() -> None:
    for transport in (WS, SSE):
        assert run(replace(TINY, transport=transport))["passed"]


def test_transports_are_compared() -> None:
    runs = {each: [transports.run(each, 20, 200, rate, 40) for rate in (0, 2_000)] for each in TRANSPORTS}
    assert all(figures["lines"] == 20 * 20 + 180 for each in runs.values() for figures in each)
    found = transports.summary(runs)
    assert found["to_tcp"].keys() == {WS, SSE}
    text = shown(transports.table(found))
    assert all(each in text for each in TRANSPORTS)
