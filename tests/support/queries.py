"""The queries of the Grafana dashboard and of the alert rules, and the metrics they use."""

import json
import re
from collections.abc import Iterator
from typing import Any

from tests.support.deployment import ROOT

PROMETHEUS = ROOT / "deploy" / "prometheus"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "parade.json"
MADE_BY_PROMETHEUS = {"up", "ALERTS"}
WORDS = {"and", "or", "unless", "bool", "by", "on", "without", "ignoring"}


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, without row titles."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def dashboard_queries() -> list[str]:
    """The queries of all panels, with a fixed range in place of Grafana's variable."""
    return [target["expr"].replace("$__rate_interval", "1m") for panel in panels() for target in panel["targets"]]


def alert_rules() -> dict[str, str]:
    """Maps each alert to its query."""
    return dict(re.findall(r"- alert: (\w+)\n +expr: (.+)\n", (PROMETHEUS / "alerts.yml").read_text()))


def metrics_in(query: str) -> set[str]:
    """The metric names: what is not a function, a keyword, a label or inside quotes."""
    return set(_names(re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(by|without|on|ignoring) *\([^)]*\)', " ", query)))


def _names(bare: str) -> Iterator[str]:
    for found in re.finditer(r"\b([a-zA-Z_:][\w:]*)\b *(\(?)", bare):
        if not found[2] and found[1] not in WORDS:
            yield found[1]
