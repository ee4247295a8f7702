"""A real headless Chromium, Debian's, for tests of web pages."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.support.deployment import wait_until

OPTIONS = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-extensions"]


class Browser:
    """One browser with one page."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, url: str) -> None:
        self.driver.get(url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        return self.driver.execute_script(f"return {script}")

    def text(self, selector: str) -> str:
        """The text of the first element that the selector finds; empty without one."""
        return str(self.run(f"document.querySelector({selector!r})?.textContent ?? ''"))

    def wait_for(self, script: str, seconds: float = 15.0) -> None:
        """Wait until a JavaScript expression is true."""
        wait_until(lambda: self.run(script), script, seconds)

    def screen(self, width: int, height: int, scheme: str = "light") -> None:
        """A screen of this size in CSS pixels, for someone who prefers this color scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._control("Emulation.setDeviceMetricsOverride", metrics)
        self._control("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def press(self, key: str) -> None:
        """A key stroke, wherever the focus is."""
        for kind in ("keyDown", "keyUp"):
            self._control("Input.dispatchKeyEvent", {"type": kind, "key": key})

    def complaints(self) -> list[str]:
        """What the console has said since the last time: errors and broken policies of the page."""
        return [f"{entry['source']}: {entry['message']}" for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def _control(self, command: str, parameters: Mapping[str, object]) -> None:
        self.driver.execute_cdp_cmd(command, dict(parameters))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips the test where there is none, and fails it in CI."""
    programs = shutil.which("chromium"), shutil.which("chromedriver")
    if programs[0] is None or programs[1] is None:
        reason = "Chromium is not installed (Debian: chromium and chromium-driver)"
        if os.environ.get("CI"):
            pytest.fail(f"{reason}, and CI tests with it")
        pytest.skip(reason)
    options = ChromeOptions()
    options.binary_location = programs[0]
    # Root can't have the browser's own sandbox; the pages of the tests are our own.
    for option in [*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, ChromeService(programs[1]))
    try:
        driver.set_page_load_timeout(15)
        driver.set_script_timeout(5)
        yield Browser(driver)
    finally:
        driver.quit()
