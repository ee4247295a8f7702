"""One sick part stops no other: real processes, each node with a port of its own (`tests/support/nodes.py`)."""

import json
import signal
import socket
import subprocess
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment, resident_mib, wait_until
from tests.support.nodes import NODES, USERS, served
from tests.support.peers import LOOPBACK
from tests.support.servers import free_port
from tests.support.up import PARADE

pytestmark = pytest.mark.slow

STOP_S = 1.5
RATE = 10_000


def status(system: Deployment) -> dict[str, Any]:
    command = [PARADE, "status", "--json"]
    url = "redis://{host}:{port}/{db}".format_map(system.redis.connection_pool.connection_kwargs)
    done = subprocess.run(
        [*command, "--redis-url", url, "--namespace", system.keys.namespace],
        capture_output=True,
        text=True,
        check=False,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_a_node_that_is_left_behind_is_said_once_and_catches_up(tmp_path: Path) -> None:
    with served(tmp_path, node_silence_s=30) as subject:  # it is looked at for a while
        system, name = subject.system, subject.name_of(0)
        subject.processes[0].send_signal(signal.SIGSTOP)
        wait_until(lambda: system.logged("node_left_behind") == 1, "it is left behind")
        wait_until(lambda: "node_left_behind" in {each["name"] for each in status(system)["warnings"]}, "it is shown")
        before = system.state("released")
        wait_until(lambda: system.state("released") > before + RATE / 4, "the others go on")
        (shown,) = (node for node in status(system)["nodes"] if node["id"] == name)
        assert shown["left_behind"] == "stalled"
        subject.processes[0].send_signal(signal.SIGCONT)
        wait_until(lambda: system.logged("node_caught_up") == 1, "it has caught up")
        subject.stop_sending()
        subject.expect_everything()
        assert (system.logged("node_left_behind"), system.logged("node_caught_up")) == (1, 1)
        assert system.logged("connections_closed") == system.logged("node_expelled") == 0
        system.stop_all()


@pytest.mark.parametrize("cut_off", [False, True])
def test_memory_is_bounded_while_a_node_is_left_behind(tmp_path: Path, cut_off: bool) -> None:
    """At 100,000 events/s: the journal, what Redis holds for the node's subscription, and the node itself."""
    limit = (1 << 20, 1 << 19) if cut_off else (64 << 20, 32 << 20)
    with served(tmp_path, 100_000, f"pubsub {limit[0]} {limit[1]} 1", many=True) as subject:
        system, node = subject.system, subject.processes[0]
        resting = resident_mib(node)
        node.send_signal(signal.SIGSTOP)
        held, journal = [], []
        ends = time.monotonic() + 3.5
        while time.monotonic() < ends:
            subscribers = [each for each in system.redis.client_list(_type="pubsub") if "fanout" in each["name"]]
            held.append(max(int(each["omem"]) for each in subscribers))
            journal.append(int(system.redis.memory_usage(system.keys.deliveries) or 0))
            time.sleep(0.1)
        node.send_signal(signal.SIGCONT)
        wait_until(lambda: system.logged("node_caught_up") >= 1, "it has caught up")
        assert system.logged("node_left_behind") == 1
        assert max(held) <= limit[0] + (1 << 20)
        assert max(journal) <= 2 * (32 << 20), "twice what is kept, for what Redis adds to each entry"
        assert resident_mib(node) <= resting + 150
        subject.stop_sending()
        subject.expect_everything()
        assert system.logged("connections_closed") == 0
        assert system.logged("node_resumed") == (1 if cut_off else 0), "from the journal only if it was cut off"
        system.stop_all()


def test_a_node_whose_clients_take_nothing_holds_a_bounded_amount(tmp_path: Path) -> None:
    """Its batches wait for its clients; the others go on, and the node reads no more than it may hold."""
    with served(tmp_path, 20_000, window_bytes=1 << 20, node_buffer_bytes=1 << 16, client_stall_s=20) as subject:
        system, node = subject.system, subject.processes[0]
        deaf = []
        for _ in range(30):
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.connect((LOOPBACK, subject.ports[0]))
            connection.sendall(b"1\n")
            deaf.append(connection)
        resting = resident_mib(node)
        before = system.state("released")
        wait_until(lambda: system.state("released") > before + 100_000, "the others go on")
        assert resident_mib(node) <= resting + 100
        for connection in deaf:
            connection.close()
        subject.stop_sending()
        subject.expect_everything()
        system.stop_all()


def test_a_journal_that_no_longer_reaches_back_ends_the_connections_of_that_node_alone(tmp_path: Path) -> None:
    with served(tmp_path, 100_000, f"pubsub {1 << 18} {1 << 17} 1", many=True, journal_bytes=1 << 18) as subject:
        system, node = subject.system, subject.processes[0]
        node.send_signal(signal.SIGSTOP)
        time.sleep(3)
        node.send_signal(signal.SIGCONT)
        wait_until(lambda: system.logged("connections_closed") == 1, "its connections are closed, and it is said")
        assert "the journal" in system.log.read_text()
        subject.stop_sending()
        subject.expect_everything(struck=0)
        system.stop_all()


def test_a_node_enters_while_another_is_left_behind(tmp_path: Path) -> None:
    with served(tmp_path, node_silence_s=60) as subject:  # longer than this may take
        system = subject.system
        subject.processes[0].send_signal(signal.SIGSTOP)
        wait_until(lambda: system.logged("node_left_behind") == 1, "a node is left behind")
        system.start("fanout", client_port=free_port())
        wait_until(lambda: system.logged("node_entered") == NODES + 1, "another one enters")
        subject.processes[0].send_signal(signal.SIGCONT)
        subject.stop_sending()
        subject.expect_everything()
        system.stop_all()


def test_users_of_a_dead_node_join_others_at_once_and_count_once(tmp_path: Path) -> None:
    """Joins at 2,000 a second while a node is down: each is served, and no user counts twice, then or later."""
    # The dead node counts for as long as the joins take on any machine; another leader is less patient with it.
    with served(tmp_path, node_silence_s=120) as subject, ExitStack() as newcomers:
        system = subject.system
        subject.processes[0].kill()
        subject.processes[0].wait()
        wait_until(lambda: '"reason": "gone"' in system.log.read_text(), "it is seen to be gone, not just stalled")
        joined, began = [], time.monotonic()
        for n in range(2_000):
            user = 1 + n % USERS if n < 2 * USERS else 1_000 + n  # its own users first, twice each
            peer = newcomers.enter_context(socket.create_connection((LOOPBACK, subject.ports[1 + n % 2])))
            peer.sendall(b"%d\n" % user)
            joined.append(peer)
            time.sleep(max(0.0, began + n / 2_000 - time.monotonic()))
        users = {str(client.user) for client in subject.clients} | {str(1_000 + n) for n in range(2 * USERS, 2_000)}
        wait_until(lambda: system.online() == users, "all are online")
        for peer in joined:
            peer.settimeout(10)
            assert peer.recv(1), "each is served"

        def counted() -> set[int]:
            reports = system.redis.hgetall(system.keys.services).items()
            found = [json.loads(text.partition(" ")[2]) for name, text in reports if name.startswith("sequencer/")]
            return {int(report["online_users"]) for report in found if report["role"] == "leader"}

        wait_until(lambda: counted() == {len(users)}, "each user counts once")
        assert system.logged("node_expelled") == 0, "while the dead node still counts"
        for process in system.of("sequencer"):
            process.terminate()
            process.wait()
        system.start("sequencer", node_silence_s=3)
        wait_until(lambda: system.logged("node_expelled") == 1, "it is expelled")
        wait_until(lambda: counted() == {len(users)}, "each user still counts once")
        newcomers.close()
        subject.stop_sending()
        subject.expect_everything(struck=0)


def test_a_leader_that_only_loses_its_subscription_stays_the_leader(tmp_path: Path) -> None:
    with served(tmp_path, lease_s=10, node_silence_s=10) as subject:
        system = subject.system
        leader = system.sequencer()

        def beacons() -> list[str]:
            return [each["id"] for each in system.redis.client_list() if each["name"].endswith("sequencer-beacon")]

        for _ in range(5):
            wait_until(beacons, "it has subscribed")
            for number in beacons():
                system.redis.client_kill_filter(_id=number)
            time.sleep(0.3)
        assert system.sequencer() == leader
        assert system.logged("lease_lost") == 0
        subject.stop_sending()
        subject.expect_everything()
        system.stop_all()


@pytest.mark.parametrize("with_leader", [False, True])
def test_a_node_with_many_idle_clients_that_stops_or_dies_with_the_leader_stops_no_other(
    tmp_path: Path, with_leader: bool
) -> None:
    """If it dies with the leader, the next leader has never seen its subscription, and must know that it is gone."""
    with served(tmp_path, 5_000) as subject:
        system, node = subject.system, subject.processes[0]
        idle = [socket.create_connection((LOOPBACK, subject.ports[0])) for _ in range(200)]
        for connection in idle:
            connection.sendall(b"999999\n")
        time.sleep(1.5)
        began = time.monotonic()
        if with_leader:
            token = system.sequencer() or ""
            leader = next(each for each in system.of("sequencer") if token.rsplit("-", 2)[1] == str(each.pid))
            for process in (leader, node):
                process.kill()
                process.wait()
        else:
            node.send_signal(signal.SIGSTOP)
        time.sleep(4)
        ended = time.monotonic()
        node.send_signal(signal.SIGCONT)
        for connection in idle:
            connection.close()
        subject.stop_sending()
        others = [client for client in subject.clients if client.node]
        assert max(length for client in others for _, length in client.silences(began, ended)) < STOP_S
