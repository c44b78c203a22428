"""Compiles bpf/*.bpf.c with clang, or PyPI's ziglang. Only the standard library is used, as builds need it too."""

from __future__ import annotations

import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

_FLAGS = ("-O2", "-g", "-mcpu=v2", "-Wall", "-Wextra", "-Werror", "-fdebug-compilation-dir=.")
_ZIG_MACHINES = {"x86_64": "x86", "aarch64": "aarch64"}


class CompileError(Exception):
    """There is no compiler, or it refused; the text says which and what it said."""


def build_objects(folder: Path) -> list[Path]:
    """The object of every program in `folder`, compiled where it is missing or older than a source."""
    sources = sorted(folder.glob("*.bpf.c"))
    newest = max(path.stat().st_mtime_ns for path in (*sources, *folder.glob("*.h")))
    built = [source.with_suffix(".o") for source in sources]
    for source, made in zip(sources, built, strict=True):
        if not made.is_file() or made.stat().st_mtime_ns < newest:
            compile_object(source, made)
    return built


def compile_object(source: Path, made: Path) -> None:
    """Compile one program; `made` appears whole or not at all."""
    with tempfile.TemporaryDirectory(dir=made.parent, prefix=".") as scratch:
        partial = Path(scratch).resolve() / made.name
        environment = os.environ | {"ZIG_GLOBAL_CACHE_DIR": scratch, "ZIG_LOCAL_CACHE_DIR": scratch}
        command = [*compiler(), *_FLAGS, "-c", source.name, "-o", str(partial)]
        ran = subprocess.run(
            command, cwd=source.parent, env=environment, capture_output=True, text=True, errors="replace", check=False
        )
        if ran.returncode != 0:
            raise CompileError(f"{source}: {command[0]} could not compile it:\n{ran.stderr.strip()}")
        partial.replace(made)


def compiler() -> list[str]:
    """The command of a compiler for BPF with its headers. Raises CompileError when there is none."""
    clang = shutil.which("clang")
    if clang is not None:
        headers = Path(f"/usr/include/{platform.machine()}-linux-gnu")
        return [clang, "-target", "bpf", "-idirafter", str(headers)]
    zig = importlib.util.find_spec("ziglang")
    if zig is None or zig.origin is None:
        raise CompileError("no compiler for BPF: install clang, or ziglang with pip")
    headers = Path(zig.origin).parent / "lib" / "libc" / "include"
    machine = _ZIG_MACHINES.get(platform.machine(), platform.machine())
    places = ("-idirafter", str(headers / f"{machine}-linux-any"), "-idirafter", str(headers / "any-linux-any"))
    return [sys.executable, "-m", "ziglang", "cc", "-target", "bpfel-freestanding", *places]
