"""What is built, and that it works where it is installed."""

import email
import os
import subprocess
import sys
import sysconfig
import zipfile
from email.message import Message
from pathlib import Path

import pytest

import migrate

pytestmark = pytest.mark.packaging

_ROOT = Path(__file__).parents[2]
_DATA = ("rules", "reports", "bpf", "samples")
_COMMANDS = ("migrate", "cilium-migrate", "kubectl-cilium_migrate")


def _run(*command: str | Path, cwd: Path = _ROOT, path: str | None = None) -> str:
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"} | ({} if path is None else {"PATH": path})
    ran = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def _files(folder: Path) -> set[str]:
    found = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(folder).as_posix() for path in found}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A virtual environment with the wheel, which finds the dependencies of the running one but not its checkout."""
    folder = tmp_path_factory.mktemp("installed") / "venv"
    _run(sys.executable, "-m", "venv", "--without-pip", folder)
    python = folder / "bin" / "python"
    _run(sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index", "--no-deps", wheel)
    site = Path(_run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").strip())
    (site / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return folder


@pytest.mark.parametrize("kind", _DATA)
def test_wheel_has_every_data_file(wheel: Path, kind: str) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    prefix = f"migrate/_data/{kind}/"

    shipped = {name.removeprefix(prefix) for name in names if name.startswith(prefix)}

    assert shipped
    assert shipped == _files(_ROOT / kind)


def test_wheel_has_the_compiled_probe_without_paths_of_this_machine(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)

    for program in ("probe", "ct", "drop"):
        compiled = archive.read(f"migrate/_data/bpf/{program}.bpf.o")
        assert compiled.startswith(b"\x7fELF")
        assert str(_ROOT).encode() not in compiled


def test_installed_program_finds_its_compiled_probe(installed: Path, tmp_path: Path) -> None:
    ask = "from migrate.audit.loader import objects; print(objects() / 'probe.bpf.o')"

    place = Path(_run(installed / "bin" / "python", "-c", ask, cwd=tmp_path, path="").strip())

    assert place.is_relative_to(installed)
    assert place.is_file()


def test_wheel_has_the_package_and_nothing_else(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()

    code = {name for name in names if not name.startswith("migrate/_data/") and ".dist-info/" not in name}

    assert code == {f"migrate/{name}" for name in _files(_ROOT / "migrate")}


def test_metadata_names_the_licences_and_holds_their_texts(wheel: Path) -> None:
    archive = zipfile.ZipFile(wheel)
    folder = f"cilium_migrate-{migrate.__version__}.dist-info"
    metadata: Message = email.message_from_bytes(archive.read(f"{folder}/METADATA"))

    assert metadata["License-Expression"] == "Apache-2.0 AND (GPL-2.0-only OR Apache-2.0)"
    for name in ("LICENSE", "NOTICE", "bpf/LICENSE.GPL-2.0-only"):
        assert name in metadata.get_all("License-File", [])
        assert archive.read(f"{folder}/licenses/{name}") == (_ROOT / name).read_bytes()


@pytest.mark.parametrize("command", _COMMANDS)
def test_commands_run_from_another_directory(installed: Path, tmp_path: Path, command: str) -> None:
    assert _run(installed / "bin" / command, "--version", cwd=tmp_path) == f"migrate {migrate.__version__}\n"


def test_installed_program_uses_its_own_code_and_data(installed: Path, tmp_path: Path) -> None:
    ask = "from migrate.resources import data; print(*[data(kind) for kind in {}], sep='\\n')"

    places = _run(installed / "bin" / "python", "-c", ask.format(_DATA), cwd=tmp_path).splitlines()

    assert len(places) == len(_DATA)
    assert all(Path(place).is_relative_to(installed) and Path(place).is_dir() for place in places)


def test_pip_install_of_a_checkout_needs_no_compiler(tmp_path: Path) -> None:
    target, no_tools = tmp_path / "target", tmp_path / "empty"
    no_tools.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]

    _run(*pip, "--target", target, _ROOT, path=str(no_tools))

    assert (target / "migrate" / "_data" / "bpf" / "README.md").is_file()


def test_source_distribution_can_be_built_into_the_same_wheel(wheel: Path, tmp_path: Path) -> None:
    _run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", tmp_path)
    (archive,) = tmp_path.glob("*.tar.gz")
    _run("tar", "-xzf", archive, "-C", tmp_path)  # Debian 12's Python cannot yet be told how to extract
    source = tmp_path / archive.name.removesuffix(".tar.gz")

    _run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=source)

    (again,) = tmp_path.glob("*.whl")
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(wheel).namelist())
