"""deploy/prometheus: valid, uses exported metrics, and each alert is raised by its fault only."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.exported import SERVICES, series
from tests.support.programs import require
from tests.support.queries import MADE_BY_PROMETHEUS, PROMETHEUS, alert_rules, dashboard_queries, metrics_in


def promtool(*arguments: object) -> None:
    """Run promtool; if it finds a problem, the AssertionError has its output."""
    require(shutil.which("promtool"), "promtool")
    done = subprocess.run(
        ["promtool", *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration() -> None:
    promtool("check", "config", PROMETHEUS / "prometheus.yml")
    jobs = re.findall(r"job_name: (\w+)\n.*\n +- names: \[(\w+)\]", (PROMETHEUS / "prometheus.yml").read_text())
    assert jobs == [(service, service) for service in SERVICES]


def test_the_rules() -> None:
    promtool("check", "rules", "--lint=all", "--lint-fatal", PROMETHEUS / "alerts.yml")


@pytest.mark.slow
def test_each_fault_raises_its_alert() -> None:
    promtool("test", "rules", PROMETHEUS / "alerts_test.yml")


@pytest.mark.parametrize("alert", alert_rules())
def test_each_alert_is_tested_both_ways(alert: str) -> None:
    cases = re.findall(rf"alertname: {alert}\n +exp_alerts:(.*)\n", (PROMETHEUS / "alerts_test.yml").read_text())
    assert {case.strip() for case in cases} == {"", "[]"}


def test_each_rule_was_found() -> None:
    assert len(alert_rules()) == (PROMETHEUS / "alerts.yml").read_text().count("alert:") > 10


@pytest.mark.parametrize("alert", alert_rules())
def test_each_alert_uses_metrics_that_exist(alert: str) -> None:
    assert metrics_in(alert_rules()[alert])
    assert metrics_in(alert_rules()[alert]) <= series() | MADE_BY_PROMETHEUS


def test_the_queries_of_the_dashboard_are_valid(tmp_path: Path) -> None:
    rules = [{"record": f"panel:{number}", "expr": query} for number, query in enumerate(dashboard_queries())]
    path = tmp_path / "rules.yml"
    path.write_text(json.dumps({"groups": [{"name": "dashboard", "rules": rules}]}))  # JSON is YAML
    promtool("check", "rules", path)


def test_metrics_are_found_in_a_query() -> None:
    query = (
        'sum by (le, job) (rate(a_bucket{job="b", x=~"c|d"}[1m])) / on (e) f > 0 or absent(g{h="i"} == 1) or vector(0)'
    )
    assert metrics_in(query) == {"a_bucket", "f", "g"}
