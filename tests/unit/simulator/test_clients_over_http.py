"""Whole simulations with clients over HTTP: what keeps the protocol passes, and each mistake is found."""

import io
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
from simulator.wire import SSE, TRANSPORTS, WS
from tests.unit.simulator.double import Double
from tests.unit.simulator.gateway import Gateway
from tests.unit.simulator.test_simulation import CLIENTS, EVENTS, PATIENCE_S, SHORT_S, WORK

pytestmark = pytest.mark.slow

HTTP = pytest.mark.parametrize("transport", [WS, SSE])


@contextmanager
def system(transport: str, wrong: str = "", *, numbers: bool = False) -> Iterator[tuple[Double, Gateway, Plan]]:
    """A double, what is in front of it, and a plan; either of the two does what is wrong."""
    with Double(101, wrong=wrong, numbers=numbers) as double:
        gateway = Gateway(double, wrong)
        plan = Plan(WORK, CLIENTS, "127.0.0.1", double.event_port, gateway.port, PATIENCE_S, transport=transport)
        try:
            yield double, gateway, replace(plan, producers=3 if numbers else 0)
        finally:
            gateway.stop()


def run(plan: Plan) -> Report:
    kind = NumberedSimulation if plan.producers else Simulation
    return kind(plan, Console(file=io.StringIO())).run()


@HTTP
def test_clients_receive_everything(transport: str) -> None:
    with system(transport) as (double, gateway, plan):
        report = run(replace(plan, rate=4000.0))
        assert report.differences == []
        assert report.expected_notifications == EVENTS * CLIENTS
        assert report.latency_ms
        assert report.connections is None
        assert len(gateway.asked) == CLIENTS
        assert gateway.pongs == (CLIENTS if transport == WS else 0)
        assert all(line.endswith(b" after=now\n") for line in double.registrations)


@HTTP
def test_clients_that_resume_receive_everything(transport: str) -> None:
    with system(transport) as (double, gateway, plan):
        double.client_cuts = [10, 0, 3, 200]
        report = run(replace(plan, resume=True, full=True))
        assert report.differences == []
        assert report.connections is not None
        assert report.connections["resumed"] == len(double.registrations) - CLIENTS >= CLIENTS
        if transport == SSE:
            assert sum("Last-Event-ID: 9f31c2@" in head for head in gateway.asked) == len(gateway.asked) - CLIENTS


@HTTP
@pytest.mark.parametrize("resume", [False, True])
def test_producers_and_clients_over_http(transport: str, resume: bool) -> None:
    with system(transport, numbers=True) as (_, _, plan):
        assert run(replace(plan, resume=resume)).differences == []


@HTTP
@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("a line is left out", "instead of"),
        ("a line is repeated", "came after"),
        ("a client is reset", "was told RESET trimmed"),
    ],
)
def test_what_goes_wrong_on_the_way_back_is_found(transport: str, wrong: str, said: str) -> None:
    with system(transport, wrong) as (double, _, plan):
        double.client_cuts = [50] * CLIENTS
        report = run(replace(plan, resume=True, full=True, timeout_s=SHORT_S))
        assert len(report.differences) == CLIENTS
        assert all(said in difference for difference in report.differences), report.differences


@HTTP
def test_a_connection_that_ends_is_a_difference_unless_clients_come_back(transport: str) -> None:
    with system(transport) as (double, _, plan):
        double.client_cuts = [50]
        (difference,) = run(replace(plan, timeout_s=SHORT_S)).differences
        assert "then the connection was closed" in difference


@pytest.mark.parametrize(
    ("transport", "wrong", "said"),
    [
        (SSE, "ids are of the next event", "not a block of this protocol: b'id: 9f31c2@10"),
        (WS, "Close has another code", "Close 1000 came after b'BYE drain"),
    ],
)
def test_what_is_wrong_about_the_form_is_found(transport: str, wrong: str, said: str) -> None:
    with system(transport, wrong) as (double, _, plan):
        double.client_cuts = [50] * CLIENTS
        report = run(replace(plan, full=True, timeout_s=SHORT_S))
        assert len(report.differences) == CLIENTS
        assert all(said in difference for difference in report.differences), report.differences


def test_an_answer_that_makes_no_sense_is_said_at_once() -> None:
    with system(WS, "messages are binary") as (_, _, plan):
        with pytest.raises(ParadeError, match="does not speak ws as it should: a binary message is UTF-8"):
            run(plan)


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_a_port_that_is_not_there_is_said(transport: str) -> None:
    with system(transport) as (_, gateway, plan):
        gateway.stop()
        with pytest.raises(ParadeError, match=rf"can't connect client 1 to localhost:{gateway.port}"):
            run(replace(plan, client_host="localhost"))
