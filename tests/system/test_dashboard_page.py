"""`parade dashboard` in a real browser, on a real deployment."""

import base64
import contextlib
import os
import signal
import subprocess
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import IO

import pytest

from runtime.settings import environment_name
from tests.support.browser import Browser, chromium
from tests.support.deployment import Deployment, running, wait_until
from tests.support.peers import source
from tests.support.servers import free_port, wait_for_port
from tests.support.up import PARADE

pytestmark = pytest.mark.slow

CLIENTS = 5
SHOWN_AS_TEXT = '<img src=x onerror="document.title=`owned`"><script>document.title="owned"</script>'


@dataclass(frozen=True, slots=True)
class Stage:
    """A deployment, its dashboard and the browser that shows it."""

    system: Deployment
    url: str
    browser: Browser

    def moves(self, name: str) -> bool:
        """Whether a rate is not zero now."""
        return float(self.figure(name).strip("kM").replace(",", "")) > 0

    def figure(self, name: str) -> str:
        """One of the large figures, by its name."""
        tile = f"[...document.querySelectorAll('#tiles dt')].find((each) => each.textContent === {name!r})"
        return str(self.browser.run(f"{tile}.nextElementSibling.textContent"))

    def see(self, script: str) -> None:
        self.browser.wait_for(script)


@contextlib.contextmanager
def dashboard(
    url: str, namespace: str, port: int, password: str = "", log: IO[str] | None = None
) -> Iterator["subprocess.Popen[str]"]:
    """`parade dashboard` as a process; it must end well when it is told to."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PARADE_")}
    secret = {environment_name("dashboard_password"): password}
    command = [PARADE, "dashboard", "--port", str(port), "--redis-url", url, "--namespace", namespace]
    with subprocess.Popen(command, env=clean | secret, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        try:
            wait_for_port(port)
            yield process
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0
        finally:
            process.kill()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def system(valkey_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    log = tmp_path_factory.mktemp("dashboard") / "log"
    with running(valkey_url, f"test-dashboard-{os.getpid()}", log) as deployment:
        yield deployment


@pytest.fixture(scope="module")
def page(system: Deployment, valkey_url: str) -> Iterator[str]:
    """The URL of a dashboard of the system."""
    port = free_port()
    with dashboard(valkey_url, system.keys.namespace, port):
        yield f"http://127.0.0.1:{port}/"


@pytest.fixture
def stage(browser: Browser, system: Deployment, page: str) -> Iterator[Stage]:
    """The dashboard on a wide screen; the page must not complain in any test."""
    browser.screen(1280, 900)
    browser.open(page)
    browser.wait_for("document.querySelector('#banner.good') !== null")
    browser.complaints()  # of the page before
    yield Stage(system, page, browser)
    assert browser.complaints() == []


@contextlib.contextmanager
def simulation(system: Deployment, url: str, events: int, rate: int) -> Iterator[None]:
    """`parade simulate` meanwhile; it must pass in the end."""
    ports = ["--event-port", str(system.event_port), "--client-port", str(system.client_port)]
    size = ["--events", str(events), "--clients", str(CLIENTS), "--rate", str(rate)]
    place = {environment_name("redis_url"): url, environment_name("namespace"): system.keys.namespace}
    with subprocess.Popen(
        [PARADE, "simulate", *ports, *size], env=os.environ | place, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield
            said, _ = process.communicate(timeout=60)
            assert process.returncode == 0, said
        finally:
            process.kill()


def test_the_numbers_move_while_a_simulation_runs(stage: Stage, valkey_url: str) -> None:
    stage.see("document.title.startsWith('0 events/s')")
    assert stage.browser.text("#link") == "live"
    with simulation(stage.system, valkey_url, events=16_000, rate=2_000):
        stage.see(f"document.querySelector('#pipeline svg').textContent.includes('{CLIENTS} users')")
        stage.see("parseInt(document.title.replace(',', '')) > 500")
        first = int(stage.figure("Next number").replace(",", ""))
        for name in ("Events/s", "Notifications/s"):
            wait_until(partial(stage.moves, name), f"{name} moves")
        assert stage.figure("Latency, p99").endswith(("ms", " s"))
        rates = "[...document.querySelectorAll('#pipeline .rate')].map((each) => parseFloat(each.textContent))"
        stage.see(f"{rates}.length === 5 && {rates}.every((rate) => rate > 0)")
        stage.see("document.querySelectorAll('#pipeline .flow:not(.still)').length >= 5")
        stage.see(f"parseInt(document.querySelector('#tiles dd').textContent.replace(/,/g, '')) > {first}")
        stage.see("document.querySelectorAll('.chart .curve').length === 6")
        for curve in range(6):
            stage.see(f"document.querySelectorAll('.chart .curve')[{curve}].getAttribute('d').includes('L')")
        connections = "[...document.querySelectorAll('#nodes tbody tr')].map((row) => +row.cells[1].textContent)"
        stage.see(f"{connections}.length === 2 && {connections}[0] + {connections}[1] === {CLIENTS}")
    stage.see("document.title.startsWith('0 events/s')")

    # A later viewer sees the minutes before at once.
    stage.browser.open(stage.url)
    stage.see("document.querySelector('.chart .curve.violet')?.getAttribute('d').split('L').length > 4")


def test_a_stopped_sequencer_and_a_gap_turn_the_page_to_warnings(stage: Stage) -> None:
    (sequencer,) = stage.system.of("sequencer")
    sequencer.terminate()
    assert sequencer.wait(10) == 0
    stage.see("document.querySelector('#banner.critical') !== null")
    assert "no process sequences" in stage.browser.text("#concerns")
    assert "no process sequences" in stage.browser.text("[role=alert]"), "it is spoken, too"
    assert stage.browser.run("document.title").startswith("⚠")
    assert "none" in stage.browser.text("#pipeline .box.alarm")
    stage.system.start("sequencer")
    stage.see("document.querySelector('#banner.good') !== null")
    assert stage.browser.text("[role=alert]") == ""
    assert not stage.browser.run("document.title").startswith("⚠")

    number = stage.system.state("next") or 1
    source(stage.system.event_port, b"%d|B\n" % (number + 2))
    stage.see("document.querySelector('#pipeline').textContent.includes('2 missing')")
    assert stage.figure("Waiting") == "1"
    assert f"{number:,}" in stage.browser.text("#pipeline .box.watch")
    source(stage.system.event_port, b"%d|B\n%d|B\n" % (number, number + 1))
    stage.see("document.querySelector('#pipeline').textContent.includes('no gap')")


def test_refused_lines_are_shown_as_the_text_that_they_are(stage: Stage) -> None:
    # The record keeps 64 bytes of a line.
    hostile = [SHOWN_AS_TEXT[:40], SHOWN_AS_TEXT[40:], "\x1b[31m\u202ereversed", 'it\'s "quoted" & <b>bold</b>']
    source(stage.system.event_port, "".join(f"{line}\n" for line in hostile).encode())
    stage.see(f"document.querySelectorAll('#rejected tbody tr').length >= {len(hostile)}")
    shown = stage.browser.run(
        "[...document.querySelectorAll('#rejected tbody tr')].map((row) => row.cells[2].textContent)"
    )
    assert shown[: len(hostile)][::-1] == [*hostile[:2], "\\x1b[31m\\u202ereversed", hostile[3]]
    assert stage.browser.run("document.querySelectorAll('#rejected img, #rejected script, #rejected b').length") == 0
    assert "owned" not in stage.browser.run("document.title")


@pytest.mark.parametrize(("width", "scheme"), [(360, "dark"), (1280, "light")])
def test_every_screen(stage: Stage, width: int, scheme: str) -> None:
    stage.browser.screen(width, 800, scheme)
    stage.see(f"document.querySelector('#pipeline svg').viewBox.baseVal.width <= {width}")
    assert stage.browser.run("document.documentElement.scrollWidth") <= width
    overflowing = stage.browser.run(
        """
        [...document.querySelectorAll('svg text')].filter((each) => {
          const box = each.getBoundingClientRect(), around = each.closest('svg').getBoundingClientRect();
          return box.left < around.left - 1 || box.right > around.right + 1;
        }).map((each) => each.textContent)""".strip()
    )
    assert overflowing == []
    background = stage.browser.run("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    ink = stage.browser.run("getComputedStyle(document.body).color.match(/\\d+/g).map(Number)")
    assert (sum(background) < sum(ink)) == (scheme == "dark")


def test_the_keyboard_reaches_everything(stage: Stage) -> None:
    stage.see("document.querySelector('.chart .curve')?.getAttribute('d').includes('L')")
    stage.browser.run("document.querySelector('.chart svg').focus()")
    for key in ("ArrowLeft", "ArrowLeft"):
        stage.browser.press(key)
    stage.see("document.querySelectorAll('.chart .cursor').length === 4")
    assert " at " in stage.browser.run("document.activeElement.getAttribute('aria-label')")
    stage.browser.press("Escape")
    stage.see("document.querySelectorAll('.chart .cursor').length === 0")
    scrolling = "[...document.querySelectorAll('.scroll')].every((each) => each.tabIndex === 0)"
    assert stage.browser.run(scrolling)


def test_a_lost_connection_is_said_and_made_again(browser: Browser, system: Deployment, valkey_url: str) -> None:
    port, namespace = free_port(), system.keys.namespace
    with dashboard(valkey_url, namespace, port):
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait_for("document.querySelector('#banner.good') !== null")
    browser.wait_for("document.querySelector('#link.lost') !== null")
    assert browser.run("document.title").startswith("⚠ Connection lost")
    assert "Connection lost" in browser.text("[role=alert]")
    with dashboard(valkey_url, namespace, port):
        browser.wait_for("document.querySelector('#link.live') !== null")
        browser.wait_for("document.querySelector('#banner.good') !== null")
    refused = [said for said in browser.complaints() if not said.startswith("network: ")]
    assert refused == []


def test_the_password_opens_the_page_and_its_events(browser: Browser, system: Deployment, valkey_url: str) -> None:
    port = free_port()
    with dashboard(valkey_url, system.keys.namespace, port, "open sesame"):
        browser.open(f"http://someone:open%20sesame@127.0.0.1:{port}/")
        browser.wait_for("document.querySelector('#link.live') !== null")
    browser.complaints()


def test_wrong_passwords_are_slowed_down_and_logged_without_them(
    valkey_url: str, namespace: str, tmp_path: Path
) -> None:
    port, path = free_port(), tmp_path / "log"
    with path.open("w") as log, dashboard(valkey_url, namespace, port, "open sesame", log):

        def status(password: str, address: str) -> int:
            connection = HTTPConnection("127.0.0.1", port, timeout=15, source_address=(address, 0))
            code = base64.b64encode(f"someone:{password}".encode()).decode()
            with contextlib.closing(connection):
                connection.request("GET", "/", headers={"Authorization": f"Basic {code}"})
                return connection.getresponse().status

        seen = [status("open barley", "127.0.0.2") for _ in range(30)]
        assert seen.count(401) < 12
        assert seen[-1] == 429
        assert status("open sesame", "127.0.0.1") == 200
    logged = path.read_text()
    assert '"peer": "127.0.0.2"' in logged
    assert '"password_wrong": ' in logged, "the counts at the end"
    assert not any(word in logged for word in ("sesame", "barley", "someone", "Traceback"))


OTHER_PAGE = b"""<script>
const events = new URLSearchParams(location.search).get("of") + "events";
let asked = 0;
const ask = () => fetch(events, { mode: "no-cors" }).catch(() => {}).finally(() => { asked += 1; ask(); });
for (let each = 0; each < 6; each += 1) ask();
</script>"""
"""A browser ends each of these at once, but the server hears of that only later."""


def test_a_page_on_another_port_of_this_machine_holds_no_place(browser: Browser, page: str) -> None:
    class Other(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(OTHER_PAGE)

        def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002 (the library's name)
            pass

    with HTTPServer(("127.0.0.1", free_port()), Other) as other:
        serving = threading.Thread(target=other.serve_forever)
        serving.start()
        try:
            browser.open(f"http://127.0.0.1:{other.server_port}/?of={page}")
            browser.wait_for("asked > 100")
            for _ in range(20):
                with urllib.request.urlopen(f"{page}events", timeout=15) as answer:  # noqa: S310 (our own server)
                    assert answer.readline() == b"event: history\n", "a viewer has a seat"
            browser.open("about:blank")
        finally:
            other.shutdown()
            serving.join()
    browser.complaints()


def test_a_redis_that_does_not_answer_is_said(browser: Browser, valkey_url: str) -> None:
    port = free_port()
    with dashboard(f"{valkey_url.removesuffix('0')}99", "parade", port):
        browser.open(f"http://127.0.0.1:{port}/")
        browser.wait_for("document.querySelector('#banner.critical') !== null")
        assert "DB index is out of range" in browser.text("#concerns")
        assert browser.run("document.title").startswith("⚠")


def test_it_says_where_it_is_and_what_is_wrong_with_its_options(valkey_url: str, namespace: str) -> None:
    port = free_port()
    with dashboard(valkey_url, namespace, port) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == f"dashboard: http://127.0.0.1:{port}/\n"
    done = subprocess.run(
        [PARADE, "dashboard", "--redis-url", "nonsense"], capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 1
    assert "is not a Redis URL" in done.stderr
