"""The system's main job on real sockets and processes: every byte reaches the right clients, in order."""

import random
import threading
import time
from functools import partial
from pathlib import Path

from simulator.workload import Workload
from tests.support.deployment import running, wait_until
from tests.support.peers import (
    Audience,
    Peer,
    assert_unbroken,
    generated,
    has_ending,
    last_number,
    peers,
    slowly,
    source,
)


def test_each_kind_of_event_reaches_the_right_users(server_url: str, namespace: str, tmp_path: Path) -> None:
    with running(server_url, namespace, tmp_path / "log") as system, peers(system.client_port, [1, 2, 3]) as users:
        wait_until(lambda: system.online() == {"1", "2", "3"}, "all three users are online")
        lines = [b"1|F|1|2\n", b"2|S|2\r\n", b"3|P|9|3\n", b"4|U|1|2\n", b"5|S|2\n", b"6|B\n"]
        source(system.event_port, b"".join(lines[::-1]))
        for user in users:
            user.wait_for(b"6|B\n")
        assert [user.received for user in users] == [b"2|S|2\r\n6|B\n", b"1|F|1|2\n6|B\n", b"3|P|9|3\n6|B\n"]
        assert system.redis.smembers(system.keys.followers + "2") == set()


def test_a_thousand_clients_and_two_sources(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    users = range(1, 1001)
    oracle, arrival = generated(Workload(20_000, 1000, 5), users)
    lines = arrival.splitlines(keepends=True)
    halves = [b"".join(lines[0::2]), b"".join(lines[1::2])]
    with running(valkey_url, namespace, tmp_path / "log") as system, peers(system.client_port, users) as clients:
        wait_until(lambda: len(system.online()) == 1000, "all users are online")
        for half in halves:
            threading.Thread(target=source, args=(system.event_port, half), daemon=True).start()
        for client in clients:
            assert client.user is not None
            client.wait_for(oracle.expected[client.user].bytes[-20:])
            assert client.received == oracle.expected[client.user].bytes
        assert system.state("released") == 20_000


def test_one_user_many_times(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    oracle, arrival = generated(Workload(5_000, 4, 5), [1, 2])
    with running(valkey_url, namespace, tmp_path / "log", fanouts=3) as system:
        with peers(system.client_port, [1] * 12 + [2]) as clients:
            wait_until(lambda: system.online() == {"1", "2"}, "both users are online")
            wait_until(
                lambda: _connections(system.redis.hvals(system.keys.nodes)) == 13, "all connections are registered"
            )
            time.sleep(0.3)  # the last one may have registered on a node whose join is not processed yet
            source(system.event_port, arrival)
            for client in clients:
                assert client.user is not None
                client.wait_for(oracle.expected[client.user].bytes[-20:])
                assert client.received == oracle.expected[client.user].bytes
            for client in clients[1:12]:
                client.close()
            source(system.event_port, b"5001|P|2|1\n")
            clients[0].wait_for(b"5001|P|2|1\n")


def test_users_who_come_and_go(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """Each connection receives exactly the oracle's output, starting where the user joined."""
    rng = random.Random(11)
    users = list(range(1, 41))
    oracle, arrival = generated(Workload(150_000, 60, 9), users)
    with running(valkey_url, namespace, tmp_path / "log") as system, Audience() as audience:
        witness = audience.add(Peer(system.client_port, 1))
        wait_until(lambda: system.online() == {"1"}, "the witness is online")
        sending = slowly(system.event_port, arrival, 6.0)
        seen_before: dict[Peer, int] = {}
        while sending.is_alive():
            seen = last_number(witness.received)
            peer = audience.add(Peer(system.client_port, rng.choice(users)))
            seen_before[peer] = seen
            if rng.random() < 0.7:
                audience.drop(rng.choice(audience.all[1:]))
            time.sleep(0.005)
        staying = [peer for peer in audience.all if not peer.closed]
        ending = b""

        def all_have_received_the_end() -> bool:
            # The last user may still be joining, and then receives only a later end.
            nonlocal ending
            line = b"%d|B\n" % (150_001 + ending.count(b"\n"))
            ending += line
            source(system.event_port, line)
            wait_until(partial(has_ending, witness, line), "the witness receives the end")
            return all(has_ending(peer, line) for peer in staying)

        wait_until(all_have_received_the_end, "every user who stays receives the end")
        assert witness.received == oracle.expected[1].bytes + ending
        heard = 0
        for peer in audience.all[1:]:
            assert peer.user is not None
            whole = oracle.expected[peer.user].bytes + ending
            assert_unbroken(whole, peer, seen_before[peer], peer in staying)
            heard += bool(peer.received)
        assert len(staying) > 20
        assert heard > 100


def test_a_burst_larger_than_every_buffer(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """Flow control: with small limits everywhere, still every byte arrives in order."""
    oracle, arrival = generated(Workload(200_000, 4, 3), [1, 2, 3, 4])
    limits = {
        "entry_bytes": 4096, "batch_bytes": 4096, "listener_buffer_bytes": 8192, "backlog_bytes": 16384,
        "window_bytes": 20_000, "node_buffer_bytes": 100_000,
    }  # fmt: skip
    most_backlog = 0
    with running(valkey_url, namespace, tmp_path / "log", **limits) as system, Audience() as audience:
        clients = [audience.add(Peer(system.client_port, user)) for user in (1, 2, 3, 4)]
        wait_until(lambda: len(system.online()) == 4, "all users are online")
        sending = slowly(system.event_port, arrival, 0.0)
        while sending.is_alive():
            most_backlog = max(most_backlog, system.state("backlog"))
            time.sleep(0.01)
        for client in clients:
            assert client.user is not None
            expected = oracle.expected[client.user].bytes
            wait_until(partial(has_ending, client, expected[-20:]), "everything has arrived")
            assert client.received == expected
    assert 0 < most_backlog <= 16384 + 4096


def _connections(reports: list[str]) -> int:
    return sum(int(report.split()[2]) for report in reports)
