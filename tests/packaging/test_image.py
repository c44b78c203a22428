"""The image of the agents, as far as it can be built without a container runtime: its steps, run here."""

from __future__ import annotations

import ctypes
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import distribution
from pathlib import Path

import pytest

import migrate
from migrate.model.agent_documents import NODE_VARIABLE
from tests.prerequisites import require

pytestmark = pytest.mark.packaging

_ROOT = Path(__file__).parents[2]
_LOCK = _ROOT / "requirements-agent.txt"
_CONTAINERFILE = (_ROOT / "Containerfile").read_text(encoding="utf-8")
_PINNED = re.compile(r"^([a-z0-9-]+)==(\S+)(?: ; (.*?))? \\$", re.MULTILINE)
_HEAVY = (
    "kubernetes",
    "pydantic",
    "aiohttp",
    "rich",
    "pyroute2",
    "migrate.verify",
    "migrate.translate",
    "migrate.report",
)


def steps() -> Iterator[tuple[str, str]]:
    """The instructions of the Containerfile, with their arguments on one line."""
    lines = [line for line in _CONTAINERFILE.splitlines() if not line.startswith("#")]
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        if line.strip():
            word, _, arguments = line.partition(" ")
            yield word, " ".join(arguments.split())


def environment() -> dict[str, str]:
    """What a container of an agent has, without the modules of this checkout."""
    kept = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return kept | {NODE_VARIABLE: "node"}


def run(*command: str | Path, cwd: Path = _ROOT, check: bool = True) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(command, cwd=cwd, env=environment(), capture_output=True, text=True, check=False, timeout=300)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The virtual environment of the image, by the Containerfile's own commands.

    The locked packages are links to those of the running environment, as installing them again takes a minute: the
    versions and hashes are the same ones.
    """
    folder = tmp_path_factory.mktemp("image")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder / "build")
    [wheel] = folder.glob("build/*.whl")
    make, locked, install = (text for word, text in steps() if word == "RUN" and text.startswith("python3 -m "))
    assert "--require-hashes --requirement /build/requirements-agent.txt" in locked
    for command in (make, install):
        here = command.replace("/opt/migrate", str(folder / "venv")).replace("/build/*.whl", str(wheel))
        run(sys.executable, *shlex.split(here)[1:])
    python = folder / "venv" / "bin" / "python"
    site = Path(run(python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip())
    for name, _, marker in pinned():
        if not marker:
            _link(name, site)
    return folder / "venv"


def _link(name: str, site: Path) -> None:
    """What belongs to a distribution, and nothing beside it."""
    found = distribution(name)
    for top in {file.parts[0] for file in found.files or () if file.parts[0] not in ("..", "__pycache__")}:
        (site / top).symlink_to(Path(str(found.locate_file(top))))


def test_the_program_of_the_image_is_whole(image: Path, tmp_path: Path) -> None:
    assert run(image / "bin" / "migrate", "--version", cwd=tmp_path).stdout == f"migrate {migrate.__version__}\n"
    assert "deploy" in run(image / "bin" / "migrate", "audit", "--help", cwd=tmp_path).stdout


def pinned() -> list[tuple[str, str, str]]:
    return _PINNED.findall(_LOCK.read_text(encoding="utf-8"))


def hashes(name: str, lock: str) -> set[str]:
    """Those of a package's files in a lock."""
    [entry] = re.findall(rf"^{name}==.*(?:\n    --hash=.*)+", lock, re.MULTILINE)
    return set(re.findall(r"sha256:([0-9a-f]{64})", entry))


_AGENT = """
import importlib, pkgutil, sys, migrate.agent, migrate.cli
import migrate.audit.pulling, migrate.audit.recorder
for module in pkgutil.walk_packages(migrate.agent.__path__, "migrate.agent."):
    importlib.import_module(module.name)
"""


@contextmanager
def waiting_agent(image: Path, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """An agent that tries again and again, until the end of the block."""
    command = [str(image / "bin" / "migrate"), "audit", "agent", "run", *arguments]
    agent = subprocess.Popen(command, cwd=folder, env=environment(), stderr=subprocess.PIPE, text=True)
    try:
        yield agent
    finally:
        agent.terminate()
        agent.wait()
        assert agent.stderr is not None
        agent.stderr.close()


def test_an_agent_of_the_image_finds_all_that_it_imports(image: Path, tmp_path: Path) -> None:
    """The image has only a part of the dependencies, and some modules are imported where they are needed."""
    nowhere = ("--settings", str(tmp_path / "none"))
    for command, status in (("status", 0), ("pull", 2), ("stop", 2), ("clean", 2)):
        done = run(image / "bin" / "migrate", "audit", "agent", command, *nowhere, cwd=tmp_path, check=False)
        assert done.returncode == status, done.stderr
        assert "the settings of the run cannot be read" in done.stdout + done.stderr
    with waiting_agent(image, tmp_path, *nowhere) as agent:
        assert agent.stderr is not None
        assert "the settings of the run cannot be read" in agent.stderr.readline()
    lazily = "import kubernetes.client, kubernetes.config, pyroute2, migrate.scan.kubeconfig\n"
    run(image / "bin" / "python", "-c", _AGENT + lazily, cwd=tmp_path)


def test_the_image_loads_the_probe(image: Path, tmp_path: Path) -> None:
    require(os.geteuid() == 0, "needs root")
    try:
        ctypes.CDLL("libbpf.so.1")
    except OSError:
        require(False, "needs libbpf1")
    script = (
        "from migrate.audit.kernel import Sizes\n"
        "from migrate.audit.libbpf_probe import open_libbpf_probe\n"
        "from migrate.audit.loader import objects\n"
        "probe = open_libbpf_probe(objects(), Sizes(flows=64, coarse=64, connections=64), bpffs=None)\n"
        "print(probe.loader, objects())\n"
        "probe.remove()\n"
    )
    loader, place = run(image / "bin" / "python", "-c", script, cwd=tmp_path).stdout.split()
    assert loader == "libbpf"
    assert Path(place).is_relative_to(image)


def test_an_agent_loads_nothing_heavy_before_it_needs_it(image: Path, tmp_path: Path) -> None:
    """Each status and pull starts a Python on the node."""
    script = f"{_AGENT}print([name for name in {_HEAVY!r} if name in sys.modules])"
    assert run(image / "bin" / "python", "-c", script, cwd=tmp_path).stdout.strip() == "[]"


def test_the_dependencies_of_the_image_are_those_of_the_project() -> None:
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["dependency-groups"]["agent"]) <= set(project["project"]["dependencies"])
    tested = (_ROOT / "requirements-dev.txt").read_text(encoding="utf-8")
    locked = _LOCK.read_text(encoding="utf-8")
    for name, version, _ in pinned():
        assert f"\n{name}=={version} " in tested, f"{name} {version} is not what the tests run with"
        assert hashes(name, locked) == hashes(name, tested)


def test_the_image_is_built_without_questions_mirrors_and_compilers() -> None:
    text = _CONTAINERFILE.lower()
    assert [argument for word, argument in steps() if word == "FROM"] == ["${BASE} AS build", "${BASE}"]
    for installs in re.findall(r"apt-get install ([^&]*)", text):
        assert "--yes --no-install-recommends" in installs
    for word in ("gcc", "clang", "build-essential", "http://", "https://", "index-url", "sources.list"):
        assert word not in text
    for name in ("title", "description", "licenses", "version", "revision"):
        assert f"org.opencontainers.image.{name}=" in text
    final = text[text.rindex("from ${base}") :]
    assert "pip" not in final
    for ignore in (".containerignore", ".dockerignore"):
        assert "!requirements-agent.txt" in (_ROOT / ignore).read_text(encoding="utf-8")


def test_the_container_s_folders_are_those_of_the_pods() -> None:
    from migrate.model.agent_documents import BPFFS_FOLDER, SETTINGS_FILE, STORE_FOLDER

    made = next(text for word, text in steps() if word == "RUN" and "mkdir" in text).split("mkdir -p ")[1].split()
    assert sorted(made) == sorted([BPFFS_FOLDER, str(Path(SETTINGS_FILE).parent), STORE_FOLDER])


@pytest.fixture(scope="module")
def bill(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bill of materials, by the command of the page."""
    page = (_ROOT / "docs" / "release-image.md").read_text(encoding="utf-8")
    [command] = re.findall(r"^python -m cyclonedx_py .*$", page, re.MULTILINE)
    place = tmp_path_factory.mktemp("bill") / "agent.cdx.json"
    words = shlex.split(command.replace("build/agent.cdx.json", str(place)))
    run(sys.executable, *words[1:])
    return place


def test_the_bill_of_materials_has_every_package_with_its_hashes(bill: Path) -> None:
    document = json.loads(bill.read_bytes())
    assert "serialNumber" not in document  # it has the same bytes each time
    assert "timestamp" not in document["metadata"]
    assert document["bomFormat"] == "CycloneDX"
    assert document["metadata"]["component"]["name"] == "cilium-migrate"
    listed = {one["name"]: one for one in document["components"]}
    assert {name: one["version"] for name, one in listed.items()} == {name: version for name, version, _ in pinned()}
    for name, one in listed.items():
        assert one["purl"] == f"pkg:pypi/{name}@{one['version']}"
        found = {entry["content"] for place in one["externalReferences"] for entry in place.get("hashes", [])}
        assert found == hashes(name, _LOCK.read_text(encoding="utf-8")) != set(), name
