"""What a simulation that failed does not claim."""

from io import StringIO

from rich.console import Console

from simulator.report import Report


def shown(report: Report) -> str:
    output = StringIO()
    report.show(Console(file=output))
    return output.getvalue()


def test_a_rate_is_only_that_of_events_that_all_arrived() -> None:
    report = Report(1000, 1, 10, 1, 500, 5000, seconds=2.0, latency_ms={"p50": 1.0})
    assert report.as_json()["events_per_s"] == 500
    assert "500 events/s" in shown(report)
    report.differences.append("user 1: received 0 bytes of 5,000")
    assert report.as_json()["events_per_s"] == 0
    assert shown(report).splitlines()[1:] == ["  user 1: received 0 bytes of 5,000"]
