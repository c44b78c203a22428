"""The probe is compiled where it is missing or old, with either compiler, and what goes wrong is said."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from migrate.audit.compile import CompileError, build_objects, compile_object, compiler
from tests.prerequisites import require

_SOURCES = Path(__file__).parents[2] / "bpf"
_ELF = b"\x7fELF"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The sources of the probe, without objects."""
    for source in (*_SOURCES.glob("*.c"), *_SOURCES.glob("*.h")):
        shutil.copy(source, tmp_path)
    return tmp_path


def test_objects_are_compiled_once_and_again_when_a_header_changes(folder: Path) -> None:
    built = build_objects(folder)
    first = [path.stat().st_mtime_ns for path in built]
    build_objects(folder)
    unchanged = [path.stat().st_mtime_ns for path in built]
    (folder / "probe.h").touch()
    build_objects(folder)

    assert [path.name for path in built] == ["ct.bpf.o", "drop.bpf.o", "probe.bpf.o"]
    assert all(path.read_bytes().startswith(_ELF) for path in built)
    assert unchanged == first
    assert all(path.stat().st_mtime_ns > old for path, old in zip(built, first, strict=True))
    assert sorted(path.suffix for path in folder.iterdir() if path.name.startswith(".")) == []


@pytest.mark.parametrize("name", ["clang", "ziglang"])
def test_either_compiler_does(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    if name == "clang":
        require(shutil.which("clang") is not None, "clang")
    else:
        monkeypatch.setenv("PATH", str(folder))

    assert (name in compiler()) == (name == "ziglang")
    compile_object(folder / "probe.bpf.c", folder / "made.o")

    assert (folder / "made.o").read_bytes().startswith(_ELF)


def test_what_the_compiler_says_is_told(folder: Path) -> None:
    (folder / "drop.bpf.c").write_text("int wrong(void) { return nothing; }")

    with pytest.raises(CompileError, match=r"drop\.bpf\.c: [^ ]+ could not compile it:\n.*nothing"):
        build_objects(folder)
    assert not (folder / "drop.bpf.o").exists()


def test_without_a_compiler_both_are_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)

    with pytest.raises(CompileError, match="no compiler for BPF: install clang, or ziglang with pip"):
        build_objects(folder)
