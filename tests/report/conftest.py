"""Working folders and a browser for the tests of the report."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from migrate.workflow import run_report
from tests.prerequisites import require
from tests.report.browser import start_browser
from tests.report.large import large_folder
from tests.report.sample import REALISTIC, Folder
from tests.report.whole import whole_folder

NOW = datetime(2026, 11, 21, 12, 0, tzinfo=UTC)
MakePage = Callable[[Folder], Path]


@pytest.fixture
def make_page(tmp_path: Path) -> MakePage:
    """Writes a working folder and its report; gives the path of the page."""

    def make(folder: Folder) -> Path:
        place = folder.write(tmp_path / "migration")
        page = place / "report.html"
        page.write_bytes(run_report(place, NOW).html())
        return page

    return make


@pytest.fixture(scope="session")
def realistic_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on a small cluster with every kind of result."""
    place = REALISTIC.write(tmp_path_factory.mktemp("realistic"))
    page = place / "report.html"
    page.write_bytes(run_report(place, NOW).html())
    return page


@pytest.fixture(scope="session")
def whole_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report on the sample cluster with every document, made by the stages."""
    place = whole_folder(tmp_path_factory.mktemp("whole"))
    page = place / "report.html"
    page.write_bytes(run_report(place, NOW).html())
    return page


@pytest.fixture(scope="session")
def large_page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report with 20,000 kinds of traffic that would be dropped."""
    place = large_folder(tmp_path_factory.mktemp("large"), 20_000)
    page = place / "report.html"
    page.write_bytes(run_report(place, NOW).html())
    return page


@pytest.fixture(scope="session")
def axe() -> str:
    """The script of axe-core, which .ci/install-axe puts into the cache."""
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    found = sorted((base / "cilium-migrate").glob("axe-core-*/axe.min.js"))
    require(bool(found), "axe-core (.ci/install-axe)")
    return found[-1].read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    """Debian's Chromium without a window; one for the whole session."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    require(chromium is not None and driver is not None, "chromium and chromedriver (apt-get install chromium-driver)")
    with start_browser(str(chromium), str(driver), tmp_path_factory.mktemp("profile")) as started:
        yield started
