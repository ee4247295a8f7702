"""Another program writes into Parade's keys: one line names the key and what to do, nothing spins, and all goes on once
it is mended as the line says."""

import json
import shlex
import signal
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.deployment import Deployment, running, wait_until
from tests.support.peers import Peer, peers, source
from tests.support.up import parade

pytestmark = pytest.mark.slow

WATCHED_S = 1.5
"""How long the log is watched for lines that say the same again."""


class Stage:
    """A deployment with a user, and numbers for events."""

    def __init__(self, system: Deployment, user: Peer) -> None:
        self.system = system
        self.user = user
        self.sent = 0

    def goes_on(self) -> None:
        """A new event reaches the user."""
        self.sent += 1
        source(self.system.event_port, b"%d|B\n" % self.sent)
        self.user.wait_for(b"%d|B\n" % self.sent)

    def stop_sequencer(self) -> None:
        (sequencer,) = self.system.of("sequencer")
        sequencer.send_signal(signal.SIGTERM)
        assert sequencer.wait(10) == 0

    def reasons(self) -> Counter[tuple[str, str]]:
        """(service, reason) of each time that Redis was called away."""
        lines = [json.loads(line) for line in self.system.log.read_text().splitlines() if line.startswith("{")]
        return Counter((line["service"], line["reason"]) for line in lines if line["event"] == "redis_away")

    def said(self, text: str) -> bool:
        return any(text in reason for _, reason in self.reasons())


@pytest.fixture
def stage(valkey_url: str, namespace: str, tmp_path: Path) -> Iterator[Stage]:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, lease_s=1, tick_s=0.2) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "online")
        stage = Stage(system, user)
        stage.goes_on()
        yield stage
        assert user.received.count(b"\n") == stage.sent, "nothing twice"


def command_in(said: str) -> list[str]:
    """The command at the end of a line that says what to do."""
    return shlex.split(said.rpartition("redis-cli ")[2])


def said_by(stage: Stage, command: tuple[str, ...]) -> str:
    """The one line with which a command ends."""
    system = stage.system
    done = parade(*command, "--redis-url", _url(system), "--namespace", system.keys.namespace)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def _url(system: Deployment) -> str:
    options = system.redis.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/0"


COMMANDS = (("status",), ("status", "--json"), ("skip",), ("top", "--svg", "/dev/null", "--seconds", "1"))
FIELDS = {"next": "a number", "batch": "a number", "cursor": "a stream id"}


@pytest.mark.parametrize("field", FIELDS)
def test_junk_in_the_state(stage: Stage, field: str) -> None:
    system, key = stage.system, stage.system.keys.state
    stage.stop_sequencer()
    before = system.redis.hget(key, field)
    system.redis.hset(key, field, "jun k\x1b[31m")
    system.start("sequencer")
    told = rf"{key} has 'jun k\x1b[31m' in its field {field}, which is not {FIELDS[field]}: "
    wait_until(lambda: stage.said(told), "the key is named")
    time.sleep(WATCHED_S)
    assert set(stage.reasons().values()) == {1}, "each says it once"
    assert system.logged("sequencing") == 1, "no other term has begun"
    for command in COMMANDS if field == "next" else COMMANDS[:1]:
        assert f"{told}look with: redis-cli HGET '{key}' {field}, " in said_by(stage, command)
    system.redis.hset(key, field, before or "0")
    stage.goes_on()
    assert system.logged("connections_closed") == 0


TYPES = {"state": "hash", "nodes": "hash", "events": "stream", "waiting": "zset", "deliveries": "stream"} | {
    "rejected": "stream",
    "lease": "string",
}


@pytest.mark.parametrize("name", TYPES)
def test_a_key_of_another_type(stage: Stage, name: str) -> None:
    system, key, aside = stage.system, getattr(stage.system.keys, name), stage.system.keys.prefix + "aside"
    kept = name in ("state", "nodes", "deliveries")
    # In one step, here and below: a heartbeat that finds no nodes at all is right to end its connections.
    poison(system.redis, key, aside if kept else "")
    told = f"{key} is a list and not a {TYPES[name]}: delete it with: redis-cli DEL '{key}'"
    wait_until(lambda: stage.said(told), "the key is named")
    time.sleep(WATCHED_S)
    assert max(stage.reasons().values()) == 1, "each says it once"
    assert system.logged("sequencing") == 1, "no other term has begun"
    if name != "deliveries":  # which the commands do not read
        assert told in said_by(stage, ("status",))
    (reason,) = {reason for _, reason in stage.reasons() if told in reason}
    with system.redis.pipeline(transaction=True) as step:
        step.execute_command(*command_in(reason))
        if kept:
            step.rename(aside, key)
        assert step.execute()[0] == 1
    stage.goes_on()
    assert system.logged("connections_closed") == 0


def poison(client: Any, key: str, aside: str = "") -> None:
    """A type that none of Parade's keys has; in one step, so that no service writes the right one in between.

    What was there is kept under `aside`, if that is given.
    """
    with client.pipeline() as pipe:
        if aside:
            pipe.rename(key, aside)
        pipe.delete(key)
        pipe.rpush(key, "not ours")
        pipe.execute()


@pytest.mark.parametrize("prefix", ["following", "online"])
def test_a_set_of_another_type(stage: Stage, prefix: str) -> None:
    system = stage.system
    (node,) = system.redis.hkeys(system.keys.nodes)
    key = getattr(system.keys, prefix) + {"following": "7", "online": node}[prefix]
    stage.stop_sequencer()
    poison(system.redis, key)
    with peers(system.client_port, [7]):
        system.start("sequencer")
        told = f"{key} is a list and not a set: delete it with: redis-cli DEL '{key}'"
        wait_until(lambda: stage.said(told), "the key is named")
        terms = system.logged("sequencing")
        time.sleep(WATCHED_S)
        assert max(stage.reasons().values()) == 1, "each says it once"
        assert system.logged("sequencing") <= terms + 5, "ever longer pauses"
        if prefix == "online":
            assert told in said_by(stage, ("graph", "7"))
        assert system.redis.execute_command(*command_in(told)) == 1
        if prefix == "online":
            system.redis.sadd(key, "1")
        stage.goes_on()


def test_the_graph_of_a_user_with_a_key_of_another_type(stage: Stage) -> None:
    key = stage.system.keys.followers + "7"
    poison(stage.system.redis, key)
    assert f"{key} is a list and not a set: delete it with" in said_by(stage, ("graph", "7"))
    stage.system.redis.delete(key)


def test_junk_that_waits(stage: Stage) -> None:
    system, key = stage.system, stage.system.keys.waiting
    stage.stop_sequencer()
    system.redis.zadd(key, {"jun k": 9})
    system.start("sequencer")
    told = f"{key} holds 'jun k', which is not an event line: delete it with: redis-cli ZREM '{key}' 'jun k'"
    wait_until(lambda: stage.said(told), "the key is named")
    time.sleep(WATCHED_S)
    assert stage.reasons()["sequencer", told] == 1
    assert system.redis.execute_command(*command_in(told)) == 1
    stage.goes_on()


def test_a_lease_that_never_ends(stage: Stage) -> None:
    system, key = stage.system, stage.system.keys.lease
    system.redis.set(key, "some body")
    told = f"{key} holds some body and never expires: delete it with: redis-cli DEL '{key}'"
    wait_until(lambda: stage.said(told), "the key is named")
    time.sleep(WATCHED_S)
    assert stage.reasons()["sequencer", told] == 1
    assert system.redis.execute_command(*command_in(told)) == 1
    stage.goes_on()


@pytest.mark.parametrize("junk", ["junk", "5"])
def test_junk_in_a_nodes_report_expels_that_node_alone(
    valkey_url: str, namespace: str, tmp_path: Path, junk: str
) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, tick_s=0.2, rebalance=True) as system:
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "online")
            (node,) = system.redis.hkeys(system.keys.nodes)
            system.start("fanout")
            wait_until(lambda: system.logged("node_entered") == 2, "another node")
            system.redis.hset(system.keys.nodes, "no node, of ours", junk)
            wait_until(lambda: not system.redis.hexists(system.keys.nodes, "no node, of ours"), "it is removed")
            source(system.event_port, b"1|B\n")
            user.wait_for(b"1|B\n")
            system.redis.hset(system.keys.nodes, node, junk)
            assert user.wait_until_closed() == b"1|B\n", "which session is current is not known any more"
        wait_until(lambda: not system.redis.hexists(system.keys.nodes, node), "the others wait for it no more")
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "online again")
            source(system.event_port, b"2|B\n")
            user.wait_for(b"2|B\n")
        lines = [line for line in system.log.read_text().splitlines() if "junk in its report" in line]
        assert {json.loads(line)["key"] for line in lines} == {system.keys.nodes}
        assert [json.loads(line)["report"] for line in lines] == [junk] * len(lines)
        assert system.logged("sequencing") == 1
        assert system.logged("redis_away") == 0


def test_status_names_a_node_with_junk(stage: Stage) -> None:
    stage.stop_sequencer()
    system = stage.system
    system.redis.hset(system.keys.nodes, "n-1", "junk")
    told = f"{system.keys.nodes} has 'junk' in its field n-1, which is not a node's report"
    assert told in said_by(stage, ("status",))
    system.start("sequencer")
    stage.goes_on()


@pytest.mark.parametrize("junk", ["junk", '1 {"not_ready": 5}'])
def test_junk_among_the_services_reports(stage: Stage, junk: str) -> None:
    system, key = stage.system, stage.system.keys.services
    for process in (*system.of("fanout"), *system.of("listener")):
        process.send_signal(signal.SIGSTOP)
    stage.stop_sequencer()
    system.redis.hset(key, "fanout/x", junk)
    told = f"{key} has '{junk}' in its field fanout/x, which is not a service's report"
    assert told in said_by(stage, ("status",)).replace("\\", "")
    for process in (*system.of("fanout"), *system.of("listener")):
        process.send_signal(signal.SIGCONT)
    system.start("sequencer")
    stage.goes_on()
    wait_until(lambda: not system.redis.hexists(key, "fanout/x"), "it is removed, junk or long silent")


def test_services_of_another_type_concern_the_reports_alone(stage: Stage) -> None:
    system, key = stage.system, stage.system.keys.services
    poison(system.redis, key)
    wait_until(lambda: system.logged("report_refused") == 3, "each service says so")
    assert f"{key} is a list and not a hash" in said_by(stage, ("status",))
    stage.goes_on()
    time.sleep(WATCHED_S)
    assert system.logged("report_refused") == 3
    assert system.logged("redis_away") == 0
    system.redis.delete(key)
    wait_until(lambda: system.redis.hlen(key) == 3, "all report again")


@pytest.mark.parametrize("junk", ["junk", "safe=x"])
def test_junk_on_the_broadcast_channel_is_ignored(stage: Stage, junk: str) -> None:
    system = stage.system
    for _ in range(100):
        system.redis.publish(system.keys.broadcast, junk)
        stage.goes_on() if _ % 50 == 0 else None
    wait_until(lambda: system.logged("not_a_frame") == 1, "it is said once")
    stage.goes_on()
    assert system.logged("not_a_frame") == 1
    assert system.logged("frames_missed") == system.logged("redis_away") == 0
    assert system.logged("connections_closed") == 0


def test_a_journal_with_junk_ends_the_connections_that_need_it(stage: Stage) -> None:
    """A node that missed something can't know what it was, so its clients get no hole but an end."""
    system, key = stage.system, stage.system.keys.deliveries
    (node,) = system.of("fanout")
    node.send_signal(signal.SIGSTOP)
    for connection in system.redis.client_list():
        if connection["name"] == f"{system.keys.namespace}-fanout-subscribe":
            system.redis.client_kill_filter(_id=connection["id"])
    first = system.state("batch") + 1
    wait_until(lambda: system.state("batch") > first + 2, "batches go on")
    stage.stop_sequencer()
    entries = system.redis.xrange(key, f"{first}-0")
    system.redis.delete(key)
    for entry_id, fields in entries:
        system.redis.xadd(key, fields | {"frame": "junk"}, id=entry_id)
    system.start("sequencer")
    node.send_signal(signal.SIGCONT)
    stage.user.wait_until_closed()
    wait_until(lambda: system.online() == set(), "the node has begun anew, and the old one is expelled")
    assert "is no frame" in system.log.read_text()
    with peers(system.client_port, [1]) as (again,):
        wait_until(lambda: system.online() == {"1"}, "online again")
        source(system.event_port, b"2|B\n")
        again.wait_for(b"2|B\n")


def test_an_append_that_is_refused_leaves_no_copies(stage: Stage) -> None:
    """The entry and the count of its bytes are one step: half of it, repeated, filled the stream with copies."""
    system, key = stage.system, stage.system.keys.state
    stage.stop_sequencer()
    system.redis.hset(key, "backlog", "many")
    source(system.event_port, b"2|B\n")
    wait_until(lambda: ("listener", stage_told(key)) in stage.reasons(), "the listener names the key")
    time.sleep(WATCHED_S)
    assert system.redis.xlen(system.keys.events) == 0
    system.redis.hset(key, "backlog", "0")
    wait_until(lambda: system.redis.xlen(system.keys.events) == 1, "appended once")
    system.start("sequencer")
    stage.sent = 2
    stage.user.wait_for(b"2|B\n")


def stage_told(key: str) -> str:
    look = f"look with: redis-cli HGET '{key}' backlog, and delete it with HDEL in place of HGET"
    return f"{key} has 'many' in its field backlog, which is not a number: {look}"


def test_a_lease_of_another_type_does_not_hinder_a_reset(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with Deployment(valkey_url, namespace, tmp_path / "log") as system:
        system.redis.rpush(system.keys.lease, "not ours")
        done = parade("reset", "--yes", "--redis-url", valkey_url, "--namespace", namespace)
        assert (done.returncode, done.stdout) == (0, "1 keys deleted\n")
