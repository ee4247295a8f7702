"""deploy/grafana: the dashboard uses exported metrics, and its panels have distinct ids and don't overlap."""

import json
import re
from itertools import combinations
from typing import Any

import pytest

from tests.support.deployment import ROOT
from tests.support.exported import SERVICES, exported, series
from tests.support.queries import DASHBOARD, MADE_BY_PROMETHEUS, metrics_in, panels

GRAFANA = ROOT / "deploy" / "grafana"
COLUMNS = 24


@pytest.mark.parametrize("panel", panels(), ids=lambda panel: panel["title"])
def test_each_panel_uses_metrics_that_exist(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert metrics_in(target["expr"])
        assert metrics_in(target["expr"]) <= series() | MADE_BY_PROMETHEUS


def test_each_metric_of_a_service_is_shown() -> None:
    shown = {name for panel in panels() for target in panel["targets"] for name in metrics_in(target["expr"])}
    shown = {re.sub("_(bucket|sum|count)$", "", name) for name in shown}
    hidden = {metric.name for service in SERVICES for metric in exported(service)} - shown
    assert hidden == {
        "parade_sequencer_next",
        "parade_sequencer_backlog_entries",
        "parade_sequencer_published_bytes_total",
        "parade_listener_backlog_bytes",
        "parade_fanout_users",
        "parade_fanout_batches_total",
    }


def test_panels_have_distinct_ids_and_do_not_overlap() -> None:
    dashboard = json.loads(DASHBOARD.read_text())
    assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])
    places = [panel["gridPos"] for panel in dashboard["panels"]]
    for place in places:
        assert place["x"] + place["w"] <= COLUMNS
    for a, b in combinations(places, 2):
        apart = (
            a["x"] + a["w"] <= b["x"],
            b["x"] + b["w"] <= a["x"],
            a["y"] + a["h"] <= b["y"],
            b["y"] + b["h"] <= a["y"],
        )
        assert any(apart), (a, b)


def test_the_provisioning_files_agree_with_each_other() -> None:
    datasource = (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text()
    provider = (GRAFANA / "provisioning" / "dashboards" / "parade.yml").read_text()
    compose = (ROOT / "docker-compose.yml").read_text()
    (variable,) = json.loads(DASHBOARD.read_text())["templating"]["list"]
    assert f"uid: {variable['current']['value']}\n" in datasource
    assert f"type: {variable['query']}\n" in datasource
    (folder,) = re.findall("path: (.+)", provider)
    assert f"./deploy/grafana/dashboards:{folder}:ro" in compose
    (interval,) = re.findall(r"timeInterval: (\w+)", datasource)
    assert f"scrape_interval: {interval}\n" in (ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text()
