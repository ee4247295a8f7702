"""Publishers over HTTP: single requests, and a producer that repeats what was not answered."""

import http.client
import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from tests.support.deployment import PATIENCE_S
from tests.support.senders import SenderThread

LOOPBACK = "127.0.0.1"


@dataclass
class Answer:
    """What a request was answered."""

    status: int
    headers: dict[str, str]
    told: dict[str, Any]


class Publisher:
    """One connection, which is kept as long as the listener keeps it."""

    def __init__(self, port: int) -> None:
        self.connection = http.client.HTTPConnection(LOOPBACK, port, timeout=PATIENCE_S)

    def post(self, body: bytes, producer: str = "", first: int = 0, **headers: str) -> Answer:
        """Publish, as a producer whose line number `first` is the body's first one; OSError without an answer."""
        if producer:
            headers |= {"Parade-Producer": producer, "Parade-First-Line": str(first)}
        return self.ask("POST", "/events", body, headers)

    def ask(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        """Any request."""
        try:
            self.connection.request(method, path, body, headers)
            answer = self.connection.getresponse()
            text = answer.read()
        except http.client.HTTPException as problem:
            self.connection.close()
            raise ConnectionError(str(problem)) from problem
        except OSError:
            self.connection.close()
            raise
        return Answer(answer.status, dict(answer.getheaders()), json.loads(text) if text else {})


@contextmanager
def publisher(port: int) -> Iterator[Publisher]:
    """A publisher, closed at the end."""
    found = Publisher(port)
    try:
        yield found
    finally:
        found.connection.close()


class PublishingThread(SenderThread):
    """Publishes its lines as one producer, and repeats each request, over one port after another, until it is answered.

    What a lost answer would have said is not known to it: it goes by the answers alone.
    """

    def __init__(self, ports: Sequence[int], name: str, lines: Sequence[bytes], lines_a_request: int) -> None:
        super().__init__()
        self.unanswered = 0
        self.statuses: list[int] = []
        self._ports, self._name, self._lines, self._step = ports, name, lines, lines_a_request

    def send(self) -> None:
        """Publish until all is answered."""
        for at in range(0, len(self._lines), self._step):
            self._publish(at)

    def _publish(self, at: int) -> None:
        lines = self._lines[at : at + self._step]
        deadline = time.monotonic() + 2 * PATIENCE_S
        while time.monotonic() < deadline:
            port = self._ports[self.unanswered % len(self._ports)]
            try:
                with publisher(port) as one:
                    answer = one.post(b"".join(lines), self._name, at + 1)
            except OSError:
                self.unanswered += 1
                time.sleep(0.02)
                continue
            self.statuses.append(answer.status)
            if answer.status == 200:
                assert answer.told["accepted"] == len(lines), answer.told
                assert answer.told["received"] >= at + len(lines), answer.told
                return
            assert answer.status in (429, 503, 504), answer
        raise AssertionError(f"{self._name} has no answer for its line {at + 1}")
