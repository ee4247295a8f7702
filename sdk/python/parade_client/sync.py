"""The same subscriber and source for programs without asyncio.

    with Subscriber("parade://127.0.0.1:9099", user=50) as feed:
        for event in feed:
            ...

Rules kept here:

- There is no thread: a private loop runs during the caller's calls, and stands still between them. So what is posted is
  sent by the next calls, `flush` or the end of the block.
- A call that is interrupted (Ctrl-C) leaves nothing running.
- One object is for one thread, and not for a program whose thread runs a loop already.
"""

import asyncio
from collections.abc import Coroutine, Iterator
from types import TracebackType
from typing import Any, TypeVar

from parade_client import source, subscriber
from parade_client.connection import CLOSE_S
from parade_client.cursor import Reset
from parade_client.dial import PATIENCE_S
from parade_client.events import Event
from parade_client.within import within

T = TypeVar("T")


class _Private:
    """A loop of its own, for one object."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()

    @property
    def is_closed(self) -> bool:
        return self._loop.is_closed()

    def open(self, opening: Coroutine[Any, Any, object]) -> None:
        """Run what opens the object; when that fails it is closed."""
        try:
            self.run(opening)
        except BaseException:
            self.close()
            raise

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        if self.is_closed:
            work.close()
            raise RuntimeError("this is closed: make another one")
        task = self._loop.create_task(work)
        try:
            return self._loop.run_until_complete(task)
        except BaseException:
            if not task.done():
                task.cancel()
                self._loop.run_until_complete(asyncio.wait([task]))
            raise

    def close(self) -> None:
        self._loop.run_until_complete(_rest())
        self._loop.close()


async def _rest() -> None:
    """Connections that were cut are closed by the loop, and what was cancelled ends."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    if tasks:
        await asyncio.wait(tasks, timeout=CLOSE_S)
    await asyncio.sleep(0)


class Subscriber:
    """The feed of one user; see `parade_client.Subscriber`."""

    def __init__(self, address: str, user: int, after: str | None = None, *, patience_s: float = PATIENCE_S) -> None:
        self._feed = subscriber.Subscriber(address, user, after, patience_s=patience_s)
        self._private = _Private()

    @property
    def cursor(self) -> str | None:
        """Where the feed is: store it with the effect of an event, and give it back as `after`."""
        return self._feed.cursor

    def __enter__(self) -> "Subscriber":
        self._private.open(self._feed.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Event | Reset]:
        return self

    def __next__(self) -> Event | Reset:
        try:
            return self._private.run(self._feed.__anext__())
        except StopAsyncIteration:
            raise StopIteration from None

    def next(self, timeout_s: float) -> Event | Reset:
        """The next event. Raises TimeoutError when none comes in this time; nothing is lost by that."""
        try:
            return self._private.run(within(timeout_s, self._feed.__anext__()))
        except StopAsyncIteration:
            raise StopIteration from None
        except asyncio.TimeoutError:
            raise TimeoutError(f"no event within {timeout_s:g} s") from None

    def bye(self) -> None:
        """End the feed and give up its place."""
        self._private.run(self._feed.bye())

    def close(self) -> None:
        """End the feed. Its place is kept for a while."""
        if not self._private.is_closed:
            try:
                self._private.run(self._feed.close())
            finally:
                self._private.close()


class Source:
    """Sends events; see `parade_client.Source`."""

    def __init__(
        self,
        address: str,
        producer: str | None = None,
        *,
        outbox_bytes: int = source.OUTBOX_BYTES,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._source = source.Source(address, producer, outbox_bytes=outbox_bytes, patience_s=patience_s)
        self._private = _Private()

    @property
    def received(self) -> int:
        """How many lines of this producer are taken, over all its connections."""
        return self._source.received

    @property
    def gap(self) -> int | None:
        """The number that everything waits for, if the server has said so."""
        return self._source.gap

    def __enter__(self) -> "Source":
        self._private.open(self._source.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._private.run(self._source.__aexit__(kind, error, trace))
        finally:
            self._private.close()

    def send(self, event: Event) -> None:
        """Send an event; returns when it is in Redis. Raises RefusedError, and the other errors of `errors.py`."""
        self._private.run(self._source.send(event))

    def post(self, event: Event) -> None:
        """Send an event by the next calls; returns when there is room for it. `flush` says what became of it."""
        self._private.run(self._source.post(event))

    def flush(self) -> None:
        """Wait until everything is in Redis. Raises RefusedError for the first that was posted and refused."""
        self._private.run(self._source.flush())
