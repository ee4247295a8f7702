"""The queries of the dashboard and of the alert rules, and the metrics that they name."""

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
    """Those of the dashboard, row titles left out."""
    found: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def dashboard_queries() -> list[str]:
    """Each with a range in place of Grafana's variable."""
    return [target["expr"].replace("$__rate_interval", "1m") for panel in panels() for target in panel["targets"]]


def alert_rules() -> dict[str, str]:
    """Alert → its query."""
    return dict(re.findall(r"- alert: (\w+)\n +expr: (.+)\n", (PROMETHEUS / "alerts.yml").read_text()))


def metrics_in(query: str) -> set[str]:
    """The names that are no function, no word of the language, no label, and stand outside of quotes."""
    return set(_names(re.sub(r'"[^"]*"|\{[^}]*\}|\[[^]]*\]|\b(by|without|on|ignoring) *\([^)]*\)', " ", query)))


def _names(bare: str) -> Iterator[str]:
    for found in re.finditer(r"\b([a-zA-Z_:][\w:]*)\b *(\(?)", bare):
        if not found[2] and found[1] not in WORDS:
            yield found[1]
