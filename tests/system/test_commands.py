"""The commands that look into a deployment: against `parade up`, found without being named, and service by service."""

import json
import re
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.support.deployment import Deployment, running, wait_until
from tests.support.programs import Program
from tests.support.servers import free_port, server_of
from tests.support.up import Up, parade, parade_up, started

pytestmark = pytest.mark.slow

NEXT, WAITING = "{parade}:state", "{parade}:waiting"


@pytest.fixture
def up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Up]:
    """An `up` on free ports, the only one that the commands of the test can find."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with parade_up() as system:
        yield system


@pytest.fixture
def store(up: Up) -> Iterator["redis.Redis"]:
    with redis.Redis(port=up.redis_port, decode_responses=True) as client:
        yield client


def send(up: Up, *lines: str) -> None:
    with socket.create_connection(("127.0.0.1", up.event_port), 5) as source:
        source.sendall("".join(f"{line}\n" for line in lines).encode())


@contextmanager
def client_of(up: Up, store: Any, user: str) -> Iterator[socket.socket]:
    """A user's connection that is served."""
    with socket.create_connection(("127.0.0.1", up.client_port), 10) as client:
        client.sendall(f"{user}\n".encode())
        online = "{parade}:online:"
        wait_until(lambda: any(store.sismember(key, user) for key in store.keys(online + "*")), f"{user} is online")
        yield client


def received(client: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        data += client.recv(65536) or b"<closed>"
    return data


def next_is(store: Any, number: int) -> bool:
    return bool(store.hget(NEXT, "next") == str(number))


def status(*options: str) -> tuple[int, list[str], dict[str, Any]]:
    """(exit status, names of the warnings, the whole)."""
    done = parade("status", "--json", *options)
    assert done.stderr == ""
    seen = json.loads(done.stdout)
    assert seen["is_well"] == (done.returncode == 0)
    return done.returncode, [warning["name"] for warning in seen["warnings"]], seen


# status


def test_status_of_a_system_that_is_well(up: Up, store: Any) -> None:
    with client_of(up, store, "50"):
        send(up, "1|F|60|50", "2|B", "what is this?")
        wait_until(lambda: next_is(store, 3), "both are released")
        time.sleep(1.1)  # a service's report is up to a second old
        code, names, seen = status()
        assert (code, names) == (0, [])
        assert (seen["next"], seen["totals"]["released"], seen["totals"]["malformed"]) == (3, 2, 1)
        assert [node["connections"] for node in seen["nodes"]].count(1) == 1
        assert seen["lease"] == seen["sequencers"][0]["token"]
        assert [each["line"] for each in seen["rejected"]] == ["what is this?"]
    text = parade("status")
    assert text.returncode == 0
    assert "well" in text.stdout.splitlines()[0]
    assert f"redis://127.0.0.1:{up.redis_port}/0" in text.stdout
    assert "next 3, 2 released" in text.stdout
    assert "\x1b" not in text.stdout


@pytest.mark.usefixtures("up")
def test_status_shows_what_flows() -> None:
    options = ["--events", "40000", "--rate", "4000", "--clients", "10", "--json"]
    looks: list[dict[str, Any]] = []

    def flows() -> bool:
        looks.append(status()[2])
        rates = looks[-1]["rates"]
        return rates["notifications"] > 1000 and all(
            1000 < rates[name] < 20_000 for name in ("lines_in", "received", "released")
        )

    with started("simulate", *options) as work:
        wait_until(flows, "a status shows all that flows")
        assert json.loads(work.communicate(timeout=60)[0])["passed"]
    rates = looks[-1]["rates"]
    assert rates["bytes_out"] > rates["notifications"]
    assert 0 < looks[-1]["latency_p50_ms"] <= looks[-1]["latency_p99_ms"]


def test_without_a_system_there_is_advice(tmp_path: Path) -> None:
    done = parade("status", XDG_RUNTIME_DIR=str(tmp_path), PARADE_REDIS_URL=f"redis://127.0.0.1:{free_port()}")
    assert (done.returncode, done.stdout) == (1, "")
    assert len(done.stderr.splitlines()) == 1
    assert "Connection refused" in done.stderr


def test_status_without_a_sequencer(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    options = ["--redis-url", valkey_url, "--namespace", namespace]
    assert sorted(status(*options)[1]) == ["no_listener", "no_node", "no_sequencer"]
    with Deployment(valkey_url, namespace, tmp_path / "log") as deployment:
        for service in ("listener", "fanout"):
            deployment.start(service)
        # A node is not ready, either, once it has not heard of a sequencer for some seconds.
        wait_until(lambda: set(status(*options)[1]) <= {"no_sequencer", "not_ready"}, "only a sequencer is missing")
        code, names, _ = status(*options)
        assert (code, names[0]) == (1, "no_sequencer")
        assert parade("status", *options).returncode == 1
        deployment.start("sequencer")
        wait_until(lambda: status(*options)[0] == 0, "all is well")
        assert deployment.redis.hlen(deployment.keys.services) == 3


def test_status_when_leader_and_nodes_die(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    options = ["--redis-url", valkey_url, "--namespace", namespace]
    with running(valkey_url, namespace, tmp_path / "log") as deployment:
        deployment.start("sequencer")
        wait_until(lambda: len(status(*options)[2]["sequencers"]) == 2, "there is a standby")
        code, names, seen = status(*options)
        assert (code, names) == (0, [])
        leader = next(each["name"] for each in seen["sequencers"] if each["is_leader"])
        for service in ("sequencer", "fanout"):
            deployment.of(service)[0].send_signal(signal.SIGKILL)
        wait_until(lambda: "service_lost" in status(*options)[1], "someone is missed")
        wait_until(lambda: len(status(*options)[2]["lost"]) == 2, "both are missed")
        code, names, seen = status(*options)
        assert code == 1
        assert leader in [lost["name"] for lost in seen["lost"]]
        wait_until(lambda: status(*options)[2]["lease"], "the standby takes over")
        # The new leader counts a node's silence from its own beginning.
        wait_until(lambda: len(status(*options)[2]["nodes"]) == 1, "the dead node is expelled")


def test_a_dead_node_is_silent_before_it_is_expelled(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    options = ["--redis-url", valkey_url, "--namespace", namespace]
    # It would be expelled after 5 s; here it is not, so that a slow machine does not miss it.
    with running(valkey_url, namespace, tmp_path / "log", node_silence_s=60) as deployment:
        deployment.of("fanout")[0].send_signal(signal.SIGKILL)
        wait_until(lambda: "node_silent" in status(*options)[1], "the node is silent")
        assert status(*options)[0] == 1


def test_a_redis_without_an_append_only_file_is_said_until_it_has_one(
    program: Program, namespace: str, tmp_path: Path
) -> None:
    port = free_port()
    options = ["--redis-url", f"redis://127.0.0.1:{port}/0", "--namespace", namespace]
    with (
        server_of(program, port, "--dir", str(tmp_path)),
        running(options[1], namespace, tmp_path / "log", durable=True) as deployment,
    ):
        wait_until(lambda: status(*options)[:2] == (1, ["not_durable"]), "that is all that is wrong")
        shown = parade("status", *options).stdout
        advice = shown.partition("→ run: redis-cli ")[2].partition(",")[0]
        deployment.redis.execute_command(*advice.split())
        wait_until(lambda: status(*options)[:2] == (0, []), "all is well")


def test_a_service_that_stops_in_order_is_not_missed(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    options = ["--redis-url", valkey_url, "--namespace", namespace]
    with running(valkey_url, namespace, tmp_path / "log") as deployment:
        for service in ("sequencer", "fanout", "listener"):
            deployment.start(service)
        wait_until(lambda: deployment.redis.hlen(deployment.keys.services) == 7, "all report")
        for service in ("sequencer", "fanout", "listener"):
            leaving = deployment.of(service)[0]
            leaving.send_signal(signal.SIGTERM)
            assert leaving.wait(10) == 0
        assert deployment.redis.hlen(deployment.keys.services) == 4
        wait_until(lambda: deployment.sequencer() is not None, "the standby sequences")
        assert status(*options)[:2] == (0, [])


# Gaps


def test_a_gap_is_seen_and_skipped_and_what_comes_late_is_counted(up: Up, store: Any) -> None:
    with client_of(up, store, "50") as client:
        send(up, "1|B", "4|B", "5|P|60|50", "9|B")
        assert received(client, 4) == b"1|B\n"
        wait_until(lambda: status()[1] == ["gap"], "the gap is old enough to be said")
        seen = status()[2]
        assert (seen["gap"]["first"], seen["gap"]["last"], seen["gap"]["waiting"]) == (2, 3, 3)
        assert "parade skip" in parade("status").stdout

        first = parade("skip")
        assert first.returncode == 0, first.stderr
        assert "gave up 2 numbers: 2 to 3; 2 events were released, and the next number is 6" in first.stdout
        assert "1 events wait for number 6 now" in first.stdout
        assert received(client, 14) == b"4|B\n5|P|60|50\n"

        second = parade("skip", "--to", "9", "--json")
        assert json.loads(second.stdout) == {
            "ranges": ["6-8"], "numbers": 3, "next": 10, "released": 1, "waiting": 0,
        }  # fmt: skip
        assert received(client, 4) == b"9|B\n"

        send(up, "3|B", "7|B", "10|B")
        assert received(client, 5) == b"10|B\n"
    code, _, seen = status()
    assert code == 0
    assert (seen["totals"]["late"], seen["totals"]["skipped"]) == (2, 5)
    assert [each["line"] for each in reversed(seen["rejected"])] == ["2-3", "6-8"]


def test_skip_when_nothing_is_missing(up: Up, store: Any) -> None:
    send(up, "1|B")
    wait_until(lambda: next_is(store, 2), "it is released")
    for options, message in (
        ([], "nothing is missing: no event waits, and the next number is 2"),
        (["--to", "2"], "nothing below 2 is missing: the next number is 2"),
        (["--to", str(2**53)], "the largest sequence number is"),
    ):
        done = parade("skip", *options)
        assert done.returncode == 1
        assert message in done.stderr
    assert store.hget(NEXT, "next") == "2"


def test_skip_when_no_process_sequences(server_url: str, namespace: str) -> None:
    done = parade("skip", "--redis-url", server_url, "--namespace", namespace)
    assert done.returncode == 1
    assert "no process sequences" in done.stderr
    with redis.Redis.from_url(server_url) as client:
        assert not client.keys(f"{{{namespace}}}*"), "nothing is asked without a sequencer"


def test_skip_gives_up_waiting_for_a_sequencer_that_hangs(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    options = ["--redis-url", valkey_url, "--namespace", namespace]
    with running(valkey_url, namespace, tmp_path / "log", lease_s=60, node_silence_s=60) as deployment:
        (sequencer,) = deployment.of("sequencer")
        sequencer.send_signal(signal.SIGSTOP)
        try:
            done = parade("skip", "--to", "5", *options)
        finally:
            sequencer.send_signal(signal.SIGCONT)
        assert done.returncode == 1
        assert "has not done it within 15 s and stands at 1" in done.stderr
        wait_until(lambda: deployment.state("next") == 5, "it is done in its turn")


def test_a_simulation_that_leaves_a_number_out(store: Any) -> None:
    options = ["--events", "5000", "--clients", "10", "--leave-out", "2500", "--json"]
    with started("simulate", *options) as work:
        wait_until(lambda: next_is(store, 2500) and store.zcard(WAITING) > 2000, "all wait for that number")
        assert work.poll() is None
        done = parade("skip")
        assert "gave up 1 number: 2500;" in done.stdout
        output, notes = work.communicate(timeout=60)
    assert work.returncode == 0, output
    assert json.loads(output)["events"] == 4999
    assert "number 2500 is left out" in notes


@pytest.mark.usefixtures("up")
def test_a_simulation_that_waits_in_vain() -> None:
    done = parade("simulate", "--events", "5000", "--clients", "5", "--leave-out", "2500", "--timeout", "2000")
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "parade skip" in done.stdout


def test_numbers_that_can_not_be_left_out(store: Any) -> None:
    refused = parade("simulate", "--events", "1000", "--clients", "1", "--leave-out", "1")
    assert refused.returncode == 1
    assert re.search(r"--leave-out 1: this run sends numbers \d+ to \d+\n", refused.stderr)
    wait_until(lambda: store.xlen("{parade}:events") == 0, "all is consumed")
    number = int(store.hget(NEXT, "next")) + 100
    refused = parade("simulate", "--events", "1200000", "--clients", "1", "--leave-out", str(number))
    assert refused.returncode == 1
    assert "only 1,000,000 may (PARADE_REACH)" in refused.stderr


# tap, graph, rejected


def test_tap_shows_what_a_user_receives(up: Up, store: Any) -> None:
    with (
        client_of(up, store, "50") as client,
        started("tap", "50", "51", "--json") as tap,
    ):
        assert tap.stdout is not None
        assert tap.stderr is not None
        assert tap.stderr.readline() == "not connected, so only broadcasts are published for now: 51\n"
        channels = ["{parade}:user:50", "{parade}:user:51"]
        wait_until(lambda: dict(store.pubsub_numsub(*channels))[channels[1]] == 1, "the tap listens")
        online = {key: store.smembers(key) for key in store.keys("{parade}:online:*")}
        send(up, "5|B", "3|P|60|50", "1|F|60|50", "4|P|50|51", "2|B")
        told = received(client, 26).decode()
        assert told == "1|F|60|50\n2|B\n3|P|60|50\n5|B\n"
        shown = [json.loads(tap.stdout.readline()) for _ in range(4)]
        assert "".join(f"{each['line']}\n" for each in shown) == told
        assert [each["user"] for each in shown] == ["50", "*", "50", "*"]
        assert {key: store.smembers(key) for key in store.keys("{parade}:online:*")} == online
        tap.send_signal(signal.SIGINT)
        assert tap.wait(10) == 130
        assert tap.stdout.read() + tap.stderr.read() == ""


def test_tap_of_all(up: Up, store: Any) -> None:
    with (
        client_of(up, store, "50"),
        client_of(up, store, "51"),
        started("tap", "--all") as tap,
    ):
        assert tap.stdout is not None
        wait_until(lambda: store.pubsub_numpat() == 1, "the tap listens")
        send(up, "1|B", "2|P|60|50", "3|P|7|51", "4|P|7|52")
        shown = [tap.stdout.readline().split() for _ in range(3)]
        tap.terminate()
    assert shown == [
        ["1", "for", "everyone", "broadcast", "1|B"],
        ["2", "for", "50", "private", "message", "of", "60", "2|P|60|50"],
        ["3", "for", "51", "private", "message", "of", "7", "3|P|7|51"],
    ]


def test_a_tap_that_is_cut_off_says_so(up: Up, store: Any) -> None:
    with (
        client_of(up, store, "50") as client,
        started("tap", "--all") as tap,
    ):
        wait_until(lambda: store.pubsub_numpat() == 1, "the tap listens")
        (mine,) = (each["id"] for each in store.client_list() if each["psub"] == "1")
        store.client_kill_filter(_id=mine)
        assert tap.wait(10) == 1
        assert tap.stderr is not None
        assert re.fullmatch(r"parade: Redis ended the tap: it could not keep up .*\n", tap.stderr.read())
        send(up, "1|B")
        assert received(client, 4) == b"1|B\n"


@pytest.mark.parametrize("arguments", [(), ("50", "--all"), ("050",)])
def test_tap_without_users(arguments: tuple[str, ...], valkey_url: str) -> None:
    done = parade("tap", *arguments, "--redis-url", valkey_url)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1


def test_graph(up: Up, store: Any) -> None:
    send(up, *(f"{number}|F|{100 + number}|50" for number in range(1, 301)), "301|F|50|7", "302|F|50|8")
    wait_until(lambda: next_is(store, 303), "all are released")
    found = json.loads(parade("graph", "50", "--json", "--limit", "1000").stdout)
    assert found["followers"]["count"] == 300
    assert sorted(map(int, found["followers"]["users"])) == list(range(101, 401))
    assert sorted(found["following"]["users"]) == ["7", "8"]
    text = parade("graph", "50", "--limit", "3").stdout
    assert re.search(r"^followers  300: \d+ \d+ \d+ … and 297 more$", text, re.MULTILINE)
    assert re.search(r"^following  2: [78] [78]$", text, re.MULTILINE)
    assert "not connected" in text
    unknown = parade("graph", "999")
    assert unknown.returncode == 0
    assert "followers  0\n" in unknown.stdout
    assert parade("graph", "0").returncode == 1


def test_rejected(up: Up, store: Any, tmp_path: Path) -> None:
    assert parade("rejected").stdout == "nothing has been refused\n"
    assert parade("rejected", "--json").stdout == ""
    send(up, "[bold]no", "1|X", "2|B", "")
    wait_until(lambda: store.xlen("{parade}:rejected") == 3, "they are recorded")
    text = parade("rejected")
    assert [line.split("  ")[-1] for line in text.stdout.splitlines()] == ["[bold]no", "1|X", ""]
    assert "not an event" in text.stdout
    lines = [json.loads(line) for line in parade("rejected", "--json", "--count", "2").stdout.splitlines()]
    assert [each["line"] for each in lines] == ["1|X", ""]
    file = tmp_path / "rejected.jsonl"
    assert parade("rejected", "--export", str(file)).stdout == f"entries written to {file}: 3\n"
    assert [json.loads(line)["line"] for line in file.read_text().splitlines()] == ["[bold]no", "1|X", ""]
    assert list(tmp_path.glob("rejected.jsonl?*")) == []
    nowhere = parade("rejected", "--export", str(tmp_path / "no" / "file"))
    assert nowhere.returncode == 1
    assert "can't write" in nowhere.stderr


def test_rejected_follows(up: Up, store: Any) -> None:
    send(up, "first")
    wait_until(lambda: store.xlen("{parade}:rejected") == 1, "it is recorded")
    with started("rejected", "--follow", "--json") as follow:
        assert follow.stdout is not None
        assert json.loads(follow.stdout.readline())["line"] == "first"
        send(up, "second")
        assert json.loads(follow.stdout.readline())["line"] == "second"
        follow.send_signal(signal.SIGINT)
        assert follow.wait(10) == 130
