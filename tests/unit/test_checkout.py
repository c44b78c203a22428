"""What must not be in the checkout, and what the lock files promise."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from tests.prerequisites import require

_ROOT = Path(__file__).parents[2]
# Data of other projects, copied unchanged.
_OTHERS = ("rules/crds/",)
_LOCKS = ("requirements-dev.txt", "requirements-go.txt")
# Put together here, so that this file does not hold what it looks for.
_UNFINISHED = re.compile("|".join(rf"\b{a}{b}\b" for a, b in [("TO", "DO"), ("FIX", "ME"), ("XX", "X"), ("HA", "CK")]))
_MACHINE = re.compile("|".join(rf"(?<![\w.-])/{folder}/" for folder in ("work", "root")))


def _own_texts() -> dict[str, str]:
    """Every text file of ours that git has or would take, by its path."""
    require((_ROOT / ".git").exists(), "a git checkout")
    command = ["git", "-c", "safe.directory=*", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    texts = {}
    for name in filter(None, listed):
        path = _ROOT / name
        if not name.startswith(_OTHERS) and path.is_file():
            content = path.read_bytes()
            if b"\0" not in content:
                texts[name] = content.decode(errors="replace")
    return texts


def _places(pattern: re.Pattern[str]) -> list[str]:
    return [
        f"{name}:{number}: {line.strip()}"
        for name, text in _own_texts().items()
        for number, line in enumerate(text.splitlines(), 1)
        if pattern.search(line)
    ]


@pytest.mark.parametrize(
    ("pattern", "finds", "passes"),
    [
        (_UNFINISHED, "# " + "TO" + "DO: later", "context.Todo"),
        (_MACHINE, "open('/" + "work/x')", "docs/" + "work/x"),
    ],
    ids=["unfinished work", "paths of one machine"],
)
def test_nothing_in_the_checkout_has(pattern: re.Pattern[str], finds: str, passes: str) -> None:
    assert pattern.search(finds)
    assert not pattern.search(passes)
    assert _places(pattern) == []


@pytest.mark.parametrize("lock", _LOCKS)
def test_lock_names_no_host_and_hashes_everything(lock: str) -> None:
    text = (_ROOT / lock).read_text()
    entries = re.split(r"\n(?=\w)", text)[1:]

    assert "://" not in text
    assert "index-url" not in text
    assert entries
    assert [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry] == []


def test_lock_has_every_dependency() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())
    wanted = [
        *project["project"]["dependencies"],
        *project["dependency-groups"]["dev"],
        *project["build-system"]["requires"],
    ]
    locked = set(re.findall(r"^([\w.-]+)==", (_ROOT / "requirements-dev.txt").read_text(), re.MULTILINE))

    assert {re.split(r"[<>=!~]", requirement)[0] for requirement in wanted} - locked == set()


_OF_THE_SYSTEM = {"bcc"}
"""Imported under the system's Python only, by the child process of --loader bcc."""


def _imported_distributions() -> set[str]:
    """The distributions whose modules the program imports anywhere, also inside functions."""
    modules: set[str] = set()
    for path in (_ROOT / "migrate").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_bytes())):
            if isinstance(node, ast.Import):
                modules |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                modules.add(node.module.split(".")[0])
    providers = packages_distributions()
    outside = modules - sys.stdlib_module_names - {"migrate", *_OF_THE_SYSTEM}
    return {name.lower().replace("_", "-") for module in outside for name in providers[module]}


def test_dependencies_are_exactly_what_is_imported() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text())["project"]
    optional = (one for extra in project["optional-dependencies"].values() for one in extra)
    declared = [*project["dependencies"], *optional]

    assert {re.split(r"[<>=!~]", requirement)[0] for requirement in declared} == _imported_distributions()
