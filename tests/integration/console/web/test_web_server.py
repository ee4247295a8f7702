"""The dashboard's server on real sockets, and its reader on real servers."""

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import redis

from console.web import live, server
from console.web.live import Live, watch
from console.web.password import FREE
from console.web.server import Address, served
from runtime.errors import ParadeError
from runtime.settings import load
from tests.support.servers import free_port

SECONDS = 15.0


def an_address(password: str | None = None) -> Address:
    return Address("127.0.0.1", free_port(), password)


@contextlib.asynccontextmanager
async def session(address: Address, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(address.url, timeout=timeout, read_bufsize=1 << 20, **options) as client:
        yield client


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in answer.content:
        if line.startswith(b"event: "):
            name = line[7:].decode().strip()
        elif line.startswith(b"data: "):
            yield name, json.loads(line[6:])


async def test_every_answer_has_the_guarding_headers() -> None:
    address = an_address()
    async with served(address, Live()), session(address) as client:
        for path, status in (("/", 200), ("/events", 200), ("/nothing", 404)):
            async with client.get(path) as answer:
                assert answer.status == status
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cache-Control"] == "no-store"


async def test_nothing_can_be_changed() -> None:
    address = an_address()
    async with served(address, Live()), session(address) as client:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            async with client.request(method, "/events") as answer:
                assert answer.status == 405


async def test_page_and_events_ask_for_the_password() -> None:
    address = an_address("secret")
    async with served(address, Live()), session(address) as client:
        for path in ("/", "/events", "/nothing"):
            async with client.get(path) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Basic ")
                assert "script" not in await answer.text()
    async with served(address, Live()), session(address, headers=basic("secret")) as client:
        for path in ("/", "/events"):
            async with client.get(path) as answer:
                assert answer.status == 200


def basic(password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"any:{password}".encode()).decode()}


async def status_from(server: Address, address: str, password: str | None, path: str = "/") -> tuple[int, str]:
    """Status, and the seconds to wait, of one request from an address of this machine."""
    source = aiohttp.TCPConnector(local_addr=(address, 0))
    async with session(server, headers=basic(password) if password else {}, connector=source) as client:
        async with client.get(path) as answer:
            return answer.status, answer.headers.get("Retry-After", "")


async def test_guessing_the_password_is_slow_and_keeps_no_one_else_out(capsys: pytest.CaptureFixture[str]) -> None:
    address = an_address("secret")
    guesses, tries = ("127.0.0.2", "guess"), FREE + 45
    async with served(address, Live()):
        async with asyncio.timeout(SECONDS):
            answers = [await status_from(address, *guesses) for _ in range(tries)]
        assert answers[:FREE] == [(401, "")] * FREE
        looked_at = answers.count((401, ""))
        assert FREE < looked_at < FREE + 6, "each wait is twice the one before"
        assert {status for status, _ in answers} == {401, 429}
        assert all(1 <= int(wait_s) <= 60 for status, wait_s in answers if status == 429)
        while (await status_from(address, "127.0.0.2", "secret"))[0] != 429:
            await status_from(address, *guesses)
        assert await status_from(address, "127.0.0.3", "secret") == (200, "")
        assert await status_from(address, "127.0.0.2", None) == (401, ""), "to ask is no guess"
    logged = "".join(capsys.readouterr())
    assert logged.count("password_wrong") < 20
    assert logged.count("password_not_looked_at") < 20
    assert "127.0.0.2" in logged
    assert "guess" not in logged
    assert "secret" not in logged


async def test_a_page_of_another_port_gets_no_place_of_a_viewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_VIEWERS", 1)
    address = an_address()
    foreign: list[dict[str, str]] = [
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"},
        {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "navigate"},
        {"Origin": f"http://127.0.0.1:{address.port + 1}"},
    ]
    async with served(address, Live()), session(address) as client:
        for asked in foreign:
            async with client.get("/events", headers=asked) as answer:
                assert answer.status == 403
        async with client.get("/events", headers={"Sec-Fetch-Site": "same-origin"}) as answer:
            assert answer.status == 200


async def test_an_address_that_has_all_seats_gives_some_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_VIEWERS", 4)
    page = an_address()
    async with served(page, Live()), contextlib.AsyncExitStack() as stack:

        async def view(address: str) -> aiohttp.ClientResponse:
            connector = aiohttp.TCPConnector(local_addr=(address, 0))
            client = await stack.enter_async_context(session(page, connector=connector))
            return await stack.enter_async_context(client.get("/events"))

        greedy = [await view("127.0.0.2") for _ in range(4)]
        assert [each.status for each in greedy] == [200] * 4
        assert (await view("127.0.0.2")).status == 503
        others = [await view(address) for address in ("127.0.0.3", "127.0.0.4")]
        assert [each.status for each in others] == [200] * 2
        for each in greedy[:2]:
            with pytest.raises(aiohttp.ClientError):
                await each.content.read()
        assert (await view("127.0.0.3")).status == 503, "it would have more than the others"


async def test_halves_of_requests_keep_no_viewer_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_CONNECTIONS", 8)
    address = an_address()
    async with served(address, Live()), session(address) as client, contextlib.AsyncExitStack() as stack:
        async with client.get("/events") as viewer:
            for _ in range(100):
                _, writer = await asyncio.open_connection(address.host, address.port)
                stack.callback(writer.close)
                writer.write(b"GET / HTTP/1.1\r\nHost: localhost\r\n")
            async with client.get("/") as answer:
                assert answer.status == 200
            assert await anext(events(viewer)) == ("history", []), "who looks already is not disturbed"


async def test_another_sites_name_is_not_answered() -> None:
    address = an_address()
    async with served(address, Live()), session(address) as client:
        async with client.get("/events", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421


async def test_a_port_in_use() -> None:
    address = an_address()
    async with served(address, Live()):
        with pytest.raises(ParadeError, match=f"port {address.port} on 127.0.0.1 is in use by "):
            async with served(address, Live()):
                pass


async def test_viewers_beyond_the_limit_are_refused_until_one_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MOST_VIEWERS", 2)
    address, feed = an_address(), Live()
    async with served(address, feed), session(address) as client:
        async with client.get("/events") as first:
            async with client.get("/events") as second:
                async with client.get("/events") as third:
                    assert (first.status, second.status, third.status) == (200, 200, 503)
            await _until(client, 200, feed)


async def test_a_viewer_that_takes_nothing_holds_up_no_other_and_loses_its_seat(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server, "MOST_VIEWERS", 1)
    monkeypatch.setattr(server, "WRITE_S", 0.2)
    address, feed = an_address(), Live()
    async with served(address, feed), session(address) as client:
        _, writer = await asyncio.open_connection(address.host, address.port, limit=1024)
        writer.write(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await _until(client, 503)
        for _ in range(20):
            feed.publish({"filling": "x" * 1_000_000})
            await asyncio.sleep(0.01)
        await _until(client, 200)
        writer.close()


async def _until(client: aiohttp.ClientSession, status: int, feed: Live | None = None) -> None:
    async with asyncio.timeout(SECONDS):
        while True:
            if feed is not None:
                feed.publish({})  # a viewer that has left is noticed when something is written to it
            async with client.get("/events") as answer:
                if answer.status == status:
                    return
            await asyncio.sleep(0.02)


async def test_redis_is_asked_as_often_for_twenty_viewers_as_for_one(
    server_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0.05)
    settings = load(redis_url=server_url, namespace=namespace)
    address, feed = an_address(), Live()
    with redis.Redis.from_url(server_url) as store:
        store.config_resetstat()
        async with served(address, feed), session(address) as client:
            watching = asyncio.create_task(watch(lambda: settings, feed))

            async def view() -> list[int]:
                async with client.get("/events") as answer:
                    seen = [
                        facts["overview"]["time_ms"] async for name, facts in _first(answer, 6) if name == "overview"
                    ]
                    return seen

            views = await asyncio.gather(*(view() for _ in range(20)))
            async with client.get("/events") as answer:
                (_, points), *_ = [each async for each in _first(answer, 1)]
            watching.cancel()
            looks = store.info("commandstats")["cmdstat_zcard"]["calls"]
    assert all(len(seen) == 5 for seen in views)
    assert len(points) <= looks <= len(points) + 1


async def _first(answer: aiohttp.ClientResponse, count: int) -> AsyncIterator[tuple[str, Any]]:
    async for each in events(answer):
        yield each
        count -= 1
        if not count:
            return


async def test_a_redis_that_is_away_is_said_and_found_again(
    valkey_url: str, namespace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live, "LOOK_S", 0.05)
    away = load(redis_url=f"redis://:secret@127.0.0.1:{free_port()}/0", namespace=namespace)
    there = load(redis_url=valkey_url, namespace=namespace)
    address, feed = an_address(), Live()
    where = away
    async with served(address, feed), session(address) as client:
        watching = asyncio.create_task(watch(lambda: where, feed))
        async with client.get("/events") as answer:
            facts = events(answer)
            assert await anext(facts) == ("history", [])
            _, first = await anext(facts)
            assert "Connection refused" in first["problem"]
            assert "secret" not in json.dumps(first)
            where = there
            async for _, facts_now in facts:
                if "overview" in facts_now:
                    break
            assert facts_now["where"] == {"namespace": namespace, "redis": valkey_url}
        watching.cancel()
