"""Numbers by Parade, and producers: each line is taken once, whatever is killed, paused or cut off.

The lines name their producer and their place, so what a user receives shows what was lost, doubled or swapped.
"""

import re
import signal
from pathlib import Path

import pytest

from listener.writer import APPEND_GROUPS
from tests.support.acknowledged import ProducerThread, acked
from tests.support.deployment import PATIENCE_S, Deployment, running, wait_until
from tests.support.peers import Audience, Peer, peers, source
from tests.support.programs import SYSTEM
from tests.support.proxy import Cut, Late, Proxy
from tests.support.sentinel import replicated
from tests.support.servers import free_port, wait_for_port

pytestmark = pytest.mark.slow


def lines_of(name: str, count: int, first: int = 0) -> list[bytes]:
    return [b"*|B|%b:%d\n" % (name.encode(), number) for number in range(first, count)]


def assert_each_once(received: bytes, counts: dict[str, int]) -> None:
    """The numbers follow each other, and the lines of each producer are all there, in their order."""
    found = re.findall(rb"(\d+)\|B\|(\w+):(\d+)\n", received)
    assert received == b"".join(b"%b|B|%b:%b\n" % line for line in found)
    assert [int(number) for number, _, _ in found] == list(range(1, len(found) + 1))
    for name, count in counts.items():
        assert [int(place) for _, who, place in found if who == name.encode()] == list(range(count)), name
    assert len(found) == sum(counts.values())


def expect(system: Deployment, user: Peer, counts: dict[str, int]) -> None:
    """The user receives all lines of these producers, and nothing else."""
    total = sum(counts.values())
    wait_until(lambda: system.state("released") >= total, "everything is released")
    while user.received.count(b"\n") < total:
        user.read()
        assert not user.closed
    assert_each_once(user.received, counts)


def online(system: Deployment) -> None:
    wait_until(lambda: system.online() == {"1"}, "the user is online")


def test_events_are_numbered_in_the_order_of_the_stream(server_url: str, namespace: str, tmp_path: Path) -> None:
    settings = {"numbering": "parade", "first_sequence": 70}
    with (
        running(server_url, namespace, tmp_path / "log", fanouts=1, **settings) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        source(system.event_port, b"*|F|1|2\n*|S|2|hi\r\n*|P|9|1|*|x\n")
        user.wait_for(b"*|x\n")
        with acked(system, "HELLO acks=1 producer=orders") as one:
            history = system.redis.hget(system.keys.state, "history")
            assert one.hello == f"OK {history}@73 reach=1000000 received=0"
            one.send(b"*|B\n74|B\nrubbish\n*|U|1|2\n*|S|2\n*|B|last\n")
            one.wait_until_acked(6)
            assert [line for line in one.told if line.startswith("NAK")] == ["NAK 2 numbered", "NAK 3 malformed"]
            user.wait_for(b"last\n")
        assert user.received == b"71|S|2|hi\r\n72|P|9|1|*|x\n73|B\n76|B|last\n"
        source(system.event_port, b"77|B\n*|B\n")
        user.wait_for(b"77|B\n")
        wait_until(lambda: len(system.rejected()) == 3, "what was refused is recorded")
        refused = "numbered, and Parade numbers the events here"
        assert sorted(system.rejected()) == [("not an event", "rubbish\n"), (refused, "74|B\n"), (refused, "77|B\n")]
        assert (system.state("rejected"), system.state("malformed"), system.state("next")) == (3, 2, 78)


def test_lines_without_a_number_are_refused_where_sources_give_them(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1) as system:
        with acked(system) as one:
            one.send(b"*|B\n1|B\n")
            one.wait_until_acked(2)
            assert one.told[0] == "NAK 1 unnumbered"
        source(system.event_port, b"*|S|1\n2|B\n")
        wait_until(lambda: len(system.rejected()) == 2, "both are recorded")
        reason = "without a number, and the sources number the events here"
        assert sorted(system.rejected()) == [(reason, "*|B\n"), (reason, "*|S|1\n")]
        wait_until(lambda: system.state("next") == 3, "the others are released")


def test_a_number_fits_into_the_longest_line(redis_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(redis_url, namespace, tmp_path / "log", fanouts=1, numbering="parade", line_bytes=1024) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        longest, longer = (b"*|B|".ljust(1024 - 15 + more - 1, b"x") + b"\n" for more in (0, 1))
        with acked(system) as one:
            one.send(longer + longest)
            one.wait_until_acked(2)
            assert one.told[0] == "NAK 1 too-long"
        source(system.event_port, longer + longest)
        user.wait_for(b"2" + longest[1:])
        assert user.received == b"1" + longest[1:] + b"2" + longest[1:]


@pytest.mark.parametrize("numbering", ["parade", "sources"])
def test_a_producer_goes_on_where_it_was(numbering: str, valkey_url: str, namespace: str, tmp_path: Path) -> None:
    star = "*" if numbering == "parade" else ""
    with running(valkey_url, namespace, tmp_path / "log", fanouts=1, numbering=numbering) as system:
        for begin in (0, 3, 6):
            with acked(system, "HELLO acks=1 producer=orders") as one:
                assert one.hello.endswith(f" received={begin}")
                for number in range(begin + 1, begin + 4):
                    one.send(f"{star or number}|B\n".encode())
                one.wait_until_acked(3)
        with acked(system, "HELLO acks=1 producer=others") as one:
            assert one.hello.endswith(" received=0")
        wait_until(lambda: system.state("released") == 9, "each is released once")
        wanted = {system.keys.producer + "orders", system.keys.producer + "others"}
        assert wanted <= set(system.redis.keys(system.keys.producer + "*"))


def test_the_sequencer_is_killed_while_it_numbers(server_url: str, namespace: str, tmp_path: Path) -> None:
    names, count = ["a", "b", "c"], 20_000
    with (
        running(server_url, namespace, tmp_path / "log", numbering="parade", lease_s=1) as system,
        Audience() as audience,
    ):
        user = audience.add(Peer(system.client_port, 1))
        online(system)
        producers = [ProducerThread([system.event_port], name, lines_of(name, count), 0.01) for name in names]
        for producer in producers:
            producer.start()
        for _ in range(4):
            before = system.state("released")
            wait_until(lambda: system.state("released") > before + 3000, "events flow")  # noqa: B023
            for process in system.of("sequencer"):
                process.kill()
                process.wait()
            system.start("sequencer")
        for producer in producers:
            producer.wait()
        wait_until(lambda: system.state("released") == 3 * count, "everything is released")
        wait_until(lambda: user.received.count(b"\n") == 3 * count, "everything has arrived")
        assert_each_once(user.received, dict.fromkeys(names, count))
        assert system.state("late") == system.state("duplicate") == system.state("rejected") == 0


def test_listeners_are_killed_in_the_middle(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """A producer that goes on at another listener, by what OK says, has every line taken once."""
    names, count = ["a", "b", "c"], 15_000
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, numbering="parade") as system,
        Audience() as audience,
    ):
        user = audience.add(Peer(system.client_port, 1))
        online(system)
        ports = [system.event_port, free_port(), free_port()]
        listeners = {port: system.start("listener", event_port=port) for port in ports[1:]}
        listeners[ports[0]] = system.of("listener")[0]
        wait_until(lambda: system.logged("listening") == 4, "all ports are open")
        producers = [
            ProducerThread(ports[at:] + ports[:at], name, lines_of(name, count), 0.01) for at, name in enumerate(names)
        ]
        for producer in producers:
            producer.start()
        for port in (ports[0], ports[1], ports[2], ports[1]):
            before = system.state("released")
            wait_until(lambda: system.state("released") > before + 2000, "events flow")  # noqa: B023
            listeners[port].kill()
            listeners[port].wait()
            listeners[port] = system.start("listener", event_port=port)
        for producer in producers:
            producer.wait()
        for port in ports:
            wait_for_port(port, PATIENCE_S)  # that is killed may not listen yet, and can't be stopped in order
        assert sum(producer.connections for producer in producers) > len(names), "some had to go on elsewhere"
        wait_until(lambda: user.received.count(b"\n") == len(names) * count, "everything has arrived")
        assert_each_once(user.received, dict.fromkeys(names, count))


def test_what_a_paused_listener_still_holds_is_not_taken_when_it_wakes_up(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    """Its lines would come in behind those that the producer has sent again, elsewhere."""
    with (
        Proxy(valkey_url) as proxy,
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, numbering="parade") as system,
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        port = free_port()
        paused = system.start("listener", event_port=port, redis_url=proxy.url)
        wait_until(lambda: system.logged("listening") == 3, "its port is open")
        with acked(system, "HELLO acks=1 producer=a", port) as old:
            old.send(b"".join(lines_of("a", 10)))
            old.wait_until_acked(10)
            late = Late("listener")
            proxy.impair(late)
            old.send(b"".join(lines_of("a", 20, 10)))
            wait_until(lambda: late.struck, "its append is on the way")
            paused.send_signal(signal.SIGSTOP)
            with acked(system, "HELLO acks=1 producer=a") as new:
                assert new.hello.endswith(" received=10")
                new.send(b"".join(lines_of("a", 30, 10)))
                new.wait_until_acked(20)
                proxy.heal(late)
                old.send(b"".join(lines_of("a", 40, 30)))
                paused.send_signal(signal.SIGCONT)
                assert old.rest()[-1] == "BYE fenced"
                assert old.acked == 10
                new.send(b"*|B|a:30\n")
                new.wait_until_acked(21)
        expect(system, user, {"a": 31})
        assert system.state("late") == system.state("duplicate") == 0


def test_two_connections_of_one_producer(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    with (
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, numbering="parade") as system,
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        with acked(system, "HELLO acks=1 producer=a") as old, acked(system, "HELLO acks=1 producer=a") as new:
            new.send(b"".join(lines_of("a", 5)))
            new.wait_until_acked(5)
            old.send(b"".join(lines_of("a", 3)))
            assert old.rest()[-1] == "BYE fenced"
            assert old.acked == 0
            new.send(b"*|B|a:5\n")
            new.wait_until_acked(6)
        expect(system, user, {"a": 6})


@pytest.mark.parametrize("where", ["before", "after", "inside"])
def test_an_append_that_is_cut_off_is_made_once(where: str, valkey_url: str, namespace: str, tmp_path: Path) -> None:
    """Of a producer, and of sources without a name, whose lines would get two numbers."""
    with (
        Proxy(valkey_url) as proxy,
        running(valkey_url, namespace, tmp_path / "log", fanouts=1, numbering="parade") as system,
        peers(system.client_port, [1]) as (user,),
    ):
        online(system)
        port = free_port()
        system.start("listener", event_port=port, redis_url=proxy.url)
        wait_until(lambda: system.logged("listening") == 3, "its port is open")
        with acked(system, "HELLO acks=1 producer=a", port) as named, acked(system, port=port) as other:
            named.send(b"".join(lines_of("a", 10)))
            named.wait_until_acked(10)
            for count in range(11, 21):
                cut = Cut(where, "listener", APPEND_GROUPS.sha.encode())
                proxy.impair(cut)
                named.send(b"".join(lines_of("a", count, count - 1)))
                other.send(b"".join(lines_of("b", count - 10, count - 11)))
                source(port, b"".join(lines_of("c", count - 10, count - 11)))
                named.wait_until_acked(count)
                other.wait_until_acked(count - 10)
                wait_until(lambda: cut.struck, "the append was cut off")  # noqa: B023
                proxy.heal(cut)
        expect(system, user, {"a": 20, "b": 10, "c": 10})


def test_a_redis_that_comes_back_older_is_said_and_a_producer_goes_on_from_there(
    redis_url: str, namespace: str, tmp_path: Path
) -> None:
    assert redis_url  # requires redis-server
    settings = {"redis_timeout_s": 2, "node_silence_s": 60, "numbering": "parade"}
    with (
        replicated(SYSTEM, tmp_path, replicas=1) as service,
        running(service.url, namespace, tmp_path / "log", fanouts=1, **settings) as system,
        acked(system, "HELLO acks=1 producer=a") as named,
        acked(system) as other,
    ):
        named.send(b"".join(lines_of("a", 5)))
        named.wait_for("NEXT 6")
        other.wait_for("NEXT 6")
        service.cut_replicas_off()
        named.send(b"".join(lines_of("a", 8, 5)))
        named.wait_for("NEXT 9")
        other.wait_for("NEXT 9")
        history = system.redis.hget(system.keys.state, "history")
        service.kill_primary()
        service.resume_replicas()
        service.wait_for_fail_over()
        reset = [line for line in named.rest() if line.startswith("RESET")]
        assert len(reset) == 1
        assert re.fullmatch(r"RESET \w+@6 received=5", reset[0]), history
        other.wait_for(reset[0].partition(" received")[0])
        with acked(system, "HELLO acks=1 producer=a") as again:
            assert again.hello.endswith("@6 reach=1000000 received=5")
            again.send(b"".join(lines_of("a", 8, 5)))
            again.wait_until_acked(3)
        other.send(b"*|B|b:0\n")
        other.wait_until_acked(1)
        wait_until(lambda: system.state("next") == 10, "they go on")
