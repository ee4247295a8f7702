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

from console import dashboard, live
from console.dashboard import Place, served
from console.live import Live, watch
from contract.errors import ParadeError
from contract.settings import load
from tests.servers import free_port

SECONDS = 15.0


def a_place(password: str | None = None) -> Place:
    return Place("127.0.0.1", free_port(), password)


@contextlib.asynccontextmanager
async def session(place: Place, **options: Any) -> AsyncIterator[aiohttp.ClientSession]:
    timeout = aiohttp.ClientTimeout(total=SECONDS)
    async with aiohttp.ClientSession(place.url, timeout=timeout, read_bufsize=1 << 20, **options) as client:
        yield client


async def events(answer: aiohttp.ClientResponse) -> AsyncIterator[tuple[str, Any]]:
    name = ""
    async for line in answer.content:
        if line.startswith(b"event: "):
            name = line[7:].decode().strip()
        elif line.startswith(b"data: "):
            yield name, json.loads(line[6:])


async def test_every_answer_has_the_guarding_headers() -> None:
    place = a_place()
    async with served(place, Live()), session(place) as client:
        for path, status in (("/", 200), ("/events", 200), ("/nothing", 404)):
            async with client.get(path) as answer:
                assert answer.status == status
                assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
                assert answer.headers["X-Content-Type-Options"] == "nosniff"
                assert answer.headers["Cache-Control"] == "no-store"


async def test_nothing_can_be_changed() -> None:
    place = a_place()
    async with served(place, Live()), session(place) as client:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            async with client.request(method, "/events") as answer:
                assert answer.status == 405


async def test_page_and_events_ask_for_the_password() -> None:
    place = a_place("secret")
    async with served(place, Live()), session(place) as client:
        for path in ("/", "/events", "/nothing"):
            async with client.get(path) as answer:
                assert answer.status == 401
                assert answer.headers["WWW-Authenticate"].startswith("Basic ")
                assert "script" not in await answer.text()
    code = base64.b64encode(b"any:secret").decode()
    async with served(place, Live()), session(place, headers={"Authorization": f"Basic {code}"}) as client:
        for path in ("/", "/events"):
            async with client.get(path) as answer:
                assert answer.status == 200


async def test_another_sites_name_is_not_answered() -> None:
    place = a_place()
    async with served(place, Live()), session(place) as client:
        async with client.get("/events", headers={"Host": "evil.example"}) as answer:
            assert answer.status == 421


async def test_a_port_in_use() -> None:
    place = a_place()
    async with served(place, Live()):
        with pytest.raises(ParadeError, match=f"can't serve the dashboard on 127.0.0.1:{place.port}"):
            async with served(place, Live()):
                pass


async def test_viewers_beyond_the_limit_are_refused_until_one_leaves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dashboard, "MOST_VIEWERS", 2)
    place, feed = a_place(), Live()
    async with served(place, feed), session(place) as client:
        async with client.get("/events") as first:
            async with client.get("/events") as second:
                async with client.get("/events") as third:
                    assert (first.status, second.status, third.status) == (200, 200, 503)
            await _until(client, 200, feed)


async def test_a_viewer_that_takes_nothing_holds_up_nobody_and_loses_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(dashboard, "MOST_VIEWERS", 1)
    monkeypatch.setattr(dashboard, "WRITE_S", 0.2)
    place, feed = a_place(), Live()
    async with served(place, feed), session(place) as client:
        _, writer = await asyncio.open_connection(place.host, place.port, limit=1024)
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
    place, feed = a_place(), Live()
    with redis.Redis.from_url(server_url) as store:
        store.config_resetstat()
        async with served(place, feed), session(place) as client:
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
    place, feed = a_place(), Live()
    where = away
    async with served(place, feed), session(place) as client:
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
