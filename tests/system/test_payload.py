"""Payloads through the whole system: byte for byte, bounded by bytes."""

import random
import subprocess
import threading
from pathlib import Path

import pytest

from tests.support.deployment import Deployment, resident_mib, running, wait_until
from tests.support.peers import Audience, Peer, peers, source
from tests.support.up import PARADE

LINE_BYTES = 64 * 1024
LIMIT_MIB = 200
RAW = bytes(byte for byte in range(256) if byte != 10)
PAYLOADS = [b"", "grüße, 世界 🙂".encode(), b'{"text": "a|b"}', b"\r", b"\r\r", b"2|B\r", b"\x0b\x0c\x1c\x85\x00", RAW]


def online(system: Deployment, users: int) -> None:
    wait_until(lambda: len(system.online()) == users, "all users are online")


def test_any_bytes_arrive_as_they_were_sent(server_url: str, namespace: str, tmp_path: Path) -> None:
    kinds = [b"B", b"P|7|1", b"S|2", b"F|9|1"]
    lines = [b"1|F|1|2\n"]
    lines += [b"%d|%b|%b\n" % (2 + at, kinds[at % 4], payload) for at, payload in enumerate(PAYLOADS * 4)]
    lines += [b"%d|%b\n" % (len(lines) + 1 + at, kind) for at, kind in enumerate(kinds)]
    with running(server_url, namespace, tmp_path / "log") as system, peers(system.client_port, [1]) as (user,):
        online(system, 1)
        shuffled = lines[:]
        random.Random(1).shuffle(shuffled)
        source(system.event_port, b"".join(shuffled))
        user.wait_for(lines[-1])
        assert user.received == b"".join(lines[1:])
        assert system.rejected() == []


@pytest.mark.parametrize("line_bytes", [1024, 4096])
def test_a_line_may_have_so_many_bytes_and_no_more(
    redis_url: str, namespace: str, tmp_path: Path, line_bytes: int
) -> None:
    def line(number: int, size: int) -> bytes:
        return (b"%d|B|" % number).ljust(size - 1, b"x") + b"\n"

    with (
        running(redis_url, namespace, tmp_path / "log", line_bytes=line_bytes) as system,
        peers(system.client_port, [1]) as (user,),
    ):
        online(system, 1)
        source(system.event_port, line(1, line_bytes) + line(2, line_bytes + 1) + b"2|B|short\n")
        user.wait_for(b"short\n")
        assert user.received == line(1, line_bytes) + b"2|B|short\n"
        wait_until(lambda: [reason for reason, _ in system.rejected()] == ["line too long"], "it is recorded")


@pytest.mark.slow
@pytest.mark.parametrize("behind_a_gap", [False, True])
def test_the_longest_lines_at_full_speed_take_bounded_memory(
    valkey_url: str, namespace: str, tmp_path: Path, behind_a_gap: bool
) -> None:
    """Every process stays under 200 MiB, also when more waits for a missing number than may."""
    raw = random.Random(1).randbytes(LINE_BYTES).replace(b"\n", b" ")
    count, users = 1_600, 5

    def line(number: int) -> bytes:
        kind = b"B" if number % 8 == 0 else b"P|9|%d" % (number % users + 1)
        return (b"%d|%b|" % (number, kind) + raw[number:])[: LINE_BYTES - 1] + b"\n"

    first = 2 if behind_a_gap else 1
    with running(valkey_url, namespace, tmp_path / "log", line_bytes=LINE_BYTES) as system, Audience() as audience:
        clients = [audience.add(Peer(system.client_port, user)) for user in range(1, users + 1)]
        online(system, users)
        sizes: list[float] = []
        halt = threading.Event()

        def watch() -> None:
            while not halt.wait(0.1):
                sizes.append(max(resident_mib(process) for process in system.processes))

        watching = threading.Thread(target=watch)
        watching.start()
        try:
            source(system.event_port, b"".join(line(number) for number in range(first, count + 1)))
            if behind_a_gap:
                wait_until(lambda: system.state("received") == count - 1, "all has come")
                refused = system.state("rejected")
                assert refused > 0, "more than may wait"
                source(system.event_port, b"1|B\n")
                released = count - refused
            else:
                released = count
            wait_until(lambda: system.state("released") == released, "everything is released")
        finally:
            halt.set()
            watching.join()
        owed = dict.fromkeys(range(1, users + 1), b"")
        for number in range(1, released + 1):
            whole = b"1|B\n" if behind_a_gap and number == 1 else line(number)
            for user in owed if whole.split(b"|")[1][:1] == b"B" else [number % users + 1]:
                owed[user] += whole
        for client in clients:
            wait_until(lambda: len(client.received) >= len(owed[client.user or 0]), "all arrives")  # noqa: B023
            assert client.received == owed[client.user or 0]
        assert max(sizes) < LIMIT_MIB


def test_a_simulation_with_payloads(redis_url: str, namespace: str, tmp_path: Path) -> None:
    with running(redis_url, namespace, tmp_path / "log") as system:
        ports = ["--event-port", str(system.event_port), "--client-port", str(system.client_port)]
        where = [*ports, "--redis-url", redis_url, "--namespace", namespace]
        load = ["--events", "20000", "--clients", "5", "--payload", "0:300"]
        command = [PARADE, "simulate", *where]
        done = subprocess.run([*command, *load], capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        too_long = "lines would have up to 5,064 bytes, and listeners refuse those over 4,096: set PARADE_LINE_BYTES"
        for sizes, said in (("9:3", "give a size in bytes, or the least and the most"), ("5000", too_long)):
            asked = [*command, "--payload", sizes]
            wrong = subprocess.run(asked, capture_output=True, text=True, timeout=60, check=False)
            assert (wrong.returncode, len(wrong.stderr.splitlines())) == (1, 1)
            assert f"--payload {sizes}: {said}" in wrong.stderr
