"""The link to Redis: answers in order, refusals, loss, deadlines."""

import asyncio
import socket
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from runtime.errors import ParadeError, RedisUnavailableError
from runtime.redis.link import RedisLink, RedisRefusedError, connect
from tests.support.programs import Program
from tests.support.servers import free_port, server_of, system_server


@pytest.fixture
async def link(server_url: str) -> AsyncIterator[RedisLink]:
    subject = await connect(server_url, 2.0, "test-link")
    yield subject
    subject.close()
    await subject.closed


async def test_answers_come_in_order(link: RedisLink, namespace: str) -> None:
    calls = [link.call("INCR", namespace) for _ in range(100)]
    assert await asyncio.gather(*calls) == list(range(1, 101))
    assert await link.call_all(("INCRBY", namespace, n) for n in (1, 2)) == [101, 103]
    assert await link.call("CLIENT", "GETNAME") == b"test-link"


async def test_a_refusal_concerns_its_command_only(link: RedisLink) -> None:
    refused, answered = link.call("NO-SUCH-COMMAND"), link.call("ECHO", "x")
    with pytest.raises(RedisRefusedError, match="NO-SUCH-COMMAND"):
        await refused
    assert await answered == b"x"


SCRIPTS = {
    "raised": "return redis.call('INCR', KEYS[1])",
    "handed on": "return redis.pcall('INCR', KEYS[1])",
    "made": "return redis.error_reply('WRONGTYPE of mine')",
}


@pytest.mark.parametrize("how", SCRIPTS)
async def test_a_refusal_in_a_script_begins_with_its_code(link: RedisLink, namespace: str, how: str) -> None:
    await link.call("LPUSH", namespace, "x")
    with pytest.raises(RedisRefusedError, match=r"^WRONGTYPE "):
        await link.call("EVAL", SCRIPTS[how], 1, namespace)


@pytest.mark.parametrize("how", ["raised", "handed on"])
async def test_what_redis_refuses_a_script_begins_with_its_code(
    program: Program, namespace: str, tmp_path: Path, how: str
) -> None:
    """The script's commands meet a memory that is full, or a replica; Redis before 7 says the line first."""
    port = free_port()
    with server_of(program, port, "--dir", str(tmp_path)):
        link = await connect(f"redis://127.0.0.1:{port}/0", 2.0, "test-refused")
        for code, command in (("OOM", "CONFIG SET maxmemory 1"), ("READONLY", "REPLICAOF 127.0.0.1 1")):
            await link.call(*command.split())
            with pytest.raises(RedisRefusedError, match=f"^{code} "):
                await link.call("EVAL", SCRIPTS[how], 1, namespace)
            await link.call("CONFIG", "SET", "maxmemory", "0")
        link.close()
        await link.closed


async def test_an_error_of_the_script_itself_is_handed_on_whole(link: RedisLink) -> None:
    with pytest.raises(RedisRefusedError, match=r"attempt to compare"):
        await link.call("EVAL", "return 1 < 'x'", 0)


async def test_a_lost_connection_fails_what_is_pending_and_all_that_follows(link: RedisLink, server_url: str) -> None:
    other = await connect(server_url, 2.0, "other")
    pending = link.call("BLPOP", "nothing-here", 0)
    await other.call("CLIENT", "KILL", "ID", await _id_of(other, b"test-link"))
    with pytest.raises(RedisUnavailableError):
        await pending
    with pytest.raises(RedisUnavailableError):
        await link.call("PING")
    with pytest.raises(RedisUnavailableError):
        await link.call_all([("PING",)])
    await link.closed
    other.close()
    await other.closed


async def test_a_server_that_says_nothing_is_given_up() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(RedisUnavailableError, match=r"did not answer within 0\.2 s"):
            await connect(f"redis://127.0.0.1:{port}", 0.2, "test")


async def test_an_answer_that_never_comes_closes_the_link(server_url: str) -> None:
    link = await connect(server_url, 0.2, "test-silent")
    with pytest.raises(RedisUnavailableError):
        await asyncio.wait_for(link.call("BLPOP", "nothing-here", 0), 5)
    await link.closed


async def test_nobody_there() -> None:
    with pytest.raises(RedisUnavailableError, match="can't be reached"):
        await connect(f"redis://127.0.0.1:{free_port()}", 1.0, "test")


async def test_not_a_url() -> None:
    with pytest.raises(ParadeError, match="not a Redis URL"):
        await connect("http://localhost", 1.0, "test")


async def test_a_wrong_password(server_url: str) -> None:
    with pytest.raises(RedisRefusedError):
        await connect(server_url.replace("://", "://:secret@"), 1.0, "test")


async def _id_of(link: RedisLink, name: bytes) -> bytes:
    for line in (await link.call("CLIENT", "LIST")).splitlines():
        fields = dict(pair.split(b"=", 1) for pair in line.split() if b"=" in pair)
        if fields[b"name"] == name:
            return bytes(fields[b"id"])
    raise AssertionError(f"{name!r} is not connected")


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A key and a certificate for 127.0.0.1, signed by itself."""
    key, public = tmp_path / "key.pem", tmp_path / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "1", *subject]
    subprocess.run([*command, "-keyout", str(key), "-out", str(public)], check=True, capture_output=True)
    return key, public


async def test_tls_with_a_user_and_a_password(redis_url: str, certificate: tuple[Path, Path], tmp_path: Path) -> None:
    assert redis_url  # the system's redis-server is there; those in wheels are built without TLS
    key, public = map(str, certificate)
    port = free_port()
    options = ["--tls-port", str(port), "--tls-cert-file", public, "--tls-key-file", key, "--tls-auth-clients", "no"]
    options += ["--tls-ca-cert-file", public, "--dir", str(tmp_path)]
    options += ["--user", "parade", "on", ">se/cret", "~*", "&*", "+@all"]
    with system_server(free_port(), *options):
        url = f"rediss://parade:se%2Fcret@127.0.0.1:{port}/0"
        link = await connect(f"{url}?ssl_ca_certs={public}", 5.0, "test-tls")
        assert await link.call("ACL", "WHOAMI") == b"parade"
        link.close()
        await link.closed
        with pytest.raises(RedisUnavailableError, match="CERTIFICATE_VERIFY_FAILED"):
            await connect(url, 5.0, "test-tls")


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.001)


async def test_a_link_that_pauses_reads_nothing_and_loses_nothing(
    server_url: str, link: RedisLink, namespace: str
) -> None:
    received: list[bytes | int] = []
    subscribed = await connect(server_url, 2.0, "test-paused")
    subscribed.on_message = lambda message: received.append(message[2])
    subscribed.send("SUBSCRIBE", namespace)
    await until(lambda: len(received) == 1)
    subscribed.pause()
    for number in range(1, 101):
        await link.call("PUBLISH", namespace, number)
    await asyncio.sleep(0.05)
    assert received == [1]
    subscribed.resume()
    await until(lambda: len(received) == 101)
    assert received == [1, *(b"%d" % number for number in range(1, 101))]
    subscribed.close()
    await subscribed.closed
    subscribed.pause()
    subscribed.resume()
