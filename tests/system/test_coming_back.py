"""Users that come back miss nothing, whatever ended their connections: real processes, judged user by user."""

import contextlib
import re
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.support.deployment import PATIENCE_S, Deployment, wait_until
from tests.support.nodes import Process, Source
from tests.support.peers import Peer, is_closed, source
from tests.support.proxy import BlackHole, Proxy
from tests.support.returners import Returner, Returners
from tests.support.servers import free_port, system_server

pytestmark = pytest.mark.slow

NODES, USERS = 2, 20
RATE = 5_000


class Stage:
    """A system whose nodes have ports of their own, users that come back to any of them, and a source."""

    def __init__(self, system: Deployment, nodes: dict[int, Process], returners: list[Returner], rate: int) -> None:
        self.system = system
        self.nodes = nodes
        self.ports = list(nodes)
        self.users = Returners(returners)
        users = sorted({each.user for each in returners})
        self.source = Source(system.event_port, users, rate, users[: len(users) // 2])

    def flows(self, events: int = RATE // 2) -> None:
        """Wait until so many more events were released."""
        before = self.system.state("released")
        wait_until(lambda: self.users.problem or self.system.state("released") > before + events, "events flow")
        self.users.check()

    def ends(self) -> None:
        """Everyone has every line, and nothing twice."""
        self.source.halt.set()
        self.source.join()
        self.users.have(self.source.owed)

    def all_resumed(self) -> None:
        """Nobody was told RESET."""
        for each in self.users.all:
            assert each.told_words(b"RESET") == []
            assert len(each.parts) == 1

    def at(self, port: int) -> list[Returner]:
        """The users who are connected to a node."""
        found = []
        for each in self.users.all:
            connection = each.socket
            if connection is not None and connection.getpeername()[1] == port:
                found.append(each)
        return found


@contextmanager
def staged(
    tmp_path: Path, nodes: int = NODES, users: int = USERS, rate: int = RATE, url: str = "", **settings: object
) -> Iterator[Stage]:
    port = free_port()
    with (
        system_server(port),
        Deployment(url or f"redis://127.0.0.1:{port}/0", "resume", tmp_path / "log", **settings) as system,
    ):
        system.start("sequencer")
        ports = [free_port() for _ in range(nodes)]
        started = {port: system.start("fanout", client_port=port) for port in ports}
        system.start("listener")
        wait_until(system.sequencer, "a sequencer leads")
        wait_until(lambda: system.redis.hlen(system.keys.nodes) == nodes, "all nodes are known")
        wait_until(lambda: system.logged("listening") == nodes + 1, "all ports are open")
        returners = [Returner(user, ports[user % nodes :] + ports[: user % nodes]) for user in range(1, users + 1)]
        stage = Stage(system, started, returners, rate)
        with stage.users:
            stage.users.are_live()
            stage.source.start()
            try:
                yield stage
            finally:
                stage.source.halt.set()


def test_their_node_is_killed(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        stage.flows()
        victims = stage.at(stage.ports[0])
        stage.nodes[stage.ports[0]].kill()
        wait_until(lambda: all(each.live and each.connections > 1 for each in victims), "all are back")
        stage.flows()
        stage.system.start("fanout", client_port=stage.ports[0])
        stage.flows()
        stage.ends()
        stage.all_resumed()
        assert len(victims) == USERS // NODES


def test_their_node_drains(tmp_path: Path) -> None:
    with staged(tmp_path, drain_s=0.5) as stage:
        stage.flows()
        leaving = stage.at(stage.ports[0])
        stage.nodes[stage.ports[0]].terminate()
        wait_until(lambda: all(each.told_words(b"BYE") for each in leaving), "all are told")
        assert stage.nodes[stage.ports[0]].wait(10) == 0
        stage.flows()
        stage.ends()
        stage.all_resumed()
        assert {line for each in leaving for line in each.told_words(b"BYE")} == {b"BYE drain 100"}


def test_a_node_that_stops_in_haste_says_so(tmp_path: Path) -> None:
    with staged(tmp_path, drain_s=0) as stage:
        stage.flows()
        leaving = stage.at(stage.ports[0])
        stage.nodes[stage.ports[0]].terminate()
        wait_until(lambda: all(each.told_words(b"BYE") for each in leaving), "all are told")
        stage.flows()
        stage.ends()
        stage.all_resumed()
        assert {line for each in leaving for line in each.told_words(b"BYE")} == {b"BYE stopping 100"}


def test_their_node_is_expelled(tmp_path: Path) -> None:
    with staged(tmp_path, node_silence_s=2) as stage:
        stage.flows()
        node = stage.nodes[stage.ports[0]]
        victims = stage.at(stage.ports[0])
        node.send_signal(signal.SIGSTOP)
        wait_until(lambda: stage.system.logged("node_expelled") == 1, "it is expelled")
        stage.flows()
        node.send_signal(signal.SIGCONT)
        wait_until(lambda: all(each.live and each.connections > 1 for each in victims), "all are back")
        stage.flows()
        stage.ends()
        stage.all_resumed()


def test_another_node_takes_some_of_them_over(tmp_path: Path) -> None:
    with staged(tmp_path, nodes=1, users=40, rebalance=True) as stage:
        stage.flows()
        port = free_port()
        stage.system.start("fanout", client_port=port)
        for each in stage.users.all:
            each.ports = [port]
        wait_until(lambda: any(each.told_words(b"BYE") for each in stage.users.all), "some are told")
        stage.flows()
        stage.ends()
        stage.all_resumed()
        assert {line for each in stage.users.all for line in each.told_words(b"BYE")} == {b"BYE rebalance 1000"}
        assert stage.at(port)


def test_they_cut_their_connections_themselves(tmp_path: Path) -> None:
    with staged(tmp_path, linger_s=0.1) as stage:
        for _ in range(8):
            stage.flows(RATE // 4)
            for each in stage.users.all[::2]:
                each.stays_away = True
            wait_until(lambda: all(each.socket is None for each in stage.users.all[::2]), "half of them are away")
            stage.flows(RATE // 4)
            for each in stage.users.all:
                each.stays_away = False
            stage.users.are_live()
        stage.ends()
        stage.all_resumed()


def test_away_for_longer_than_they_linger(tmp_path: Path) -> None:
    with staged(tmp_path, linger_s=0) as stage:
        stage.flows()
        away = stage.users.all[::2]
        for each in away:
            each.stays_away = True
        names = {str(each.user) for each in away}
        keys = stage.system.keys
        wait_until(lambda: set(stage.system.redis.zrange(keys.away, 0, -1)) == names, "they are away, and nobody else")
        assert not stage.system.online() & names
        stage.flows(3 * RATE)
        for each in stage.users.all:
            each.stays_away = False
        stage.users.are_live()
        wait_until(lambda: stage.system.redis.zcard(keys.away) == 0, "nobody is away")
        stage.ends()
        stage.all_resumed()


def test_a_thousand_come_back_at_once(tmp_path: Path) -> None:
    with staged(tmp_path, users=2_000, rate=300) as stage:
        stage.flows(300)
        victims = stage.at(stage.ports[0])
        assert len(victims) == 1_000
        began_s = time.monotonic()
        stage.nodes[stage.ports[0]].kill()
        wait_until(lambda: all(each.live and each.connections > 1 for each in victims), "all are back")
        print(f"1,000 were back within {time.monotonic() - began_s:.2f} s")
        stage.flows(300)
        stage.ends()
        stage.all_resumed()


def test_redis_is_cut_off_while_they_come_back(tmp_path: Path) -> None:
    port = free_port()
    with system_server(port), Proxy(f"redis://127.0.0.1:{port}/0") as proxy:
        with staged(tmp_path, url=proxy.url) as stage:
            for number in range(6):
                stage.flows(RATE // 4)
                node = stage.ports[number % NODES]
                for each in stage.at(node):
                    each.stays_away = True
                stage.flows(RATE // 4)
                for each in stage.users.all:
                    each.stays_away = False
                proxy.cut("fanout-command" if number % 2 else "fanout-subscribe")
                stage.users.are_live()
            stage.ends()
            stage.all_resumed()


def test_their_network_breaks(tmp_path: Path) -> None:
    """Connections end in the middle of a line, or hang, and nobody says a word."""
    with staged(tmp_path) as stage, contextlib.ExitStack() as stack:
        proxies = {port: stack.enter_context(Proxy(f"redis://127.0.0.1:{port}/0")) for port in stage.ports}
        for each in stage.users.all:
            each.ports = [urlsplit(proxies[port].url).port or 0 for port in each.ports]
            each.stays_away = True
        wait_until(lambda: all(each.socket is None for each in stage.users.all), "all have left")
        for each in stage.users.all:
            each.stays_away = False
        stage.users.are_live()
        for number in range(6):
            stage.flows(RATE // 4)
            proxy = proxies[stage.ports[number % NODES]]
            if number % 3 == 2:
                hole = BlackHole()
                proxy.impair(hole)
                stage.flows(RATE // 4)
                proxy.heal(hole)
            else:
                assert proxy.cut() > 0
            stage.users.are_live()
        stage.ends()
        stage.all_resumed()


def test_redis_is_restarted_while_they_come_back(tmp_path: Path) -> None:
    """It keeps everything; but nobody can know that, so a new history may begin, and whoever is told so is told why."""
    port = free_port()
    options = ("--dir", str(tmp_path), "--appendonly", "yes", "--appendfsync", "always")
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(system_server(port, *options))
        with staged(tmp_path, url=f"redis://127.0.0.1:{port}/0", rate=1_000) as stage:
            stage.flows(500)
            for each in stage.users.all[::2]:
                each.stays_away = True
            stage.flows(500)
            for each in stage.users.all:
                each.stays_away = False
            server.kill()
            server.wait()
            stack.enter_context(system_server(port, *options))
            stage.users.are_live()
            stage.flows(500)
            stage.ends()
            for each in stage.users.all:
                assert all(line.endswith(b" history") for line in each.told_words(b"RESET"))


def test_the_leader_is_killed_while_they_come_back(tmp_path: Path) -> None:
    with staged(tmp_path, lease_s=1) as stage:
        stage.system.start("sequencer")
        wait_until(lambda: stage.system.logged("standing_by") == 1, "a standby is there")
        stage.flows()
        for each in stage.users.all[::2]:
            each.stays_away = True
        stage.flows(RATE // 4)
        stage.system.processes[0].kill()
        for each in stage.users.all:
            each.stays_away = False
        stage.users.are_live()
        stage.flows()
        stage.ends()
        stage.all_resumed()


# One by one


class Client(Peer):
    """One connection. Marks can come at any time, and are left out of `heard`."""

    @property
    def heard(self) -> bytes:
        return re.sub(rb"^AT [0-9]+\n", b"", self.received, flags=re.MULTILINE)

    def wait_for(self, ending: bytes) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not self.heard.endswith(ending):
            assert time.monotonic() < deadline, f"not {ending[-80:]!r} after {self.received[-200:]!r}"
            self.read()
            assert not self.closed, f"closed after {self.received[-200:]!r}"

    def wait_until_closed(self) -> bytes:
        super().wait_until_closed()
        return self.heard


@pytest.fixture
def system(tmp_path: Path) -> Iterator[Deployment]:
    with alone(tmp_path) as system:
        yield system


@contextmanager
def alone(tmp_path: Path, **settings: object) -> Iterator[Deployment]:
    port = free_port()
    with (
        system_server(port),
        Deployment(f"redis://127.0.0.1:{port}/0", "resume", tmp_path / "log", **({"linger_s": 0} | settings)) as system,
    ):
        system.start_all(1)
        yield system
        system.stop_all()


@pytest.fixture(autouse=True)
def come() -> Iterator[Callable[[Deployment, bytes], Client]]:
    """Makes clients that send a line; they are closed at the end."""
    made: list[Client] = []

    def connected(system: Deployment, line: bytes) -> Client:
        made.append(Client(system.client_port))
        made[-1].send(line)
        return made[-1]

    yield connected
    for peer in made:
        peer.close()


Come = Callable[[Deployment, bytes], Client]


@pytest.fixture
def registered(come: Come) -> Come:
    """Makes clients that have been told where they are."""

    def told(system: Deployment, line: bytes) -> Client:
        peer = come(system, line)
        peer.wait_for(b"\n")
        return peer

    return told


def history_of(system: Deployment) -> bytes:
    return str(system.redis.hget(system.keys.state, "history")).encode()


def is_away(system: Deployment, user: int) -> bool:
    return system.redis.zscore(system.keys.away, user) is not None


def test_a_place_is_kept_and_bye_gives_it_up(system: Deployment, registered: Come) -> None:
    first = registered(system, b"7 after=now\n")
    history = history_of(system)
    assert first.heard == b"OK %b@0\n" % history
    first.close()
    wait_until(lambda: is_away(system, 7), "the user is away")
    source(system.event_port, b"1|P|9|7\n2|B\n3|P|9|8\n")
    wait_until(lambda: system.state("next") == 4, "all is released")
    second = registered(system, b"7 after=%b@0\n" % history)
    second.wait_for(b"2|B\n")
    assert second.heard == b"RESUMED %b@0\n1|P|9|7\n2|B\n" % history
    second.send(b"hello\nBYEBYE\nB")
    second.send(b"YE\r\n")
    assert second.wait_until_closed() == b"RESUMED %b@0\n1|P|9|7\n2|B\n" % history
    wait_until(lambda: system.redis.hexists(system.keys.since, 7) is False, "the place is given up")
    assert not is_away(system, 7)
    third = registered(system, b"7 after=%b@2\n" % history)
    assert third.heard == b"RESET %b@3 away\n" % history


def test_bye_in_the_packet_of_the_registration(system: Deployment, come: Come) -> None:
    peer = come(system, b"7 after=now\nBYE\n")
    assert peer.wait_until_closed() == b""
    peer.close()
    wait_until(lambda: system.online() == set(), "nobody is online")
    assert not is_away(system, 7)


def test_bare_and_opted_in_connections_of_one_user(system: Deployment, registered: Come, come: Come) -> None:
    bare = come(system, b"7\n")
    wait_until(lambda: system.online() == {"7"}, "the user is online")
    source(system.event_port, b"1|P|9|7\n")
    bare.wait_for(b"1|P|9|7\n")
    history = history_of(system)
    assert registered(system, b"7 after=%b@0\n" % history).heard == b"RESET %b@1 away\n" % history
    both = [registered(system, b"7 after=now\n"), registered(system, b"7 after=%b@1\n" % history)]
    source(system.event_port, b"2|B\n3|P|9|7\n")
    for peer in (bare, *both):
        peer.wait_for(b"3|P|9|7\n")
    assert bare.heard == b"1|P|9|7\n2|B\n3|P|9|7\n", "nothing but its lines"
    assert both[0].heard == b"OK %b@1\n2|B\n3|P|9|7\n" % history
    assert both[1].heard == b"RESUMED %b@1\n2|B\n3|P|9|7\n" % history
    late = registered(system, b"7 after=%b@1\n" % history)
    late.wait_for(b"3|P|9|7\n")
    assert late.heard == b"RESUMED %b@1\n2|B\n3|P|9|7\n" % history
    both[0].send(b"BYE\n")
    assert is_closed(both[0].socket)
    source(system.event_port, b"4|B\n")
    for peer in (bare, both[1], late):
        peer.wait_for(b"4|B\n")
        peer.close()


def test_marks_move_the_cursor_over_a_quiet_time(system: Deployment, registered: Come, come: Come) -> None:
    quiet, bare = registered(system, b"7 after=now\n"), come(system, b"8\n")
    history = history_of(system)
    wait_until(lambda: system.online() == {"7", "8"}, "both are online")
    source(system.event_port, b"".join(b"%d|P|9|8\n" % number for number in range(1, 101)))
    bare.wait_for(b"100|P|9|8\n")
    deadline = time.monotonic() + PATIENCE_S
    while not quiet.received.endswith(b"AT 100\n"):
        assert time.monotonic() < deadline
        quiet.read()
    assert quiet.heard == b"OK %b@0\n" % history
    assert b"AT" not in bare.received
    back = registered(system, b"7 after=%b@100\n" % history)
    assert back.heard == b"RESUMED %b@100\n" % history


def test_each_reason_for_beginning_anew(tmp_path: Path, registered: Come) -> None:
    with alone(tmp_path, journal_bytes=8192, away_s=0.5, journal_s=10, resume_bytes=1024) as system:
        first = registered(system, b"7 after=now\n")
        history = history_of(system)
        for number in range(1, 81):
            source(system.event_port, b"%d|P|9|7|%b\n" % (number, b"x" * 200))
            first.wait_for(b"%d|P|9|7|%b\n" % (number, b"x" * 200))
        told = {
            b"7 after=%b@0\n" % history: b"RESET %b@80 trimmed\n" % history,
            b"7 after=%b@81\n" % history: b"RESET %b@80 ahead\n" % history,
            b"7 after=000000@80\n": b"RESET %b@80 history\n" % history,
            b"8 after=%b@79\n" % history: b"RESET %b@80 away\n" % history,
            b"7 after=%b@72\n" % history: b"RESET %b@80 large\n" % history,
        }
        for line, answer in told.items():
            peer = registered(system, line)
            assert peer.heard == answer
            peer.close()
        near = registered(system, b"7 after=%b@78\n" % history)
        near.wait_for(b"80|P|9|7|" + b"x" * 200 + b"\n")
        assert near.heard.startswith(b"RESUMED %b@78\n79|" % history)
        for peer in (first, near):
            peer.close()
        wait_until(lambda: not system.redis.hexists(system.keys.since, 7), "the away time is over")
        assert registered(system, b"7 after=%b@79\n" % history).heard == b"RESET %b@80 away\n" % history


@pytest.mark.parametrize("after", [b"", b"x", b"1", b"@1", b"a@b", b"now@", b"9f31c2@-1", b"9f31c2@99999999999999999"])
def test_a_malformed_place(system: Deployment, after: bytes, come: Come) -> None:
    peer = come(system, b"7 after=%b\n" % after)
    answer = peer.wait_until_closed()
    assert answer == b"ERROR after is `now` or <history>@<number>, as in after=9f31c2@70000\n"
    peer.close()


def test_one_that_does_not_read_its_replay_harms_nobody(tmp_path: Path, registered: Come, come: Come) -> None:
    with alone(tmp_path, client_stall_s=2, linger_s=0, journal_s=600) as system:
        first = registered(system, b"7 after=now\n")
        history = history_of(system)
        events = b"".join(b"%d|P|9|7|%b\n" % (number, b"x" * 4000) for number in range(1, 5_001))
        source(system.event_port, events)
        first.wait_for(events[-100:])
        stuck = come(system, b"7 after=%b@0\n" % history)
        wait_until(lambda: system.logged("slow_client_closed") == 1, "it is closed")
        source(system.event_port, b"5001|B\n")
        first.wait_for(b"5001|B\n")
        got = stuck.wait_until_closed().removeprefix(b"RESUMED %b@0\n" % history)
        assert events.startswith(got)
        assert len(got) < len(events)
        back = registered(system, b"7 after=%b@5000\n" % history)
        back.wait_for(b"5001|B\n")


def test_too_many_at_once_are_told_when_to_come(tmp_path: Path, registered: Come, come: Come) -> None:
    with alone(tmp_path, client_joins_per_s=0.1) as system:
        first = registered(system, b"1 after=now\n")
        told, bare = come(system, b"2 after=now\n"), come(system, b"3\n")
        said = sorted([told.wait_until_closed(), bare.wait_until_closed()])
        assert said in (
            [b"BYE busy 11000\n", b"ERROR too many clients come at once, wait 21 s\n"],
            [b"BYE busy 21000\n", b"ERROR too many clients come at once, wait 11 s\n"],
        )
        assert first.heard == b"OK %b@0\n" % history_of(system)
