"""Another program writes into Parade's keys: one log line names the key and what to do, nothing spins, and the system
continues once the key is repaired as the line says."""

import json
import re
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
"""How long the log is watched for repetitions of a line."""


class Subject:
    """A deployment with one user, and the number of the last event sent."""

    def __init__(self, system: Deployment, user: Peer) -> None:
        self.system = system
        self.user = user
        self.sent = 0

    def deliver_event(self) -> None:
        """Send a new event and wait until the user receives it."""
        self.sent += 1
        source(self.system.event_port, b"%d|B\n" % self.sent)
        self.user.wait_for(b"%d|B\n" % self.sent)

    def stop_sequencer(self) -> None:
        (sequencer,) = self.system.of("sequencer")
        sequencer.send_signal(signal.SIGTERM)
        assert sequencer.wait(10) == 0

    def reasons(self) -> Counter[tuple[str, str]]:
        """(service, reason) of each redis_away line in the log, counted."""
        lines = [json.loads(line) for line in self.system.log.read_text().splitlines() if line.startswith("{")]
        return Counter((line["service"], line["reason"]) for line in lines if line["event"] == "redis_away")

    def logged_reason(self, text: str) -> bool:
        """Whether the text is in a reason that was logged."""
        return any(text in reason for _, reason in self.reasons())


@pytest.fixture
def subject(valkey_url: str, namespace: str, tmp_path: Path) -> Iterator[Subject]:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, lease_s=1, tick_s=0.2) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        wait_until(lambda: system.online() == {"1"}, "the user is online")
        subject = Subject(system, user)
        subject.deliver_event()
        yield subject
        assert user.received.count(b"\n") == subject.sent, "nothing is duplicated"


def recommended_command(message: str) -> list[str]:
    """The redis-cli command at the end of a message."""
    return shlex.split(message.rpartition("redis-cli ")[2])


def error_of(subject: Subject, command: tuple[str, ...]) -> str:
    """The one line with which a command must fail."""
    system = subject.system
    done = parade(*command, "--redis-url", _url(system), "--namespace", system.keys.namespace)
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    return done.stderr


def _url(system: Deployment) -> str:
    options = system.redis.connection_pool.connection_kwargs
    return f"redis://{options['host']}:{options['port']}/0"


COMMANDS = (("status",), ("status", "--json"), ("skip",), ("top", "--svg", "/dev/null", "--seconds", "1"))
FIELDS = {"next": "a number", "batch": "a number", "cursor": "a stream id", "history": "the name of a history"}


@pytest.mark.parametrize("field", FIELDS)
def test_junk_in_the_state(subject: Subject, field: str) -> None:
    system, key = subject.system, subject.system.keys.state
    subject.stop_sequencer()
    before = system.redis.hget(key, field)
    system.redis.hset(key, field, "jun k\x1b[31m")
    system.start("sequencer")
    message = rf"{key} has 'jun k\x1b[31m' in its field {field}, which is not {FIELDS[field]}: "
    wait_until(lambda: subject.logged_reason(message), "the key is named")
    time.sleep(WATCHED_S)
    assert set(subject.reasons().values()) == {1}, "each service logs it once"
    assert system.logged("sequencing") == 1, "no new term has started"
    for command in COMMANDS if field == "next" else COMMANDS[:1]:
        assert f"{message}look with: redis-cli HGET '{key}' {field}, " in error_of(subject, command)
    system.redis.hset(key, field, before or "0")
    subject.deliver_event()
    assert system.logged("connections_closed") == 0


TYPES = {"state": "hash", "nodes": "hash", "events": "stream", "waiting": "zset", "deliveries": "stream"} | {
    "rejected": "stream",
    "lease": "string",
}


@pytest.mark.parametrize("name", TYPES)
def test_a_key_of_another_type(subject: Subject, name: str) -> None:
    system, key, aside = subject.system, getattr(subject.system.keys, name), subject.system.keys.prefix + "aside"
    kept = name in ("state", "nodes", "deliveries")
    # In one transaction, here and below: a heartbeat that finds no nodes rightly ends its connections.
    poison(system.redis, key, aside if kept else "")
    message = f"{key} is a list and not a {TYPES[name]}: delete it with: redis-cli DEL '{key}'"
    wait_until(lambda: subject.logged_reason(message), "the key is named")
    time.sleep(WATCHED_S)
    assert max(subject.reasons().values()) == 1, "each service logs it once"
    assert system.logged("sequencing") == 1, "no new term has started"
    if name != "deliveries":  # the commands do not read that one
        assert message in error_of(subject, ("status",))
    (reason,) = {reason for _, reason in subject.reasons() if message in reason}
    with system.redis.pipeline(transaction=True) as step:
        step.execute_command(*recommended_command(reason))
        if kept:
            step.rename(aside, key)
        assert step.execute()[0] == 1
    subject.deliver_event()
    assert system.logged("connections_closed") == 0


def poison(client: Any, key: str, aside: str = "") -> None:
    """Replace a key by a list, in one transaction, so that no service can write the right type in between.

    If `aside` is given, the key is renamed to it first.
    """
    with client.pipeline() as pipe:
        if aside:
            pipe.rename(key, aside)
        pipe.delete(key)
        pipe.rpush(key, "not ours")
        pipe.execute()


@pytest.mark.parametrize("prefix", ["following", "online"])
def test_a_set_of_another_type(subject: Subject, prefix: str) -> None:
    system = subject.system
    (node,) = system.redis.hkeys(system.keys.nodes)
    key = getattr(system.keys, prefix) + {"following": "7", "online": node}[prefix]
    subject.stop_sequencer()
    poison(system.redis, key)
    with peers(system.client_port, [7]):
        system.start("sequencer")
        message = f"{key} is a list and not a set: delete it with: redis-cli DEL '{key}'"
        wait_until(lambda: subject.logged_reason(message), "the key is named")
        terms = system.logged("sequencing")
        time.sleep(WATCHED_S)
        assert max(subject.reasons().values()) == 1, "each service logs it once"
        assert system.logged("sequencing") <= terms + 5, "the pauses get longer"
        if prefix == "online":
            assert message in error_of(subject, ("graph", "7"))
        assert system.redis.execute_command(*recommended_command(message)) == 1
        if prefix == "online":
            system.redis.sadd(key, "1")
        subject.deliver_event()


def test_the_graph_of_a_user_with_a_key_of_another_type(subject: Subject) -> None:
    key = subject.system.keys.followers + "7"
    poison(subject.system.redis, key)
    assert f"{key} is a list and not a set: delete it with" in error_of(subject, ("graph", "7"))
    subject.system.redis.delete(key)


def test_junk_that_waits(subject: Subject) -> None:
    system, key = subject.system, subject.system.keys.waiting
    subject.stop_sequencer()
    system.redis.zadd(key, {"jun k": 9})
    system.start("sequencer")
    message = f"{key} holds 'jun k', which is not an event line: delete it with: redis-cli ZREM '{key}' 'jun k'"
    wait_until(lambda: subject.logged_reason(message), "the key is named")
    time.sleep(WATCHED_S)
    assert subject.reasons()["sequencer", message] == 1
    assert system.redis.execute_command(*recommended_command(message)) == 1
    subject.deliver_event()


def test_a_lease_that_never_ends(subject: Subject) -> None:
    system, key = subject.system, subject.system.keys.lease
    system.redis.set(key, "some body")
    message = f"{key} holds some body and never expires: delete it with: redis-cli DEL '{key}'"
    wait_until(lambda: subject.logged_reason(message), "the key is named")
    time.sleep(WATCHED_S)
    assert subject.reasons()["sequencer", message] == 1
    assert system.redis.execute_command(*recommended_command(message)) == 1
    subject.deliver_event()


@pytest.mark.parametrize("junk", ["junk", "5"])
def test_junk_in_a_nodes_report_expels_that_node_alone(
    valkey_url: str, namespace: str, tmp_path: Path, junk: str
) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, tick_s=0.2, rebalance=True) as system:
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online")
            (node,) = system.redis.hkeys(system.keys.nodes)
            system.start("fanout")
            wait_until(lambda: system.logged("node_entered") == 2, "another node is known")
            system.redis.hset(system.keys.nodes, "no node, of ours", junk)
            wait_until(lambda: not system.redis.hexists(system.keys.nodes, "no node, of ours"), "it is removed")
            source(system.event_port, b"1|B\n")
            user.wait_for(b"1|B\n")
            system.redis.hset(system.keys.nodes, node, junk)
            assert user.wait_until_closed() == b"1|B\n", "the node can't know the current session any more"
        wait_until(lambda: not system.redis.hexists(system.keys.nodes, node), "the node is removed")
        with peers(system.client_port, [1]) as (user,):
            wait_until(lambda: system.online() == {"1"}, "the user is online again")
            source(system.event_port, b"2|B\n")
            user.wait_for(b"2|B\n")
        lines = [line for line in system.log.read_text().splitlines() if "junk in its report" in line]
        assert {json.loads(line)["key"] for line in lines} == {system.keys.nodes}
        assert [json.loads(line)["report"] for line in lines] == [junk] * len(lines)
        assert system.logged("sequencing") == 1
        assert system.logged("redis_away") == 0


def test_status_names_a_node_with_junk(subject: Subject) -> None:
    subject.stop_sequencer()
    system = subject.system
    system.redis.hset(system.keys.nodes, "n-1", "junk")
    message = f"{system.keys.nodes} has 'junk' in its field n-1, which is not a node's report"
    assert message in error_of(subject, ("status",))
    system.start("sequencer")
    subject.deliver_event()


@pytest.mark.parametrize("junk", ["junk", '1 {"not_ready": 5}'])
def test_junk_among_the_services_reports(subject: Subject, junk: str) -> None:
    system, key = subject.system, subject.system.keys.services
    for process in (*system.of("fanout"), *system.of("listener")):
        process.send_signal(signal.SIGSTOP)
    subject.stop_sequencer()
    system.redis.hset(key, "fanout/x", junk)
    message = f"{key} has '{junk}' in its field fanout/x, which is not a service's report"
    assert message in error_of(subject, ("status",)).replace("\\", "")
    for process in (*system.of("fanout"), *system.of("listener")):
        process.send_signal(signal.SIGCONT)
    system.start("sequencer")
    subject.deliver_event()
    wait_until(lambda: not system.redis.hexists(key, "fanout/x"), "it is removed, as junk or as silent")


def test_services_of_another_type_concern_the_reports_alone(subject: Subject) -> None:
    system, key = subject.system, subject.system.keys.services
    poison(system.redis, key)
    wait_until(lambda: system.logged("report_refused") == 3, "each service logs it")
    assert f"{key} is a list and not a hash" in error_of(subject, ("status",))
    subject.deliver_event()
    time.sleep(WATCHED_S)
    assert system.logged("report_refused") == 3
    assert system.logged("redis_away") == 0
    system.redis.delete(key)
    wait_until(lambda: system.redis.hlen(key) == 3, "all report again")


@pytest.mark.parametrize("junk", ["junk", "safe=x"])
def test_junk_on_the_broadcast_channel_is_ignored(subject: Subject, junk: str) -> None:
    system = subject.system
    for _ in range(100):
        system.redis.publish(system.keys.broadcast, junk)
        subject.deliver_event() if _ % 50 == 0 else None
    wait_until(lambda: system.logged("not_a_frame") == 1, "it is logged once")
    subject.deliver_event()
    assert system.logged("not_a_frame") == 1
    assert system.logged("frames_missed") == system.logged("redis_away") == 0
    assert system.logged("connections_closed") == 0


def test_frames_of_another_deployment_are_ignored(subject: Subject) -> None:
    """Whatever publishes on these channels: a restored copy of another deployment, or one behind a proxy."""
    system = subject.system
    (_, fields), *_ = system.redis.xrevrange(system.keys.deliveries, count=1)
    own = str(system.redis.hget(system.keys.state, "history"))
    other = fields["frame"].replace(f" history={own}\n", " history=0ther\n")
    assert other != fields["frame"]
    for ahead in (1, 1, 2, 30):
        batch = system.state("batch") + ahead
        with system.redis.pipeline() as step:
            step.publish(f"{system.keys.user}1", "1|P|9|1\n")
            step.publish(system.keys.broadcast, re.sub("^batch=[0-9]+", f"batch={batch}", other))
            step.execute()
    subject.deliver_event()
    assert system.logged("frame_of_another_deployment") == 1
    line = next(line for line in system.log.read_text().splitlines() if "frame_of_another" in line)
    assert (json.loads(line)["history"], json.loads(line)["other"]) == (own, "0ther")
    assert system.logged("frames_missed") == system.logged("connections_closed") == 0


def test_a_journal_with_junk_ends_the_connections_that_need_it(subject: Subject) -> None:
    """A node that missed something can't know what it was, so it closes its connections rather than leave a gap."""
    system, key = subject.system, subject.system.keys.deliveries
    (node,) = system.of("fanout")
    node.send_signal(signal.SIGSTOP)
    for connection in system.redis.client_list():
        if connection["name"] == f"{system.keys.namespace}-fanout-subscribe":
            system.redis.client_kill_filter(_id=connection["id"])
    first = system.state("batch") + 1
    wait_until(lambda: system.state("batch") > first + 2, "more batches are committed")
    subject.stop_sequencer()
    entries = system.redis.xrange(key, f"{first}-0")
    system.redis.delete(key)
    for entry_id, fields in entries:
        system.redis.xadd(key, fields | {"frame": "junk"}, id=entry_id)
    system.start("sequencer")
    node.send_signal(signal.SIGCONT)
    subject.user.wait_until_closed()
    wait_until(lambda: system.online() == set(), "the node has restarted under a new id, and the old one is expelled")
    assert "is no frame" in system.log.read_text()
    with peers(system.client_port, [1]) as (again,):
        wait_until(lambda: system.online() == {"1"}, "the user is online again")
        source(system.event_port, b"2|B\n")
        again.wait_for(b"2|B\n")


def test_an_append_that_is_refused_leaves_no_copies(subject: Subject) -> None:
    """An entry and the count of its bytes are written together. Half of that, repeated, once filled the stream."""
    system, key = subject.system, subject.system.keys.state
    subject.stop_sequencer()
    system.redis.hset(key, "backlog", "many")
    source(system.event_port, b"2|B\n")
    wait_until(lambda: ("listener", backlog_refusal(key)) in subject.reasons(), "the listener names the key")
    time.sleep(WATCHED_S)
    assert system.redis.xlen(system.keys.events) == 0
    system.redis.hset(key, "backlog", "0")
    wait_until(lambda: system.redis.xlen(system.keys.events) == 1, "the entry is appended once")
    system.start("sequencer")
    subject.sent = 2
    subject.user.wait_for(b"2|B\n")


def backlog_refusal(key: str) -> str:
    look = f"look with: redis-cli HGET '{key}' backlog, and delete it with HDEL in place of HGET"
    return f"{key} has 'many' in its field backlog, which is not a number: {look}"


def test_a_lease_of_another_type_does_not_prevent_a_reset(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with Deployment(valkey_url, namespace, tmp_path / "log") as system:
        system.redis.rpush(system.keys.lease, "not ours")
        done = parade("reset", "--yes", "--redis-url", valkey_url, "--namespace", namespace)
        assert (done.returncode, done.stdout) == (0, "1 keys deleted\n")
