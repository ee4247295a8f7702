"""Sources over WebSocket: what holds for sources over TCP holds for them, also when both are one producer."""

import re
import signal
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import aiohttp
import pytest

from listener.over_websocket import MESSAGE_BYTES
from runtime.edge.admission import WEB_CONNECTIONS
from tests.support.acknowledged import AckedSource, ProducerThread, acked
from tests.support.deployment import PATIENCE_S, Deployment, resident_mib, running, wait_until
from tests.support.peers import LOOPBACK, Audience, Honest, Peer, connect, is_closed, peers
from tests.support.publishing import publisher
from tests.support.servers import free_port, wait_for_port
from tests.support.web_sources import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PONG,
    TEXT,
    WebSource,
    frame,
    handshake,
    web_source,
    websocket,
)

pytestmark = pytest.mark.slow

FAR_BEHIND = 400_000
HALF_OPEN = 600


@contextmanager
def serving(url: str, namespace: str, log: Path, **settings: object) -> Iterator[tuple[Deployment, int]]:
    """A ready deployment whose listener has a web port, which is given too."""
    port = free_port()
    with Deployment(url, namespace, log, **settings) as system:
        for service in ("sequencer", "fanout"):
            system.start(service)
        system.start("listener", web_port=port)
        wait_until(system.sequencer, "a sequencer leads")
        wait_until(lambda: system.redis.hlen(system.keys.nodes) == 1, "the node is known")
        wait_until(lambda: system.logged("listening") == 2, "the ports are open")
        yield system, port
        system.stop_all()


def online(system: Deployment) -> None:
    wait_until(lambda: system.online() == {"1"}, "the user is online")


def counted(health_port: int, name: str) -> float:
    """What the metrics say."""
    with urllib.request.urlopen(f"http://{LOOPBACK}:{health_port}/metrics", timeout=PATIENCE_S) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line.rpartition(" ")[2] for line in lines if line.startswith(f"{name} ")))


def of(name: str, count: int) -> list[bytes]:
    """The lines of a producer; each says which it is."""
    return [b"*|B|%b:%d\n" % (name.encode(), number) for number in range(1, count + 1)]


def assert_each_once(received: bytes, counts: dict[str, int]) -> None:
    """The numbers follow each other, and the lines of each producer are all there, in their order."""
    found = re.findall(rb"(\d+)\|B\|(\w+):(\d+)\n", received)
    assert received == b"".join(b"%b|B|%b:%b\n" % line for line in found)
    assert [int(number) for number, _, _ in found] == list(range(1, len(found) + 1))
    for name, count in counts.items():
        assert [int(place) for _, who, place in found if who == name.encode()] == list(range(1, count + 1)), name
    assert len(found) == sum(counts.values())


# What is said


@pytest.mark.parametrize("opcode", [TEXT, BINARY], ids=["text", "binary"])
def test_messages_hold_whole_lines_and_are_acknowledged(
    opcode: int, server_url: str, namespace: str, tmp_path: Path
) -> None:
    with (
        serving(server_url, namespace, tmp_path / "log", proxy_protocol=True) as (system, port),
        web_source(port) as one,
    ):
        history = system.redis.hget(system.keys.state, "history")
        assert one.hello == f"OK {history}@1 reach=1000000"
        one.peer.send(b"1|B\n2|B\r\n3|B|several", opcode)
        one.wait_until_acked(3)
        one.peer.send(b"", opcode)
        one.peer.send(b"what?\n4|B\n", opcode)
        one.peer.send(b"5|B|half of ", opcode)
        one.peer.send(b"a line\n", opcode)
        one.peer.send(b"6|B|" + b"x" * 5000 + b"\n6|B", opcode)
        one.wait_for("ACK 9")
        one.wait_for("NEXT 7")
        naks = [line for line in one.told if line.startswith("NAK")]
        assert naks == ["NAK 4 malformed", "NAK 7 malformed", "NAK 8 too-long"]
        one.send(b"9|B\n")
        one.wait_for("GAP 7")
        system.redis.xadd(system.keys.events, {"skip_to": 9})
        one.wait_for("SKIPPED 7-8")
        one.wait_for("NEXT 10")


def test_what_is_no_text_comes_in_binary_messages(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        serving(valkey_url, namespace, tmp_path / "log") as (system, port),
        peers(system.client_port, [1]) as (user,),
        web_source(port) as one,
    ):
        online(system)
        one.peer.send(b"1|B|\xff\x00\xfe\n", BINARY)
        one.peer.send("2|B|grüß dich".encode())
        user.wait_for("grüß dich\n".encode())
        assert user.received == b"1|B|\xff\x00\xfe\n" + "2|B|grüß dich\n".encode()


def test_a_message_in_fragments_and_a_ping_between_them(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with serving(valkey_url, namespace, tmp_path / "log") as (system, port), websocket(port) as one:
        one.socket.sendall(frame(b"1|B\n2", fin=False) + frame(b"?", 9) + frame(b"|B", CONTINUATION))
        assert one.frame() == (PONG, b"?")
        wait_until(lambda: system.state("next") == 3, "both lines are taken")


async def test_a_library_speaks_with_it(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with serving(valkey_url, namespace, tmp_path / "log") as (_, port):
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(PATIENCE_S)) as session,
            session.ws_connect(f"http://{LOOPBACK}:{port}/source", compress=15) as one,
        ):
            assert one.compress == 0, "nothing is compressed"
            await one.send_str("HELLO acks=1\n1|B")
            assert (await one.receive_str(timeout=PATIENCE_S)).startswith("OK ")
            told = ""
            while "NEXT 2\n" not in told:
                told += await one.receive_str(timeout=PATIENCE_S)
            assert told == "ACK 1\nNEXT 2\n"
            await one.close()
            assert one.close_code == 1000


def test_a_plain_source_is_told_nothing_and_counts_as_any(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    health = free_port()
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system:
        port = free_port()
        listener = system.start("listener", web_port=port, event_port=free_port(), health_port=health)
        wait_until(lambda: system.logged("publishing") == 1, "the web port is open")
        with websocket(port) as plain, web_source(port):
            plain.send(b"2|B\n1|B")
            wait_until(lambda: system.state("next") == 3, "its lines are taken")
            wait_until(lambda: counted(health, "parade_listener_acknowledged_sources") == 1, "it is counted")
            assert counted(health, "parade_listener_sources") == 2
            assert counted(health, 'parade_listener_requests_total{reason="101"}') == 2
            plain.send((1000).to_bytes(2, "big"), CLOSE)
            assert plain.everything() == b""
            assert plain.code == 1000
            listener.terminate()
            listener.wait()
        assert system.occurred("source_connected") == system.occurred("source_disconnected") == 2


def test_who_says_close_is_told_the_last_acknowledgement(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with serving(valkey_url, namespace, tmp_path / "log") as (_, port):
        with websocket(port) as one:
            one.socket.sendall(frame(b"HELLO acks=1\n1|B\nx\n2|B") + frame((1000).to_bytes(2, "big"), CLOSE))
            told = one.everything().splitlines()
            assert told[1:3] == [b"NAK 2 malformed", b"ACK 3"]
            assert one.code == 1000
        with websocket(port) as one:
            one.send(b"HELLO")
            assert one.everything() == b"ERROR HELLO needs acks=1\n"
            assert one.code == 1008


# Exactly once


def test_a_killed_listener_loses_nothing_of_a_producer(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """Three producers, of which one changes between TCP and WebSocket, in full flow."""
    count = 6_000
    with (
        serving(valkey_url, namespace, tmp_path / "log", numbering="parade") as (system, port),
        Audience() as audience,
    ):
        user = audience.add(Peer(system.client_port, 1))
        online(system)

        def either(at: int, hello: str) -> AckedSource:
            return (WebSource if at == port else AckedSource)(at, hello)

        producers = [
            ProducerThread([port], "a", of("a", count), 0.002, WebSource),
            ProducerThread([port], "b", of("b", count), 0.002, WebSource),
            ProducerThread([port, system.event_port], "c", of("c", count), 0.002, either),
        ]
        for producer in producers:
            producer.start()
        for _ in range(4):
            before = system.state("released")
            wait_until(lambda: system.state("released") > before + 500, "events flow")  # noqa: B023
            for listener in system.of("listener"):
                listener.kill()
                listener.wait()
            system.start("listener", web_port=port)
        for producer in producers:
            producer.wait()
        wait_for_port(port, PATIENCE_S)
        assert all(producer.connections > 1 for producer in producers)
        wait_until(lambda: user.received.count(b"\n") >= 3 * count, "everything has arrived")
        assert_each_once(user.received, dict.fromkeys("abc", count))


@pytest.mark.parametrize("older", ["tcp", "websocket"])
def test_a_later_connection_fences_whatever_both_are(
    older: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with (
        serving(valkey_url, namespace, tmp_path / "log", numbering="parade") as (system, port),
        peers(system.client_port, [1]) as (user,),
        ExitStack() as stack,
    ):
        online(system)
        hello, lines = "HELLO acks=1 producer=a", of("a", 3)

        def source(kind: str) -> AckedSource:
            return stack.enter_context(acked(system, hello) if kind == "tcp" else web_source(port, hello))

        old = source(older)
        old.send(lines[0])
        old.wait_until_acked(1)
        new = source("websocket" if older == "tcp" else "tcp")
        assert new.hello.endswith(" received=1")
        old.send(lines[1])
        assert old.rest()[-1] == "BYE fenced"
        if isinstance(old, WebSource):
            assert old.code == 1001
        new.send(lines[1])
        new.wait_until_acked(1)
        with publisher(port) as request:
            assert request.post(lines[2], "a", 3).told["received"] == 3
        user.wait_for(b"a:3\n")
        assert_each_once(user.received, {"a": 3})


# The end


def test_a_listener_that_stops_says_so_behind_the_last_acknowledgement(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with (
        serving(valkey_url, namespace, tmp_path / "log") as (system, port),
        web_source(port) as one,
        websocket(port) as plain,
    ):
        count = 20_000
        for first in range(1, count, 1000):
            one.send(b"".join(b"%d|B\n" % number for number in range(first, first + 1000)))
        one.wait_until_acked(1)
        plain.send(b"%d|B\n" % (count + 1))
        for listener in system.of("listener"):
            listener.send_signal(signal.SIGTERM)
        assert one.rest()[-1] == "BYE stopping"
        assert (one.acked, one.code) == (count, 1001)
        assert plain.everything() == b""
        assert plain.code == 1001
        wait_until(lambda: system.state("released") == count + 1, "all is released")


def test_the_last_lines_reach_a_source_that_goes_on_sending(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with serving(valkey_url, namespace, tmp_path / "log") as (system, port), web_source(port) as one:
        over = threading.Event()

        def send() -> None:
            try:
                while not over.is_set():
                    one.send(b"1|B\n" * 1000)
            except OSError:
                pass

        sending = threading.Thread(target=send, daemon=True)
        sending.start()
        one.wait_until_acked(10_000)
        for listener in system.of("listener"):
            listener.send_signal(signal.SIGTERM)
        told = one.rest()
        over.set()
        sending.join(PATIENCE_S)
        assert told[-1] == "BYE stopping"
        assert one.code == 1001


# Hostile ones


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        (frame(b"x" * (MESSAGE_BYTES + 1)), 1009),
        (frame(b"x" * MESSAGE_BYTES, fin=False) + frame(b"x", CONTINUATION), 1009),
        (frame(b"1|B|\xff"), 1007),
        (frame(b"", 3), 1002),
        (frame(b"1|B", CONTINUATION), 1002),
    ],
)
def test_who_breaks_the_protocol_is_told_how(
    sent: bytes, code: int, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with serving(valkey_url, namespace, tmp_path / "log") as (system, port):
        with websocket(port) as hostile:
            hostile.socket.sendall(sent)
            assert hostile.everything() == b""
            assert hostile.code == code
        with websocket(port) as honest:
            honest.send(b"1|B|".ljust(1000, b"x") + b"\n" + b"y" * (MESSAGE_BYTES - 1001))
            wait_until(lambda: system.state("next") == 2, "a message may be that long")
        assert system.logged("lines_too_long") == 1


@pytest.mark.parametrize("flood", ["events", "rubbish"])
def test_a_source_that_does_not_listen_costs_nobody_anything(
    flood: str, valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    """With events it is told the newest number in the end; with rubbish it is read no more until it listens."""
    with serving(valkey_url, namespace, tmp_path / "log") as (system, port), Honest(system) as honest:
        (listener,) = system.of("listener")
        before = resident_mib(listener)
        with web_source(port) as deaf:
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


def test_a_source_that_does_not_listen_and_vanishes_leaves_its_place(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with serving(valkey_url, namespace, tmp_path / "log", source_connections=1) as (system, port):
        with web_source(port) as deaf:
            deaf.socket.settimeout(1)
            with pytest.raises(TimeoutError):
                _send_on(deaf)
        wait_until(lambda: system.occurred("source_disconnected") == 1, "it has left")
        with web_source(port) as other:
            assert other.hello.startswith("OK ")


def _send_on(deaf: WebSource) -> None:
    while True:
        deaf.send(b"\n" * 10_000)


def _stands(system: Deployment) -> bool:
    """Nothing more has been refused for a while."""
    before = system.state("rejected")
    time.sleep(0.5)
    return 0 < before == system.state("rejected")


def test_half_open_handshakes_keep_nobody_out(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with serving(valkey_url, namespace, tmp_path / "log") as (system, port), ExitStack() as stack:
        first = stack.enter_context(web_source(port))
        hostile = []
        for count in range(HALF_OPEN):
            hostile.append(stack.enter_context(connect(port)))
            hostile[-1].sendall(handshake()[:-2])
            if count % 50 == 0:
                with web_source(port) as honest:
                    honest.send(b"%d|B\n" % (count // 50 + 1))
                    honest.wait_until_acked(1)
        cut_off = HALF_OPEN - WEB_CONNECTIONS
        wait_until(lambda: system.occurred("http_cut_off") >= cut_off, "the oldest had to give way")
        for each in hostile:
            assert is_closed(each), "there is a deadline for all"
        first.send(b"1|B\n")
        first.wait_until_acked(1)


def test_sources_take_no_place_of_requests(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    most = WEB_CONNECTIONS + 10
    with (
        serving(valkey_url, namespace, tmp_path / "log", source_connections=most) as (system, port),
        ExitStack() as stack,
    ):
        sources = [stack.enter_context(web_source(port)) for _ in range(most)]
        with publisher(port) as one:
            assert one.post(b"1|B\n").status == 200
            answer = one.ask("GET", "/source", None, _headers())
            assert (answer.status, answer.headers["Retry-After"]) == (503, "1")
        for number, source in enumerate(sources, 2):
            source.send(b"%d|B\n" % number)
        for source in sources:
            source.wait_until_acked(1)
        assert system.occurred("source_refused") == 1
        sources[0].close()
        wait_until(lambda: system.occurred("source_disconnected") == 1, "it has left")
        with web_source(port), connect(system.event_port) as over_tcp:
            assert is_closed(over_tcp), "both kinds are counted together"


def test_an_address_has_its_limit(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    settings = {"source_connections_per_address": 2}
    with serving(valkey_url, namespace, tmp_path / "log", **settings) as (system, port):
        with acked(system), web_source(port), publisher(port) as one:
            answer = one.ask("GET", "/source", None, _headers())
            assert answer.status == 503
            assert "too many sources" in answer.told["error"]
        wait_until(lambda: system.occurred("source_disconnected") >= 2, "both have left")
        with web_source(port) as again:
            assert again.hello.startswith("OK ")


# Requests that are none


def _headers(**others: str) -> dict[str, str]:
    """The headers of a handshake, for a client of HTTP."""
    lines = handshake().decode().split("\r\n")[2:-2]
    return dict(line.split(": ", 1) for line in lines) | {name.replace("_", "-"): is_ for name, is_ in others.items()}


def test_requests_that_are_no_handshake(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with serving(valkey_url, namespace, tmp_path / "log") as (system, port), publisher(port) as one:
        for method in ("POST", "PUT", "DELETE", "HEAD", "OPTIONS"):
            answer = one.ask(method, "/source", None, {})
            assert (answer.status, answer.headers["Allow"]) == (405, "GET")
        for missing in ("Upgrade", "Sec-WebSocket-Key", "Sec-WebSocket-Version"):
            headers = _headers()
            del headers[missing]
            answer = one.ask("GET", "/source", None, headers)
            assert (answer.status, answer.headers["Sec-WebSocket-Version"]) == (426, "13"), missing
        answer = one.ask("GET", "/source", None, _headers(Sec_WebSocket_Version="12"))
        assert answer.status == 426
        answer = one.ask("GET", "/source", None, _headers(Sec_WebSocket_Protocol="mqtt"))
        assert (answer.status, "subprotocols" in answer.told["error"]) == (400, True)
        answer = one.ask("GET", "/", None, _headers())
        assert (answer.status, "/source" in answer.told["error"]) == (404, True)
        assert system.redis.xlen(system.keys.events) == 0
        assert system.logged("source_connected") == 0
        assert "WARNING" not in system.log.read_text()


def test_pages_of_listed_origins_may(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    page = "https://feed.example.org"
    with serving(valkey_url, namespace, tmp_path / "log", web_origins=page) as (_, port):
        with websocket(port, f"Origin: {page}") as listed:
            assert listed.head.startswith(b"HTTP/1.1 101 ")
            listed.send(b"HELLO acks=1")
            assert listed.message().startswith(b"OK ")
        with publisher(port) as one:
            for origin in ("https://evil.example", "null"):
                answer = one.ask("GET", "/source", None, _headers(Origin=origin))
                assert answer.status == 403
                assert "PARADE_WEB_ORIGINS" in answer.told["error"]
