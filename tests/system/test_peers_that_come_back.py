"""`parade simulate` with --resume, --acks and --producers against the real system, whose parts are killed meanwhile."""

import json
import os
import re
import signal
from functools import partial
from typing import Any

import pytest
import redis

from tests.support.deployment import wait_until
from tests.support.up import Up, parade, parade_up, started

pytestmark = pytest.mark.slow

EVENTS, RATE, CLIENTS = 24_000, 4_000, 20
KILLS = 3
SIZE = ["--events", str(EVENTS), "--rate", str(RATE), "--clients", str(CLIENTS), "--json", "--full"]


def pids(up: Up, service: str) -> list[int]:
    return [pid for pid, args in up.children().items() if f"-m {service}" in args]


def released(store: "redis.Redis") -> int:
    try:
        return int(store.hget("{parade}:state", "released") or 0)
    except redis.ConnectionError:
        return 0


def have_flowed(store: "redis.Redis", count: int) -> bool:
    return released(store) > count


def are_back(up: Up, service: str, count: int) -> bool:
    return len(pids(up, service)) == count


def simulated(up: Up, *options: str, kill: str = "") -> dict[str, Any]:
    """The report of a simulation during which one process of a service after another is killed."""
    with redis.Redis(port=up.redis_port) as store, started("simulate", *up.port_options, *SIZE, *options) as simulation:
        count = len(pids(up, kill)) if kill else 0
        for kills in range(KILLS if kill else 0):
            wait_until(partial(have_flowed, store, EVENTS * (kills + 1) // (KILLS + 1)), "events flow", 60)
            os.kill(pids(up, kill)[0], signal.SIGKILL)
            wait_until(partial(are_back, up, kill, count), f"the {kill} is started again")
        output, errors = simulation.communicate(timeout=120)
        assert output, errors
        report: dict[str, Any] = json.loads(output)
        assert (report["differences"], simulation.returncode) == ([], 0)
        return report


@pytest.mark.parametrize("kill", ["fanout", "sequencer"])
def test_clients_that_resume_miss_nothing_while_parts_are_killed(kill: str) -> None:
    with parade_up("--fanouts", "2") as up:
        report = simulated(up, "--resume", kill=kill)
    connections = report["connections"]
    assert sum(connections["cut"].values()) > CLIENTS
    assert connections["resumed"] >= sum(connections["cut"].values())
    assert connections["resets"] == {}
    assert (connections["ended"] > 0) == (kill == "fanout")


def test_a_source_with_acknowledgements_loses_nothing_while_listeners_are_killed() -> None:
    with parade_up("--listeners", "2") as up:
        report = simulated(up, "--acks", kill="listener")
    acknowledged = report["acknowledged"]
    assert acknowledged["lines"] == acknowledged["sent"] >= EVENTS
    assert acknowledged["connections"] > 1
    assert 0 < acknowledged["latency_ms"]["p50"] <= acknowledged["latency_ms"]["p99"]


@pytest.mark.parametrize("kill", ["listener", "sequencer"])
def test_producers_have_each_line_taken_once_while_parts_are_killed(kill: str) -> None:
    with parade_up("--listeners", "2", PARADE_NUMBERING="parade") as up:
        report = simulated(up, "--producers", "3", "--resume", "--payload", "0:50", kill=kill)
    assert report["events"] == report["acknowledged"]["lines"] == EVENTS + 1
    assert report["connections"]["resets"] == {}


def test_all_of_it_as_fast_as_possible_one_after_another() -> None:
    with parade_up() as up:
        size = ["--events", "50000", "--clients", "30"]
        for options in (["--resume"], ["--acks"], ["--acks", "--resume"], []):
            done = parade("simulate", *up.port_options, *size, *options)
            assert done.returncode == 0, done.stdout + done.stderr
            assert done.stdout.startswith("passed  30 clients received all")
            assert ("connections: " in done.stdout, "sources: " in done.stdout) == (
                "--resume" in options, "--acks" in options,
            )  # fmt: skip


@pytest.mark.parametrize("options", [[], ["--acks"], ["--resume"], ["--acks", "--resume"]])
def test_a_deployment_that_numbers_is_named(options: list[str]) -> None:
    with parade_up(PARADE_NUMBERING="parade") as up:
        size = ["--events", "1000", "--clients", "3", "--timeout", "3000"]
        done = parade("simulate", *up.port_options, *size, *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert "--producers" in done.stderr
        assert done.stderr.count("\n") == 1


def test_a_deployment_that_does_not_number_is_named() -> None:
    with parade_up() as up:
        done = parade("simulate", *up.port_options, "--events", "1000", "--clients", "3", "--producers", "2")
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr == (
            "parade: --producers needs a deployment that numbers the events (PARADE_NUMBERING=parade, for its "
            "listeners and sequencers); in this one the sources do\n"
        )


def test_options_that_can_not_be_are_named() -> None:
    for options, said in (
        (["--producers", "2", "--leave-out", "5"], "--leave-out needs numbers of the source's own"),
        (["--producers", "20", "--users", "10"], "--producers 20: there must be as many users"),
    ):
        done = parade("simulate", "--event-port", "1", "--client-port", "2", "--first", "1", *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert said in done.stderr


@pytest.mark.parametrize("options", [("--resume",), ("--acks", "--resume"), ("--producers", "2", "--resume")])
def test_an_interrupted_simulation_ends_quickly_and_without_a_word(options: tuple[str, ...]) -> None:
    numbering = "parade" if "--producers" in options else "sources"
    with parade_up(PARADE_NUMBERING=numbering) as up, redis.Redis(port=up.redis_port) as store:
        with started("simulate", *up.port_options, "--events", "900000", "--rate", "2000", *options) as simulation:
            wait_until(lambda: released(store) > 500, "events flow")
            simulation.send_signal(signal.SIGINT)
            output, errors = simulation.communicate(timeout=10)
        assert (simulation.returncode, output) == (130, "")
        assert not re.search("Traceback|Error", errors)
