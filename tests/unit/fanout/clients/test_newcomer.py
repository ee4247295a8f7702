"""How long a newcomer has taken nothing of what it got."""

from dataclasses import dataclass
from typing import cast

from contract.control import Position
from fanout.clients.newcomer import Newcomer
from fanout.clients.served import ServedClient


@dataclass
class Connection:
    is_behind: bool = False
    unsent: int = 0

    def unsent_bytes(self) -> int:
        return self.unsent


def test_it_has_its_lines_up_to_where_it_goes_on() -> None:
    connection = cast(ServedClient, Connection())
    assert Newcomer(b"1", connection, Position(b"x", 7)).number == 7
    assert Newcomer(b"1", connection, None).number == 0


def test_it_stalls_from_the_first_look_at_which_it_is_behind_until_it_takes_something() -> None:
    connection = Connection()
    newcomer = Newcomer(b"1", cast(ServedClient, connection), None)
    assert newcomer.stalled_s(10) == 0
    connection.is_behind, connection.unsent = True, 500
    assert newcomer.stalled_s(20) == 0
    assert newcomer.stalled_s(23) == 3
    connection.unsent = 600
    assert newcomer.stalled_s(24) == 4, "more was written, and nothing taken"
    connection.unsent = 599
    assert newcomer.stalled_s(25) == 0
    assert newcomer.stalled_s(26) == 1


def test_who_has_caught_up_does_not_stall() -> None:
    connection = Connection(is_behind=True, unsent=5)
    newcomer = Newcomer(b"1", cast(ServedClient, connection), None)
    newcomer.stalled_s(0)
    connection.is_behind, connection.unsent = False, 5
    assert newcomer.stalled_s(30) == 0
    connection.is_behind = True
    assert newcomer.stalled_s(40) == 0
    assert newcomer.stalled_s(41) == 1
