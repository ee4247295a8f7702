"""`parade simulate` and `parade tap` without access to Redis, and with clients over HTTP, on a real system."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from itertools import count

import pytest

from tests.support.servers import free_port, free_ports_in_a_row
from tests.support.up import Up, parade, parade_up, started

pytestmark = pytest.mark.slow

LOAD = ("--events", "3000", "--clients", "10", "--payload", "0:60", "--full")


@pytest.fixture(scope="module")
def web_port() -> int:
    return free_ports_in_a_row(2) + 1


@pytest.fixture(scope="module")
def up(web_port: int) -> Iterator[Up]:
    with parade_up("--web-port", str(web_port)) as running:
        yield running


@pytest.fixture
def nowhere() -> dict[str, str]:
    """No Redis can be asked."""
    return {"PARADE_REDIS_URL": f"redis://127.0.0.1:{free_port()}"}


@pytest.mark.parametrize("transport", ["ws", "sse"])
@pytest.mark.parametrize("options", [(), ("--resume",)])
def test_clients_over_http(up: Up, transport: str, options: tuple[str, ...]) -> None:
    done = parade("simulate", "--event-port", str(up.event_port), "--transport", transport, *LOAD, *options)
    assert done.stdout.startswith("passed"), done.stdout + done.stderr


@pytest.mark.parametrize("scheme", ["", "ws://", "http://"])
def test_a_deployment_elsewhere(up: Up, web_port: int, scheme: str, nowhere: dict[str, str]) -> None:
    places = ["--events-at", f"127.0.0.1:{up.event_port}"]
    places += ["--clients-at", f"{scheme}127.0.0.1:{web_port if scheme else up.client_port}"]
    for _ in range(2):  # the second one goes on where the first has ended
        done = parade("simulate", *places, *LOAD, **nowhere)
        assert done.stdout.startswith("passed"), done.stdout + done.stderr


def test_a_deployment_elsewhere_that_numbers_the_events(nowhere: dict[str, str]) -> None:
    port = free_ports_in_a_row(2) + 1
    with parade_up("--web-port", str(port), PARADE_NUMBERING="parade") as up:
        places = ["--events-at", f"127.0.0.1:{up.event_port}", "--clients-at", f"http://127.0.0.1:{port}"]
        done = parade("simulate", *places, *LOAD, "--producers", "3", **nowhere)
        assert done.stdout.startswith("passed"), done.stdout + done.stderr


def test_without_redis_the_event_port_says_the_next_number(up: Up, nowhere: dict[str, str]) -> None:
    parade("simulate", *up.port_options, *LOAD)
    done = parade("simulate", *up.port_options, *LOAD, **nowhere)
    assert done.stdout.startswith("passed"), done.stdout + done.stderr
    assert "asking the event port for the next number" in done.stderr


def test_options_that_contradict_each_other() -> None:
    for options, said in [
        (["--transport", "quic"], "--transport quic: give tcp, ws, sse"),
        (["--transport", "ws"], "--transport ws needs the port for HTTP: start the system with `parade up --web-port"),
        (["--transport", "ws", "--clients-at", "http://a"], "--clients-at http://a is for --transport sse, not ws"),
        (["--clients-at", "wss://a"], "--clients-at wss://a: this command speaks no TLS"),
        (["--events-at", "ws://a"], "--events-at ws://a: give an address such as parade://host:9090"),
    ]:
        done = parade("simulate", "--redis-url", "redis://127.0.0.1:1", "--first", "1", *options)
        assert (done.returncode, done.stdout) == (1, "")
        assert done.stderr.startswith(f"parade: {said}"), done.stderr
    for options, said in [
        (["--at", "a", "--all"], "--at is for the users that you name"),
        (["--at", "a"], "name the users to be a client of"),
        (["--at", "a", "050"], "'050' is not a user id"),
    ]:
        done = parade("tap", *options)
        assert done.stderr.startswith(f"parade: {said}"), done.stderr


@pytest.mark.parametrize("scheme", ["parade", "ws", "http"])
def test_a_tap_is_a_client_that_comes_back(up: Up, web_port: int, scheme: str) -> None:
    at = f"{scheme}://127.0.0.1:{up.client_port if scheme == 'parade' else web_port}"
    parade("simulate", *up.port_options, *LOAD)
    with (
        socket.create_connection(("127.0.0.1", up.event_port)) as source,
        source.makefile("rb") as answers,
        started("tap", "50", "--at", at, "--json") as tap,
    ):
        assert tap.stdout is not None
        assert tap.stderr is not None
        source.sendall(b"HELLO acks=1\n")
        numbers = count(int(answers.readline().split()[1].partition(b"@")[2]))
        assert tap.stderr.readline().startswith("user 50: OK ")
        for again in range(2):
            sent = [f"{next(numbers)}|P|60|50|hi", f"{next(numbers)}|B|\x1b[2J"]
            source.sendall("".join(f"{line}\n" for line in sent).encode())
            shown = [json.loads(tap.stdout.readline()) for _ in sent]
            assert [each["line"] for each in shown] == [sent[0], sent[1].replace("\x1b", "\\x1b")]
            assert [(each["user"], each["kind"]) for each in shown] == [("50", "P"), ("50", "B")]
            if not again:
                for pid, command in up.children().items():
                    if "fanout" in command:
                        os.kill(pid, signal.SIGKILL)
                assert tap.stderr.readline() == "user 50: the connection has ended; coming back\n"
                assert tap.stderr.readline().startswith("user 50: RESUMED ")
        tap.send_signal(signal.SIGINT)
        assert tap.wait(30) == 130
        assert tap.stdout.read() + tap.stderr.read() == ""
