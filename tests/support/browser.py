"""A real headless Chromium (Debian's package) for tests of web pages."""

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from selenium.webdriver import Chrome, ChromeOptions, ChromeService

from tests.support.deployment import wait_until
from tests.support.programs import require

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
        """The text of the first element that matches; empty if none does."""
        return str(self.run(f"document.querySelector({selector!r})?.textContent ?? ''"))

    def wait_for(self, script: str, seconds: float = 15.0) -> None:
        """Wait until a JavaScript expression is true."""
        wait_until(lambda: self.run(script), script, seconds)

    def screen(self, width: int, height: int, scheme: str = "light") -> None:
        """Set the screen size in CSS pixels and the preferred color scheme."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
        self._control("Emulation.setDeviceMetricsOverride", metrics)
        self._control("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})

    def press(self, key: str) -> None:
        """Press and release a key; it goes to the element with the focus."""
        for kind in ("keyDown", "keyUp"):
            self._control("Input.dispatchKeyEvent", {"type": kind, "key": key})

    def freeze(self) -> None:
        """Freeze the page, as the browser does with tabs that nobody looks at."""
        self._control("Page.setWebLifecycleState", {"state": "frozen"})

    def thaw(self) -> None:
        self._control("Page.setWebLifecycleState", {"state": "active"})

    def complaints(self) -> list[str]:
        """Errors and policy violations that the page has logged since the last call."""
        return [f"{entry['source']}: {entry['message']}" for entry in self.driver.get_log("browser")]  # type: ignore[no-untyped-call]

    def _control(self, command: str, parameters: Mapping[str, object]) -> None:
        self.driver.execute_cdp_cmd(command, dict(parameters))


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser; where it is not installed, skip the test (in CI: fail it)."""
    browser, driver_path = shutil.which("chromium"), shutil.which("chromedriver")
    require(browser and driver_path, "Chromium (Debian: chromium and chromium-driver)")
    options = ChromeOptions()
    options.binary_location = str(browser)
    # The browser's sandbox does not work for root, and the tests open only our pages.
    for option in [*OPTIONS, *(["--no-sandbox"] if os.geteuid() == 0 else [])]:
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options, ChromeService(driver_path))
    try:
        driver.set_page_load_timeout(15)
        driver.set_script_timeout(5)
        yield Browser(driver)
    finally:
        driver.quit()
