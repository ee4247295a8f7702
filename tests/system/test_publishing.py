"""Publishing over HTTP: each line is taken once, whatever is killed or away, and each request gets its true answer."""

import re
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from listener.writer import APPEND_GROUPS
from tests.support.acknowledged import acked
from tests.support.deployment import PATIENCE_S, Deployment, running, wait_until
from tests.support.peers import Audience, Peer, peers
from tests.support.programs import Program
from tests.support.proxy import Connection, Cut, Impairment, Proxy
from tests.support.publishing import Answer, PublishingThread, publisher
from tests.support.servers import free_port, server_of, wait_for_port

pytestmark = pytest.mark.slow

PAGE = "https://feed.example.org"


class HeldBack(Impairment):
    """Holds back appends until it heals."""

    def __init__(self) -> None:
        super().__init__("listener")
        self._over = threading.Event()

    def to_redis(self, connection: Connection, data: bytes) -> bytes:  # noqa: ARG002
        if APPEND_GROUPS.sha.encode() in data:
            self.struck += 1
            self._over.wait(PATIENCE_S)
        return data

    def heal(self) -> None:
        self._over.set()


@contextmanager
def publishing(url: str, namespace: str, log: Path, **settings: object) -> Iterator[tuple[Deployment, int]]:
    """A ready deployment with one listener that has a web port, which is given too."""
    with running(url, namespace, log, fanouts=1, **settings) as system:
        port = free_port()
        (listener,) = system.of("listener")
        listener.terminate()
        listener.wait()
        listen(system, port)
        yield system, port


def listen(system: Deployment, port: int, **settings: Any) -> None:
    """Start a listener with a web port, and wait until it serves."""
    before = system.logged("publishing")
    system.start("listener", web_port=port, event_port=free_port(), **settings)
    wait_until(lambda: system.logged("publishing") == before + 1, "the web port is open")


def of(name: str, first: int, last: int) -> list[bytes]:
    """The lines of a producer with these numbers, from 1; each says which it is."""
    return [b"*|B|%b:%d\n" % (name.encode(), number) for number in range(first, last + 1)]


def online(system: Deployment) -> None:
    wait_until(lambda: system.online() == {"1"}, "the user is online")


def assert_each_once(received: bytes, counts: dict[str, int]) -> None:
    """The numbers follow each other, and the lines of each producer are all there, in their order."""
    found = re.findall(rb"(\d+)\|B\|(\w+):(\d+)\n", received)
    assert received == b"".join(b"%b|B|%b:%b\n" % line for line in found)
    assert [int(number) for number, _, _ in found] == list(range(1, len(found) + 1))
    for name, count in counts.items():
        assert [int(place) for _, who, place in found if who == name.encode()] == list(range(1, count + 1)), name
    assert len(found) == sum(counts.values())


def refusal(answer: Answer, status: int, reason: str) -> None:
    assert answer.status == status
    assert reason in answer.told["error"]
    assert ("Retry-After" in answer.headers) == (status in (429, 503, 504))


def test_lines_arrive_and_the_answer_says_what_became_of_them(server_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        publishing(server_url, namespace, tmp_path / "log") as (system, port),
        peers(system.client_port, [1]) as (user,),
        publisher(port) as one,
    ):
        online(system)
        answer = one.post(b"1|B|hi\r\nrubbish\n*|B\n3|B\n2|B|\xff\x00 last")
        assert answer.status == 200
        assert answer.headers["Content-Type"].startswith("application/json")
        history = system.redis.hget(system.keys.state, "history")
        assert answer.told == {
            "accepted": 3,
            "next": 1,
            "history": history,
            "refused_lines": 2,
            "refused": [{"line": 2, "reason": "malformed"}, {"line": 3, "reason": "unnumbered"}],
        }
        user.wait_for(b"3|B\n")
        assert user.received == b"1|B|hi\r\n2|B|\xff\x00 last\n3|B\n"
        wait_until(lambda: one.post(b"").told["next"] == 4, "an empty body asks where things are")
        wait_until(lambda: len(system.rejected()) == 2, "what was refused is recorded")


@pytest.mark.parametrize("numbering", ["parade", "sources"])
def test_a_producer_repeats_its_requests(numbering: str, valkey_url: str, namespace: str, tmp_path: Path) -> None:
    lines = of("a", 1, 9) if numbering == "parade" else [b"%d|B|a:%d\n" % (at, at) for at in range(1, 10)]
    with (
        publishing(valkey_url, namespace, tmp_path / "log", numbering=numbering) as (system, port),
        peers(system.client_port, [1]) as (user,),
        publisher(port) as one,
    ):
        online(system)
        for begin, end in [(0, 3), (0, 3), (1, 5), (0, 2), (5, 9), (0, 9)]:
            answer = one.post(b"".join(lines[begin:end]), "a", begin + 1)
            assert (answer.status, answer.told["accepted"]) == (200, end - begin)
        assert answer.told["received"] == 9
        answer = one.post(lines[0], "a", 11)
        refusal(answer, 409, "line 10 of the producer is the next one")
        assert answer.told["received"] == 9
        user.wait_for(b"a:9\n")
        assert_each_once(user.received, {"a": 9})
        assert system.state("late") == system.state("duplicate") == 0


def test_listeners_are_killed_in_the_middle_of_requests(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    names, count = ["a", "b", "c"], 6_000
    with (
        publishing(valkey_url, namespace, tmp_path / "log", numbering="parade") as (system, first),
        Audience() as audience,
    ):
        user = audience.add(Peer(system.client_port, 1))
        online(system)
        ports = [first, free_port()]
        listen(system, ports[1])
        listeners = dict(zip(ports, system.of("listener"), strict=True))
        producers = [
            PublishingThread(ports[at % 2 :] + ports[: at % 2], name, of(name, 1, count), 20)
            for at, name in enumerate(names)
        ]
        for producer in producers:
            producer.start()
        for port in (ports[0], ports[1], ports[0], ports[1]):
            before = system.state("released")
            wait_until(lambda: system.state("released") > before + 1000, "events flow")  # noqa: B023
            listeners[port].kill()
            listeners[port].wait()
            listeners[port] = system.start("listener", web_port=port, event_port=free_port())
        for producer in producers:
            producer.wait()
        for port in ports:
            wait_for_port(port, PATIENCE_S)  # that is killed may not listen yet, and can't be stopped in order
        assert sum(producer.unanswered for producer in producers) > 0, "some answers were lost"
        wait_until(lambda: user.received.count(b"\n") >= len(names) * count, "everything has arrived")
        assert_each_once(user.received, dict.fromkeys(names, count))


@pytest.mark.parametrize("where", ["before", "after", "inside"])
def test_an_append_that_is_cut_off_is_made_once(where: str, valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        Proxy(valkey_url) as proxy,
        publishing(valkey_url, namespace, tmp_path / "log", numbering="parade") as (system, _),
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        listen(system, port := free_port(), redis_url=proxy.url)
        with publisher(port) as one:
            for number in range(1, 6):
                cut = Cut(where, "listener", APPEND_GROUPS.sha.encode())
                proxy.impair(cut)
                answer = one.post(of("a", number, number)[0], "a", number)
                assert (answer.status, answer.told["received"]) == (200, number)
                assert cut.struck
                proxy.heal(cut)
        user.wait_for(b"a:5\n")
        assert_each_once(user.received, {"a": 5})


def test_what_a_paused_listener_still_holds_is_not_taken_when_the_request_was_repeated_elsewhere(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with (
        Proxy(valkey_url) as proxy,
        publishing(valkey_url, namespace, tmp_path / "log", numbering="parade") as (system, port),
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        listen(system, paused := free_port(), redis_url=proxy.url, registration_s=2 * PATIENCE_S)
        with publisher(paused) as old, publisher(port) as new:
            assert old.post(b"".join(of("a", 1, 5)), "a", 1).status == 200
            held = HeldBack()
            proxy.impair(held)
            answers: list[Answer] = []
            waiting = threading.Thread(target=lambda: answers.append(old.post(b"".join(of("a", 6, 9)), "a", 6)))
            waiting.start()
            wait_until(lambda: held.struck, "its append is on the way")
            assert new.post(b"".join(of("a", 6, 7)), "a", 6).told["received"] == 7
            proxy.heal(held)
            waiting.join(2 * PATIENCE_S)
            refusal(answers[0], 503, "another sender of this producer came in between")
            assert new.post(b"".join(of("a", 6, 9)), "a", 6).told["received"] == 9
        user.wait_for(b"a:9\n")
        assert_each_once(user.received, {"a": 9})


def test_requests_of_one_producer_at_once_take_turns(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        publishing(valkey_url, namespace, tmp_path / "log", numbering="parade") as (system, port),
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        producers = [PublishingThread([port], "a", of("a", 1, 200), step) for step in (1, 3, 7, 200)]
        for producer in producers:
            producer.start()
        for producer in producers:
            producer.wait()
        user.wait_for(b"a:200\n")
        assert_each_once(user.received, {"a": 200})
        with publisher(port) as one:
            assert one.post(b"", "a", 1).told["received"] == 200


def test_a_connection_of_the_producer_is_fenced_once_and_fences(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, numbering="parade") as system,
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        listen(system, port := free_port())
        with publisher(port) as one, acked(system, "HELLO acks=1 producer=a") as old:
            old.send(of("a", 1, 1)[0])
            old.wait_until_acked(1)
            assert one.post(of("a", 2, 2)[0], "a", 2).told["received"] == 2
            generation = system.redis.hget(system.keys.producer + "a", "generation")
            assert one.post(of("a", 3, 3)[0], "a", 3).told["received"] == 3
            assert system.redis.hget(system.keys.producer + "a", "generation") == generation, "it went on"
            old.send(of("a", 4, 4)[0])
            assert old.rest()[-1] == "BYE fenced"
            with acked(system, "HELLO acks=1 producer=a") as new:
                assert new.hello.endswith(" received=3")
                new.send(of("a", 4, 4)[0])
                new.wait_until_acked(1)
            assert one.post(b"".join(of("a", 4, 5)), "a", 4).told["received"] == 5
        user.wait_for(b"a:5\n")
        assert_each_once(user.received, {"a": 5})


def test_redis_is_away_and_comes_back(program: Program, namespace: str, tmp_path: Path) -> None:
    redis_port = free_port()
    with (
        server_of(program, redis_port, "--dir", str(tmp_path)) as redis,
        publishing(
            f"redis://127.0.0.1:{redis_port}/0", namespace, tmp_path / "log",
            numbering="parade", registration_s=1, redis_timeout_s=2, node_silence_s=60,
        ) as (system, port),
        peers(system.client_port, [1]) as (user,),
        publisher(port) as one,
    ):  # fmt: skip
        online(system)
        assert one.post(of("a", 1, 1)[0], "a", 1).status == 200
        redis.send_signal(signal.SIGSTOP)
        answer = one.post(of("a", 2, 2)[0], "a", 2)
        refusal(answer, 503, "")
        redis.send_signal(signal.SIGCONT)
        wait_until(lambda: one.post(of("a", 2, 2)[0], "a", 2).status == 200, "it is taken")
        user.wait_for(b"a:2\n")
        assert_each_once(user.received, {"a": 2})


def test_a_deployment_that_no_sequencer_has_begun(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with Deployment(valkey_url, namespace, tmp_path / "log", registration_s=0.5) as system:
        listen(system, port := free_port())
        with publisher(port) as one:
            refusal(one.post(b"1|B\n"), 503, "no sequencer has begun it")
            system.start("sequencer")
            wait_until(lambda: one.post(b"1|B\n").status == 200, "then it is taken")
        wait_until(lambda: system.state("released") == 1, "and released")
        system.stop_all()


def test_a_full_stream_makes_publishers_wait(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    settings = {"registration_s": 0.5, "listener_buffer_bytes": 4096, "backlog_bytes": 4096, "entry_bytes": 1024}
    with publishing(valkey_url, namespace, tmp_path / "log", **settings) as (system, port), publisher(port) as one:
        (sequencer,) = system.of("sequencer")
        sequencer.send_signal(signal.SIGSTOP)
        statuses, number = [], 1
        while 429 not in statuses:
            assert number < 100
            answer = one.post(b"%d|B|".ljust(2000, b"x") % number)
            statuses.append(answer.status)
            number += 1
        refusal(answer, 429, "as many bytes as it may")
        assert statuses[0] == 200
        assert set(statuses) <= {200, 429, 504}
        refusal(one.post(b"x" * 4097), 413, "at most 4096 bytes")
        sequencer.send_signal(signal.SIGCONT)
        wait_until(lambda: one.post(b"%d|B\n" % number).status == 200, "there is room again")


def test_a_stopping_listener_answers_what_it_has_taken(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        Proxy(valkey_url) as proxy,
        publishing(valkey_url, namespace, tmp_path / "log", numbering="parade") as (system, _),
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        listen(system, port := free_port(), redis_url=proxy.url, shutdown_s=2 * PATIENCE_S)
        listener = system.of("listener")[-1]
        with publisher(port) as taken, publisher(port) as new:
            assert new.post(b"", "a", 1).status == 200
            held = HeldBack()
            proxy.impair(held)
            answers: list[Answer] = []
            waiting = threading.Thread(target=lambda: answers.append(taken.post(of("a", 1, 1)[0], "a", 1)))
            waiting.start()
            wait_until(lambda: held.struck, "its append is on the way")
            listener.terminate()
            wait_until(lambda: new.post(b"").status == 503, "nothing new is taken")
            refusal(new.post(b""), 503, "the listener stops")
            assert not answers
            proxy.heal(held)
            waiting.join(2 * PATIENCE_S)
            assert answers[0].status == 200
        assert listener.wait() == 0
        user.wait_for(b"a:1\n")


def test_pages_of_listed_origins_may(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        publishing(valkey_url, namespace, tmp_path / "log", web_origins=f"https://a.example,{PAGE}") as (_, port),
        publisher(port) as one,
    ):
        answer = one.post(b"1|B\n", Origin=PAGE)
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (200, PAGE)
        assert answer.headers["Access-Control-Expose-Headers"] == "Retry-After"
        assert answer.headers["Vary"] == "Origin"
        answer = one.post(b"2|B\n", Origin="https://evil.example")
        refusal(answer, 403, "add it to PARADE_WEB_ORIGINS")
        assert "Access-Control-Allow-Origin" not in answer.headers
        asked = {"Origin": PAGE, "Access-Control-Request-Method": "POST"}
        answer = one.ask("OPTIONS", "/events", None, asked)
        assert (answer.status, answer.headers["Access-Control-Allow-Methods"]) == (204, "POST")
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert answer.headers["Access-Control-Allow-Headers"] == "Content-Type, Parade-Producer, Parade-First-Line"
        assert one.ask("OPTIONS", "/events", None, asked | {"Origin": "null"}).status == 403
        answer = one.post(b"rubbish", "a", 1, Origin=PAGE)
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        answer = one.post(b"2|B\n", "a b", 1, Origin=PAGE)
        assert (answer.status, answer.headers["Access-Control-Allow-Origin"]) == (400, PAGE), "a page can read why"


def test_what_is_not_there(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with publishing(valkey_url, namespace, tmp_path / "log") as (system, port), publisher(port) as one:
        refusal(one.ask("POST", "/", b"1|B\n", {}), 404, "POST /events")
        for method in ("GET", "PUT", "DELETE", "HEAD"):
            answer = one.ask(method, "/events", None, {})
            assert (answer.status, answer.headers["Allow"]) == (405, "POST, OPTIONS")
        answer = one.ask("OPTIONS", "/events", None, {})
        assert (answer.status, answer.headers["Allow"]) == (204, "POST, OPTIONS")
        assert system.redis.xlen(system.keys.events) == 0
