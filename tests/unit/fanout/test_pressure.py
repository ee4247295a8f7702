"""Whom a node waits for, whom it does not, and who is closed, in virtual time."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.pressure import (
    ACCEPTS_NOTHING,
    AGAIN,
    ASIDE_S,
    NEXT_TO_NOTHING_BYTES,
    NO_ROOM,
    OFFENDER_STALL_S,
    PATIENCE_S,
    TOO_FAR_BEHIND,
    Pressure,
    Standing,
)

STALL_S = 10.0
POLL_S = 0.05


@dataclass(eq=False)
class Client:
    unsent: int
    accepted: int = 0
    standing: Standing = field(default_factory=Standing)

    def unsent_bytes(self) -> int:
        return self.unsent

    def accepted_bytes(self) -> int:
        return self.accepted

    def hold(self) -> None:
        assert self.standing.behind_since_s is None

    def set_aside(self) -> None:
        assert not self.standing.aside
        self.standing.aside = True

    def take(self, size: int) -> None:
        size = min(size, self.unsent)
        self.unsent -= size
        self.accepted += size


def pressure(client_limit: int = 1000, node_limit: int = 400) -> Pressure:
    return Pressure(client_limit, node_limit, STALL_S)


def offenders(count: int, unsent: int) -> list[Client]:
    return [Client(unsent, standing=Standing(offender=True)) for _ in range(count)]


def aside(clients: Iterable[Client]) -> list[bool]:
    return [client.standing.aside for client in clients]


# Waiting


def test_one_of_many_is_closed_at_its_limit_and_the_node_goes_on() -> None:
    subject, client = pressure(), Client(1000)
    assert subject.judge([client], 100, 0) == []
    assert subject.waiting_since_s is None
    client.unsent = 1001
    assert subject.judge([client], 100, 1) == [(client, TOO_FAR_BEHIND)]
    assert subject.waiting_since_s is None


def test_a_quarter_of_the_clients_makes_the_node_wait() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(900) for _ in range(25)]
    assert subject.judge(clients[:24], 100, 0) == []
    assert subject.waiting_since_s is None
    assert subject.judge(clients, 100, 0.1) == []
    assert subject.waiting_since_s == 0.1
    subject.judge(clients, 100, 0.2)
    assert subject.waiting_since_s == 0.1
    subject.judge(clients[1:], 100, 0.2)
    assert subject.waiting_since_s is None


def test_a_lone_client_makes_its_node_wait() -> None:
    subject = pressure()
    subject.judge([Client(399)], 1, 2)
    assert subject.waiting_since_s is None
    subject.judge([Client(400)], 1, 3)
    assert subject.waiting_since_s == 3


# Setting aside


def test_who_accepts_nothing_is_set_aside_and_the_node_goes_on() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(900) for _ in range(25)]
    subject.judge(clients, 100, 0)
    subject.judge(clients, 100, ASIDE_S)
    assert subject.waiting_since_s == 0
    assert not any(aside(clients))
    subject.judge(clients, 100, ASIDE_S + 0.01)
    assert subject.waiting_since_s is None
    assert all(aside(clients))


def test_nobody_is_set_aside_while_there_is_room() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(900) for _ in range(24)]
    for second in range(100):
        assert subject.judge(clients, 100, second) == []
    assert not any(aside(clients))


def test_while_little_is_unsent_nothing_is_noted() -> None:
    """An eighth of the node's limit: what any fast stream leaves for a moment costs one look."""
    subject, client = pressure(), Client(49)
    subject.judge([client], 2, 0)
    assert client.standing.behind_since_s is None
    client.unsent = 50
    subject.judge([client], 2, 1)
    assert client.standing.behind_since_s == 1
    assert (subject.judge([], 2, 2), subject.waiting_since_s) == ([], None)


def test_a_stall_before_the_pressure_counts_for_setting_aside_and_not_for_closing() -> None:
    subject, client = pressure(), Client(50)
    for second in range(100):
        subject.judge([client], 2, second)
    client.unsent = 500
    subject.judge([client], 2, 100)
    assert subject.waiting_since_s == 100
    assert subject.judge([client], 2, 100.01) == []
    assert subject.waiting_since_s is None
    assert subject.judge([client], 2, 110) == []
    assert subject.judge([client], 2, 110.01) == [(client, ACCEPTS_NOTHING)]


def test_who_makes_progress_is_waited_for() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(3200) for _ in range(25)]
    for step in range(40):
        assert subject.judge(clients, 100, step * ASIDE_S) == []
        assert subject.waiting_since_s == 0
        for client in clients:
            client.take(client.unsent // 16)
            client.unsent = 3200
    assert not any(aside(clients))


def test_next_to_nothing_is_no_progress() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(3200) for _ in range(25)]
    for step in range(4):
        subject.judge(clients, 100, step * 0.1)
        for client in clients:
            client.take(3200 // 16 // 4)
    assert all(aside(clients))


def test_of_much_that_is_unsent_a_little_is_progress() -> None:
    """A lone client on a slow line with all of its node's buffer before it."""
    unsent = 100 * NEXT_TO_NOTHING_BYTES
    subject, client = pressure(2 * unsent, unsent), Client(unsent)
    for step in range(30):
        assert subject.judge([client], 1, step * 9.0) == []
        client.take(NEXT_TO_NOTHING_BYTES)
        client.unsent = unsent


def test_who_was_set_aside_counts_again_only_when_it_has_caught_up() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(900) for _ in range(25)]
    for now_s in (0, 0.3):
        subject.judge(clients, 100, now_s)
    for client in clients:
        client.take(400)
    subject.judge(clients, 100, 0.4)
    assert subject.waiting_since_s is None
    for client in clients:
        client.standing = Standing()  # as the server does when nothing is unsent
        client.unsent = 900
    subject.judge(clients, 100, 0.5)
    assert subject.waiting_since_s == 0.5


# Closing those who accept nothing


def test_when_nobody_keeps_up_the_node_waits_and_closes_them_after_the_stall_time() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(500) for _ in range(10)]
    for now_s in (0, 0.3, 1, 5, STALL_S):
        assert subject.judge(clients, 10, now_s) == []
        assert subject.waiting_since_s == 0
    assert subject.judge(clients, 10, 10.01) == [(client, ACCEPTS_NOTHING) for client in clients]


def test_a_network_that_pauses_for_a_second_loses_nobody() -> None:
    subject = pressure()
    clients = [Client(500) for _ in range(100)]
    for step in range(100):
        assert subject.judge(clients, 100, step / 100) == []
        assert subject.waiting_since_s == 0
    for client in clients:
        client.take(500)
    assert subject.judge([], 100, 1.0) == []
    assert subject.waiting_since_s is None


def test_who_accepts_nothing_is_closed_while_others_move() -> None:
    subject = pressure(client_limit=100_000)
    stuck, moving = Client(400), Client(400)
    for second in range(11):
        assert subject.judge([stuck, moving], 2, second) == []
        moving.take(100)
        moving.unsent = 400
    assert subject.judge([stuck, moving], 2, 10.5) == [(stuck, ACCEPTS_NOTHING)]


def test_relief_starts_the_stall_time_anew() -> None:
    subject = pressure()
    clients = [Client(500), Client(500)]
    subject.judge(clients, 2, 0)
    subject.judge(clients[:1], 100, 9)  # one of a hundred makes nobody wait
    assert subject.judge(clients, 2, 12) == []
    assert subject.judge(clients, 2, 22.1) == [(client, ACCEPTS_NOTHING) for client in clients]


# Room


def test_who_is_set_aside_is_closed_when_there_is_no_room() -> None:
    """The one that has accepted nothing for longest first, and no more than makes room."""
    subject = pressure()  # the limit of what does not count is 1000
    clients = [Client(100) for _ in range(10)]
    for number in range(11):
        subject.judge(clients[:number], 30, number / 100)
    assert subject.judge(clients, 30, 0.4) == []
    assert all(aside(clients))
    for client in clients:
        client.unsent = 120
    assert subject.judge(clients, 30, PATIENCE_S) == []
    assert subject.waiting_since_s == PATIENCE_S, "until one of them may be closed"
    closed = subject.judge(clients, 30, 0.6)
    assert closed == [(client, NO_ROOM) for client in clients[:2]]
    assert subject.waiting_since_s is None


@pytest.mark.parametrize(("clients", "patience_s"), [(61, PATIENCE_S), (60, 2 * PATIENCE_S), (31, 2 * PATIENCE_S)])
def test_when_as_many_are_slow_as_keep_up_they_are_kept_longer(clients: int, patience_s: float) -> None:
    subject = pressure()
    slow = [Client(30) for _ in range(30)]
    for now_s in (0, 0.3):
        subject.judge(slow, clients, now_s)
    for client in slow:
        client.unsent = 40
    assert subject.judge(slow, clients, patience_s) == []
    assert subject.waiting_since_s == patience_s
    assert len(subject.judge(slow, clients, patience_s + 0.01)) == 5


def test_what_a_few_slow_clients_hold_is_limited_too() -> None:
    """They are under a quarter and move, so that they are not set aside, but never catch up."""
    subject = pressure()
    clients = [Client(300) for _ in range(4)]
    for second in range(11):
        assert subject.judge(clients, 100, second) == []
        assert subject.waiting_since_s == 0
        for client in clients:
            client.take(100)
            client.unsent = 300
    clients[2].unsent = 301
    assert subject.judge(clients, 100, 10.1) == [(clients[2], NO_ROOM)]
    assert subject.waiting_since_s is None


def test_nobody_is_closed_for_room_when_nobody_keeps_up() -> None:
    subject = pressure()
    clients = [Client(300) for _ in range(4)]
    for now_s in (0, 0.3, 5, STALL_S):
        assert subject.judge(clients, 4, now_s) == []
        assert subject.waiting_since_s == 0


# Those who did it before


def test_who_did_it_before_is_set_aside_at_once_and_closed_soon() -> None:
    subject = pressure(client_limit=100_000)
    clients = offenders(25, 900)
    for now_s in (0, 0.01):
        assert subject.judge(clients, 100, now_s) == []
    assert subject.waiting_since_s is None
    assert all(aside(clients))
    assert subject.judge(clients, 100, OFFENDER_STALL_S) == []
    assert subject.judge(clients, 100, OFFENDER_STALL_S + 0.01) == [(client, AGAIN) for client in clients]


def test_who_did_it_before_and_reads_now_is_like_any_other() -> None:
    subject = pressure(client_limit=100_000)
    clients = offenders(25, 900)
    subject.judge(clients, 100, 0)
    for step in range(1, 100):
        for client in clients:
            client.take(100)
            client.unsent = 900
        assert subject.judge(clients, 100, step / 10) == []
    assert not any(aside(clients))
    assert subject.waiting_since_s == 0


def test_who_did_it_before_is_closed_first_and_without_patience() -> None:
    subject = pressure()
    first, again = [Client(100) for _ in range(10)], offenders(2, 100)
    subject.judge(first, 40, 0)
    subject.judge(first, 40, 0.3)
    for now_s in (0.4, 0.41):
        closed = subject.judge([*first, *again], 40, now_s)
    assert closed == [(client, NO_ROOM) for client in again]
    assert subject.waiting_since_s is None


# All of it, in a small world

CLIENT_LIMIT, NODE_LIMIT, QUICK_STALL_S = 20_000, 8_000, 3.0
STEP_S, BATCH_BYTES, KERNEL_BYTES, FAST = 0.02, 400, 2000, 40_000.0


@dataclass(eq=False)
class Peer(Client):
    """A client whose kernel has room for so many bytes, and reads `rate` a second outside of its pause."""

    room: int = KERNEL_BYTES
    rate: float = FAST
    pause: tuple[float, float] = (0.0, 0.0)

    def run(self, now_s: float) -> None:
        if not self.pause[0] <= now_s < self.pause[1]:
            self.room = min(KERNEL_BYTES, self.room + int(self.rate * STEP_S))
        self.move()

    def write(self, size: int) -> None:
        self.unsent += size
        self.move()

    def move(self) -> None:
        taken = min(self.room, self.unsent)
        self.room -= taken
        self.take(taken)
        if not self.unsent:
            self.standing = Standing(self.standing.offender)


def play(peers: list[Peer], seconds: float) -> tuple[dict[Peer, str], float]:
    """(who was closed and why, the longest wait in seconds) of a node with a batch every STEP_S."""
    subject = Pressure(CLIENT_LIMIT, NODE_LIMIT, QUICK_STALL_S)
    closed: dict[Peer, str] = {}
    longest_s = 0.0
    for step in range(int(seconds / STEP_S)):
        now_s = step * STEP_S
        here = [peer for peer in peers if peer not in closed]
        for peer in here:
            peer.run(now_s)
        closed |= dict(subject.judge([peer for peer in here if peer.unsent], len(here), now_s))
        here = [peer for peer in here if peer not in closed]
        if subject.waiting_since_s is None:
            for peer in here:
                peer.write(BATCH_BYTES)
        else:
            longest_s = max(longest_s, now_s - subject.waiting_since_s)
        unsent = sum(peer.unsent for peer in here)
        assert unsent <= NODE_LIMIT + CLIENT_LIMIT + len(here) * BATCH_BYTES, "the bound that the documents give"
    return closed, longest_s


rates = st.sampled_from([0.0, 0.0, 100.0, 2_000.0, 10_000.0])
rooms = st.integers(0, KERNEL_BYTES)


@given(st.integers(1, 12), st.lists(st.tuples(rates, rooms, st.booleans()), max_size=12))
def test_those_who_keep_up_are_served_on(keeping_up: int, others: list[tuple[float, int, bool]]) -> None:
    honest = [Peer(0) for _ in range(keeping_up)]
    slow = [Peer(0, room=room, rate=rate, standing=Standing(again)) for rate, room, again in others]
    closed, longest_s = play([*honest, *slow], 2 * QUICK_STALL_S)
    assert not closed.keys() & set(honest)
    assert longest_s <= QUICK_STALL_S + 2 * STEP_S
    if all(rate == 0.0 for rate, *_ in others):
        assert longest_s <= PATIENCE_S * (1 + (len(slow) >= keeping_up)) + 2 * STEP_S


@given(st.lists(st.tuples(rooms, st.floats(0, 1)), min_size=1, max_size=24))
def test_short_pauses_lose_nobody(pauses: list[tuple[int, float]]) -> None:
    """Whoever pauses when: reading half a second later is soon enough."""
    peers = [Peer(0, room=room, pause=(at, at + PATIENCE_S - STEP_S)) for room, at in pauses]
    assert play(peers, 4.0)[0] == {}
    assert not any(peer.unsent for peer in peers)


@given(st.integers(1, 24), st.floats(0.0, 1.0), st.floats(0.0, QUICK_STALL_S - STEP_S))
def test_when_all_pause_none_is_lost(count: int, begin_s: float, pause_s: float) -> None:
    peers = [Peer(0, pause=(begin_s, begin_s + pause_s)) for _ in range(count)]
    assert play(peers, 6.0)[0] == {}
    assert not any(peer.unsent for peer in peers)
