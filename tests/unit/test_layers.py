"""The layers of docs/architecture.md are checked for every module, and a breach is seen."""

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

_ROOT = Path(__file__).parents[2]


def _layers() -> set[str]:
    """The modules that the layer contract names."""
    contracts = tomllib.loads((_ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    named = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    return {module.strip() for layer in named for module in layer.split("|")}


def _lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def test_every_module_has_a_layer() -> None:
    package = _ROOT / "migrate"
    modules = {f"migrate.{path.stem}" for path in package.glob("*.py") if not path.stem.startswith("__")}
    packages = {f"migrate.{path.parent.name}" for path in package.glob("*/__init__.py")}

    assert modules | packages == _layers()


def test_data_flows_one_way() -> None:
    checked = _lint_imports(_ROOT)

    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("module", "line"),
    [
        pytest.param("scan/breach.py", "import migrate.report", id="a lower layer imports a higher one"),
        pytest.param("model/breach.py", "import pathlib", id="the model does input and output"),
    ],
)
def test_breach_is_seen(tmp_path: Path, module: str, line: str) -> None:
    shutil.copy(_ROOT / "pyproject.toml", tmp_path)
    shutil.copytree(_ROOT / "migrate", tmp_path / "migrate", ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "migrate" / module).write_text(f"{line}\n")

    checked = _lint_imports(tmp_path)

    assert checked.returncode == 1
    assert "breach" in checked.stdout
