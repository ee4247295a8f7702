"""Processes that are killed or stopped: nothing is lost or duplicated, and the system stops cleanly."""

import signal
import time
from functools import partial
from pathlib import Path

import pytest

from simulator.workload import Workload
from tests.support.deployment import PATIENCE_S, Deployment, running, wait_until
from tests.support.peers import edges, expect_everything, generated, peers, slowly, source
from tests.support.programs import Program
from tests.support.proxy import DropMessage, Late, Proxy
from tests.support.servers import free_port, server_of

pytestmark = pytest.mark.slow

USERS = range(1, 21)


def test_the_sequencer_is_killed_five_times(server_url: str, namespace: str, tmp_path: Path) -> None:
    oracle, arrival = generated(Workload(100_000, 40, 21), USERS)
    with (
        running(server_url, namespace, tmp_path / "log", lease_s=1) as system,
        peers(system.client_port, USERS) as clients,
    ):
        wait_until(lambda: len(system.online()) == 20, "all users are online")
        sending = slowly(system.event_port, arrival, 5.0)
        for _ in range(5):
            before = system.state("released")
            wait_until(partial(_released_more_than, system, before), "events flow")
            _kill_sequencers(system)
            system.start("sequencer")
        expect_everything(clients, oracle)
        sending.join()
        assert system.state("released") == 100_000 == system.state("next") - 1
        assert system.state("late") == system.state("duplicate") == 0
        assert system.graph(USERS) == edges(oracle)


def test_a_standby_takes_over(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", lease_s=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        leader = system.sequencer()
        system.start("sequencer")
        wait_until(lambda: system.logged("standing_by") == 1, "a standby is there")
        source(system.event_port, b"1|B\n2|B\n4|B\n")
        user.wait_for(b"2|B\n")
        assert system.sequencer() == leader
        system.processes[0].kill()
        source(system.event_port, b"3|B\n5|B\n")
        user.wait_for(b"5|B\n")
        assert user.received == b"1|B\n2|B\n3|B\n4|B\n5|B\n"
        assert system.sequencer() != leader


def test_a_stopped_leader_that_wakes_up_can_not_commit(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", lease_s=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        system.processes[0].send_signal(signal.SIGSTOP)
        first = system.sequencer()
        system.start("sequencer")
        wait_until(lambda: system.sequencer() not in (None, first), "the second one leads")
        source(system.event_port, b"1|B\n")
        user.wait_for(b"1|B\n")
        system.processes[0].send_signal(signal.SIGCONT)
        wait_until(lambda: system.logged("lease_lost") == 1, "the first one steps down")
        source(system.event_port, b"2|B\n")
        user.wait_for(b"2|B\n")
        assert user.received == b"1|B\n2|B\n"


def test_a_lost_connection_for_reading_is_noticed_at_once(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", tick_s=20) as system:
        for connection in system.redis.client_list():
            if connection["name"] == f"{namespace}-sequencer-read":
                system.redis.client_kill_filter(_id=connection["id"])
        wait_until(lambda: system.logged("sequencing") == 2, "a new term starts", seconds=10)


def test_giving_back_the_lease_is_quicker_than_its_expiry(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", lease_s=20, node_silence_s=20) as system:
        system.start("sequencer")
        wait_until(lambda: system.logged("standing_by") == 1, "a standby is there")
        system.processes[0].send_signal(signal.SIGTERM)
        wait_until(lambda: system.logged("sequencing") == 2, "the standby leads", seconds=10)


def test_a_killed_node_is_expelled_and_holds_nobody_up(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    short = {"lease_s": 1, "node_silence_s": 2}
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, **short, window_bytes=2000) as system:
        (doomed,) = system.of("fanout")
        with peers(system.client_port, [1]):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            doomed.kill()
            doomed.wait()
        system.start("fanout")
        wait_until(lambda: system.logged("node_entered") == 2, "a new node is known")
        with peers(system.client_port, [2]) as (user,):
            wait_until(lambda: system.online() == {"2"}, "the new user is online, the old one is not")
            assert system.logged("node_expelled") == 1
            events = b"".join(b"%d|B\n" % number for number in range(1, 5001))
            source(system.event_port, events)
            user.wait_for(b"5000|B\n")
            assert user.received == events
        assert len(system.redis.keys(system.keys.online + "*")) <= 1


def test_a_stopped_node_that_wakes_up_closes_its_connections(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, lease_s=1, node_silence_s=2) as system:
        (node,) = system.of("fanout")
        with peers(system.client_port, [1]) as (old,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            node.send_signal(signal.SIGSTOP)
            wait_until(lambda: system.logged("node_expelled") == 1, "the node is expelled")
            source(system.event_port, b"1|P|2|1\n2|B\n")
            wait_until(lambda: system.state("released") == 2, "events are still released")
            node.send_signal(signal.SIGCONT)
            assert old.wait_until_closed() == b""
        with peers(system.client_port, [1]) as (new,):
            wait_until(lambda: system.online() == {"1"}, "the user is online under a new node id")
            source(system.event_port, b"3|P|2|1\n")
            new.wait_for(b"3|P|2|1\n")
            assert new.received == b"3|P|2|1\n"


@pytest.mark.parametrize("purpose", ["subscribe", "command"])
def test_a_node_that_loses_a_connection_to_redis_goes_on_from_the_journal(
    purpose: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    oracle, arrival = generated(Workload(100_000, 40, 8), USERS)
    with (
        running(valkey_url, namespace, tmp_path / "log") as system,
        peers(system.client_port, USERS) as clients,
    ):
        wait_until(lambda: len(system.online()) == 20, "all users are online")
        sending = slowly(system.event_port, arrival, 4.0)
        for _ in range(8):
            for connection in system.redis.client_list():
                if connection["name"] == f"{namespace}-fanout-{purpose}":
                    system.redis.client_kill_filter(_id=connection["id"])
            time.sleep(0.4)
        expect_everything(clients, oracle)
        sending.join()
        assert system.logged("node_resumed") >= 8
        assert system.logged("connections_closed") == 0


def test_the_loss_of_the_last_frame_before_a_silence_is_repaired(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with (
        Proxy(valkey_url) as proxy,
        running(valkey_url, namespace, tmp_path / "log", fanouts=0) as system,
    ):
        system.start("fanout", redis_url=proxy.url)
        wait_until(lambda: system.logged("node_entered") == 1, "a node is known")
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            source(system.event_port, b"1|B\n")
            user.wait_for(b"1|B\n")
            drop = DropMessage(b"2|B\n")
            proxy.impair(drop)
            source(system.event_port, b"2|B\n")
            wait_until(lambda: drop.struck == 1, "the frame is lost")
            _kill_sequencers(system)  # so that no keep-alive shows that a frame is missing
            user.wait_for(b"2|B\n")
            assert user.received == b"1|B\n2|B\n"
        assert system.logged("frames_missed") == 1
        assert "was committed and not heard of" in system.log.read_text()


def test_a_leave_that_arrives_after_its_user_has_come_back_counts_for_nothing(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    """The network can deliver commands of a connection that the node has long given up."""
    with (
        Proxy(valkey_url) as proxy,
        running(valkey_url, namespace, tmp_path / "log", fanouts=0, redis_timeout_s=1.2) as system,
    ):
        system.start("fanout", redis_url=proxy.url)
        wait_until(lambda: system.logged("node_entered") == 1, "a node is known")
        late = Late("command")
        with peers(system.client_port, [1]):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            proxy.impair(late)
            wait_until(lambda: late.struck, "a heartbeat is held up")
        wait_until(lambda: system.logged("node_resumed") == 1, "the node has a new connection")
        wait_until(lambda: system.online() == set(), "the user is offline")
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online again")
            proxy.heal(late)
            time.sleep(0.5)
            source(system.event_port, b"1|P|2|1\n2|B\n")
            user.wait_for(b"2|B\n")
            assert user.received == b"1|P|2|1\n2|B\n"


def test_a_journal_that_no_longer_reaches_back_ends_the_connections(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with running(
        valkey_url, namespace, tmp_path / "log", fanouts=1, journal_bytes=2000, window_batches=64, node_silence_s=60
    ) as system:
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            (node,) = system.of("fanout")
            node.send_signal(signal.SIGSTOP)
            for connection in system.redis.client_list():
                if connection["name"] == f"{namespace}-fanout-subscribe":
                    system.redis.client_kill_filter(_id=connection["id"])
            for number in range(1, 30):
                source(system.event_port, b"%d|P|2|1\n%d|B\n" % (2 * number, 2 * number - 1))
                wait_until(partial(_released_more_than, system, 2 * number - 1), "events are still released")
            node.send_signal(signal.SIGCONT)
            received = user.wait_until_closed()
            whole = b"".join(b"%d|B\n%d|P|2|1\n" % (2 * n - 1, 2 * n) for n in range(1, 30))
            assert whole.startswith(received)
        wait_until(lambda: system.logged("connections_closed") == 1, "the reason is logged")
        assert "the journal" in system.log.read_text()


def test_a_restarted_listener_keeps_what_it_has_read(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    lines = [b"%d|B\n" % number for number in range(1, 20_001)]
    with running(valkey_url, namespace, tmp_path / "log", backlog_bytes=8192) as system:
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            source(system.event_port, b"".join(lines[:10_000]))
            (listener,) = system.of("listener")
            wait_until(lambda: system.logged("source_disconnected") == 1, "everything is read")
            listener.send_signal(signal.SIGTERM)
            assert listener.wait(10) == 0
            system.start("listener")
            wait_until(lambda: system.logged("listening") == 4, "listening again")
            source(system.event_port, b"".join(lines[10_000:]))
            user.wait_for(lines[-1])
            assert user.received == b"".join(lines)


def test_everything_is_stopped_in_the_middle_and_goes_on(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log") as system, peers(system.client_port, [1]) as (user,):
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        source(system.event_port, b"1|F|2|3\n2|B\n4|B\n")
        user.wait_for(b"2|B\n")
        wait_until(lambda: system.redis.zcard(system.keys.waiting) == 1, "one event waits")
        began = time.monotonic()
        system.stop_all()
        assert time.monotonic() - began < 5
        assert user.wait_until_closed() == b"2|B\n"
        assert system.sequencer() is None
    with running(valkey_url, namespace, tmp_path / "log2") as system, peers(system.client_port, [1, 2]) as users:
        wait_until(lambda: system.online() == {"1", "2"}, "the user is online")
        source(system.event_port, b"3|S|3\n")
        for user in users:
            user.wait_for(b"4|B\n")
        assert [user.received for user in users] == [b"4|B\n", b"3|S|3\n4|B\n"]


def test_redis_is_killed_and_comes_back(program: Program, namespace: str, tmp_path: Path) -> None:
    """If Redis writes everything to disk, nothing accepted is lost, and clients notice only a pause."""
    oracle, arrival = generated(Workload(60_000, 40, 4), USERS)
    port, folder = free_port(), str(tmp_path)
    durable = ("--appendonly", "yes", "--appendfsync", "always", "--dir", folder)
    with server_of(program, port, *durable) as server:
        url = f"redis://127.0.0.1:{port}/0"
        with running(url, namespace, tmp_path / "log") as system, peers(system.client_port, USERS) as clients:
            wait_until(lambda: len(system.online()) == 20, "all users are online")
            sending = slowly(system.event_port, arrival, 3.0)
            wait_until(lambda: system.state("released") > 5000, "events flow")
            server.kill()
            server.wait()
            with server_of(program, port, *durable):
                wait_until(lambda: system.logged("redis_back") >= 4, "every service is back")
                expect_everything(clients, oracle)
                sending.join(PATIENCE_S)
                assert system.state("released") == 60_000
                assert system.graph(USERS) == edges(oracle)
                for event in ("redis_away", "redis_back"):
                    assert system.logged(event) == 4, "each service logs it once"
                assert system.logged("connections_closed") == 0
                system.stop_all()


def _released_more_than(system: Deployment, before: int) -> bool:
    return system.state("released") > before


def _kill_sequencers(system: Deployment) -> None:
    for process in system.of("sequencer"):
        process.send_signal(signal.SIGKILL)
        process.wait()
