"""The compose file in use: scaled, drained, killed and restarted while events stream."""

import base64
import json
import random
import re
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from websockets.sync.client import connect as websocket

from simulator.oracle import Oracle
from simulator.workload import Workload
from tests.compose.stack import Stack
from tests.support.deployment import ROOT, wait_until
from tests.support.peers import Audience, Peer, assert_unbroken, generated, last_number, slowly, source
from tests.support.servers import free_port
from tests.support.terminal import check_session, sessions

USERS = 40


class Stream:
    """Events for new users, starting at the stack's next number, and the peers that receive them."""

    def __init__(self, stack: Stack, audience: Audience, events: int) -> None:
        self.stack, self.audience = stack, audience
        self.first = stack.state("next") or 1
        self.last = self.first + events
        self.users = range(self.first * 1000, self.first * 1000 + USERS)
        work = Workload(events, USERS, seed=self.first, first=self.first, first_user=self.users[0])
        self.oracle: Oracle
        self.oracle, self.arrival = generated(work, self.users)
        self.end = b"%d|B\n" % self.last
        self.seen_before: dict[Peer, int] = {}
        self.witness = self.join(self.users[0])

    def join(self, user: int) -> Peer:
        """Connect a user."""
        seen = last_number(self.audience.all[0].received) if self.audience.all else 0
        peer = self.audience.add(Peer(self.stack.client_port, user))
        self.seen_before[peer] = seen
        return peer

    def send(self, seconds: float, meanwhile: Callable[[], None]) -> None:
        """Send everything, calling `meanwhile` during it, and then one last broadcast."""
        sending = slowly(self.stack.event_port, self.arrival, seconds)
        meanwhile()
        sending.join()
        wait_until(lambda: self.stack.state("released") >= self.last - 1, "all events are released", 60)
        source(self.stack.event_port, self.end)
        wait_until(lambda: self.stack.state("released") >= self.last, "the last event is released", 60)

    def wait_for_the_end(self) -> None:
        """Wait until every peer that is still connected has received the last broadcast."""
        wait_until(
            lambda: all(peer.received.endswith(self.end) for peer in self.connected()),
            "the last broadcast is received",
            60,
        )

    def connected(self) -> list[Peer]:
        return [peer for peer in self.audience.all if not peer.closed]

    def check(self) -> None:
        """Each connection must have one unbroken part of what the oracle expects; to the end if it is still open."""
        for peer, seen in self.seen_before.items():
            assert peer.user is not None
            whole = self.oracle.expected[peer.user].bytes + self.end
            assert_unbroken(whole, peer, seen, to_the_end=not peer.closed)

    def check_graph(self) -> None:
        """The follower set of a user in Redis must match the oracle."""
        user = self.users[1]
        followers = self.stack.redis("SMEMBERS", f"{{parade}}:followers:{user}").split()
        assert {int(name) for name in followers} == self.oracle.followers.get(user, set())


def test_one_node_passes_the_simulation(stack: Stack) -> None:
    for _ in range(2):  # the second run continues where the first one ended
        output = stack.compose("run", "--rm", "simulator", "--events", "50000")
        assert output.startswith("passed"), output


def test_scaling_up_while_events_stream_and_clients_join(stack: Stack) -> None:
    rng = random.Random(3)
    with Audience() as audience:
        stream = Stream(stack, audience, 300_000)
        wait_until(lambda: stack.online() == 1, "the witness is online")

        def scale_up() -> None:
            stack.up(fanout=3)
            stack.wait_until_healthy("fanout", 3)
            for _ in range(150):
                stream.join(rng.choice(stream.users))
                time.sleep(0.02)

        stream.send(12.0, scale_up)
        stream.wait_for_the_end()
        stream.check()
        assert stream.witness.received == stream.oracle.expected[stream.users[0]].bytes + stream.end
        assert len(stream.connected()) == 151
        assert len(stack.connections()) == 3
        assert min(stack.connections()) > 30


def test_scaling_down_drains(stack: Stack) -> None:
    with Audience() as audience:
        stream = Stream(stack, audience, 100_000)
        for user in stream.users:
            stream.join(user)
        wait_until(lambda: sum(stack.connections()) == USERS + 1, "all users are registered")
        time.sleep(1)
        stream.send(8.0, lambda: stack.up(fanout=1))
        stream.wait_for_the_end()
        stream.check()
        closed = [peer for peer in audience.all if peer.closed]
        assert 5 < len(closed) < USERS
        assert not any(peer.reset for peer in closed)
        assert all(peer.received.endswith(b"\n") for peer in closed if peer.received)
        wait_until(lambda: len(stack.connections()) == 1, "the drained nodes are gone")
        assert "{parade}:online" in stack.redis("--scan", "--pattern", "{parade}:online:*")


def test_a_killed_sequencer_and_its_standby(stack: Stack) -> None:
    stack.up(sequencer=2)
    stack.wait_until_healthy("sequencer", 2)
    with Audience() as audience:
        stream = Stream(stack, audience, 60_000)
        wait_until(lambda: stack.online() == 1, "the witness is online")
        before = stack.leader()
        stream.send(5.0, lambda: stack.kill(before))
        stream.wait_for_the_end()
        assert stream.witness.received == stream.oracle.expected[stream.users[0]].bytes + stream.end
        assert stack.leader() != before
        stream.check_graph()


def test_a_listener_killed_between_two_sources(stack: Stack) -> None:
    stack.up(listener=2, sequencer=1)
    stack.wait_until_healthy("listener", 2)
    with Audience() as audience:
        stream = Stream(stack, audience, 40_000)
        wait_until(lambda: stack.online() == 1, "the witness is online")
        half = stream.arrival.index(b"\n", len(stream.arrival) // 2) + 1
        lines = stream.arrival[:half].count(b"\n")
        received = stack.state("received")
        source(stack.event_port, stream.arrival[:half])
        wait_until(lambda: stack.state("received") == received + lines, "the first source's events have arrived")
        stack.kill(stack.containers("listener")[0])
        time.sleep(1)  # the balancer checks health twice a second
        stream.arrival = stream.arrival[half:]
        stream.send(1.0, lambda: None)
        stream.wait_for_the_end()
        assert stream.witness.received == stream.oracle.expected[stream.users[0]].bytes + stream.end


def test_redis_restarts_in_the_middle(stack: Stack) -> None:
    with Audience() as audience:
        stream = Stream(stack, audience, 60_000)
        for user in stream.users:
            stream.join(user)
        wait_until(lambda: stack.online() == USERS, "all users are online")
        duplicates = stack.state("duplicate") + stack.state("late")
        stream.send(6.0, lambda: stack.restart("redis"))
        stream.wait_for_the_end()
        stream.check()
        assert len(stream.connected()) == USERS + 1, "clients notice only a pause"
        stream.check_graph()
        assert stack.state("next") == stream.last + 1
        # A chunk whose answer was lost is sent again and dropped as duplicate; that is at most one entry.
        assert stack.state("duplicate") + stack.state("late") - duplicates < 10_000
        wait_until(lambda: stack.healthy("fanout", 1), "the node is ready again", 60)
    output = stack.compose("run", "--rm", "simulator", "--events", "20000")
    assert output.startswith("passed"), output


def test_down_and_up_again_keeps_graph_and_position(stack: Stack) -> None:
    number = stack.state("next")
    fan, author = 10**18 + 1, 10**18 + 2  # not used by any simulation
    source(stack.event_port, b"%d|F|%d|%d\n%d|B\n" % (number, fan, author, number + 2))
    wait_until(lambda: stack.state("next") == number + 1, "the event is released")
    wait_until(lambda: stack.redis("ZCARD", "{parade}:waiting") == "1", "one event waits")
    stack.compose("down", "-t", "10")
    stack.up(listener=1)
    stack.wait_until_healthy("balancer", 1)
    assert stack.redis("SMEMBERS", f"{{parade}}:followers:{author}") == str(fan)
    assert stack.state("next") == number + 1
    with Audience() as audience:
        peer = audience.add(Peer(stack.client_port, fan))
        wait_until(lambda: stack.online() == 1, "the user is online")
        source(stack.event_port, b"%d|S|%d\n" % (number + 1, author))
        expected = b"%d|S|%d\n%d|B\n" % (number + 1, author, number + 2)
        wait_until(lambda: peer.received == expected, "the follower receives it, and then the event that waited")


def test_the_console_sessions_of_the_documents(stack: Stack, tmp_path: Path) -> None:
    backup, restore, inside = sessions("docs/deployment.md")
    stack.up(listener=1, fanout=1, sequencer=1)
    wait_until(lambda: stack.online() == 0, "no user is online")
    before = {name: stack.state(name) for name in ("next", "released", "received")}
    check_session(backup, tmp_path, environment=stack.environment)
    source(stack.event_port, b"%d|B\n" % before["next"])
    wait_until(lambda: stack.state("next") == before["next"] + 1, "the position advances")
    check_session(restore, tmp_path, environment=stack.environment)
    stack.wait_until_healthy("balancer", 1)
    wait_until(lambda: len(stack.connections()) == 1, "only the new node is left; that of the backup is expelled")
    assert {name: stack.state(name) for name in before} == before
    check_session(inside, tmp_path, environment=stack.environment)


def test_the_readmes_commands_end_in_a_verified_simulation_at_scale_3(stack: Stack, tmp_path: Path) -> None:
    readme = (ROOT / "README.md").read_text().partition("### With docker-compose")[2]
    commands = readme.partition("```sh\n")[2].partition("```")[0]
    done = subprocess.run(
        ["bash", "-ec", commands],
        capture_output=True, text=True, cwd=tmp_path, env=stack.environment, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    assert "passed" in done.stdout
    assert len(stack.containers("fanout")) == 3


def test_only_the_balancers_ports_are_published_and_no_service_runs_as_root(stack: Stack) -> None:
    for service in ("redis", "listener", "sequencer", "fanout", "balancer"):
        for container in stack.containers(service):
            ports = subprocess.run(["docker", "port", container], capture_output=True, text=True, check=True).stdout
            published = sorted(line.rpartition(" ")[2] for line in ports.splitlines())
            wanted = [f"127.0.0.1:{port}" for port in (stack.event_port, stack.client_port, stack.web_port)]
            assert published == (sorted(wanted) if service == "balancer" else [])
    for service in ("listener", "sequencer", "fanout"):
        assert stack.compose("exec", "-T", service, "id", "-u").strip() == "10001"


def test_the_clients_address_reaches_the_logs(stack: Stack) -> None:
    source(stack.event_port, b"")
    wait_until(
        lambda: "source_connected" in stack.compose("logs", "--no-color", "listener"), "the connection is logged"
    )
    peers = re.findall(r'"peer": "([0-9.]+):[0-9]+"', stack.compose("logs", "--no-color", "listener"))
    balancer = stack.compose("exec", "-T", "balancer", "hostname", "-i").split()
    assert peers
    assert not set(peers) & set(balancer)


def test_the_dashboard_is_on_loopback_and_asks_for_its_password(stack: Stack) -> None:
    port = free_port()
    stack.environment |= {"PARADE_DASHBOARD_PORT": str(port), "PARADE_DASHBOARD_PASSWORD": "secret"}
    stack.compose("--profile", "observe", "up", "-d", "--no-deps", "dashboard")
    try:
        wait_until(lambda: stack.healthy("dashboard", 1), "the dashboard is healthy", 60)
        (container,) = stack.containers("dashboard")
        published = subprocess.run(["docker", "port", container], capture_output=True, text=True, check=True).stdout
        assert published.split() == ["9190/tcp", "->", f"127.0.0.1:{port}"]
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/events", timeout=10)
        login = "Basic " + base64.b64encode(b"any:secret").decode()
        asked = urllib.request.Request(f"http://127.0.0.1:{port}/events", headers={"Authorization": login})
        with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 (our own URL)
            assert any(line.startswith(b'data: {"overview"') for line in answer)
    finally:
        stack.compose("--profile", "observe", "rm", "-sf", "dashboard")


def test_one_port_serves_pages_and_programs_over_http(stack: Stack) -> None:
    """POST goes to a listener and the rest to nodes; a client over WebSocket goes on when its node is killed."""
    stack.up(fanout=2)
    stack.wait_until_healthy("fanout", 2)
    web, first = f"127.0.0.1:{stack.web_port}", stack.state("next")

    def publish(number: int) -> None:
        with urllib.request.urlopen(f"http://{web}/events", data=b"%d|B\n" % number, timeout=30) as answer:
            assert json.load(answer)["accepted"] == 1

    with urllib.request.urlopen(f"http://{web}/events?user=77", timeout=30) as feed:
        assert any(line.startswith(b"id: ") for line in feed), "the user is online from this line on"
        with websocket(f"ws://{web}/ws", compression=None) as connection:
            connection.send("77 after=now")
            position = str(connection.recv(30)).split()[1]
            publish(first)
            assert connection.recv(30) == f"{first}|B\n"
        assert any(line == b"data: %d|B\n" % first for line in feed)
    publish(first + 1)
    stack.kill(stack.containers("fanout")[0])
    publish(first + 2)
    with websocket(f"ws://{web}/ws", compression=None, open_timeout=60) as connection:
        connection.send(f"77 after={position}")
        received = ""
        while f"{first + 2}|B\n" not in received:
            received += str(connection.recv(30))
    assert received == f"RESUMED {position}\n{first}|B\n{first + 1}|B\n{first + 2}|B\n"
