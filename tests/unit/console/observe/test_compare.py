"""What an overview says of snapshots that are made up here, field by field."""

import json
from collections import Counter
from dataclasses import replace
from typing import Any

import pytest

from console.observe.compare import overview
from console.observe.overview import Overview
from console.observe.snapshot import Rejection, Snapshot
from contract.reports import Heartbeat, Report
from fanout.stats import FanoutStats
from listener.stats import ListenerStats
from runtime.agreement import shared
from runtime.settings import load
from runtime.stats import SECONDS, as_json
from sequencer.stats import SequencerStats

START_MS = 1_700_000_000_000
LISTENER, SEQUENCER, STANDBY, FANOUT = "listener/a-1", "sequencer/a-2", "sequencer/b-3", "fanout/a-4"
TOKEN, STANDBY_TOKEN, NODE = "a-77-f0", "b-78-e1", "a-0000beef"


def report(stats: Any, at_ms: int, **about: object) -> Report:
    """A report as a service makes it, through JSON."""
    return Report(at_ms, json.loads(json.dumps({**about, "not_ready": [], **as_json(stats)})))


def snapshot(at_ms: int = START_MS, **figures: Any) -> Snapshot:
    """A deployment at rest in which nothing is wrong."""
    leader = report(SequencerStats(lease_held=1, next=11), at_ms - 200, token=TOKEN, role="leader")
    standby = report(SequencerStats(), at_ms - 300, token=STANDBY_TOKEN, role="standby")
    services = {
        LISTENER: report(ListenerStats(sources=2), at_ms - 100),
        SEQUENCER: leader,
        STANDBY: standby,
        FANOUT: report(FanoutStats(users=4), at_ms - 400, node=NODE),
    }
    whole = Snapshot(
        time_ms=at_ms,
        state={"next": "11", "batch": "40", "epoch": "9f31c2", "received": "10", "released": "10"},
        nodes={NODE: Heartbeat(40, at_ms - 500, 5, 1)},
        services=services,
        lease=TOKEN,
        memory={"used_memory": "1000", "maxmemory": "0", "maxmemory_policy": "noeviction"},
    )
    return replace(whole, **figures)


def with_service(shot: Snapshot, name: str, new: Report) -> Snapshot:
    return replace(shot, services=shot.services | {name: new})


def names(seen: Overview) -> list[str]:
    return [concern.name for concern in seen.warnings]


def test_a_deployment_at_rest_is_well() -> None:
    seen = overview(snapshot())
    assert seen.is_well
    assert names(seen) == []
    assert (seen.next, seen.batch, seen.epoch) == (11, 40, "9f31c2")
    assert (seen.totals.received, seen.totals.released, seen.totals.late) == (10, 10, 0)
    assert [(each.name, each.is_leader) for each in seen.sequencers] == [(SEQUENCER, True), (STANDBY, False)]
    assert (seen.sources, seen.connections, seen.nodes[0].users) == (2, 5, 4)
    assert (seen.gap, seen.rates, seen.latency_p50_ms) == (None, None, None)


def test_rates_come_from_the_time_between_reports() -> None:
    before, now = snapshot(), snapshot(START_MS + 1200)
    now = replace(now, state=now.state | {"received": "1210", "released": "610"})
    now = with_service(
        now, LISTENER, report(ListenerStats(received_lines=2000, received_bytes=40_000), START_MS - 100 + 2000)
    )
    now = with_service(
        now, FANOUT, report(FanoutStats(notifications=500, sent_bytes=9000), START_MS - 400 + 1000, node=NODE)
    )
    rates = overview(now, before).rates
    assert rates is not None
    assert (rates.received, rates.released) == (1000.0, 500.0)
    assert (rates.lines_in, rates.bytes_in) == (1000.0, 20_000.0)
    assert (rates.notifications, rates.bytes_out) == (500.0, 9000.0)
    assert overview(now, before).nodes[0].notifications_per_s == 500.0


def test_counters_that_went_back_count_from_zero() -> None:
    before, now = snapshot(), snapshot(START_MS + 1000)
    now = replace(now, state=now.state | {"received": "4", "released": "3"})
    rates = overview(now, before).rates
    assert rates is not None
    assert (rates.received, rates.released) == (4.0, 3.0)


def test_a_service_that_was_not_there_before_has_no_rate_yet() -> None:
    before, now = snapshot(), snapshot(START_MS + 1000)
    before = replace(before, services={})
    now = with_service(now, LISTENER, report(ListenerStats(received_lines=10**9), now.time_ms))
    seen = overview(now, before)
    assert seen.rates is not None
    assert seen.rates.lines_in == 0.0
    assert seen.listeners[0].lines_per_s is None


def test_latency_is_that_of_the_batches_between() -> None:
    old, new = FanoutStats(), FanoutStats()
    old.latency_seconds.counts[-1] = 1000  # long ago it was slow
    new.latency_seconds.counts[-1] = 1000
    new.latency_seconds.counts[SECONDS.index(0.005)] = 98
    new.latency_seconds.counts[SECONDS.index(0.1)] = 2
    before = with_service(snapshot(), FANOUT, report(old, START_MS, node=NODE))
    now = with_service(snapshot(START_MS + 1000), FANOUT, report(new, START_MS + 1000, node=NODE))
    seen = overview(now, before)
    assert seen.latency_p50_ms is not None
    assert seen.latency_p99_ms is not None
    assert 2.5 < seen.latency_p50_ms <= 5
    assert 50 < seen.latency_p99_ms <= 100
    assert overview(before, before).latency_p50_ms is None


def test_latencies_of_all_nodes_count() -> None:
    other = "fanout/z-9"
    fast, slow = FanoutStats(), FanoutStats()
    fast.latency_seconds.observe(0.001)
    slow.latency_seconds.observe(20.0)
    before = with_service(snapshot(), other, report(FanoutStats(), START_MS, node="z"))
    now = with_service(snapshot(START_MS + 1000), other, report(slow, START_MS + 1000, node="z"))
    now = with_service(now, FANOUT, report(fast, START_MS + 1000, node=NODE))
    seen = overview(now, before)
    assert seen.latency_p50_ms is not None
    assert seen.latency_p99_ms is not None
    assert seen.latency_p50_ms <= 1
    assert seen.latency_p99_ms > 10_000


@pytest.mark.parametrize("buckets", [1, len(SECONDS), len(SECONDS) + 2])
def test_latencies_in_the_buckets_of_another_version_are_ignored(buckets: int) -> None:
    fast, other = FanoutStats(), "fanout/z-9"
    fast.latency_seconds.observe(0.001)
    before = with_service(snapshot(), other, _of_another_version(snapshot().time_ms, [0] * buckets))
    now = snapshot(START_MS + 1000)
    now = with_service(now, other, _of_another_version(now.time_ms, [1000] * buckets))
    assert overview(now, before).latency_p99_ms is None
    seen = overview(with_service(now, FANOUT, report(fast, now.time_ms, node=NODE)), before)
    assert seen.latency_p99_ms is not None
    assert seen.latency_p99_ms <= 1
    assert seen.rates is not None
    assert seen.rates.notifications == 70.0


def test_latencies_are_not_compared_with_those_in_other_buckets() -> None:
    slow = FanoutStats()
    slow.latency_seconds.counts[-1] = 1000
    before = with_service(snapshot(), FANOUT, _of_another_version(START_MS, [5, 5]))
    now = with_service(snapshot(START_MS + 1000), FANOUT, report(slow, START_MS + 1000, node=NODE))
    assert overview(now, before).latency_p99_ms is None, "what a node has counted since it started is not of one second"


def _of_another_version(at_ms: int, latencies: list[int]) -> Report:
    return Report(at_ms, {"node": "z", "notifications": 70 if any(latencies) else 0, "latency_seconds": latencies})


def with_gap(shot: Snapshot, age_s: float) -> Snapshot:
    stats = SequencerStats(lease_held=1, next=11, waiting=7, gap_age_seconds=age_s)
    leader = report(stats, shot.time_ms - 500, token=TOKEN, role="leader")
    return replace(with_service(shot, SEQUENCER, leader), waiting=7, lowest_waiting=14)


def test_a_young_gap_is_shown_and_no_fault() -> None:
    seen = overview(with_gap(snapshot(), 1.0))
    assert seen.is_well
    assert seen.gap is not None
    assert (seen.gap.first, seen.gap.last, seen.gap.waiting, seen.gap.age_s) == (11, 13, 7, 1.5)


def test_an_old_gap_is_critical_and_said_once() -> None:
    now = with_gap(snapshot(), 60.0)
    now.services[SEQUENCER].facts["not_ready"] = ["7 events have been waiting for number 11 for 60 s"]
    seen = overview(now)
    assert names(seen) == ["gap"]
    assert not seen.is_well
    assert seen.warnings[0].severity == "critical"
    assert "7 events have been waiting for numbers 11 to 13" in seen.warnings[0].text
    assert "parade skip" in seen.warnings[0].advice


def test_a_gap_that_no_leader_reports_is_as_old_as_it_was_seen() -> None:
    before = replace(snapshot(), lease=None, waiting=1, lowest_waiting=12)
    now = replace(snapshot(START_MS + 6000), lease=None, waiting=1, lowest_waiting=12)
    seen = overview(now, before)
    assert seen.gap is not None
    assert seen.gap.age_s == 6.0
    assert names(seen) == ["no_sequencer", "gap"]


def test_what_waits_at_the_next_number_is_no_gap() -> None:
    assert overview(replace(snapshot(), waiting=3, lowest_waiting=11)).gap is None


def test_no_process_sequences() -> None:
    seen = overview(replace(snapshot(), lease=None))
    assert names(seen) == ["no_sequencer"]
    assert not any(each.is_leader for each in seen.sequencers)


def test_an_empty_redis() -> None:
    seen = overview(Snapshot(START_MS))
    assert sorted(names(seen)) == ["no_listener", "no_node", "no_sequencer"]
    assert seen.next == 0
    assert seen.memory is None


@pytest.mark.parametrize(("silent_ms", "expected"), [(2900, []), (3100, ["node_silent"])])
def test_a_silent_node(silent_ms: int, expected: list[str]) -> None:
    assert names(overview(replace(snapshot(), nodes={NODE: Heartbeat(40, START_MS - silent_ms, 5, 1)}))) == expected


def test_a_node_that_owes_batches_and_writes_none() -> None:
    before, now = snapshot(), snapshot(START_MS + 1500)
    now = replace(now, state=now.state | {"batch": "43"})
    stalled = overview(now, before)
    assert names(stalled) == ["node_behind"]
    assert stalled.nodes[0].batches_behind == 3
    moving = replace(now, nodes={NODE: Heartbeat(41, now.time_ms, 5, 1)})
    assert overview(moving, before).is_well
    assert overview(now).is_well, "one snapshot can't tell whether it moves"


def test_a_node_that_is_left_behind_is_named_with_the_leaders_reason() -> None:
    leader = report(
        SequencerStats(lease_held=1, node_left_behind={NODE: "slow", "gone-1": "gone"}), START_MS, token=TOKEN
    )
    seen = overview(with_service(snapshot(), SEQUENCER, leader))
    (node,) = seen.nodes
    assert node.left_behind == "slow"
    assert names(seen) == ["node_left_behind"]
    assert not seen.is_well
    silent = replace(snapshot(), nodes={NODE: Heartbeat(40, START_MS - 4000, 5, 1)})
    assert names(overview(with_service(silent, SEQUENCER, leader))) == ["node_silent", "node_left_behind"]


def test_what_another_sequencer_says_of_nodes_does_not_count() -> None:
    standby = report(SequencerStats(node_left_behind={NODE: "slow"}), START_MS, token=STANDBY_TOKEN)
    for name in ("sequencer/a-0", STANDBY):  # before and after the leader in the order of the names
        seen = overview(with_service(snapshot(), name, standby))
        assert (seen.nodes[0].left_behind, names(seen)) == ("", [])


def test_a_service_that_died_is_lost_for_a_while() -> None:
    dead = report(FanoutStats(), START_MS - 12_000, node="gone")
    seen = overview(with_service(snapshot(), "fanout/dead-1", dead))
    assert names(seen) == ["service_lost"]
    assert "fanout/dead-1 is gone: its last report is 12 s old" in seen.warnings[0].text
    listener = with_service(snapshot(), LISTENER, report(ListenerStats(), START_MS - 5100))
    assert names(overview(listener)) == ["no_listener", "service_lost"]


def test_a_service_that_is_not_ready_says_why() -> None:
    now = snapshot()
    now.services[LISTENER].facts["not_ready"] = ["the stream is full"]
    assert [concern.text for concern in overview(now).warnings] == [f"{LISTENER} is not ready: the stream is full"]


def test_services_of_another_version_that_say_less() -> None:
    names_of = (LISTENER, SEQUENCER, FANOUT)
    before, now = snapshot(), snapshot(START_MS + 1000)
    now = replace(now, services={name: Report(now.time_ms, {}) for name in names_of}, waiting=1, lowest_waiting=20)
    seen = overview(now, before)
    assert (len(seen.listeners), len(seen.sequencers), seen.nodes[0].users) == (1, 1, 0)
    assert seen.latency_p50_ms is None
    assert seen.is_well


def with_settings(**settings: dict[str, float]) -> Snapshot:
    """The services at rest, with what they report of their settings."""
    shot = snapshot()
    names = {"listener": LISTENER, "sequencer": SEQUENCER, "standby": STANDBY, "fanout": FANOUT}
    for name, values in settings.items():
        shot.services[names[name]].facts["settings"] = values
    return shot


def test_services_that_agree() -> None:
    shot = with_settings(**{name: shared(load(), name) for name in ("listener", "sequencer", "fanout")})
    assert overview(shot).is_well, "the standby is of an older version and says nothing"


def test_sequencers_that_disagree() -> None:
    seen = overview(with_settings(sequencer={"lease_s": 3.0, "reach": 5}, standby={"lease_s": 2.5, "reach": 5}))
    ((concern),) = seen.warnings
    assert (concern.name, concern.severity) == ("settings_differ", "warning")
    told = f"services disagree: PARADE_LEASE_S is 2.5 for {STANDBY} and 3.0 for {SEQUENCER}"
    assert concern.text == told
    assert "different namespaces or databases" in concern.advice
    assert seen.as_json()["differences"] == [{"setting": "lease_s", "values": [(2.5, STANDBY), (3.0, SEQUENCER)]}]


def test_one_process_is_named_for_each_value() -> None:
    shot = with_settings(fanout={"tick_s": 9}, sequencer={"tick_s": 1}, standby={"tick_s": 1})
    assert [concern.text for concern in overview(shot).warnings] == [
        f"services disagree: PARADE_TICK_S is 1 for {SEQUENCER} and 9 for {FANOUT}"
    ]


def test_different_ports_are_a_notice() -> None:
    shot = with_service(with_settings(listener={"event_port": 9090}), "listener/b-9", report(ListenerStats(), START_MS))
    shot.services["listener/b-9"].facts["settings"] = {"event_port": 9190}
    seen = overview(shot)
    assert (names(seen), seen.warnings[0].severity, seen.is_well) == (["settings_differ"], "notice", True)


def test_what_no_longer_reports_and_what_is_no_setting_are_not_compared() -> None:
    gone = report(ListenerStats(), START_MS - 5100, settings={"backlog_bytes": 1})
    shot = with_service(
        with_settings(listener={"backlog_bytes": 2, "colour": 1}, fanout={"colour": 2}), "listener/x", gone
    )
    assert names(overview(shot)) == ["service_lost"]


def test_slow_clients() -> None:
    waits = with_service(snapshot(), FANOUT, report(FanoutStats(waiting=1, slow_clients=3), START_MS, node=NODE))
    assert names(overview(waits)) == ["slow_clients"]
    assert overview(waits).is_well, "to wait for them for a moment is flow control"
    peers = Counter({"slow_client_closed: accepts nothing": 2, "client_left: closed by the client": 9})
    closed = report(FanoutStats(peers=peers), START_MS + 1000, node=NODE)
    seen = overview(with_service(snapshot(START_MS + 1000), FANOUT, closed), snapshot())
    assert seen.nodes[0].slow_closed == 2
    assert not seen.is_well


def test_a_backlog_that_moves_and_one_that_does_not() -> None:
    young = replace(snapshot(), events_entries=60, oldest_entry_ms=START_MS - 400)
    assert names(overview(young)) == []
    now = replace(snapshot(START_MS + 1000), events_entries=60, oldest_entry_ms=START_MS - 8000)
    seen = overview(now, snapshot())
    assert (names(seen), seen.backlog.age_s, seen.backlog.is_stuck) == (["backlog"], 9.0, True)
    assert not seen.is_well
    moving = replace(now, state=now.state | {"cursor": "1700000000000-7"})
    assert names(overview(moving, snapshot())) == ["backlog"]
    assert overview(moving, snapshot()).is_well, "that is flow control"
    assert overview(now).is_well, "one snapshot can't tell whether it moves"


@pytest.mark.parametrize(
    ("used", "most", "policy", "expected"),
    [
        ("79", "100", "noeviction", []),
        ("80", "100", "noeviction", ["memory"]),
        ("1", "100", "allkeys-lru", ["eviction"]),
        ("80", "0", "allkeys-lru", []),
    ],
)
def test_redis_memory(used: str, most: str, policy: str, expected: list[str]) -> None:
    memory = {"used_memory": used, "maxmemory": most, "maxmemory_policy": policy}
    assert names(overview(replace(snapshot(), memory=memory))) == expected


@pytest.mark.parametrize(
    ("durable", "appends", "expected"),
    [
        (True, False, ["not_durable"]),
        (True, True, []),
        (True, None, []),
        (False, False, []),
        (None, False, []),
    ],
)
def test_a_redis_that_keeps_less_than_is_wanted(
    durable: bool | None, appends: bool | None, expected: list[str]
) -> None:
    about = {} if durable is None else {"durable": durable}
    standby = report(SequencerStats(), START_MS - 300, token=STANDBY_TOKEN, role="standby", **about)
    assert names(overview(with_service(replace(snapshot(), appends=appends), STANDBY, standby))) == expected


def test_as_json_is_json() -> None:
    now = replace(snapshot(START_MS + 1000), rejected=(Rejection("1-0", 1, "not an event", "hm"),))
    found = json.loads(json.dumps(overview(now, snapshot()).as_json()))
    assert found["is_well"] is True
    assert found["rates"]["released"] == 0.0
    assert found["rejected"] == [{"id": "1-0", "time_ms": 1, "reason": "not an event", "line": "hm"}]
    assert found["nodes"][0]["id"] == NODE


@pytest.mark.parametrize(
    ("figures", "expected"),
    [
        ({"kept_users": 1, "journal_full": 1, "journal_seconds": 119.0}, ["journal_short"]),
        ({"kept_users": 1, "journal_full": 1, "journal_seconds": 120.0}, []),
        ({"kept_users": 1, "journal_full": 0, "journal_seconds": 1.0}, []),
        ({"kept_users": 0, "journal_full": 1, "journal_seconds": 1.0}, []),
    ],
)
def test_a_journal_that_is_full_and_too_short_for_those_who_are_away(
    figures: dict[str, Any], expected: list[str]
) -> None:
    leader = report(SequencerStats(away_users=3, **figures), START_MS, token=TOKEN, role="leader")
    seen = overview(with_service(snapshot(), SEQUENCER, leader))
    assert names(seen) == expected
    assert seen.places is not None
    assert (seen.places.away, seen.places.away_s) == (3, 120.0)


def test_for_how_long_users_may_be_away_is_what_the_leader_goes_by() -> None:
    stats = SequencerStats(kept_users=1, journal_full=1, journal_seconds=50.0)
    settings = shared(load(away_s=40), "sequencer")
    leader = report(stats, START_MS, token=TOKEN, role="leader", settings=settings)
    assert names(overview(with_service(snapshot(), SEQUENCER, leader))) == []


def test_without_a_leader_nobody_knows_how_far_the_journal_reaches() -> None:
    assert overview(snapshot(lease=None)).places is None
