"""A real Prometheus with the rules of deploy/prometheus scrapes real services: a gap raises an alert, and the
dashboard's queries return data."""

import json
import re
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment, wait_until
from tests.support.peers import LOOPBACK, Audience, Peer, source
from tests.support.programs import require
from tests.support.queries import PROMETHEUS, dashboard_queries
from tests.support.servers import free_port, wait_for_port

pytestmark = pytest.mark.slow

SERVICES = ("listener", "sequencer", "fanout")
EMPTY = {
    "max(parade_sequencer_redis_memory_limit_bytes) > 0",  # no limit is set
    "max(parade_sequencer_journal_seconds) and max(parade_sequencer_journal_full) == 1",  # it is not full
    "sum by (reason) (rate(parade_listener_requests_total[1m])) > 0",  # nothing is published over HTTP
}
"""Dashboard queries that correctly return nothing here."""


class Prometheus:
    """The API of a running Prometheus."""

    def __init__(self, port: int) -> None:
        self._api = f"http://{LOOPBACK}:{port}/api/v1/"

    def get(self, what: str, **arguments: str) -> Any:
        """The `data` of an answer; AssertionError if it is not a success."""
        url = f"{self._api}{what}?{urllib.parse.urlencode(arguments)}"
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310 (our own port)
            body = json.loads(answer.read())
        assert body["status"] == "success", body
        return body["data"]

    def is_ready(self) -> bool:
        """Whether it answers queries; it starts to listen earlier."""
        try:
            self.query("up")
        except urllib.error.HTTPError:
            return False
        return True

    def query(self, expression: str) -> list[Any]:
        """The series that the expression returns now."""
        return list(self.get("query", query=expression)["result"])

    def firing(self) -> dict[str, str]:
        """Maps each firing alert to its summary."""
        alerts = self.get("alerts")["alerts"]
        firing = [alert for alert in alerts if alert["state"] == "firing"]
        return {alert["labels"]["alertname"]: alert["annotations"]["summary"] for alert in firing}


def configuration(ports: dict[str, int]) -> str:
    """The configuration of the compose network, with fixed addresses instead of DNS and shorter intervals."""
    text = (PROMETHEUS / "prometheus.yml").read_text()
    text = text.replace("alerts.yml", str(PROMETHEUS / "alerts.yml")).replace("interval: 5s", "interval: 1s")
    text = text.replace("scrape_timeout: 4s", "scrape_timeout: 1s")
    for service, port in ports.items():
        targets = f"static_configs:\n      - targets: ['{LOOPBACK}:{port}']\n"
        found = rf"dns_sd_configs:\n +- names: \[{service}\]\n(?: {{8}}.*\n)+"
        text, changed = re.subn(found, targets, text)
        assert changed == 1
    return text


@contextmanager
def prometheus(folder: Path, ports: dict[str, int]) -> Iterator[Prometheus]:
    """Run a Prometheus that scrapes these ports."""
    config, port = folder / "prometheus.yml", free_port()
    config.write_text(configuration(ports))
    options = [f"--config.file={config}", f"--storage.tsdb.path={folder / 'tsdb'}"]
    options += [f"--web.listen-address={LOOPBACK}:{port}", "--log.level=warn"]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(["prometheus", *options], stdout=log, stderr=log)
    try:
        wait_for_port(port)
        watcher = Prometheus(port)
        wait_until(watcher.is_ready, "Prometheus answers queries")
        yield watcher
    finally:
        process.kill()
        process.wait()


def test_a_gap_raises_an_alert_and_the_dashboard_has_data(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    require(shutil.which("prometheus"), "prometheus")
    ports = {service: free_port() for service in SERVICES}
    with (
        Deployment(valkey_url, namespace, tmp_path / "log") as system,
        prometheus(tmp_path, ports) as watcher,
        Audience() as audience,
    ):
        for service, port in ports.items():
            system.start(service, health_port=port)
        wait_until(lambda: len(watcher.query("up == 1")) == len(SERVICES), "all services are scraped")
        audience.add(Peer(system.client_port, 50))
        wait_until(lambda: watcher.query("sum(parade_fanout_connections) == 1"), "the client is counted")
        wait_until(lambda: not watcher.firing(), "no alert")
        source(system.event_port, b"1|B\n2|B\n5|B\n")
        wait_until(lambda: "ParadeGap" in watcher.firing(), "the gap raises an alert")
        assert watcher.firing()["ParadeGap"].startswith("Number 3 has been missing for ")
        empty = {query for query in dashboard_queries() if not watcher.query(query)}
        assert empty == EMPTY
        source(system.event_port, b"3|B\n4|B\n")
        wait_until(lambda: not watcher.firing(), "the alert is over")
        system.stop_all()
