"""Places that a written file must not take, and what is left when writing fails."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from migrate.errors import InputError
from migrate.files import write_atomic


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(InputError, match="a pipe or device, which a file cannot replace; give the"):
        write_atomic(pipe, b"text")
    assert stat.S_ISFIFO(pipe.stat().st_mode)


@pytest.mark.parametrize("link", ["/dev/null", "/dev/zero"])
def test_a_link_to_a_device_is_not_replaced_by_a_file(link: str, tmp_path: Path) -> None:
    place = tmp_path / "out"
    place.symlink_to(link)
    with pytest.raises(InputError, match="out: a pipe or device"):
        write_atomic(place, b"text")
    assert place.is_symlink()


def test_standard_output_by_its_path_is_refused_wherever_it_leads(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def replaced(source: str, target: Path) -> None:
        raise AssertionError(f"{target} would be taken from every program of this machine")

    monkeypatch.setattr(os, "replace", replaced)
    (tmp_path / "redirected").touch()
    with (tmp_path / "redirected").open("wb") as stream:
        kept = os.dup(1)
        os.dup2(stream.fileno(), 1)
        try:
            with pytest.raises(InputError, match="/dev/stdout: a pipe or device"):
                write_atomic(Path("/dev/stdout"), b"text")
        finally:
            os.dup2(kept, 1)
            os.close(kept)


def test_a_folder_is_named_as_one(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="a folder; give the path of a file"):
        write_atomic(tmp_path, b"text")
    assert list(tmp_path.iterdir()) == []


def test_a_link_to_a_file_gives_way_to_the_new_file(tmp_path: Path) -> None:
    (tmp_path / "old").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "old")
    write_atomic(tmp_path / "link", b"new")
    assert (tmp_path / "old").read_text() == "old"
    assert not (tmp_path / "link").is_symlink()
