"""What a guest has: this Python with the modules that its checks load, their tools, and what runs first."""

from __future__ import annotations

import json
import marshal
import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Iterator
from functools import cache
from importlib.util import MAGIC_NUMBER, cache_from_source
from pathlib import Path, PurePath

from migrate.audit.loader import objects
from tests.kernel_matrix.kernels import Kernel

TOOLS = ("ip", "iptables")
_ROOT = Path(__file__).parents[2]
_PROGRAM_NAME = "tests.kernel_matrix.run_checks"
_LIST_MODULES = f"""
import json, sys
import {_PROGRAM_NAME}
import pyroute2
pyroute2.IPRoute().close()
found = [module.__spec__.origin for module in list(sys.modules.values()) if getattr(module, "__spec__", None)]
print(json.dumps([origin for origin in found if origin and origin.startswith("/")]))
"""
_LATER = ("idna", "latin_1", "ascii")
"""Encodings that Python imports when a check asks for them."""
_BUSYBOX = ("sh", "mount", "mkdir", "insmod", "poweroff", "cut")
_FOLDER, _SYMBOLIC_LINK, _PROGRAM, _CONSOLE = 0o040755, 0o120777, 0o100755, 0o020600
_INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev
mount -t tmpfs run /run; mount -t tmpfs tmp /tmp
for module in {modules}; do insmod /modules/$module || echo "module $module is refused"; done
export PATH=/bin:/sbin:/usr/bin:/usr/sbin HOME=/tmp LD_LIBRARY_PATH={libraries}
export PYTHONHOME={prefix} PYTHONPATH=/repository:/packages
ip link set lo up
echo "the checks begin at second $(cut -d " " -f 1 /proc/uptime)"
cd /repository
{python} -B -S -m {program} /dev/ttyS1
poweroff -f
"""


def initial_files(kernel: Kernel, base: Path) -> bytes:
    """The initramfs of a guest: `base`, which `write_base` has made, the kernel's modules, and what runs first."""
    modules = [(f"modules/{module.name}", _PROGRAM, module.read_bytes()) for module in kernel.modules]
    init = _INIT.format(
        modules=" ".join(module.name for module in kernel.modules),
        libraries=":".join(sorted({str(path.parent) for path in _libraries(_python_modules())})),
        python=_interpreter(),
        prefix=sys.base_prefix,
        program=_PROGRAM_NAME,
    )
    return base.read_bytes() + b"".join(_cpio([("modules", _FOLDER, b""), ("init", _PROGRAM, init.encode()), *modules]))


def write_base(made: Path) -> None:
    """The part that all guests share, as an initramfs of its own; the kernel takes several, one behind the other.

    It is not packed: an imitated processor takes longer to unpack it than this machine to read it.
    """
    files = dict(_files())
    folders = {str(parent) for name in files for parent in PurePath(name).parents if parent != PurePath()}
    folders |= {"bin", "dev", "proc", "sys", "run", "tmp"}
    entries = [(name, _FOLDER, b"") for name in sorted(folders)]
    entries += [("dev/console", _CONSOLE, b"")]
    entries += [(f"bin/{name}", _SYMBOLIC_LINK, b"busybox") for name in _BUSYBOX]
    entries += [(name, _PROGRAM, data) for name, data in sorted(files.items())]
    made.write_bytes(b"".join(_cpio(entries)))


def _files() -> Iterator[tuple[str, bytes]]:
    """Where the guest has files, and their content."""
    modules = _python_modules()
    for path in (_interpreter(), *_tool_files(), *_libraries(modules)):
        yield str(path).lstrip("/"), path.read_bytes()
    for path in modules:
        yield from _module(path)
    yield "bin/busybox", _busybox().read_bytes()
    for path in objects().glob("*.o"):
        yield f"repository/migrate/_data/bpf/{path.name}", path.read_bytes()


def _module(path: Path) -> Iterator[tuple[str, bytes]]:
    """A module and its compiled form, which Python takes without asking how old the text is."""
    name = _place(path)
    yield name, path.read_bytes()
    if path.suffix == ".py":
        code = compile(path.read_bytes(), f"/{name}", "exec", dont_inherit=True)
        compiled = cache_from_source(f"/{name}").lstrip("/")
        yield compiled, MAGIC_NUMBER + (1).to_bytes(4, "little") + bytes(8) + marshal.dumps(code)


def _place(path: Path) -> str:
    """In the guest: Python's own modules where they are here, all others in two folders."""
    if path.is_relative_to(_ROOT / "migrate") or path.is_relative_to(_ROOT / "tests"):
        return f"repository/{path.relative_to(_ROOT)}"
    parents = [path.parent, *path.parent.parents]
    installed = next((parent for parent in parents if parent.name in ("site-packages", "dist-packages")), None)
    if installed is not None:
        return f"packages/{path.relative_to(installed)}"
    return str(path).lstrip("/")


@cache
def _python_modules() -> tuple[Path, ...]:
    """The files of all modules that the checks have loaded before they begin."""
    listed = subprocess.run(
        [sys.executable, "-c", _LIST_MODULES], cwd=_ROOT, capture_output=True, text=True, check=True
    ).stdout
    encodings = Path(sysconfig.get_path("stdlib")) / "encodings"
    later = (encodings / f"{name}.py" for name in _LATER)
    return tuple(sorted({*map(Path, json.loads(listed)), *later}))


def _interpreter() -> Path:
    return Path(sys.executable).resolve()


def _busybox() -> Path:
    """Linked statically or not: a guest has its libraries, too."""
    return Path(shutil.which("busybox") or "/bin/busybox")


def _tool_files() -> Iterator[Path]:
    yield from (Path(shutil.which(tool) or tool) for tool in TOOLS)
    names = "libxt_tcp.so", "libxt_udp.so", "libxt_standard.so", "libxt_DNAT.so", "libipt_DNAT.so", "libxt_NAT.so"
    folder = next(Path("/usr/lib").glob("*/xtables"))
    yield from (folder / name for name in names if (folder / name).exists())


@cache
def _libraries(modules: tuple[Path, ...]) -> list[Path]:
    """What the interpreter, compiled modules, and the tools are linked with, and libbpf."""
    compiled = [path for path in (*modules, *_tool_files()) if path.suffix in (".so", "")]
    libbpf = next(Path("/usr/lib").glob("*/libbpf.so.1"))
    pages = subprocess.run(
        ["ldd", *map(str, [_interpreter(), _busybox(), *compiled, libbpf])], capture_output=True, text=True, check=False
    )
    return sorted({libbpf, *(Path(found) for found in re.findall(r"(/\S+\.so\S*) \(0x", pages.stdout))})


def _cpio(entries: Iterable[tuple[str, int, bytes]]) -> Iterator[bytes]:
    """An archive of the kind that the kernel unpacks as its first files (cpio, "newc")."""
    for number, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        major, minor = (5, 1) if mode == _CONSOLE else (0, 0)
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, major, minor, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields) + name.encode() + b"\0"
        yield head + b"\0" * (-len(head) % 4) + data + b"\0" * (-len(data) % 4)
