"""The example's compose file: the page is served, and what it sends comes back, also when the node is killed."""

import json
import subprocess
import urllib.request
import uuid
from collections.abc import Iterator

import pytest
from websockets.sync.client import connect
from websockets.typing import Origin

from parade_client import sync
from tests.compose.stack import Stack
from tests.support.deployment import ROOT, wait_until
from tests.support.servers import free_port

START_S = 90.0


class Example:
    """The compose file of the example, with the image that the other tests have built."""

    def __init__(self, stack: Stack) -> None:
        self.port, self.web_port = free_port(), free_port()
        self._file = str(ROOT / "examples" / "feed" / "docker-compose.yml")
        self._stack = stack
        stack.environment |= {"FEED_PORT": str(self.port), "FEED_PARADE_WEB_PORT": str(self.web_port)}
        self._project = f"feedtest{uuid.uuid4().hex[:8]}"

    def compose(self, *arguments: str) -> str:
        return self._stack.compose("-f", self._file, "-p", self._project, *arguments)

    def is_served(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/settings", timeout=2) as answer:
                return bool(json.load(answer)["webPort"] == self.web_port)
        except OSError:
            return False

    def post(self, text: str) -> None:
        body = json.dumps({"kind": "message", "from": 1, "to": 2, "text": text}).encode()
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/events", data=body, timeout=30) as answer:
            assert answer.status == 201


@pytest.fixture
def example(stack: Stack) -> Iterator[Example]:
    subject = Example(stack)
    try:
        subject.compose("up", "-d", "--no-build")
        yield subject
    finally:
        print(subject.compose("logs", "--no-color", "--tail=20")[-8000:])
        subject.compose("down", "-v", "-t", "5")


def test_the_feed_in_containers(example: Example) -> None:
    wait_until(example.is_served, "the page is served", START_S)
    where = f"ws://127.0.0.1:{example.web_port}"
    with connect(f"{where}/ws", origin=Origin(f"http://localhost:{example.port}")) as page:
        page.send("3 after=now")
        assert str(page.recv(30)).startswith("OK ")
    with sync.Subscriber(where, user=2, patience_s=START_S) as feed:
        example.post("one")
        assert next(feed).line == b'1|P|1|2|{"text": "one"}\n'  # type: ignore[union-attr]
        (node,) = example.compose("ps", "-q", "fanout").split()
        subprocess.run(["docker", "kill", node], check=True, capture_output=True, timeout=60)
        example.post("two")
        example.compose("up", "-d", "--no-build", "fanout")
        assert next(feed).line == b'2|P|1|2|{"text": "two"}\n'  # type: ignore[union-attr]
