"""One slow client never makes the node wait; a quarter of them does; who accepts nothing is closed."""

from dataclasses import dataclass

from fanout.pressure import Pressure


@dataclass
class Client:
    unsent: int
    unsent_seen: int = 0
    moved_s: float = 0.0

    def unsent_bytes(self) -> int:
        return self.unsent


def pressure() -> Pressure:
    return Pressure(client_limit_bytes=1000, node_limit_bytes=400, stall_s=10)


def test_one_of_many_is_closed_at_its_limit_and_the_node_goes_on() -> None:
    subject, client = pressure(), Client(999)
    assert subject.judge([client], 100, 0) == []
    assert subject.waiting_since_s is None
    client.unsent = 1001
    assert subject.judge([client], 100, 1) == [(client, "too far behind")]
    assert subject.waiting_since_s is None


def test_a_quarter_of_the_clients_makes_the_node_wait() -> None:
    subject = pressure()
    clients = [Client(900) for _ in range(25)]
    assert subject.judge(clients[:24], 100, 0) == []
    assert subject.waiting_since_s is None
    assert subject.judge(clients, 100, 1) == []
    assert subject.waiting_since_s == 1


def test_a_lone_client_makes_its_node_wait() -> None:
    subject = pressure()
    subject.judge([Client(400)], 1, 3)
    assert subject.waiting_since_s == 3


def test_who_accepts_nothing_while_the_node_waits_is_closed() -> None:
    subject = pressure()
    stuck, moving = Client(400), Client(400)
    for second in range(11):
        assert subject.judge([stuck, moving], 2, second) == []
        moving.unsent -= 1
    assert subject.judge([stuck, moving], 2, 11) == [(stuck, "accepts nothing")]


def test_time_before_the_wait_is_not_held_against_a_client() -> None:
    subject, client = pressure(), Client(50)
    for second in range(100):
        subject.judge([client], 1, second)
    client.unsent = 500
    assert subject.judge([client], 1, 100) == []
    assert subject.judge([client], 1, 109) == []
    assert subject.judge([client], 1, 111) == [(client, "accepts nothing")]
