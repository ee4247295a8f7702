"""Sources with acknowledgements: what is said, when, and to whom; and that one which does not listen costs nobody.

An ACK means that the lines are in Redis, so whatever is killed then, they come.
"""

import signal
import socket
import threading
import time
import urllib.request
from pathlib import Path

import pytest

from tests.support.acknowledged import acked
from tests.support.deployment import Deployment, resident_mib, running, wait_until
from tests.support.peers import LOOPBACK, Honest, connect, peers, source
from tests.support.programs import SYSTEM
from tests.support.proxy import BlackHole, Proxy
from tests.support.sentinel import replicated
from tests.support.servers import free_port, system_server

pytestmark = pytest.mark.slow

FAR_BEHIND = 400_000


def online(system: Deployment) -> None:
    wait_until(lambda: system.online() == {"1"}, "the user is online")


def metric(health_port: int, name: str) -> float:
    with urllib.request.urlopen(f"http://{LOOPBACK}:{health_port}/metrics", timeout=5) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")))


def test_hello_is_answered_and_lines_are_acknowledged(server_url: str, namespace: str, tmp_path: Path) -> None:
    with running(server_url, namespace, tmp_path / "log", fanouts=1) as system:
        with peers(system.client_port, [1]) as (user,), acked(system) as one:
            online(system)
            history = system.redis.hget(system.keys.state, "history")
            assert one.hello == f"OK {history}@1 reach=1000000"
            one.send(b"1|B\n2|B\r\n3|B|payload\n")
            one.wait_for("ACK 3")
            one.wait_for("NEXT 4")
            user.wait_for(b"3|B|payload\n")
            assert user.received == b"1|B\n2|B\r\n3|B|payload\n"
        assert system.rejected() == []


def test_lines_that_come_with_the_hello_and_byte_by_byte(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, proxy_protocol=True) as system:
        data = b"PROXY TCP4 192.0.2.7 198.51.100.1 56324 9090\r\nHELLO acks=1 later=x\r\n%d|B\n"
        for number, cuts in ((1, 1000), (2, 1)):
            with connect(system.event_port) as connection:
                whole = data % number
                for at in range(0, len(whole), cuts):
                    connection.sendall(whole[at : at + cuts])
                lines = connection.makefile("rb")
                assert lines.readline().endswith(b"@%d reach=1000000\n" % number)
                assert lines.readline() == b"ACK 1\n"
                lines.close()
            wait_until(lambda: system.state("next") == number + 1, "it is released")  # noqa: B023


def test_what_is_acknowledged_is_in_redis(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """And what is not may be lost with the listener: the source learns elsewhere where to go on."""
    with (
        Proxy(valkey_url) as proxy,
        running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        port, health = free_port(), free_port()
        doomed = system.start("listener", event_port=port, redis_url=proxy.url, health_port=health)
        wait_until(lambda: system.logged("listening") == 3, "its port is open")
        with acked(system, port=port) as one:
            one.send(b"1|B\n2|B\n")
            one.wait_until_acked(2)
            proxy.impair(BlackHole("listener", ("to_redis",)))
            one.send(b"".join(b"%d|B\n" % number for number in range(3, 20_003)))
            wait_until(lambda: metric(health, "parade_listener_received_lines_total") == 20_002, "it has read them")
            doomed.kill()
            assert max(int(line.split()[1]) for line in one.rest() if line.startswith("ACK")) == 2
        assert system.state("next") == 3
        with acked(system) as again:
            assert again.hello.endswith("@3 reach=1000000")
            again.send(b"3|B\n")
            again.wait_until_acked(1)
        user.wait_for(b"3|B\n")


def test_a_killed_listener_loses_nothing_that_it_has_acknowledged(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    """In full flow, five times: the source forgets what is acknowledged, and sends the rest again at the next one."""
    lines = {number: b"%d|B\n" % number for number in range(1, 60_001)}
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        kept = dict(lines)
        for stretch in range(6):
            with acked(system) as one:
                sent = sorted(kept)
                for at in range(0, len(sent), 500):
                    try:
                        one.send(b"".join(kept[number] for number in sent[at : at + 500]))
                    except OSError:
                        break
                    if stretch < 5 and at == 5000:
                        one.wait_until_acked(1000)
                        for listener in system.of("listener"):
                            listener.kill()
                            listener.wait()
                        system.start("listener")
                if stretch == 5:
                    one.wait_until_acked(len(sent))
                else:
                    one.rest()
                for number in sent[: one.acked]:
                    del kept[number]
            wait_until(lambda: system.logged("listening") == 2 + stretch + (stretch < 5), "a listener is there")  # noqa: B023
        assert kept == {}
        user.wait_for(b"60000|B\n")
        assert user.received == b"".join(lines.values())


@pytest.mark.parametrize("flood", ["events", "rubbish"])
def test_a_source_that_does_not_listen_costs_nobody_anything(
    flood: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    """With events it is told the newest number in the end; with rubbish it is read no more until it listens."""
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, Honest(system) as honest:
        (listener,) = system.of("listener")
        before = resident_mib(listener)
        with acked(system) as deaf:
            done = threading.Event()

            def send() -> None:
                line = b"x" * 200 + b"\n" if flood == "rubbish" else b""
                for _ in range(FAR_BEHIND // 100):
                    deaf.send(line * 100 or honest.reserve(100))
                done.set()

            deaf.socket.settimeout(120)
            sending = threading.Thread(target=send, daemon=True)
            sending.start()
            if flood == "rubbish":
                wait_until(lambda: _stands(system), "it is read no more")
                assert not done.is_set()
                honest.is_served()
            else:
                wait_until(done.is_set, "all is taken")
                honest.is_served()
            assert resident_mib(listener) - before < 32
            deaf.wait_until_acked(FAR_BEHIND)
            sending.join(30)
            naks = [int(line.split()[1]) for line in deaf.told if line.startswith("NAK ")]
            assert naks == (list(range(1, FAR_BEHIND + 1)) if flood == "rubbish" else [])


def _stands(system: Deployment) -> bool:
    """Nothing more has been refused for a while."""
    before = system.state("rejected")
    time.sleep(0.5)
    return 0 < before == system.state("rejected")


def test_refused_lines_are_named_recorded_and_counted(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system:
        with acked(system) as one:
            one.send(b"1|B\nwhat?\n2|B\n" + b"3|B|" + b"x" * 5000 + b"\n3|B\n\n*|B\n4|B\n5|")
            one.wait_for("ACK 8")
            one.wait_for("NEXT 5")
            naks = [line for line in one.told if line.startswith("NAK")]
            assert naks == ["NAK 2 malformed", "NAK 4 too-long", "NAK 6 malformed", "NAK 7 unnumbered"]
        wait_until(lambda: len(system.rejected()) == 5, "they are recorded, and the unfinished one")
        reasons = [reason for reason, _ in system.rejected()]
        unnumbered = "without a number, and the sources number the events here"
        unended = "no line end before the source closed"
        assert reasons == ["not an event", "line too long", "not an event", unnumbered, unended]
        assert (system.state("rejected"), system.state("malformed"), system.state("released")) == (5, 2, 4)


def test_a_missing_number_is_named_and_so_is_what_is_given_up(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, acked(system) as one:
        one.send(b"1|B\n3|B\n7|B\n")
        one.wait_for("GAP 2")
        with acked(system) as late:
            late.wait_for("GAP 2")
        one.send(b"2|B\n")
        one.wait_for("NEXT 4")
        one.wait_for("GAP 4")
        assert "SKIPPED" not in " ".join(one.told)
        system.redis.xadd(system.keys.events, {"skip_to": 7})
        one.wait_for("NEXT 8")
        assert one.told[-2:] == ["SKIPPED 4-6", "NEXT 8"]
        system.redis.xadd(system.keys.events, {"skip_to": 10})
        one.wait_for("NEXT 10")
        assert one.told[-2:] == ["SKIPPED 8-9", "NEXT 10"]


def test_a_listener_that_stops_acknowledges_what_it_has_read(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system, acked(system) as one:
        count = 50_000
        one.send(b"".join(b"%d|B\n" % number for number in range(1, count + 1)))
        one.wait_until_acked(1)
        for listener in system.of("listener"):
            listener.send_signal(signal.SIGTERM)
        told = one.rest()
        assert told[-1] == "BYE stopping"
        assert one.acked == count
        wait_until(lambda: system.state("released") == count, "it is released")


def test_a_source_that_ends_its_sending_side_is_told_all_and_closed(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system:
        with connect(system.event_port) as connection:
            connection.sendall(b"HELLO acks=1\n1|B\nx\n2|B\n")
            connection.shutdown(socket.SHUT_WR)
            told = connection.makefile("rb").read().splitlines()
        assert told[1:3] == [b"NAK 2 malformed", b"ACK 3"]
        with connect(system.event_port) as connection:
            connection.sendall(b"HELLO acks=1")
            connection.shutdown(socket.SHUT_WR)
            assert connection.makefile("rb").read() == b"ERROR a HELLO line needs a line end\n"


@pytest.mark.parametrize(
    ("hello", "answer"),
    [
        (b"HELLO\n1|B\n", b"ERROR HELLO needs acks=1\n"),
        (b"HELLO acks=1 producer=a/b\n", b"ERROR the name of a producer is 1 to 64 of A-Z a-z 0-9 . _ -\n"),
        (b"HELLO acks=1 " + b"x" * 5000, b"ERROR a HELLO line has at most 4096 bytes\n"),
        (b"HELLO acks", b"ERROR no whole HELLO line within 1 s\n"),
    ],
)
def test_a_hello_that_is_none_is_answered_and_closed(
    hello: bytes, answer: bytes, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, registration_s=1) as system:
        with connect(system.event_port) as connection:
            connection.sendall(hello)
            assert connection.makefile("rb").read() == answer
        source(system.event_port, b"1|B\nHELLO acks=1\n2|B\n")
        wait_until(lambda: system.state("released") == 2, "others are served")
        assert system.rejected() == [("not an event", "HELLO acks=1\n")], "it is one on the first line only"


def test_hello_is_answered_when_redis_is_there_and_not_too_late(redis_url: str, namespace: str, tmp_path: Path) -> None:
    assert redis_url  # requires redis-server
    port, event_port = free_port(), free_port()
    with Deployment(f"redis://127.0.0.1:{port}/0", namespace, tmp_path / "log") as system:
        system.start("listener", event_port=event_port, registration_s=1)
        patient = free_port()
        system.start("listener", event_port=patient, registration_s=60)
        wait_until(lambda: system.logged("listening") == 2, "the ports are open")
        with connect(event_port) as connection:
            connection.sendall(b"HELLO acks=1\n1|B\n")
            assert connection.makefile("rb").read() == b"ERROR Redis is away\n"
        with connect(patient) as connection, system_server(port, "--dir", str(tmp_path)):
            connection.sendall(b"HELLO acks=1 producer=a\n1|B\n")
            lines = connection.makefile("rb")
            wait_until(lambda: system.logged("redis_back") == 2, "Redis is there")
            with connect(event_port) as other:
                other.sendall(b"HELLO acks=1\n")
                told = other.makefile("rb").read()
                assert told == b"ERROR this deployment has no history yet: no sequencer has begun it\n"
            system.start("sequencer")
            assert lines.readline().endswith(b"@1 reach=1000000 received=0\n")
            assert lines.readline() == b"ACK 1\n"
            lines.close()
            system.stop_all()


def test_what_is_acknowledged_is_in_the_replicas_that_are_waited_for(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    assert redis_url  # requires redis-server
    settings = {"wait_replicas": 1, "redis_timeout_s": 2}
    with (
        replicated(SYSTEM, tmp_path, replicas=1) as service,
        running(service.url, namespace, tmp_path / "log", fanouts=1, **settings) as system,
        acked(system) as one,
    ):
        one.send(b"1|B\n")
        one.wait_for("NEXT 2")
        service.cut_replicas_off()
        one.send(b"2|B\n")
        wait_until(lambda: system.redis.hget(system.keys.state, "next") == "3", "it is released in the primary alone")
        wait_until(lambda: '"reason": "0 of 1 replicas' in system.log.read_text(), "the listener waits for the replica")
        service.kill_primary()
        service.resume_replicas()
        service.wait_for_fail_over()
        one.send(b"3|B\n")
        assert (one.acked, "NEXT 3" in one.told) == (1, False)
        service_is_alone(system)


def service_is_alone(system: Deployment) -> None:
    """The promoted replica has none behind it, so nothing more is confirmed; let the services stop."""
    for process in system.of("listener") + system.of("sequencer"):
        process.kill()
        process.wait()


def test_a_source_of_an_address_that_is_over_its_limit_is_closed_without_a_word(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, source_connections=1) as system:
        with acked(system), connect(system.event_port) as connection:
            connection.sendall(b"HELLO acks=1\n")
            assert closed_with(connection) == b""
        wait_until(lambda: system.occurred("source_disconnected") >= 1, "there is room again")
        with acked(system) as one:
            assert one.hello.startswith("OK ")


def closed_with(connection: socket.socket) -> bytes:
    try:
        return connection.makefile("rb").read()
    except ConnectionError:
        return b""


def test_figures(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system:
        port, health = free_port(), free_port()
        system.start("listener", event_port=port, health_port=health)
        wait_until(lambda: system.logged("listening") == 3, "its port is open")
        with acked(system, port=port) as one, acked(system, "HELLO acks=1 producer=a", port) as old:
            one.send(b"x\n1|B\n")
            one.wait_until_acked(2)
            with acked(system, "HELLO acks=1 producer=a", port) as new:
                old.send(b"2|B\n")
                assert old.rest()[-1] == "BYE fenced"
                new.send(b"2|B\n")
                new.wait_until_acked(1)
                names = ("acknowledged_sources", "producers", "acks_total", "fenced_total")
                assert [metric(health, f"parade_listener_{name}") for name in names] == [2, 1, 2, 1]
                assert metric(health, 'parade_listener_naks_total{reason="malformed"}') == 1


def test_scripts_that_were_flushed_and_a_take_over_are_no_reason_to_send_again(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    assert redis_url  # requires redis-server
    port = free_port()  # a server of its own, since others use scripts too
    with (
        system_server(port),
        running(f"redis://{LOOPBACK}:{port}/0", namespace, tmp_path / "log", fanouts=1) as system,
        acked(system) as one,
    ):
        system.redis.script_flush()
        with acked(system, "HELLO acks=1 producer=a") as producer:
            assert producer.hello.startswith("OK ")
        (leader,) = system.of("sequencer")
        before = system.sequencer()
        leader.kill()
        leader.wait()
        system.start("sequencer")
        wait_until(lambda: (system.sequencer() or before) != before, "another one leads")
        one.send(b"1|B\n")
        one.wait_for("NEXT 2")
        assert [line for line in one.told if line.startswith("RESET")] == []
