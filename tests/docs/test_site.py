"""The documentation as a site: every link resolves, and nothing of it is asked of other servers."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from migrate.readiness.rules import load_rules
from tests.command_line import environment
from tests.documentation import ROOT

_LOADED = re.compile(r"""<(?:script|img|link|iframe)[^>]*?(?:src|href)=["']?(https?:)?//""")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built site; a link that leads nowhere makes the building fail."""
    made = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(made)],
        cwd=ROOT,
        env=environment(NO_MKDOCS_2_WARNING="1"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return made


def test_every_finding_has_a_page(site: Path) -> None:
    for rule in load_rules().values():
        page = (site / "rules" / f"{rule.id}.html").read_text()
        assert rule.title.split()[0] in page
        assert "What to do" in page


def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    page = (site / "commands.html").read_text()
    for text in ("migrate scan", "migrate audit replay", "--az-json", "--until-cron", "--fail-on"):
        assert text in page


def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    pages = sorted(site.rglob("*.html"))
    assert pages
    for page in pages:
        found = [link for link in _LOADED.finditer(page.read_text()) if 'rel="canonical"' not in link[0]]
        assert found == [], page.name
