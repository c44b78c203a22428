"""The report's page: how large it is, how long it takes to write, and how soon a browser has it ready.

    python -m benchmarks.report_page [FLOWS ...]

The recordings are those of the tests: each has so many kinds of traffic that would be dropped. Aims: 300 KB with 5,000
flows, ready within a second. The browser is Debian's Chromium; without it the last column is empty.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

from migrate.workflow import run_report
from tests.report.browser import open_page, start_browser
from tests.report.large import large_folder

_TIMES = 5
_READY = "return performance.getEntriesByType('navigation')[0].loadEventEnd"


def ready_ms(page: Path) -> list[float]:
    """How long the browser took until the page was ready, each time; empty without a browser."""
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if chromium is None or driver is None:
        return []
    with tempfile.TemporaryDirectory() as profile, start_browser(chromium, driver, Path(profile)) as browser:
        times = []
        for _ in range(_TIMES):
            open_page(browser, page)
            times.append(float(browser.execute_script(_READY)))
        return sorted(times)


def main() -> None:
    """One line for each number of flows."""
    print(f"{'flows':>8}{'KB':>8}{'document s':>12}{'page s':>8}{'ready ms, least to most':>28}")
    for flows in [int(text) for text in sys.argv[1:]] or [0, 5_000, 20_000]:
        with tempfile.TemporaryDirectory(prefix="migrate-") as place:
            folder = large_folder(Path(place), flows)
            start = time.process_time()
            made = run_report(folder, datetime(2026, 11, 21, tzinfo=UTC))
            middle = time.process_time()
            text = made.html()
            page = folder / "report.html"
            end = time.process_time()
            page.write_bytes(text)
            times = ready_ms(page)
            shown = f"{times[0]:.0f} to {times[-1]:.0f}" if times else ""
            print(
                f"{flows:>8}{len(text) / 1000:>8.0f}{middle - start:>12.2f}{end - middle:>8.2f}{shown:>28}", flush=True
            )


if __name__ == "__main__":
    main()
