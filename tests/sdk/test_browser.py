"""The web port and the JavaScript library in a browser: frozen and cached pages, tabs, killed nodes, EventSource."""

import base64
import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from parade_client import Broadcast, sync
from tests.sdk.test_sdk_js import LIBRARY
from tests.sdk.test_sdk_js_readme import served
from tests.sdk.test_sdk_js_system import start
from tests.support.browser import Browser, chromium
from tests.support.deployment import Deployment, running, wait_until
from tests.support.servers import free_port

pytestmark = pytest.mark.slow

FEED = """<!doctype html>
<title>Feed</title>
<script type="module">
  import { Subscriber } from "./src/subscriber.js";

  const { at, user, transport } = Object.fromEntries(new URLSearchParams(location.search));
  window.returns = [];
  addEventListener("pageshow", ({ persisted }) => returns.push(persisted));
  const stored = JSON.parse(sessionStorage.getItem(user)) ?? { seen: [], after: null };
  window.seen = stored.seen;
  const feed = new Subscriber(at, { user, after: stored.after, transport, patienceS: Infinity });
  const store = () => sessionStorage.setItem(user, JSON.stringify({ seen, after: feed.cursor }));
  await feed.open();
  store();
  window.isOpen = true;
  for await (const event of feed) {
    seen.push(event.seq ?? event.kind);
    store();
  }
</script>
"""

NATIVE = """<!doctype html>
<title>EventSource</title>
<script>
  window.seen = [];
  const query = new URLSearchParams(location.search);
  const source = new EventSource(`${query.get("at")}/events?${query}`);
  source.onopen = () => (window.isOpen = true);
  for (const name of ["message", "base64", "reset"]) {
    source.addEventListener(name, ({ data, lastEventId }) => seen.push([name, data, +lastEventId.split("@")[1]]));
  }
</script>
"""


PATIENCE_S = 30.0

USERS = itertools.count(50)


@dataclass
class Stage:
    """A deployment with one node, a server of pages, and a browser; a new user for each test."""

    system: Deployment
    browser: Browser
    source: sync.Source
    origin: str
    port: int
    user: int = 50
    sent: int = 0

    def open(self, page: str, query: str) -> None:
        """Open a page; returns when it is served."""
        self.browser.open(f"{self.origin}/{page}.html?at=http://127.0.0.1:{self.port}&user={self.user}{query}")
        self.browser.wait_for("window.isOpen", PATIENCE_S)

    def open_feed(self, transport: str) -> None:
        self.open("feed", f"&transport={transport}")

    def send(self, *payloads: bytes) -> list[int]:
        """Send broadcasts, by default five; returns their numbers."""
        first = self.sent + 1
        for payload in payloads or (b"%d" % number for number in range(first, first + 5)):
            self.sent += 1
            self.source.send(Broadcast(payload, seq=self.sent))
        return list(range(first, self.sent + 1))

    def see(self, wanted: list[object]) -> None:
        """The page sees exactly this, in this order."""
        self.browser.wait_for(f"window.seen?.length >= {len(wanted)}", PATIENCE_S)
        assert self.browser.run("seen") == wanted

    def kill_the_node(self) -> None:
        (node,) = self.system.of("fanout")
        node.kill()
        node.wait()

    def start_a_node(self) -> None:
        start(self.system, "fanout", self.port)

    def wait_for_connections(self, count: int) -> None:
        """What the node reports, about once a second."""
        wait_until(lambda: self.system.connections() == count, f"{count} connections")

    def complaints(self) -> list[str]:
        """What is in the console, without the browser's own notes on connections that a killed node broke."""
        return [each for each in self.browser.complaints() if "net::ERR_" not in each]


@pytest.fixture(scope="module")
def shared(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("browser")
    (pages := folder / "pages").mkdir()
    (pages / "src").symlink_to(LIBRARY / "src")
    (pages / "feed.html").write_text(FEED)
    (pages / "native.html").write_text(NATIVE)
    (pages / "other.html").write_text("<!doctype html><title>Other</title>")
    (pages / "favicon.ico").touch()
    port, namespace = free_port(), f"test-browser-{os.getpid()}"
    with (
        served(pages) as origin,
        running(valkey_url, namespace, folder / "log", fanouts=0, web_origins=origin) as system,
        sync.Source(f"parade://127.0.0.1:{system.event_port}") as source,
        chromium() as browser,
    ):
        start(system, "fanout", port)
        yield Stage(system, browser, source, origin, port)


@pytest.fixture
def stage(shared: Stage) -> Iterator[Stage]:
    """The page must not complain in any test."""
    shared.user = next(USERS)
    yield shared
    complaints = shared.complaints()
    shared.browser.open("about:blank")
    assert complaints == []


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_frozen_tab_has_no_connection_and_goes_on_where_it_was(stage: Stage, transport: str) -> None:
    stage.open_feed(transport)
    seen = stage.send()
    stage.see([*seen])
    stage.wait_for_connections(1)
    stage.browser.freeze()
    stage.wait_for_connections(0)
    seen += stage.send()
    stage.browser.thaw()
    stage.see([*seen])
    stage.see([*seen, *stage.send()])


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_away_from_the_page_and_back(stage: Stage, transport: str) -> None:
    """The browser keeps the page in its back-forward cache; when it is short of memory it loads it again."""
    stage.open_feed(transport)
    seen = stage.send()
    stage.see([*seen])
    stage.browser.open(f"{stage.origin}/other.html")
    stage.wait_for_connections(0)
    seen += stage.send()
    stage.browser.driver.back()
    stage.see([*seen])
    assert stage.browser.run("returns") in ([False, True], [False])
    stage.see([*seen, *stage.send()])


def test_a_page_that_is_loaded_again_goes_on_where_it_was(stage: Stage) -> None:
    stage.open_feed("websocket")
    seen = stage.send()
    stage.see([*seen])
    stage.browser.open("about:blank")
    seen += stage.send()
    stage.open_feed("websocket")
    stage.see([*seen, *stage.send()])


@pytest.mark.parametrize("transport", ["websocket", "sse"])
def test_a_killed_node_leaves_no_trace_in_the_feed(stage: Stage, transport: str) -> None:
    stage.open_feed(transport)
    seen = stage.send()
    stage.see([*seen])
    stage.kill_the_node()
    seen += stage.send()
    stage.start_a_node()
    stage.see([*seen])
    stage.see([*seen, *stage.send()])


def test_two_tabs_of_one_user_each_see_everything(stage: Stage) -> None:
    driver = stage.browser.driver
    stage.open_feed("websocket")
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    try:
        stage.open_feed("websocket")
        seen = stage.send()
        stage.kill_the_node()
        seen += stage.send()
        stage.start_a_node()
        stage.see([*seen])
        driver.switch_to.window(first)
        stage.see([*seen])
        (second,) = {*driver.window_handles} - {first}
        driver.switch_to.window(second)
        assert stage.complaints() == []
    finally:
        driver.close()
        driver.switch_to.window(first)


def test_the_browsers_own_event_source_goes_on_by_last_event_id(stage: Stage) -> None:
    stage.open("native", "")
    lines = {seq: b"%d|B|%d" % (seq, seq) for seq in stage.send()}
    (seq,) = stage.send(b"a\rb")
    lines[seq] = b"%d|B|a\rb" % seq
    stage.see([said(line, seq) for seq, line in lines.items()])
    stage.kill_the_node()
    (seq,) = stage.send(b"\xff")
    lines[seq] = b"%d|B|\xff" % seq
    lines |= {seq: b"%d|B|%d" % (seq, seq) for seq in stage.send()}
    stage.start_a_node()
    stage.see([said(line, seq) for seq, line in lines.items()])


def said(line: bytes, seq: int) -> list[object]:
    """What a page is told of a line: its text, or the Base64 of one that is none or has a CR."""
    try:
        text = line.decode()
    except UnicodeDecodeError:
        text = "\r"
    return ["base64", base64.b64encode(line).decode(), seq] if "\r" in text else ["message", text, seq]


def test_the_browsers_own_event_source_is_told_of_a_reset(stage: Stage) -> None:
    stage.send()
    stage.open("native", "&after=0000000000000000@1")
    stage.browser.wait_for("seen.length > 0")
    ((name, data, number),) = stage.browser.run("seen")
    assert name == "reset"
    assert data.startswith("RESET ")
    assert number == stage.sent
    (seq,) = stage.send(b"on it goes")
    stage.see([[name, data, number], ["message", f"{seq}|B|on it goes", seq]])
