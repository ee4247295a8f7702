"""Latency percentiles cover all notifications, however many arrive in one read."""

import random
import socket
from collections.abc import Iterator

import pytest

from simulator.clients import Clients
from simulator.report import percentiles

LINES = [b"%d|S|7\n" % number for number in range(995, 1005)]


@pytest.fixture
def connected() -> Iterator[tuple[Clients, socket.socket]]:
    """A client and the server's side of its connection."""
    random.seed(1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        clients = Clients(server.getsockname(), [1], 5.0)
        clients.connect(lambda _: None)
        served, _ = server.accept()
        with served:
            yield clients, served
        clients.close()


def numbers_measured(clients: Clients, served: socket.socket, pieces: list[bytes]) -> list[int]:
    """The sequence numbers whose latency is measured when each piece arrives in one read."""
    measured: list[int] = []

    def due_s(number: int) -> float:
        measured.append(number)
        return 0.0

    clients.due_s = due_s
    for piece in pieces:
        served.sendall(piece)
        assert clients.receive(5.0) == len(piece)
    return measured


def test_each_notification_of_a_read_is_equally_likely_to_be_measured(connected: tuple[Clients, socket.socket]) -> None:
    measured = numbers_measured(*connected, [b"".join(LINES)] * 1000)
    assert len(measured) == 1000
    for line in LINES:
        assert 60 < measured.count(int(line.split(b"|")[0])) < 150
    assert set(connected[0].weights) == {sum(map(len, LINES))}


@pytest.mark.parametrize("size", [1, 2, 5, 7, 11, 64])
def test_only_whole_numbers_are_measured(size: int, connected: tuple[Clients, socket.socket]) -> None:
    text = b"".join(LINES) * 20
    measured = numbers_measured(*connected, [text[at : at + size] for at in range(0, len(text), size)])
    assert set(measured) <= {int(line.split(b"|")[0]) for line in LINES}
    assert bool(measured) == (size > 4)  # long enough to hold "995|"


def test_a_callback_runs_after_each_read(connected: tuple[Clients, socket.socket]) -> None:
    clients, served = connected
    times_s: list[float] = []
    clients.between = times_s.append
    for count in (1, 2):
        served.sendall(LINES[0])
        assert clients.receive(5.0)
        assert len(times_s) == count
        assert times_s[-1] == clients.last_byte_s
    assert clients.receive(0.0) == 0
    assert len(times_s) == 2


def test_percentiles_count_notifications() -> None:
    assert percentiles([], []) == {}
    assert percentiles([0.003, 0.001], [1, 99]) == {"p50": 1.0, "p90": 1.0, "p99": 1.0, "max": 3.0}
    assert percentiles([0.003, 0.001], [60, 40]) == {"p50": 3.0, "p90": 3.0, "p99": 3.0, "max": 3.0}
    assert percentiles([n / 1000 for n in range(1, 101)], [7] * 100) == {"p50": 50, "p90": 90, "p99": 99, "max": 100}
