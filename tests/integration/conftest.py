"""The same tests on fakeredis and on each real server: `calls` runs commands on each in turn."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import fakeredis
import pytest
import redis

from runtime.redis.link import RedisLink, RedisRefusedError, Reply, connect
from runtime.settings import Settings, load
from tests.schedules.redis_double import Redis, RefusedError
from tests.support.programs import SERVERS, Program


class FakeCalls:
    """fakeredis behind the interface of a RedisLink: raw answers, the same errors."""

    def __init__(self) -> None:
        self._client = fakeredis.FakeAsyncRedis(protocol=2, server=fakeredis.FakeServer(version=(7, 2)))
        self._client.response_callbacks.clear()

    async def _run(self, command: tuple[Any, ...]) -> Reply:
        if command[0] == "INFO":  # which fakeredis does not know
            return b"# Server\r\nrun_id:fake\r\n"
        try:
            return await self._client.execute_command(*command)  # type: ignore[no-untyped-call]
        except redis.ResponseError as problem:
            raise RedisRefusedError(str(problem)) from None

    def call(self, *command: bytes | str | int | float) -> "asyncio.Future[Reply]":
        return asyncio.ensure_future(self._run(command))

    async def call_all(self, commands: Iterable[tuple[Any, ...]]) -> list[Reply]:
        return [await self._run(command) for command in commands]


class DoubleCalls:
    """The double of the simulation, so that it is held to what real servers answer."""

    def __init__(self) -> None:
        self._redis = Redis(time.monotonic, lambda *_: None)

    async def _run(self, command: tuple[Any, ...]) -> Reply:
        packed = [part if isinstance(part, bytes) else str(part).encode() for part in command]
        try:
            return self._redis.run(packed)
        except RefusedError as problem:
            raise RedisRefusedError(str(problem)) from None

    def call(self, *command: bytes | str | int | float) -> "asyncio.Future[Reply]":
        return asyncio.ensure_future(self._run(command))

    async def call_all(self, commands: Iterable[tuple[Any, ...]]) -> list[Reply]:
        return [await self._run(command) for command in commands]


Calls = RedisLink | FakeCalls | DoubleCalls


@pytest.fixture(params=["fakeredis", "double", *SERVERS], ids=str)
async def calls(request: pytest.FixtureRequest, shared_server: Callable[[Program], str]) -> AsyncIterator[Calls]:
    if request.param == "fakeredis":
        yield FakeCalls()
        return
    if request.param == "double":
        yield DoubleCalls()
        return
    link = await connect(shared_server(request.param), 5.0, "test")
    yield link
    link.close()
    await link.closed


@pytest.fixture
def settings(namespace: str) -> Settings:
    return load(namespace=namespace)
