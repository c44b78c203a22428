"""Opening a report in Chromium, and what the browser says about it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def start_browser(chromium: str, driver: str, profile: Path) -> Iterator[Chrome]:
    """A browser that logs its console and every request."""
    options = ChromeOptions()
    options.binary_location = chromium
    for flag in (*_FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    browser = Chrome(options=options, service=Service(driver))
    try:
        yield browser
    finally:
        browser.quit()


def open_page(browser: Chrome, page: Path, *, width: int = 1280, scheme: str = "light", scripts: bool = True) -> None:
    """Load the page anew; what the browser logged before is forgotten."""
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    browser.get("about:blank")
    browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": not scripts})
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    feature = {"name": "prefers-color-scheme", "value": scheme}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
    _logged(browser, "browser")
    _logged(browser, "performance")
    browser.get(page.as_uri())


def console(browser: Chrome) -> list[str]:
    """Everything on the console since the page was opened."""
    return [entry["message"] for entry in _logged(browser, "browser")]


def requests(browser: Chrome) -> list[str]:
    """The addresses asked for since the page was opened."""
    events = [json.loads(entry["message"])["message"] for entry in _logged(browser, "performance")]
    return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]


def _logged(browser: Chrome, kind: str) -> list[dict[str, str]]:
    """What a log has gathered since it was last asked for."""
    entries: list[dict[str, str]] = browser.get_log(kind)  # type: ignore[no-untyped-call]
    return entries
