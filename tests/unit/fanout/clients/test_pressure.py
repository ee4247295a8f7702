"""Which clients a node waits for, which it sets aside, and which it closes, in virtual time."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fanout.clients.pressure import (
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
    holds: int = 0

    def unsent_bytes(self) -> int:
        return self.unsent

    def accepted_bytes(self) -> int:
        return self.accepted

    def hold(self) -> None:
        assert self.standing.behind_since_s is None
        self.holds += 1

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


def closed_for_room(slow: list[Client], behind_since_s: list[float]) -> list[Client]:
    """Whom a node with room for 1000 bytes closes, in order, when the unsent bytes of each grow by 900 at once."""
    subject = pressure()
    for now_s in sorted(behind_since_s):
        behind = [client for client, since_s in zip(slow, behind_since_s, strict=True) if since_s <= now_s]
        subject.check(behind, 100, now_s)
    for client in slow:
        client.unsent += 900
    return [client for client, _ in subject.check(slow, 100, 2)]


# Progress


def test_a_client_is_told_once_that_it_is_checked_from_now_on() -> None:
    subject, client = pressure(), Client(49)
    subject.check([client], 2, 0)
    assert client.holds == 0, "too little to be checked"
    client.unsent = 50
    for second in (1, 2, 3):
        subject.check([client], 2, second)
    assert client.holds == 1
    client.standing = Standing()  # as the server does when nothing is unsent
    subject.check([client], 2, 4)
    assert client.holds == 2


def test_for_how_long_a_client_is_behind() -> None:
    standing = Standing()
    assert standing.behind_s(5) == 0
    standing.look(100, 0, 2)
    standing.look(100, 100, 4)
    assert standing.behind_s(5) == 3, "progress does not end it"


@pytest.mark.parametrize(
    ("unsent", "step"),
    [
        (1, 1),
        (15, 1),
        (47, 2),
        (1600, 100),
        (1615, 100),
        (16 * 16384 - 1, 16383),
        (16 * 16384, 16384),
        (100 * 16384, 16384),
    ],
)
def test_a_sixteenth_or_16_kib_is_progress(unsent: int, step: int) -> None:
    accepted_before = 127
    standing = Standing()
    standing.look(unsent, accepted_before, 1)
    standing.look(unsent, accepted_before + step - 1, 2)
    assert standing.moved_s == 1
    standing.look(unsent, accepted_before + step, 3)
    assert standing.moved_s == 3


def test_little_by_little_is_progress_too() -> None:
    standing = Standing()
    moved_s = []
    for second in range(9):
        standing.look(1600, 25 * second, second)
        moved_s.append(standing.moved_s)
    assert moved_s == [0, 0, 0, 0, 4, 4, 4, 4, 8]


# Waiting


def test_one_of_many_is_closed_at_its_limit_and_the_node_goes_on() -> None:
    subject, client = pressure(), Client(1000)
    assert subject.check([client], 100, 0) == []
    assert subject.waiting_since_s is None
    client.unsent = 1001
    assert subject.check([client], 100, 1) == [(client, TOO_FAR_BEHIND)]
    assert subject.waiting_since_s is None


def test_a_quarter_of_the_clients_makes_the_node_wait() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(900) for _ in range(25)]
    assert subject.check(clients[:24], 100, 0) == []
    assert subject.waiting_since_s is None
    assert subject.check(clients, 100, 0.1) == []
    assert subject.waiting_since_s == 0.1
    subject.check(clients, 100, 0.2)
    assert subject.waiting_since_s == 0.1
    subject.check(clients[1:], 100, 0.2)
    assert subject.waiting_since_s is None


@pytest.mark.parametrize("clients", [1, 2, 3, 4])
def test_one_of_up_to_four_clients_makes_its_node_wait(clients: int) -> None:
    subject = pressure()
    subject.check([Client(399)], clients, 2)
    assert subject.waiting_since_s is None
    subject.check([Client(400)], clients, 3)
    assert subject.waiting_since_s == 3


def test_one_byte_less_than_the_limit_is_no_pressure() -> None:
    subject, client = pressure(), Client(399)
    for second in range(100):
        assert subject.check([client], 2, second) == []
    assert not client.standing.aside


def test_of_up_to_four_clients_each_counts_up_to_the_limit() -> None:
    """Twice 500 bytes above it are as much as may be uncounted."""
    subject = pressure()
    slow = [Client(900), Client(900)]
    for second in range(11):
        assert subject.check(slow, 3, second) == []
        for client in slow:
            client.take(100)
            client.unsent = 900
    slow[0].unsent = 901
    assert subject.check(slow, 3, 10.1) == [(slow[0], NO_ROOM)]


# Setting aside


def test_who_accepts_nothing_is_set_aside_and_the_node_goes_on() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(900) for _ in range(25)]
    subject.check(clients, 100, 0)
    subject.check(clients, 100, ASIDE_S)
    assert subject.waiting_since_s == 0
    assert not any(aside(clients))
    subject.check(clients, 100, ASIDE_S + 0.01)
    assert subject.waiting_since_s is None
    assert all(aside(clients))


def test_nobody_is_set_aside_while_there_is_room() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(900) for _ in range(24)]
    for second in range(100):
        assert subject.check(clients, 100, second) == []
    assert not any(aside(clients))


def test_while_little_is_unsent_nothing_is_noted() -> None:
    """An eighth of the node's limit: what any fast stream leaves for a moment costs one look."""
    subject, client = pressure(), Client(49)
    subject.check([client], 2, 0)
    assert client.standing.behind_since_s is None
    client.unsent = 50
    subject.check([client], 2, 1)
    assert client.standing.behind_since_s == 1
    assert (subject.check([], 2, 2), subject.waiting_since_s) == ([], None)


def test_a_stall_before_the_pressure_counts_for_setting_aside_and_not_for_closing() -> None:
    subject, client = pressure(), Client(50)
    for second in range(100):
        subject.check([client], 2, second)
    client.unsent = 500
    subject.check([client], 2, 100)
    assert subject.waiting_since_s == 100
    assert subject.check([client], 2, 100.01) == []
    assert subject.waiting_since_s is None
    assert subject.check([client], 2, 110) == []
    assert subject.check([client], 2, 110.01) == [(client, ACCEPTS_NOTHING)]


def test_who_makes_progress_is_waited_for() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(3200) for _ in range(25)]
    for step in range(40):
        assert subject.check(clients, 100, step * ASIDE_S) == []
        assert subject.waiting_since_s == 0
        for client in clients:
            client.take(client.unsent // 16)
            client.unsent = 3200
    assert not any(aside(clients))


def test_next_to_nothing_is_no_progress() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(3200) for _ in range(25)]
    for step in range(4):
        subject.check(clients, 100, step * 0.1)
        for client in clients:
            client.take(3200 // 16 // 4)
    assert all(aside(clients))


def test_of_much_that_is_unsent_a_little_is_progress() -> None:
    """A lone client on a slow line with all of its node's buffer before it."""
    unsent = 100 * NEXT_TO_NOTHING_BYTES
    subject, client = pressure(2 * unsent, unsent), Client(unsent)
    for step in range(30):
        assert subject.check([client], 1, step * 9.0) == []
        client.take(NEXT_TO_NOTHING_BYTES)
        client.unsent = unsent


def test_who_was_set_aside_counts_again_only_when_it_has_caught_up() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(900) for _ in range(25)]
    for now_s in (0, 0.3):
        subject.check(clients, 100, now_s)
    for client in clients:
        client.take(400)
    subject.check(clients, 100, 0.4)
    assert subject.waiting_since_s is None
    for client in clients:
        client.standing = Standing()  # as the server does when nothing is unsent
        client.unsent = 900
    subject.check(clients, 100, 0.5)
    assert subject.waiting_since_s == 0.5


def test_who_was_set_aside_does_not_keep_up_because_it_moves() -> None:
    """No client keeps up then, and the node waits."""
    subject = pressure(client_limit=100_000)
    clients = [Client(900) for _ in range(10)]
    for now_s in (0, 0.3):
        subject.check(clients, 10, now_s)
    assert all(aside(clients))
    for client in clients:
        client.take(100)
    subject.check(clients, 10, 0.4)
    assert [client.standing.moved_s for client in clients] == [0.4] * 10
    assert subject.waiting_since_s == 0


def test_where_more_are_behind_than_are_members_nobody_keeps_up() -> None:
    """One of them may be leaving."""
    subject = pressure()
    clients = [Client(300) for _ in range(3)]
    for now_s in (0, 0.3):
        assert subject.check(clients, 2, now_s) == []
    assert all(aside(clients))
    assert subject.waiting_since_s == 0


# Closing those who accept nothing


def test_when_nobody_keeps_up_the_node_waits_and_closes_them_after_the_stall_time() -> None:
    subject = pressure(client_limit=100_000)
    clients = [Client(500) for _ in range(10)]
    for now_s in (0, 0.3, 1, 5, STALL_S):
        assert subject.check(clients, 10, now_s) == []
        assert subject.waiting_since_s == 0
    assert subject.check(clients, 10, 10.01) == [(client, ACCEPTS_NOTHING) for client in clients]


def test_a_network_that_pauses_for_a_second_loses_nobody() -> None:
    subject = pressure()
    clients = [Client(500) for _ in range(100)]
    for step in range(100):
        assert subject.check(clients, 100, step / 100) == []
        assert subject.waiting_since_s == 0
    for client in clients:
        client.take(500)
    assert subject.check([], 100, 1.0) == []
    assert subject.waiting_since_s is None


def test_who_accepts_nothing_is_closed_while_others_move() -> None:
    subject = pressure(client_limit=100_000)
    stuck, moving = Client(400), Client(400)
    for second in range(11):
        assert subject.check([stuck, moving], 2, second) == []
        moving.take(100)
        moving.unsent = 400
    assert subject.check([stuck, moving], 2, 10.5) == [(stuck, ACCEPTS_NOTHING)]


def test_relief_starts_the_stall_time_anew() -> None:
    subject = pressure()
    clients = [Client(500), Client(500)]
    subject.check(clients, 2, 0)
    subject.check(clients[:1], 100, 9)  # one of a hundred makes no other wait
    assert subject.check(clients, 2, 12) == []
    assert subject.check(clients, 2, 22.1) == [(client, ACCEPTS_NOTHING) for client in clients]


def test_quiet_starts_the_stall_time_anew() -> None:
    subject, client = pressure(), Client(400)
    subject.check([client], 1, 0)
    assert subject.check([], 1, 9) == []
    assert subject.check([client], 1, 12) == []
    assert subject.waiting_since_s == 12
    assert subject.check([client], 1, 22) == []
    assert subject.check([client], 1, 22.01) == [(client, ACCEPTS_NOTHING)]


# Room


@pytest.mark.parametrize(("client_limit", "node_limit", "share"), [(1000, 400, 16), (400, 1000, 40)])
def test_what_does_not_count_may_be_as_much_as_the_larger_limit(client_limit: int, node_limit: int, share: int) -> None:
    """One byte more is too much; first the node waits, then one is closed."""
    subject = pressure(client_limit, node_limit)
    clients = [Client(share + 250) for _ in range(4)]
    for now_s in (0, 0.4, 5):
        assert subject.check(clients, 100, now_s) == []
        assert subject.waiting_since_s is None
    for client in clients:
        client.take(client.unsent)
        client.unsent = share + 250
    clients[3].unsent += 1
    assert subject.check(clients, 100, 6) == []
    assert subject.waiting_since_s == 6
    assert subject.check(clients, 100, 6.51) == [(clients[3], NO_ROOM)]
    assert subject.waiting_since_s is None


def test_room_is_made_by_those_who_accept_nothing_for_longest() -> None:
    first, second, third = Client(60), Client(60), Client(60)
    assert closed_for_room([third, first, second], [0.3, 0.1, 0.2]) == [first, second]


def test_who_did_it_before_makes_room_first_even_when_it_stalls_last() -> None:
    first, second, again = Client(60), Client(60), Client(60, standing=Standing(offender=True))
    assert closed_for_room([first, second, again], [0.1, 0.2, 0.3]) == [again, first]


def test_of_those_who_stall_equally_long_the_largest_makes_room_first() -> None:
    subject = pressure()
    clients = [Client(500), Client(900), Client(700)]
    subject.check(clients, 100, 0)
    assert subject.check(clients, 100, 0.6) == [(clients[1], NO_ROOM), (clients[2], NO_ROOM)]


def test_slow_clients_are_kept_longer_also_where_they_are_not_set_aside() -> None:
    """As many are slow as keep up, but they hold too little that counts to make the node wait."""
    subject = pressure(client_limit=500, node_limit=1000)
    slow = [*(Client(500) for _ in range(3)), *(Client(1) for _ in range(47))]
    for now_s in (0, 0.6, 1.0):
        assert subject.check(slow, 100, now_s) == []
    assert not any(aside(slow))
    assert subject.check(slow, 100, 1.01) == [(slow[0], NO_ROOM)]


def test_who_is_set_aside_is_closed_when_there_is_no_room() -> None:
    """The one that has accepted nothing for longest first, and no more than makes room."""
    subject = pressure()  # the limit of what does not count is 1000
    clients = [Client(100) for _ in range(10)]
    for number in range(11):
        subject.check(clients[:number], 30, number / 100)
    assert subject.check(clients, 30, 0.4) == []
    assert all(aside(clients))
    for client in clients:
        client.unsent = 120
    assert subject.check(clients, 30, PATIENCE_S) == []
    assert subject.waiting_since_s == PATIENCE_S, "until one of them may be closed"
    closed = subject.check(clients, 30, 0.6)
    assert closed == [(client, NO_ROOM) for client in clients[:2]]
    assert subject.waiting_since_s is None


@pytest.mark.parametrize(("clients", "patience_s"), [(61, PATIENCE_S), (60, 2 * PATIENCE_S), (31, 2 * PATIENCE_S)])
def test_when_as_many_are_slow_as_keep_up_they_are_kept_longer(clients: int, patience_s: float) -> None:
    subject = pressure()
    slow = [Client(30) for _ in range(30)]
    for now_s in (0, 0.3):
        subject.check(slow, clients, now_s)
    for client in slow:
        client.unsent = 40
    assert subject.check(slow, clients, patience_s) == []
    assert subject.waiting_since_s == patience_s
    assert len(subject.check(slow, clients, patience_s + 0.01)) == 5


def test_what_a_few_slow_clients_hold_is_limited_too() -> None:
    """They are under a quarter and move, so that they are not set aside, but never catch up."""
    subject = pressure()
    clients = [Client(300) for _ in range(4)]
    for second in range(11):
        assert subject.check(clients, 100, second) == []
        assert subject.waiting_since_s == 0
        for client in clients:
            client.take(100)
            client.unsent = 300
    clients[2].unsent = 301
    assert subject.check(clients, 100, 10.1) == [(clients[2], NO_ROOM)]
    assert subject.waiting_since_s is None


def test_nobody_is_closed_for_room_when_nobody_keeps_up() -> None:
    subject = pressure()
    clients = [Client(300) for _ in range(4)]
    for now_s in (0, 0.3, 5, STALL_S):
        assert subject.check(clients, 4, now_s) == []
        assert subject.waiting_since_s == 0


# Those who did it before


def test_who_did_it_before_is_set_aside_at_once_and_closed_soon() -> None:
    subject = pressure(client_limit=100_000)
    clients = offenders(25, 900)
    for now_s in (0, 0.01):
        assert subject.check(clients, 100, now_s) == []
    assert subject.waiting_since_s is None
    assert all(aside(clients))
    assert subject.check(clients, 100, OFFENDER_STALL_S) == []
    assert subject.check(clients, 100, OFFENDER_STALL_S + 0.01) == [(client, AGAIN) for client in clients]


def test_who_did_it_before_and_reads_now_is_like_any_other() -> None:
    subject = pressure(client_limit=100_000)
    clients = offenders(25, 900)
    subject.check(clients, 100, 0)
    for step in range(1, 100):
        for client in clients:
            client.take(100)
            client.unsent = 900
        assert subject.check(clients, 100, step / 10) == []
    assert not any(aside(clients))
    assert subject.waiting_since_s == 0


def test_who_did_it_before_is_closed_first_and_without_patience() -> None:
    subject = pressure()
    first, again = [Client(100) for _ in range(10)], offenders(2, 100)
    subject.check(first, 40, 0)
    subject.check(first, 40, 0.3)
    for now_s in (0.4, 0.41):
        closed = subject.check([*first, *again], 40, now_s)
    assert closed == [(client, NO_ROOM) for client in again]
    assert subject.waiting_since_s is None


def test_who_did_it_before_has_a_second() -> None:
    subject, client = pressure(), offenders(1, 400)[0]
    for now_s in (0, 0.99):
        assert subject.check([client], 2, now_s) == []
    assert subject.check([client], 2, 1.01) == [(client, AGAIN)]


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
        closed |= dict(subject.check([peer for peer in here if peer.unsent], len(here), now_s))
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


@pytest.mark.slow
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
    """At whatever moment a client pauses, reading half a second later is soon enough."""
    peers = [Peer(0, room=room, pause=(at, at + PATIENCE_S - STEP_S)) for room, at in pauses]
    assert play(peers, 4.0)[0] == {}
    assert not any(peer.unsent for peer in peers)


@pytest.mark.slow
@given(st.integers(1, 24), st.floats(0.0, 1.0), st.floats(0.0, QUICK_STALL_S - STEP_S))
def test_when_all_pause_none_is_lost(count: int, begin_s: float, pause_s: float) -> None:
    peers = [Peer(0, pause=(begin_s, begin_s + pause_s)) for _ in range(count)]
    assert play(peers, 6.0)[0] == {}
    assert not any(peer.unsent for peer in peers)
