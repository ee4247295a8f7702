"""Whole simulations against a double of the system: what keeps the protocol passes, and each mistake is found."""

import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from rich.console import Console

from runtime.errors import ParadeError
from simulator.numbered import NumberedSimulation
from simulator.plan import Plan
from simulator.report import Report
from simulator.run import Simulation
from simulator.workload import Workload
from tests.unit.simulator.double import Double

pytestmark = pytest.mark.slow

EVENTS, CLIENTS = 400, 5
PATIENCE_S, SHORT_S = 30.0, 1.5
"""What passes ends at once; what can't pass is given up after the short time."""
WORK = Workload(EVENTS, 50, 7, max_batch=20, mix=(0, 0, 1, 0, 0), first=101)


@contextmanager
def system(wrong: str = "", first: int = 101) -> Iterator[tuple[Double, Plan]]:
    with Double(first, wrong=wrong) as double:
        yield double, Plan(WORK, CLIENTS, "127.0.0.1", double.event_port, double.client_port, timeout_s=PATIENCE_S)


def run(plan: Plan) -> Report:
    return Simulation(plan, Console(file=io.StringIO())).run()


def test_clients_that_resume_receive_everything() -> None:
    with system() as (double, plan):
        double.client_cuts = [10, 0, 3, 200]
        report = run(replace(plan, resume=True, full=True))
        assert report.differences == []
        assert report.expected_notifications == EVENTS * CLIENTS
        assert report.connections is not None
        assert sum(report.connections["cut"].values()) >= CLIENTS
        assert 1 <= report.connections["goodbyes"]["drain"] <= 4  # a client may cut before it has read its BYE
        assert report.connections["resumed"] == len(double.registrations) - CLIENTS
        assert double.goodbyes == CLIENTS


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("a line is left out", "instead of"),
        ("a line is repeated", "came after"),
        ("a client is reset", "was told RESET trimmed"),
    ],
)
def test_what_goes_wrong_on_the_way_back_is_found(wrong: str, said: str) -> None:
    with system(wrong) as (double, plan):
        double.client_cuts = [50] * CLIENTS
        report = run(replace(plan, resume=True, full=True, timeout_s=SHORT_S))
        assert len(report.differences) == CLIENTS
        assert all(said in difference for difference in report.differences), report.differences


@pytest.mark.parametrize("resume", [False, True])
@pytest.mark.parametrize("rate", [None, 2000.0])
def test_a_source_whose_connection_breaks_sends_again(rate: float | None, resume: bool) -> None:
    with system() as (double, plan):
        double.source_cuts = [30, 1, 200]
        report = run(replace(plan, acks=True, resume=resume, rate=rate))
        assert report.differences == []
        assert report.acknowledged is not None
        probes = 0 if resume else len(double.released) - EVENTS
        assert report.acknowledged["lines"] == report.acknowledged["sent"] == EVENTS + probes
        assert report.acknowledged["connections"] == 4
        assert report.acknowledged["sent_again"] >= 3
        assert set(report.acknowledged["latency_ms"]) == ({"p50", "p90", "p99", "max"} if rate else set())


def test_acknowledgements_of_what_was_not_sent_are_found() -> None:
    with system("too much is acknowledged") as (_, plan):
        report = run(replace(plan, acks=True, resume=True, timeout_s=SHORT_S))
        assert any("the source: ACK" in difference for difference in report.differences), report.differences


def test_another_number_than_the_one_that_is_expected_is_said() -> None:
    with system(first=55) as (_, plan), pytest.raises(ParadeError, match="expects number 55 next: give --first 55"):
        run(replace(plan, resume=True))


def test_events_that_are_not_taken_are_said() -> None:
    with system("nothing is released") as (_, plan), pytest.raises(ParadeError, match="received nothing at all"):
        run(replace(plan, resume=True, timeout_s=SHORT_S))


def test_clients_that_are_closed_at_once_are_said() -> None:
    with system("clients are closed") as (_, plan):
        with pytest.raises(ParadeError, match=r"\d+ of \d+ clients were closed at once: see `parade status`"):
            run(plan)


# Producers


@contextmanager
def numbering(wrong: str = "") -> Iterator[tuple[Double, Plan]]:
    with Double(101, wrong=wrong, numbers=True) as double:
        ports = (double.event_port, double.client_port)
        yield double, Plan(WORK, CLIENTS, "127.0.0.1", *ports, timeout_s=PATIENCE_S, producers=3, full=True)


def numbered_run(plan: Plan) -> Report:
    return NumberedSimulation(plan, Console(file=io.StringIO())).run()


@pytest.mark.parametrize("resume", [False, True])
def test_producers_whose_connections_break_have_each_line_taken_once(resume: bool) -> None:
    with numbering() as (double, plan):
        double.source_cuts = [30, 1, 20, 5, 7]
        report = numbered_run(replace(plan, resume=resume))
        assert report.differences == []
        assert report.events == len(double.released) == EVENTS + 1
        assert report.expected_notifications == (EVENTS + 1) * CLIENTS
        assert report.acknowledged is not None
        assert report.acknowledged["connections"] == 3 + 5
        assert len(set(double.hellos)) == 3
        assert (len(double.registrations) > CLIENTS) == resume


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("a line is lost", r"instead of b'\?\|B\|"),
        ("a line is taken twice", r"line \d\.\d+ came with number 151 and with 152"),
        ("a number is given twice", "two lines have number 150"),
        ("a number is left out", r"number 502 is not one of 101 to 501|expects number 503 next, and not 502"),
        ("two lines are swapped", r"has number \d+, after line|came with number \d+ and with \d+"),
    ],
)
def test_numbers_that_are_not_right_are_found(wrong: str, said: str) -> None:
    with numbering(wrong) as (_, plan):
        report = numbered_run(replace(plan, timeout_s=SHORT_S))
        assert any(re.search(said, difference) for difference in report.differences), report.differences


def test_sources_that_number_are_told_how_to_go_on() -> None:
    with system("unnumbered lines are refused") as (_, plan), pytest.raises(ParadeError, match="PARADE_NUMBERING"):
        numbered_run(replace(plan, producers=2))
