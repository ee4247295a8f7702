"""The `parade` command as a user meets it: real processes, exit statuses, what it prints."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from functools import partial
from importlib import metadata
from pathlib import Path

import pytest
import redis

from tests.support.deployment import PATIENCE_S, ROOT, wait_until
from tests.support.servers import free_port, free_ports_in_a_row, wait_for_port
from tests.support.up import PARADE, Up, parade, parade_up, started

pytestmark = pytest.mark.slow


@pytest.fixture
def up() -> Iterator[Up]:
    with parade_up() as running:
        yield running


def test_demo() -> None:
    done = parade("demo", "--events", "50000", "--clients", "20")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("passed")
    assert "Traceback" not in done.stderr


def test_an_interrupted_demo_ends_quickly() -> None:
    with subprocess.Popen([PARADE, "demo"], stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        while not demo.stderr.readline().startswith("ready"):
            pass
        time.sleep(1)
        began = time.monotonic()
        demo.send_signal(signal.SIGINT)
        assert demo.wait(10) == 130
        assert time.monotonic() - began < 5
        assert "Traceback" not in demo.stderr.read()


def test_up_runs_its_own_services_and_not_those_of_the_directory(tmp_path: Path) -> None:
    for package in ("contract", "listener", "sequencer", "fanout", "console"):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("raise SystemExit('another program has this package')")
    with parade_up(directory=tmp_path) as up:
        assert parade("simulate", *up.port_options, "--events", "2000", "--clients", "5").returncode == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_up_stops_quickly_and_leaves_nothing(number: signal.Signals) -> None:
    with parade_up("--fanouts", "3", "--listeners", "2") as up:
        children = up.children()
        assert sorted(_service(args) for args in children.values() if _service(args)) == [
            "fanout", "fanout", "fanout", "listener", "listener", "sequencer",
        ]  # fmt: skip
        with socket.create_connection(("127.0.0.1", up.client_port)) as client:
            client.sendall(b"1\n")
            began = time.monotonic()
            up.process.send_signal(number)
            assert up.process.wait(10) == 0
            assert time.monotonic() - began < 5
        assert not any(_alive(pid) for pid in children)


def test_the_health_ports_of_an_up_count_up_and_are_printed() -> None:
    first = free_ports_in_a_row(5)
    with parade_up("--fanouts", "2", "--listeners", "2", PARADE_HEALTH_PORT=str(first)) as up:
        services = ["sequencer", "fanout", "fanout", "listener", "listener"]
        ports = dict(enumerate(services, first))
        printed = ", ".join(f"{port} ({service})" for port, service in ports.items())
        assert f"; health on 127.0.0.1:{printed}; look inside" in up.first_line
        for port, service in ports.items():
            wait_until(partial(_is_ready, port), f"the {service} is ready")
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
                assert f"parade_{service}_".encode() in answer.read()


def test_web_ports_that_the_nodes_share_and_the_listeners() -> None:
    port = free_ports_in_a_row(2) + 1
    with parade_up("--listeners", "2", PARADE_WEB_PORT=str(port)) as up:
        on = "127.0.0.1"
        printed = f"; WebSocket and server-sent events on {on}:{port}; events over HTTP on {on}:{port - 1}; look inside"
        assert printed in up.first_line
        with urllib.request.urlopen(f"http://{on}:{port}/events?user=50", timeout=30) as feed:
            assert any(line.startswith(b"id: ") for line in feed), "the user is online from this line on"
            with urllib.request.urlopen(f"http://{on}:{port - 1}/events", data=b"1|B\n", timeout=30) as answer:
                assert json.load(answer)["accepted"] == 1
            assert any(line == b"data: 1|B\n" for line in feed)
        others = {name: str(free_port()) for name in ("--event-port", "--client-port", "--redis-port")}
        words = [word for pair in others.items() for word in pair]
        _fails_with(f"port {port} on 127.0.0.1 is in use", "up", *words, PARADE_WEB_PORT=str(port))


def test_nothing_outlives_an_up_that_is_killed() -> None:
    with parade_up(check=False) as up:
        children = up.children()
        assert len(children) >= 5
        up.process.kill()
        up.process.wait()
        wait_until(lambda: not any(_alive(pid) for pid in children), "all children are gone", 10)


def test_children_that_die_are_started_again(up: Up) -> None:
    before = parade("simulate", *up.port_options, "--events", "2000", "--clients", "5", "--full")
    assert before.returncode == 0, before.stderr
    for service in ("listener", "sequencer", "fanout"):
        old = {pid for pid, args in up.children().items() if _service(args) == service}
        os.kill(min(old), signal.SIGKILL)
        assert up.process.stdout is not None
        assert up.process.stdout.readline() == f"the {service} died with signal 9; starting it again\n"
        wait_until(partial(_are_running, up, service, len(old)), f"a new {service}")
    wait_for_port(up.event_port, PATIENCE_S)
    after = parade("simulate", *up.port_options, "--events", "2000", "--clients", "5", "--full")
    assert after.returncode == 0, after.stderr


def test_an_embedded_server_that_dies_is_started_again_empty(up: Up) -> None:
    assert parade("simulate", *up.port_options, "--events", "2000", "--clients", "5").returncode == 0
    (server,) = (pid for pid, args in up.children().items() if "valkey-server" in args)
    os.kill(server, signal.SIGKILL)
    assert up.process.stdout is not None
    assert up.process.stdout.readline() == (
        "the embedded Redis server died with signal 9; starting it again (empty: without --data-dir nothing is kept)\n"
    )
    with redis.Redis(port=up.redis_port) as store:
        wait_until(lambda: _nodes(store) == 2, "the nodes are back")
    done = parade("simulate", *up.port_options, "--events", "2000", "--clients", "5", "--full")
    assert done.returncode == 0, done.stderr


def _nodes(store: "redis.Redis") -> int:
    try:
        return int(store.hlen("{parade}:nodes"))
    except redis.ConnectionError:
        return 0


def test_simulations_continue_where_the_last_one_ended(up: Up) -> None:
    figures = []
    for seed in (1, 2):
        options = ["--events", "20000", "--clients", "20", "--seed", str(seed), "--json"]
        done = parade("simulate", *up.port_options, *options)
        assert done.returncode == 0, done.stdout + done.stderr
        figures.append(json.loads(done.stdout))
    assert [report["passed"] for report in figures] == [True, True]
    assert min(report["expected_notifications"] for report in figures) > 20_000


def test_a_million_events_in_one_go_make_no_part_grow(up: Up) -> None:
    done = parade("simulate", *up.port_options, "--events", "1000000")
    assert done.returncode == 0, done.stdout + done.stderr
    sizes = up.resident_mib()
    assert len(sizes) >= 5
    assert max(sizes.values()) < 100, sizes


def test_the_original_programs_environment(up: Up) -> None:
    done = parade(
        "simulate", "--json",
        totalEvents="3000", concurrencyLevel="7", numberOfUsers="30", randomSeed="5", timeout="9000",
        maxEventSourceBatchSize="50", logInterval="1000",
        eventListenerPort=str(up.event_port), clientListenerPort=str(up.client_port),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert {name: report[name] for name in ("events", "clients", "users", "seed")} == {
        "events": 3000, "clients": 7, "users": 30, "seed": 5,
    }  # fmt: skip
    assert "of 3,000 events" in done.stderr


def test_latency_is_measured_at_a_rate(up: Up) -> None:
    options = ["--events", "3000", "--rate", "3000", "--max-batch", "10", "--clients", "5", "--json"]
    done = parade("simulate", *up.port_options, *options)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert 0 < report["latency_ms"]["p50"] <= report["latency_ms"]["p99"] <= report["latency_ms"]["max"]
    assert report["seconds"] > 0.8


def test_a_difference_is_found_and_shown(up: Up) -> None:
    """An event that the oracle does not know about: the simulator must say so, and fail."""
    store = redis.Redis(port=up.redis_port)
    with subprocess.Popen(
        [PARADE, "simulate", *up.port_options, "--events", "3000", "--rate", "1000", "--clients", "3", "--full"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as simulation:
        wait_until(lambda: int(store.hget("{parade}:state", "released") or 0) > 500, "events flow")
        store.xadd("{parade}:events", {"raw": b"2500|P|9|1\n"})
        output = simulation.communicate(timeout=60)[0]
        assert simulation.returncode == 1
    store.close()
    assert "FAILED" in output
    assert "user 1: received" in output
    assert "2500|P|9|1" in output


@pytest.mark.parametrize("options", [(), ("--rate", "1000"), ("--json",)])
def test_swapped_ports_are_named(up: Up, options: tuple[str, ...]) -> None:
    ports = ["--event-port", str(up.client_port), "--client-port", str(up.event_port), "--clients", "5"]
    redis_options = ["--redis-url", f"redis://127.0.0.1:{up.redis_port}"]
    done = parade("simulate", *ports, *redis_options, *options)
    assert (done.returncode, done.stdout) == (1, "")
    said = rf"parade: the event port, 127\.0\.0\.1:{up.client_port}, closed the connection after \d+ broadcasts, "
    advice = "before all clients were served: are the ports swapped? See --event-port and --client-port\n"
    assert re.fullmatch(said + re.escape(advice), done.stderr), done.stderr


def test_a_system_that_is_stopped_in_the_middle_of_a_simulation() -> None:
    with parade_up() as up, redis.Redis(port=up.redis_port) as store:
        options = [
            "--events",
            "200000",
            "--rate",
            "2000",
            "--clients",
            "5",
            "--redis-url",
            f"redis://127.0.0.1:{up.redis_port}",
        ]
        with started("simulate", *up.port_options, *options) as simulation:
            wait_until(lambda: int(store.hget("{parade}:state", "released") or 0) > 500, "events flow")
            up.process.terminate()
            output, errors = simulation.communicate(timeout=30)
            assert up.process.wait(10) == 0
    assert (simulation.returncode, output) == (1, "")
    said = rf"parade: the event port, 127\.0\.0\.1:{up.event_port}, closed the connection after ([\d,]+) of 200,000 "
    found = re.fullmatch(said + r"events: was the system stopped\? See `parade status`\n", errors)
    assert found is not None, errors
    assert 500 < int(found[1].replace(",", "")) < 200_000


def test_reset(up: Up, valkey_url: str, namespace: str) -> None:
    refused = parade("reset", "--yes", "--redis-url", f"redis://127.0.0.1:{up.redis_port}")
    assert refused.returncode == 1
    assert "is sequencing; stop the system first" in refused.stderr
    with redis.Redis.from_url(valkey_url) as store:
        store.set(f"{{{namespace}}}:state", 1)
        store.set(f"{{{namespace}x}}:state", 1)
        options = ["--redis-url", valkey_url, "--namespace", namespace]
        unsure = subprocess.run([PARADE, "reset", *options], input="n\n", capture_output=True, text=True, check=False)
        assert unsure.returncode == 1
        assert store.exists(f"{{{namespace}}}:state")
        assert parade("reset", "--yes", *options).stdout == "1 keys deleted\n"
        assert not store.exists(f"{{{namespace}}}:state")
        assert store.exists(f"{{{namespace}x}}:state")


def test_up_on_a_server_that_is_there_already(server_url: str, namespace: str) -> None:
    with parade_up("--namespace", namespace, redis_url=server_url) as up:
        options = ["--redis-url", server_url, "--namespace", namespace, "--events", "20000", "--clients", "10"]
        assert parade("simulate", *up.port_options, *options).returncode == 0
    with redis.Redis.from_url(server_url) as store:
        assert not store.exists(f"{{{namespace}}}:lease")


def test_data_that_is_kept(tmp_path: Path) -> None:
    for events in ("1000", "2000"):
        with parade_up("--data-dir", str(tmp_path)) as up:
            done = parade("simulate", *up.port_options, "--events", events, "--clients", "5")
            assert done.returncode == 0, done.stderr
            store = redis.Redis(port=up.redis_port)
            released = int(store.hget("{parade}:state", "released") or 0)
            store.close()
    assert released > 3000


# One clear line, a status that is not 0, and nothing left running.


def _fails_with(message: str, *arguments: str, **environment: str) -> None:
    done = parade(*arguments, **environment)
    assert done.returncode != 0
    assert done.stdout == ""
    lines = done.stderr.strip().splitlines()
    assert len(lines) == 1, done.stderr
    assert message in lines[0]


@pytest.mark.parametrize("option", ["--event-port", "--client-port", "--redis-port"])
def test_a_port_in_use(option: str) -> None:
    ports = {name: str(free_port()) for name in ("--event-port", "--client-port", "--redis-port")}
    with socket.create_server(("127.0.0.1", int(ports[option]))):
        _fails_with(
            f"(process {os.getpid()}); choose another one", "up", *[word for pair in ports.items() for word in pair]
        )


@pytest.mark.parametrize(
    ("one", "other"),
    [("--event-port", "--client-port"), ("--client-port", "--redis-port"), ("--event-port", "--redis-port")],
)
def test_a_port_that_is_given_twice(one: str, other: str) -> None:
    ports = {name: str(free_port()) for name in ("--event-port", "--client-port", "--redis-port")}
    ports[other] = ports[one]
    said = f"are both {ports[one]}: each needs a port of its own"
    _fails_with(said, "up", *[word for pair in ports.items() for word in pair])


def test_a_health_port_that_is_in_use_or_given_twice_or_too_high() -> None:
    first, other = free_ports_in_a_row(4), str(free_port())
    ports = ["--client-port", other, "--redis-port", str(free_port())]
    with socket.create_server(("127.0.0.1", first + 3)):
        said = f"port {first + 3} on 127.0.0.1 is in use"
        _fails_with(said, "up", "--event-port", str(free_port()), *ports, PARADE_HEALTH_PORT=str(first))
    said = f"PARADE_EVENT_PORT and the health port of a fanout are both {first + 1}"
    _fails_with(said, "up", "--event-port", str(first + 1), *ports, PARADE_HEALTH_PORT=str(first))
    said = "the health port of a listener would be 65536"
    _fails_with(said, "up", "--event-port", str(first + 1), *ports, PARADE_HEALTH_PORT="65533")


@pytest.mark.parametrize("folder", ["file", "file/below", "/proc/parade", "/proc/self"])
def test_a_data_folder_that_can_not_be_used(folder: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    ports = {name: str(free_port()) for name in ("--event-port", "--client-port", "--redis-port")}
    where = str(tmp_path / folder)
    said = f"can't keep data in {where}: "
    _fails_with(said, "up", "--data-dir", where, *[word for pair in ports.items() for word in pair])


def test_a_redis_that_is_not_there() -> None:
    url = f"redis://127.0.0.1:{free_port()}"
    _fails_with(f"Redis at {url}", "up", "--redis-url", url, "--event-port", "0", "--client-port", "0")


def test_a_redis_that_is_too_old() -> None:
    with subprocess.Popen([sys.executable, "-c", OLD_REDIS], stdout=subprocess.PIPE, text=True, cwd=ROOT) as old:
        assert old.stdout is not None
        url = f"redis://127.0.0.1:{old.stdout.readline().strip()}"
        try:
            options = ["--event-port", str(free_port()), "--client-port", str(free_port())]
            _fails_with("is version 5.0.14; Parade needs 6.2 or newer", "up", "--redis-url", url, *options)
        finally:
            old.kill()


OLD_REDIS = """
import socket
server = socket.create_server(("127.0.0.1", 0))
print(server.getsockname()[1], flush=True)
info = b"# Server\\r\\nredis_version:5.0.14\\r\\n"
while True:
    connection, _ = server.accept()
    while data := connection.recv(4096):
        for command in data.split(b"*")[1:]:
            if b"INFO" in command and b"CLIENT" not in command:
                connection.sendall(b"$%d\\r\\n%b\\r\\n" % (len(info), info))
            elif b"HELLO" in command:
                connection.sendall(b"-ERR unknown command `HELLO`\\r\\n")
            else:
                connection.sendall(b"+OK\\r\\n")
"""


def test_a_setting_that_makes_no_sense() -> None:
    _fails_with("PARADE_LEASE_S='soon'", "up", PARADE_LEASE_S="soon")


def test_no_system_to_simulate_against() -> None:
    options = ["--redis-url", f"redis://127.0.0.1:{free_port()}", "--first", "1"]
    _fails_with("is the system running", "simulate", "--client-port", str(free_port()), *options)


def test_a_mix_that_makes_no_sense() -> None:
    _fails_with("give five weights", "simulate", "--mix", "1,2", "--redis-url", "redis://127.0.0.1:1", "--first", "1")


SERVICES = ["listener", "sequencer", "fanout"]


@pytest.mark.parametrize("service", SERVICES)
@pytest.mark.parametrize("how", ["parade", "python -m"])
def test_services_explain_their_options(service: str, how: str) -> None:
    command = [PARADE, service] if how == "parade" else [sys.executable, "-m", service]
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0
    assert done.stdout.startswith(f"usage: {how} {service} ")
    assert f"The {service} of Parade" in done.stdout
    assert "--client-port" in done.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_as_a_command_serves_until_it_is_told_to_stop(
    service: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    (tmp_path / f"{service}.py").write_text("raise SystemExit('a file of the working directory')")
    health = free_port()
    options = ["--redis-url", valkey_url, "--namespace", namespace, "--health-port", str(health)]
    ports = ["--event-port", "0", "--client-port", "0"]
    with subprocess.Popen([PARADE, service, *options, *ports], cwd=tmp_path, stderr=subprocess.PIPE) as process:
        try:
            wait_until(lambda: _is_ready(health) or process.poll() is not None, f"the {service} is ready")
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=15)
        finally:
            process.kill()
    assert process.returncode == 0, errors
    assert b'"event": "stopped"' in errors
    assert b'"level": "error"' not in errors


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_as_a_command_stops_when_standard_input_ends(service: str, valkey_url: str, namespace: str) -> None:
    options = ["--redis-url", valkey_url, "--namespace", namespace, "--stop-on-stdin-end"]
    command = [PARADE, service, *options, "--event-port", "0", "--client-port", "0"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=20, check=False)
    assert done.returncode == 0, done.stderr
    assert b'"event": "stopped"' in done.stderr


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_as_a_command_ends_with_one_line_for_a_wrong_setting(service: str) -> None:
    done = parade(service, PARADE_LEASE_S="soon")
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"{service}: PARADE_LEASE_S='soon': ")


def test_the_version() -> None:
    done = parade("--version")
    assert (done.returncode, done.stdout) == (0, f"parade {metadata.version('parade-fanout')}\n")


def test_help_lists_every_command_and_every_service() -> None:
    done = parade("--help", COLUMNS="100")
    assert done.returncode == 0
    listed = re.findall(r"^│ ([a-z]+) ", done.stdout, re.MULTILINE)
    looks = ["status", "top", "dashboard", "tap", "rejected", "graph", "skip"]
    assert listed == ["up", "demo", "simulate", "reset", *looks, *SERVICES]


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_that_is_not_the_first_word(service: str) -> None:
    _fails_with(f"the service must be the first word: parade {service}", "--", service)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


@pytest.mark.parametrize("service", ["listener", "fanout"])
def test_a_service_whose_port_is_in_use(service: str, valkey_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        mine = "--event-port" if service == "listener" else "--client-port"
        options = [mine, port, "--redis-url", valkey_url]
        done = subprocess.run(
            [sys.executable, "-m", service, *options], capture_output=True, text=True, cwd=ROOT, timeout=20, check=False
        )
    assert done.returncode == 1
    assert f"port {port} on 127.0.0.1 is in use by " in done.stderr
    assert "Traceback" not in done.stderr


def test_a_listener_of_another_deployment_does_not_share_the_port_of_an_up(
    up: Up, valkey_url: str, namespace: str
) -> None:
    port, redis_options = str(up.event_port), ["--redis-url", valkey_url, "--namespace", namespace]
    done = parade("listener", "--event-port", port, "--log-level", "error", *redis_options)
    assert (done.returncode, done.stdout) == (1, "")
    (holder,) = (pid for pid, args in up.children().items() if _service(args) == "listener")
    assert re.fullmatch(
        rf"listener: port {port} on 127\.0\.0\.1 is in use by \S+ \(process {holder}\); choose another one\n",
        done.stderr,
    )


def _service(args: str) -> str:
    parts = args.split()
    return parts[parts.index("-m") + 1] if "-m" in parts else ""


def _are_running(up: Up, service: str, count: int) -> bool:
    return [_service(args) for args in up.children().values()].count(service) == count


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return (
        "Z"
        not in subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    )
