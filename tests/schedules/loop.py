"""An event loop with virtual time: it runs callbacks in order and leaps to the next timer, so nothing waits.

Rules kept here:

- The same callbacks give the same order every time: first come, first served, timers by time and then by age.
- Futures and tasks hash by their number, not by their address, so sets of them are gone through in one order.
"""

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from typing import Any, cast

STEPS = 200_000
"""Callbacks of one schedule; more mean that something spins."""


class _Future(asyncio.Future[Any]):
    def __init__(self, loop: "VirtualLoop") -> None:
        self.number = loop.numbered()
        super().__init__(loop=cast(asyncio.AbstractEventLoop, loop))

    def __hash__(self) -> int:
        return self.number


class _Task(asyncio.Task[Any]):
    def __init__(self, coroutine: Any, loop: "VirtualLoop") -> None:
        self.number = loop.numbered()
        super().__init__(coroutine, loop=cast(asyncio.AbstractEventLoop, loop))

    def __hash__(self) -> int:
        return self.number


class VirtualLoop:
    """What asyncio's tasks, futures, events and timeouts need of a loop, and no more."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self._self = cast(asyncio.AbstractEventLoop, self)
        self._now = 0.0
        self._numbers = 0
        self._steps = 0
        self._ready: deque[asyncio.Handle] = deque()
        self._timers: list[tuple[float, int, asyncio.TimerHandle]] = []

    def numbered(self) -> int:
        self._numbers += 1
        return self._numbers

    def run(self, until: float) -> None:
        """Run everything that is due up to the virtual time `until`."""
        asyncio._set_running_loop(self._self)
        ready, timers = self._ready, self._timers
        try:
            while True:
                while ready:
                    handle = ready.popleft()
                    if not handle._cancelled:
                        self._steps += 1
                        handle._run()
                    if self._steps > STEPS:
                        raise AssertionError(f"more than {STEPS} steps: something spins")
                if not timers or timers[0][0] > until:
                    break
                when, _, timer = heapq.heappop(timers)
                self._now = max(self._now, when)
                ready.append(timer)
            self._now = until
        finally:
            asyncio._set_running_loop(None)

    # What asyncio calls

    def time(self) -> float:
        return self._now

    def call_soon(self, callback: Callable[..., Any], *args: Any, context: Any = None) -> asyncio.Handle:
        handle = asyncio.Handle(callback, args, self._self, context)
        self._ready.append(handle)
        return handle

    def call_later(
        self, delay: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        return self.call_at(self._now + delay, callback, *args, context=context)

    def call_at(
        self, when: float, callback: Callable[..., Any], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        timer = asyncio.TimerHandle(when, callback, args, self._self, context)
        heapq.heappush(self._timers, (when, self.numbered(), timer))
        return timer

    def create_future(self) -> asyncio.Future[Any]:
        return _Future(self)

    def create_task(self, coro: Any, **_: Any) -> asyncio.Task[Any]:
        return _Task(coro, self)

    def get_debug(self) -> bool:
        return False

    def is_running(self) -> bool:
        return True

    def is_closed(self) -> bool:
        return False

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        # Tasks of a killed process end with errors that no one awaits.
        if "never retrieved" not in context["message"]:
            self.errors.append(f"{context['message']}: {context.get('exception')!r}")

    def _timer_handle_cancelled(self, _: asyncio.TimerHandle) -> None:
        pass  # it is skipped when its time comes
