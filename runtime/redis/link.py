"""One connection to Redis, for the hot paths: hiredis on an asyncio protocol.

Commands are written at once and answered in order, so a caller may have several under way. A client
library's call costs about 100 µs of CPU and a pub/sub message about 9 µs; here it is about 15 and 1.5.

Rules kept here:

- Answers come in the order of the commands. A subscribed link hands everything to `on_message`, refusals included
  (as a hiredis.ReplyError).
- No wait is endless: a link that owes an answer and hears nothing for `timeout_s` is closed.
- A closed link stays closed: every pending and later call fails with RedisUnavailableError.
"""

import asyncio
import hashlib
import re
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, cast

import hiredis

from runtime.errors import RedisUnavailableError
from runtime.redis import url as redis_url
from runtime.redis.url import RedisUrl, redacted, without_secrets
from runtime.settings import Settings

Reply = Any
"""What hiredis makes of an answer: bytes, int, None, or a list of these."""

Command = tuple[bytes | str | int | float, ...]

_pack = hiredis.pack_command

IN_SCRIPT = re.compile(r"^(?:ERR Error running script \(call to \w+\): )?(?:@user_script: ?\d+: )+-?(?=[A-Z]+ )")
"""What Redis 6.2 puts before the code of an error from within a script; newer servers put it at the end."""


class RedisRefusedError(RedisUnavailableError):
    """Redis answered a command with an error; the text is Redis's own, and `runtime/redis/refusals.py` explains it.

    It begins with the error's code, as OOM or NOPERM.
    """

    def __init__(self, text: str, command: Command = ()) -> None:
        super().__init__(IN_SCRIPT.sub("", text))
        self.command = command


class Calls(Protocol):
    """Anything that runs Redis commands: a RedisLink, or a fake in the tests."""

    def call(self, *command: bytes | str | int | float) -> Awaitable[Reply]: ...

    async def call_all(self, commands: Iterable[tuple[bytes | str | int, ...]]) -> list[Reply]: ...


class RedisLink(asyncio.Protocol):
    """A connection made by `connect`."""

    def __init__(self, timeout_s: float) -> None:
        self.on_message: Callable[[Any], None] | None = None
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._timeout_s = timeout_s
        self._reader = hiredis.Reader()
        self._pending: deque[tuple[asyncio.Future[Reply], Command]] = deque()
        self._heard = False
        self._transport: asyncio.Transport | None = None
        self._watch: asyncio.TimerHandle | None = None

    # Commands

    def call(self, *command: bytes | str | int | float) -> "asyncio.Future[Reply]":
        """Send a command now; the future has its answer. RedisRefusedError for an error answer."""
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        if self._transport is None:
            answer.set_exception(RedisUnavailableError("the connection to Redis is closed"))
            return answer
        self._pending.append((answer, command))
        self._transport.write(_pack(command))
        return answer

    async def call_all(self, commands: Iterable[tuple[bytes | str | int, ...]]) -> list[Reply]:
        """Send many commands in one write and wait for all their answers."""
        loop, packed, answers = asyncio.get_running_loop(), [], []
        for command in commands:
            packed.append(_pack(command))
            answers.append((loop.create_future(), command))
        if self._transport is None:
            raise RedisUnavailableError("the connection to Redis is closed")
        self._pending.extend(answers)
        self._transport.write(b"".join(packed))
        return await asyncio.gather(*(answer for answer, _ in answers))

    def send(self, *command: bytes | str) -> None:
        """Send a command whose answers go to `on_message` (SUBSCRIBE and its kin)."""
        if self._transport is not None:
            self._transport.write(_pack(command))

    def pause(self) -> None:
        """Read nothing until `resume`: what Redis sends waits there, up to the limit of its output buffer."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read again."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close at once; pending calls fail."""
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport = cast(asyncio.Transport, transport)
        # Write at once, not at the end of the loop's turn: a commit must be on its way while the next
        # batch is computed.
        transport.set_write_buffer_limits(high=0)
        self._watch = asyncio.get_running_loop().call_later(self._timeout_s, self._check)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        self._reader.feed(data)
        while (reply := self._reader.gets()) is not False:
            if self.on_message is not None:
                self.on_message(reply)
                continue
            answer, command = self._pending.popleft()
            if answer.cancelled():
                continue
            if isinstance(reply, hiredis.ReplyError):
                answer.set_exception(RedisRefusedError(str(reply), command))
            else:
                answer.set_result(reply)

    def connection_lost(self, exc: Exception | None) -> None:
        self._transport = None
        if self._watch is not None:
            self._watch.cancel()
        for answer, _ in self._pending:
            if not answer.done():
                answer.set_exception(RedisUnavailableError(f"lost the connection to Redis: {exc or 'closed'}"))
                answer.exception()  # no warning at exit when its caller has stopped waiting
        self._pending.clear()
        if not self.closed.done():
            self.closed.set_result(None)

    def _check(self) -> None:
        if self._pending and not self._heard:
            self.close()
            return
        self._heard = False
        self._watch = asyncio.get_running_loop().call_later(self._timeout_s, self._check)


async def connect(url: str, timeout_s: float, name: str) -> RedisLink:
    """Open a link to the server, or to the primary that the Sentinels name, and log in as the URL says.

    `name` shows in CLIENT LIST. RedisUnavailableError when the server can't be reached, is still loading, is no
    primary, or refuses us.
    """
    where = redis_url.parse(url)
    try:
        async with asyncio.timeout(timeout_s):
            if where.sentinels:
                where = await _find_primary(where, timeout_s)
            link = await _open(where, timeout_s)
            try:
                await _log_in(link, where, name)
            except BaseException:
                link.close()
                raise
            return link
    except TimeoutError:
        raise RedisUnavailableError(f"Redis at {redacted(url)} did not answer within {timeout_s:g} s") from None
    except OSError as problem:
        raise RedisUnavailableError(f"Redis at {redacted(url)} can't be reached: {problem}") from None


async def _find_primary(where: RedisUrl, timeout_s: float) -> RedisUrl:
    """Ask one Sentinel after another (https://redis.io/docs/latest/develop/reference/sentinel-clients/)."""
    problems = []
    for host, port in where.sentinels:
        try:
            async with asyncio.timeout(timeout_s / (len(where.sentinels) + 1)):
                answer = await _ask_sentinel(where, host, port, timeout_s)
        except (OSError, RedisUnavailableError, TimeoutError) as problem:
            problems.append(f"{host}:{port}: {problem or 'no answer'}")
            continue
        if answer:
            return replace(where, host=answer[0].decode(), port=int(answer[1]))
        problems.append(f"{host}:{port}: knows no service {where.service}")
    raise RedisUnavailableError(f"no Sentinel names the primary of {where.service}: {'; '.join(problems)}")


async def _ask_sentinel(where: RedisUrl, host: str, port: int, timeout_s: float) -> Reply:
    login = {"username": where.sentinel_username, "password": where.sentinel_password}
    link = await _open(replace(where, host=host, port=port), timeout_s)
    try:
        await _authenticate(link, **login)
        return await link.call("SENTINEL", "GET-MASTER-ADDR-BY-NAME", where.service)
    finally:
        link.close()


async def _open(where: RedisUrl, timeout_s: float) -> RedisLink:
    loop = asyncio.get_running_loop()
    if where.path is not None:
        _, link = await loop.create_unix_connection(lambda: RedisLink(timeout_s), where.path)
        return link
    context = where.tls.context() if where.tls else None
    _, link = await loop.create_connection(lambda: RedisLink(timeout_s), where.host, where.port, ssl=context)
    return link


async def _log_in(link: RedisLink, where: RedisUrl, name: str) -> None:
    await _authenticate(link, where.username, where.password)
    await link.call("SELECT", where.db)
    await link.call("CLIENT", "SETNAME", name)
    await link.call("PING")  # a server that still loads its data says so here
    if where.sentinels and (await link.call("ROLE"))[0] != b"master":
        raise RedisUnavailableError(f"{where.host}:{where.port} is not the primary of {where.service} any more")


async def _authenticate(link: RedisLink, username: str | None, password: str | None) -> None:
    if not password:
        return
    try:
        await link.call("AUTH", *([username] if username else []), password)
    except RedisRefusedError as refusal:
        raise RedisRefusedError(without_secrets(str(refusal), password), ("AUTH",)) from None


async def wait_for_replicas(calls: Calls, settings: Settings) -> None:
    """Wait until `wait_replicas` replicas have all that was written on this connection.

    RedisUnavailableError when they do not confirm it in time (https://redis.io/docs/latest/commands/wait/).
    """
    wanted = settings.wait_replicas
    confirmed = await calls.call("WAIT", wanted, int(settings.redis_timeout_s * 500))
    if confirmed < wanted:
        raise RedisUnavailableError(f"{confirmed} of {wanted} replicas have confirmed the last write")


class Script:
    """A Lua script, and the `libraries` that go before it. Load it once on a link, then run it by its digest."""

    def __init__(self, path: Path, *libraries: Path) -> None:
        self.text = "".join(each.read_text() for each in (*libraries, path))
        self.sha = hashlib.sha1(self.text.encode(), usedforsecurity=False).hexdigest()
