"""The example of a social feed, as two people in a browser use it; and what its backend refuses."""

import http.client
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from tests.support.browser import Browser, chromium
from tests.support.deployment import PATIENCE_S, ROOT, wait_until
from tests.support.servers import free_port, free_ports_in_a_row, wait_for_port
from tests.support.up import clean_environment, parade_up

pytestmark = pytest.mark.slow

ADA, GRACE = "1", "2"


@dataclass(frozen=True)
class Example:
    """The example, started as `make example` does."""

    process: "subprocess.Popen[str]"
    page: str

    def pids(self, of: str) -> list[int]:
        """Its processes whose command line has this text."""
        listing = subprocess.run(["ps", "-ww", "-eo", "pid=,ppid=,args="], capture_output=True, text=True, check=True)
        rows = [line.split(None, 2) for line in listing.stdout.splitlines()]
        family = {self.process.pid}
        for _ in range(3):
            family |= {int(pid) for pid, ppid, _ in rows if int(ppid) in family}
        return [int(pid) for pid, _, args in rows if int(pid) in family - {self.process.pid} and of in args]

    def do(self, **act: object) -> int:
        """Send what a page would; returns the status."""
        return self.post(json.dumps(act).encode())

    def post(self, body: bytes) -> int:
        connection = http.client.HTTPConnection(self.page.removeprefix("http://"), timeout=PATIENCE_S)
        try:
            connection.request("POST", "/events", body)
            answer = connection.getresponse()
            assert answer.read(), "a reason"
            return answer.status
        finally:
            connection.close()


@contextmanager
def starting_example() -> Iterator[Example]:
    """The example in a session of its own, as in a terminal; its standard output and error are one."""
    port, event_port, web_port = free_port(), free_port(), free_ports_in_a_row(2) + 1
    ports = {"--event-port": event_port, "--client-port": free_port(), "--redis-port": free_port()}
    own = {"FEED_PORT": str(port), "FEED_PARADE_WEB_PORT": str(web_port)}
    own |= {"FEED_PARADE_LISTENER": f"parade://127.0.0.1:{event_port}"}
    command = [sys.executable, str(ROOT / "examples" / "feed" / "run.py")]
    command += [str(word) for pair in ports.items() for word in pair]
    environment = clean_environment(**own)
    with subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=environment,
        start_new_session=True,
    ) as process:
        try:
            yield Example(process, f"http://127.0.0.1:{port}")
        finally:
            process.send_signal(signal.SIGINT)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


@contextmanager
def running_example() -> Iterator[Example]:
    with starting_example() as example:
        assert example.process.stdout is not None
        assert example.process.stdout.readline().startswith(f"open {example.page}/#1 ")
        yield example


@contextmanager
def backend(port: int, web_port: int, event_port: int) -> Iterator["subprocess.Popen[bytes]"]:
    """The backend by itself, for a Parade that runs already; killed when the block ends."""
    own = {"FEED_PORT": str(port), "FEED_PARADE_WEB_PORT": str(web_port)}
    own |= {"FEED_PARADE_LISTENER": f"parade://127.0.0.1:{event_port}", "PYTHONPATH": str(ROOT / "sdk" / "python")}
    command = [sys.executable, str(ROOT / "examples" / "feed" / "backend.py")]
    with subprocess.Popen(command, env=clean_environment(**own)) as process:
        try:
            wait_for_port(port, PATIENCE_S)
            yield process
        finally:
            process.kill()


class Window:
    """One window, in which somebody has the feed open."""

    def __init__(self, browser: Browser, page: str, who: str, *, is_first: bool) -> None:
        if not is_first:
            browser.driver.switch_to.new_window("tab")
        self._browser = browser
        self.handle = browser.driver.current_window_handle
        browser.open(f"{page}/#{who}")
        browser.wait_for("document.querySelectorAll('#people li').length === 5")
        browser.wait_for(f"JSON.parse(sessionStorage.getItem('feed of {who}'))?.cursor", PATIENCE_S)

    def look(self) -> Browser:
        self._browser.driver.switch_to.window(self.handle)
        return self._browser

    def say(self, text: str, to: str = "") -> None:
        self.try_to_say(text, to)
        self.wait_for(f"You to {'your followers' if not to else ''}")

    def try_to_say(self, text: str, to: str = "") -> None:
        fields = {"to": to, "text": text}
        fill = ", ".join(f"document.getElementById('{name}').value = {json.dumps(fields[name])}" for name in fields)
        self.look().run(f"({fill}, document.querySelector('#say button').click())")

    def press(self, label: str) -> None:
        """Press a button by its name for screen readers, and wait until it is done."""
        self.look().run(f"document.querySelector('[aria-label={json.dumps(label)}]').click()")
        before, after = ("Follow", "Unfollow") if label.startswith("Follow") else ("Unfollow", "Follow")
        self.look().wait_for(f"document.querySelector('[aria-label={json.dumps(label.replace(before, after))}]')")

    def items(self) -> list[str]:
        """What it shows, the newest first."""
        cards = "[...document.querySelectorAll('#feed li')].map(each => each.innerText.replace(/\\n+/g, ' / '))"
        return [str(each) for each in self.look().run(cards)]

    def wait_for(self, text: str) -> None:
        wait_until(lambda: any(text in each for each in self.items()), f"{text} is shown", PATIENCE_S)

    def texts(self) -> list[str]:
        """What others have said, the oldest first."""
        return [
            each.split(" / ")[2] for each in reversed(self.items()) if "You to" not in each and "follows" not in each
        ]


def test_two_people_and_a_node_that_is_killed() -> None:
    with running_example() as example, chromium() as browser:
        ada = Window(browser, example.page, ADA, is_first=True)
        grace = Window(browser, example.page, GRACE, is_first=False)
        ada.look().open("about:blank")
        assert example.do(kind="message", **{"from": 3, "to": 1}, text="before anything else came") == 201
        browser.open(f"{example.page}/#{ADA}")
        ada.wait_for("before anything else came")
        grace.press("Follow Ada")
        assert browser.run("document.activeElement.textContent") == "Unfollow"
        ada.wait_for("Grace follows you")
        ada.say("an engine & <b>a|programme</b>\nin two lines")
        grace.wait_for("an engine & <b>a|programme</b> / in two lines")
        grace.say("to you alone", to=ADA)
        ada.wait_for("to you alone")

        for pid in example.pids("-m fanout"):
            os.kill(pid, signal.SIGKILL)
        said = [f"said {number}" for number in range(8)]
        for text in said:
            assert example.do(kind="post", **{"from": 1}, text=text) == 201
        grace.wait_for(said[-1])
        assert [text for text in grace.texts() if text.startswith("said")] == said

        grace.look().driver.refresh()
        browser.wait_for("document.querySelectorAll('#feed li').length > 8")
        assert example.do(kind="post", **{"from": 1}, text="after a reload") == 201
        grace.wait_for("after a reload")
        assert [text for text in grace.texts() if text.startswith(("said", "after"))] == [*said, "after a reload"]

        grace.press("Unfollow Ada")
        assert example.do(kind="post", **{"from": 1}, text="nobody hears this") == 201
        assert example.do(kind="message", **{"from": 1, "to": 2}, text="the end") == 201
        grace.wait_for("the end")
        assert "nobody hears this" not in grace.texts()
        complaints = [each for window in (ada, grace) for each in window.look().complaints()]
        # A connection that a killed node broke or refused is the browser's own note, and nothing of the page's.
        assert [each for each in complaints if "net::ERR_" not in each] == []


def test_a_backend_that_is_killed_and_what_is_sent_again() -> None:
    port, web_port = free_port(), free_ports_in_a_row(2) + 1
    page = f"http://127.0.0.1:{port}"
    with (
        parade_up("--web-port", str(web_port), PARADE_NUMBERING="parade", PARADE_WEB_ORIGINS=page) as up,
        chromium() as browser,
    ):
        with backend(port, web_port, up.event_port):
            ada = Window(browser, page, ADA, is_first=True)
            grace = Window(browser, page, GRACE, is_first=False)
            grace.say("before", to=ADA)
            ada.wait_for("before")
        grace.try_to_say("not sure", to=ADA)
        browser.wait_for("document.getElementById('problem').textContent.startsWith('That did not work')")
        assert browser.run("document.getElementById('text').value") == "not sure"
        with backend(port, web_port, up.event_port):
            browser.run("document.querySelector('#say button').click()")
            ada.wait_for("not sure")
            example = Example(up.process, page)
            for _ in range(2):  # a page that had no answer
                assert example.do(id="an id", kind="message", **{"from": 2, "to": 1}, text="once") == 201
            grace.say("after", to=ADA)
            ada.wait_for("after")
            assert ada.texts() == ["before", "not sure", "once", "after"]
            complaints = [each for window in (ada, grace) for each in window.look().complaints()]
    # The request that found no backend is the browser's own note.
    assert [each for each in complaints if "net::ERR_" not in each] == []


def test_what_the_backend_refuses_and_how_it_ends() -> None:
    with running_example() as example:
        wrong: list[dict[str, object]] = [
            {},
            {"kind": "shout", "from": 1},
            {"kind": "follow", "from": 1, "to": 99},
            {"kind": "follow", "from": "1", "to": 2},
            {"kind": "post", "from": 1, "text": " "},
            {"kind": "post", "from": 1, "text": "x" * 501},
            {"kind": "post", "from": 7, "text": "x"},
            {"kind": "post", "from": 1, "text": 5},
        ]
        assert [example.do(**each) for each in wrong] == [400] * len(wrong)
        assert [example.post(body) for body in (b"", b"{", b"[]", b'"x"', b"\xff")] == [400] * 5
        children = example.pids("")
        example.process.send_signal(signal.SIGINT)
        assert example.process.wait(PATIENCE_S) == 0
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), "nothing is left")


def test_ctrl_c_while_it_starts_ends_it_without_a_traceback() -> None:
    with starting_example() as example:
        wait_until(lambda: example.pids("backend.py"), "the backend is being loaded")
        children = example.pids("")
        os.killpg(example.process.pid, signal.SIGINT)
        said, _ = example.process.communicate(timeout=PATIENCE_S)
        assert (example.process.returncode, said) == (0, "")
        wait_until(lambda: not any(os.path.exists(f"/proc/{pid}") for pid in children), "nothing is left")
