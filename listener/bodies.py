"""The bodies of requests, and how many bytes of them are held.

Rules kept here:

- A body is there within BODY_S of its head, however slowly its bytes come.
- All bodies together hold a bounded number of bytes. When one more would be too much, the request gives way that has
  been sending longest, since an honest one sends its body at once.
- Bytes count from when they came until their request has ended, or the intake has them.
"""

import asyncio
from dataclasses import dataclass, field
from typing import Final, Protocol

from listener.asked import RefusedError

BODY_S = 10.0
BODY_BYTES: Final = 256 * 1024
"""The longest body."""
FULL: Final = "the listener holds as many bytes as it may: send it again in a moment"
SLOW: Final = f"the body did not come within {BODY_S:g} s"


class Stream(Protocol):
    """Where the bytes of a body come from."""

    async def readany(self) -> bytes:
        """The next bytes; none at the end."""


@dataclass(slots=True, eq=False)
class Body:
    """One body."""

    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    gives_way: bool = False

    @property
    def lines(self) -> bytes:
        """All of it, each line with its end."""
        found = b"".join(self.parts)
        return found if not found or found.endswith(b"\n") else found + b"\n"


class Bodies:
    """All bodies that a listener holds, up to `most_bytes`."""

    def __init__(self, most_bytes: int) -> None:
        self.held_bytes = 0
        self._most_bytes = most_bytes
        self._coming: dict[Body, asyncio.Timeout] = {}
        """Those that are not there yet, the oldest first."""

    async def read(self, stream: Stream) -> Body:
        """Read a body, which is held until it is dropped. RefusedError when it does not come, or has to give way."""
        body = Body()
        try:
            async with asyncio.timeout(BODY_S) as deadline:
                self._coming[body] = deadline
                while part := await stream.readany():
                    self._add(body, part)
        except TimeoutError:
            self.drop(body)
            raise (RefusedError(429, FULL) if body.gives_way else RefusedError(408, SLOW)) from None
        except BaseException:
            self.drop(body)
            raise
        finally:
            self._coming.pop(body, None)
        return body

    def drop(self, body: Body) -> None:
        """It is no longer held; harmless when it is not."""
        self.held_bytes -= body.size
        body.parts, body.size = [], 0

    def _add(self, body: Body, part: bytes) -> None:
        body.parts.append(part)
        body.size += len(part)
        self.held_bytes += len(part)
        for oldest, deadline in self._coming.items():
            if self.held_bytes <= self._most_bytes:
                break
            if not (oldest.gives_way or deadline.expired()):
                oldest.gives_way = True
                self.drop(oldest)
                deadline.reschedule(0)
