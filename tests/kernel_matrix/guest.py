"""What a guest runs: this Python with the package, its kernel tests, and the tools that they call."""

from __future__ import annotations

import gzip
import io
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import tarfile
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from pathlib import Path

from migrate.audit.loader import objects
from tests.kernel_matrix.kernels import Kernel

_CONVERSATIONS = ("UDP", "SCTP", "an ICMP error", "IPv6 and its extension headers", "VLAN tags and IP options")
TESTS = (
    *(f"test_records.py::test_records_of_a_conversation[{name}]" for name in _CONVERSATIONS),
    "test_records.py::test_the_other_table_is_written_after_the_switch",
    "test_attach.py::test_both_directions_of_a_pod_are_recorded",
    "test_loader.py::test_three_capabilities_are_enough",
)
"""Few, since loading the probe takes seconds where a processor is imitated."""
TOOLS = ("ip", "iptables", "ip6tables", "setpriv")
_ROOT = Path(__file__).parents[2]
_REPOSITORY = "repository"
_PYTEST = ("pytest", "_pytest", "py", "pluggy", "iniconfig", "packaging", "pygments")
_PACKAGES = ("msgspec", "yaml", "_yaml", "pyroute2", *_PYTEST)
_LEFT_OUT = re.compile(
    r"/(test|tests|idlelib|ensurepip|lib2to3|tkinter|turtledemo|pydoc_data|site-packages|config-\d[^/]*)(/|$)"
    r"|\.opt-\d\.pyc$|\.(a|exe)$"
)
_BUSYBOX = ("sh", "mount", "mkdir", "insmod", "ln", "poweroff", "rm", "tar", "cat", "cut", "uname", "gzip")
_SYMBOLIC_LINK, _PROGRAM, _CONSOLE = 0o120777, 0o100755, 0o020600

_INI = """[pytest]
addopts = --import-mode=importlib -p no:cacheprovider --strict-markers --color=no --no-header -v --durations=5
pythonpath = .
markers = kernel
filterwarnings = error
"""
_INIT = """#!/bin/sh
cd /
tar -xf /guest.tar && rm /guest.tar
mkdir -p /proc /sys /dev /run /tmp /var/run
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
for module in {modules}; do insmod /modules/$module || echo "module $module is refused"; done
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/tmp LD_LIBRARY_PATH={libraries} PYTHONPATH=/packages
export PYTHONDONTWRITEBYTECODE=1 PYTEST_DISABLE_PLUGIN_AUTOLOAD=1
ip link set lo up
cut -d " " -f 1 /proc/uptime
cd /{repository}
{python} -m pytest -c guest.ini --rootdir=. --confcutdir=tests/kernel --junitxml=/tmp/results.xml {tests}
cat /tmp/results.xml > /dev/ttyS1
poweroff -f
"""


def initial_files(kernel: Kernel, base: Path) -> bytes:
    """The initramfs of a guest: a few files that unpack `base`, which `write_base` has made."""
    modules = io.BytesIO()
    with tarfile.open(fileobj=modules, mode="w") as archive:
        for module in kernel.modules:
            archive.add(module, f"modules/{module.name}")
    names = " ".join(module.name for module in kernel.modules)
    packed = [("init", _PROGRAM, _init(names).encode()), ("modules.tar", _PROGRAM, modules.getvalue())]
    return gzip.compress(b"".join(_cpio(packed)), 1) + base.read_bytes()


def _init(modules: str) -> str:
    tests = " ".join(shlex.quote(f"tests/kernel/{name}") for name in TESTS)
    libraries = ":".join(sorted({str(path.parent) for path in _libraries()}))
    text = _INIT.format(
        modules=modules, libraries=libraries, repository=_REPOSITORY, python=_interpreter(), tests=tests
    )
    return text.replace("rm /guest.tar\n", "tar -xf /modules.tar && rm /guest.tar /modules.tar\n", 1)


def write_base(made: Path) -> None:
    """The part that all guests share, as an initramfs of its own; the kernel takes several, one behind the other."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", dereference=True) as archive:
        for place, name in _files():
            archive.add(place, name, recursive=False)
        ini = tarfile.TarInfo(f"{_REPOSITORY}/guest.ini")
        ini.size = len(_INI)
        archive.addfile(ini, io.BytesIO(_INI.encode()))
    busybox = Path(shutil.which("busybox") or "/bin/busybox").read_bytes()
    entries = [("bin", 0o040755, b""), ("dev", 0o040755, b""), ("dev/console", _CONSOLE, b"")]
    entries += [("bin/busybox", _PROGRAM, busybox), ("guest.tar", _PROGRAM, packed.getvalue())]
    entries += [(f"bin/{name}", _SYMBOLIC_LINK, b"busybox") for name in _BUSYBOX]
    made.write_bytes(gzip.compress(b"".join(_cpio(entries)), 1))


def _files() -> Iterator[tuple[Path, str]]:
    """Files of this machine, and where the guest has them."""
    for path in (*_libraries(), *_python_files(), *_tool_files()):
        yield path, str(path).lstrip("/")
    yield from _packages()
    for part in ("migrate", "tests/kernel"):
        yield from ((path, f"{_REPOSITORY}/{path.relative_to(_ROOT)}") for path in _inside(_ROOT / part))
    yield _ROOT / "tests/prerequisites.py", f"{_REPOSITORY}/tests/prerequisites.py"
    programs = objects()
    yield from ((path, f"{_REPOSITORY}/migrate/_data/bpf/{path.relative_to(programs)}") for path in _inside(programs))


def _packages() -> Iterator[tuple[Path, str]]:
    for name in _PACKAGES:
        found = find_spec(name)
        origin = Path(found.origin) if found is not None and found.origin is not None else Path()
        if origin.name == f"{name}.py":
            yield origin, f"packages/{origin.name}"
        elif origin.name:
            folder = origin.parent
            yield from ((path, f"packages/{path.relative_to(folder.parent)}") for path in _inside(folder))


def _python_files() -> Iterator[Path]:
    yield _interpreter()
    yield from _inside(Path(sysconfig.get_path("stdlib")))


def _interpreter() -> Path:
    return Path(sys.executable).resolve()


def _tool_files() -> Iterator[Path]:
    yield from (Path(shutil.which(tool) or tool) for tool in TOOLS)
    yield from Path("/usr/lib/x86_64-linux-gnu/xtables").glob("*.so")


def _libraries() -> list[Path]:
    """What the interpreter, compiled modules, and the tools are linked with, and libbpf."""
    tools = [path for path in _tool_files() if path.suffix != ".so"]
    modules = [path for path, _ in (*_packages(), *((path, "") for path in _python_files())) if path.suffix == ".so"]
    libbpf = next(Path("/usr/lib").glob("*/libbpf.so.1"))
    pages = subprocess.run(
        ["ldd", *map(str, [_interpreter(), *tools, *modules, libbpf])], capture_output=True, text=True, check=False
    )
    return sorted({libbpf, *(Path(found) for found in re.findall(r"(/\S+\.so\S*) \(0x", pages.stdout))})


def _inside(folder: Path) -> Iterator[Path]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return (path for path in files if not _LEFT_OUT.search(f"/{path.relative_to(folder)}"))


def _cpio(entries: Iterable[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """An archive of the kind that the kernel unpacks as its first files (cpio, "newc")."""
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        major, minor = (5, 1) if mode == _CONSOLE else (0, 0)
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        yield head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
