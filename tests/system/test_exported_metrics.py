"""What each service exports on /metrics after a known stream."""

import http.client
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from runtime.metrics import CONTENT_TYPE
from tests.support.deployment import Deployment, wait_until
from tests.support.peers import LOOPBACK, Peer, peers, source
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

LINES = {
    "first": b"1|F|60|50\n2|B\n3|P|60|50\n",
    "late": b"2|B\n",
    "ahead of 4": b"5|B\n6|S|50\n",
    "the same again": b"5|B\n",
    "in conflict": b"5|P|1|2\n",
    "no event": b"what is this?\n",
}
HEARD_BY_50 = b"1|F|60|50\n2|B\n3|P|60|50\n"
HEARD_BY_60 = b"2|B\n"
AFTER = {50: b"4|B\n5|B\n", 60: b"4|B\n5|B\n6|S|50\n"}

Values = dict[str, float]
"""Maps each sample, with its labels, to its value."""


def scrape(port: int) -> Values:
    """All samples; empty if there is no answer."""
    connection = http.client.HTTPConnection(LOOPBACK, port, timeout=5)
    try:
        connection.request("GET", "/metrics")
        answer = connection.getresponse()
        assert (answer.status, answer.headers["Content-Type"]) == (200, CONTENT_TYPE)
        text = answer.read().decode()
    except OSError:
        return {}
    finally:
        connection.close()
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {
        sample.name + "".join(f"{{{name}={value}}}" for name, value in sample.labels.items()): sample.value
        for sample in samples
    }
    assert len(found) == len(samples), "no sample appears twice"
    return found


class Scraped:
    """A deployment with one process of each service, each with a health port."""

    def __init__(self, system: Deployment) -> None:
        self.system = system
        self.ports: dict[str, int] = {}
        for name, service in {"leader": "sequencer", "fanout": "fanout", "listener": "listener"}.items():
            self.start(name, service)
        wait_until(lambda: system.redis.hlen(system.keys.nodes) == 1, "a node is known")

    def start(self, name: str, service: str) -> None:
        self.ports[name] = free_port()
        self.system.start(service, health_port=self.ports[name])
        wait_until(lambda: self.own(name, service).get("ready") == 1, f"{name} is ready")

    def own(self, name: str, service: str | None = None) -> Values:
        """The samples of the service's own metrics, without their common prefix."""
        prefix = f"parade_{service or name}_"
        return {key.removeprefix(prefix): value for key, value in scrape(self.ports[name]).items() if prefix in key}

    def wait_for(self, name: str, wanted: Mapping[str, float], service: str | None = None) -> None:
        """Wait until all these samples have these values at the same time."""
        differences: list[tuple[str, object, float]] = []

        def reached_all() -> bool:
            found = self.own(name, service)
            differences[:] = [(key, found.get(key), value) for key, value in wanted.items() if found.get(key) != value]
            return not differences

        try:
            wait_until(reached_all, f"the values of {name}", 10)
        except AssertionError:
            pytest.fail(f"{name} (sample, found, wanted): {differences}")


def assert_histogram(values: Values, name: str, at_least: int) -> None:
    """The buckets must be cumulative and end with the count, and the sum must match."""
    buckets = {key: value for key, value in values.items() if key.startswith(f"{name}_bucket")}
    bounds = [float(key.partition("le=")[2].rstrip("}")) for key in buckets]
    counts = list(buckets.values())
    assert bounds == sorted(bounds)
    assert bounds[-1] == float("inf")
    assert counts == sorted(counts)
    assert counts[-1] == values[f"{name}_count"] >= at_least
    assert (values[f"{name}_sum"] > 0) == (counts[-1] > 0)


def test_a_known_stream(server_url: str, namespace: str, tmp_path: Path) -> None:
    with Deployment(server_url, namespace, tmp_path / "log", wait_replicas=0) as system:
        scraped = Scraped(system)
        scraped.start("standby", "sequencer")
        with peers(system.client_port, [50, 60]) as (fifty, sixty):
            wait_until(lambda: system.online() == {"50", "60"}, "both users are online")
            stream(system, fifty, sixty)
            check_during_the_gap(scraped)
            source(system.event_port, b"4|B\n")
            fifty.wait_for(AFTER[50])
            sixty.wait_for(AFTER[60])
            check_after_the_gap(scraped)
        scraped.wait_for("fanout", {"connections": 0, "users": 0, "lives_total": 1})
        system.stop_all()


def stream(system: Deployment, fifty: Peer, sixty: Peer) -> None:
    """Send the pieces, each after the previous one is consumed, so that each has the effect in its name."""
    received = 0
    for piece in LINES.values():
        source(system.event_port, piece)
        received += piece.count(b"|") > 0 and piece.count(b"\n")
        wait_until(reached(system, received), "consumed")
    wait_until(lambda: len(system.rejected()) == 2, "both refused lines are recorded")
    fifty.wait_for(HEARD_BY_50)
    sixty.wait_for(HEARD_BY_60)


def reached(system: Deployment, received: int) -> Callable[[], bool]:
    return lambda: system.state("received") == received


def check_during_the_gap(scraped: Scraped) -> None:
    sent = b"".join(LINES.values())
    scraped.wait_for("listener", {
        "sources": 0, "received_lines_total": 9, "received_bytes_total": len(sent), "refused_lines_total": 0,
        "held_bytes": 0, "paused": 0, "entries_total": len(LINES), "append_seconds_count": len(LINES),
        "append_errors_total": 0, "peers_total{reason=source_connected}": len(LINES),
    })  # fmt: skip
    scraped.wait_for("leader", {
        "lease_held": 1, "terms_total": 1, "commit_errors_total": 0, "next": 4, "released_total": 3,
        "late_total": 1, "duplicate_total": 1, "rejected_total": 2, "skipped_total": 0, "waiting": 2,
        "backlog_bytes": 0, "backlog_entries": 0, "backlog_age_seconds": 0, "batch_events_count": 1,
        "batch_events_sum": 3, "nodes": 1, "online_users": 2, "term_ends_total{reason=lease lost}": 0,
        "expulsions_total{reason=silent}": 0, "redis_memory_limit_bytes": 0,
    }, "sequencer")  # fmt: skip
    leader = scraped.own("leader", "sequencer")
    assert 0 < leader["gap_age_seconds"] < 60
    assert leader["redis_memory_bytes"] > 100_000
    standby = {"lease_held": 0, "terms_total": 0, "next": 0, "waiting": 0, "gap_age_seconds": 0, "released_total": 0}
    scraped.wait_for("standby", standby, "sequencer")


def check_after_the_gap(scraped: Scraped) -> None:
    heard = [HEARD_BY_50 + AFTER[50], HEARD_BY_60 + AFTER[60]]
    scraped.wait_for("leader", {
        "next": 7, "released_total": 6, "waiting": 0, "gap_age_seconds": 0, "published_bytes_total": published(),
    }, "sequencer")  # fmt: skip
    scraped.wait_for("fanout", {
        "connections": 2, "users": 2, "joins_total": 2, "unsent_bytes": 0, "slow_clients": 0,
        "clients_set_aside": 0, "slow_clients_left_total": 0, "slow_offenders": 0,
        "slow_clients_closed_total{reason=no room for its unsent bytes}": 0, "waiting": 0,
        "journal_batches_total": 0, "frames_missed_total": 0,
        "notifications_total": sum(lines.count(b"\n") for lines in heard), "sent_bytes_total": len(b"".join(heard)),
        "connections_lost_total{reason=expelled}": 0, "peers_total{reason=client_registered}": 2,
    })  # fmt: skip
    # One observation for each batch that consumed a join or a piece of the stream.
    assert_histogram(scraped.own("fanout"), "latency_seconds", len(LINES) + 2)
    assert_histogram(scraped.own("listener"), "append_seconds", len(LINES) + 1)
    for name in ("read_seconds", "compute_seconds", "commit_seconds", "batch_events"):
        assert_histogram(scraped.own("leader", "sequencer"), name, 2)


def published() -> int:
    """Bytes published: broadcasts once, other events once for each notified user."""
    return len(HEARD_BY_50 + AFTER[50]) + len(b"6|S|50\n")


def test_a_new_leader_shows_the_gauges_and_the_old_one_none(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with Deployment(valkey_url, namespace, tmp_path / "log") as system:
        scraped = Scraped(system)
        source(system.event_port, b"1|B\n3|B\n")
        scraped.wait_for("leader", {"next": 2, "waiting": 1}, "sequencer")
        scraped.start("standby", "sequencer")
        system.redis.delete(system.keys.lease)  # no commit of this leader is accepted any more
        ends = {"term_ends_total{reason=lease lost}": 1}
        wait_until(lambda: scraped.own("leader", "sequencer")["terms_total"] == 2
                   or scraped.own("standby", "sequencer")["terms_total"] == 1, "a process leads again")  # fmt: skip
        scraped.wait_for("leader", ends, "sequencer")
        both = [scraped.own(name, "sequencer") for name in ("leader", "standby")]
        assert sorted(values["lease_held"] for values in both) == [0, 1]
        for values in both:
            gauges = [values[name] for name in ("next", "waiting", "online_users")]
            assert gauges == ([2, 1, 0] if values["lease_held"] else [0, 0, 0])
        system.stop_all()
