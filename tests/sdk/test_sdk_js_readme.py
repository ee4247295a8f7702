"""The examples of the JavaScript library's README, run against a deployment: in Node, and in a browser."""

import functools
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from parade_client import Broadcast, sync
from tests.sdk.test_sdk_js import LIBRARY, node
from tests.sdk.test_sdk_js_system import start
from tests.support.browser import chromium
from tests.support.deployment import running
from tests.support.servers import free_port

README = (LIBRARY / "README.md").read_text()


class Files(SimpleHTTPRequestHandler):
    """Serves a folder, and says nothing."""

    extensions_map = {**SimpleHTTPRequestHandler.extensions_map, ".js": "text/javascript"}  # noqa: RUF012 (a constant)

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The origin of a server of files."""
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Files, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def examples(language: str, ports: dict[str, int], folder: Path) -> list[str]:
    """The examples in a language, with the ports that are used here."""
    found = re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    for documented, port in (("9098", ports["fanout"]), ("9097", ports["listener"])):
        found = [each.replace(f"127.0.0.1:{documented}", f"127.0.0.1:{port}") for each in found]
    (folder / "src").symlink_to(LIBRARY / "src")
    return found


async def test_the_examples_for_node(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    ports = {"fanout": free_port(), "listener": free_port()}
    (tmp_path / "node_modules").mkdir()
    (tmp_path / "node_modules" / "parade-client").symlink_to(LIBRARY)
    programs = examples("js", ports, tmp_path)
    assert len(programs) == 2
    with running(valkey_url, namespace, tmp_path / "log", fanouts=0) as system:
        for service, port in ports.items():
            start(system, service, port)
        for program in programs:
            (file := tmp_path / "example.mjs").write_text(program)
            assert (await node(str(file))).splitlines() == re.findall(r"^// (.*)$", program, re.MULTILINE)


def test_the_example_for_a_page(valkey_url: str, namespace: str, tmp_path: Path) -> None:
    ports = {"fanout": free_port(), "listener": free_port()}
    (folder := tmp_path / "page").mkdir()
    (page,) = examples("html", ports, folder)
    (folder / "index.html").write_text(page)
    (folder / "favicon.ico").touch()
    with (
        served(folder) as origin,
        running(valkey_url, namespace, tmp_path / "log", fanouts=0, web_origins=origin) as system,
        chromium() as browser,
    ):
        start(system, "fanout", ports["fanout"])
        shown = "[...document.querySelectorAll('li')].map(each => each.textContent).join()"
        with sync.Source(f"parade://127.0.0.1:{system.event_port}") as source:
            browser.open(origin)
            # Only what comes after the registration is shown, so something is sent until it is.
            seq = 0
            while browser.run(shown) == "":
                source.send(Broadcast(b"%d" % (seq := seq + 1), seq=seq))
            source.send(Broadcast(b"before", seq=seq + 1))
            browser.wait_for(f"{shown}.endsWith(',before')")
            browser.open("about:blank")
            source.send(Broadcast(b"meanwhile", seq=seq + 2))
            browser.open(origin)
            browser.wait_for(f"{shown} === 'meanwhile'")
            assert browser.complaints() == []
