"""The output folder: writing a translation into it, and what an earlier one left there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from migrate.errors import InputError
from migrate.files import write_atomic
from migrate.model.documents import Translation
from migrate.translate.documents import TRANSLATION, encode, read_translation
from migrate.translate.engine import Outcome
from migrate.translate.names import COMPAT_FOLDER, STAGED_FOLDER, SUGGESTED_FOLDER, TEXT_FOLDER
from migrate.translate.render import MANAGED_BY

_FOLDERS = (TEXT_FOLDER, COMPAT_FOLDER, STAGED_FOLDER, "networkpolicy", SUGGESTED_FOLDER)
_OUTPUT_FILE = re.compile(rf"(?:{'|'.join(_FOLDERS)})(?:/[a-z0-9_][a-z0-9_.-]{{0,252}}){{1,3}}\.yaml")
_MARK = f"{MANAGED_BY}: cilium-migrate"


def write_translation(folder: Path, outcome: Outcome) -> None:
    """Write the objects and translation.json into a folder; files of the run before that are gone now are removed.

    All or nothing: everything is written beside its place first. A file that this program did not write is never
    removed, and an InputError where one of ours would replace it.
    """
    before = earlier_files(folder)
    texts = {file.path: file.text.encode() for file in outcome.files} | {TRANSLATION: encode(outcome.translation)}
    with _as_input_error(folder):
        for file in outcome.files:
            _check_place(folder, file.path)
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".new-", dir=folder) as beside:
            for path, text in texts.items():
                write_atomic(Path(beside, path), text)
            for path in texts:
                (folder / path).parent.mkdir(parents=True, exist_ok=True)
                Path(beside, path).replace(folder / path)
        for path in sorted(before.keys() - texts.keys()):
            (folder / path).unlink(missing_ok=True)


def earlier_files(folder: Path) -> Mapping[str, str]:
    """The texts of the files that the translation in a folder names and that are ours; none without a translation.

    Raises InputError when something there cannot be read.
    """
    with _as_input_error(folder):
        if not (folder / TRANSLATION).exists():
            return {}
        named = sorted(_named(read_translation(folder / TRANSLATION)))
        texts = {name: _text(folder, name) for name in named}
    return {name: text for name, text in texts.items() if _MARK in text}


def stray_files(folder: Path, named: Iterable[str]) -> list[str]:
    """Files below the folders of objects that are ours and that nothing names; GitOps tools would apply them."""
    with _as_input_error(folder):
        paths = [path for name in _FOLDERS for path in (folder / name).rglob("*.yaml")]
        found = {str(path.relative_to(folder)) for path in paths} - set(named)
        return sorted(name for name in found if _MARK in _text(folder, name))


def _named(translation: Translation) -> set[str]:
    emitted = [item for r in translation.results for item in (*r.objects, *r.plain, *r.staged, *r.suggested)]
    files = [*translation.files, *(item.file for item in (*translation.objects, *emitted))]
    return {file for file in files if _OUTPUT_FILE.fullmatch(file)}


def _text(folder: Path, name: str) -> str:
    """The file's text; empty when it is not there, or outside of its folder by way of a link."""
    path = folder / name
    return path.read_bytes().decode(errors="replace") if _is_inside(folder, name) and path.is_file() else ""


def _check_place(folder: Path, name: str) -> None:
    path = folder / name
    if not _is_inside(folder, name):
        raise InputError(f"{path}: a link leads outside of {folder}; remove the link, or choose another folder")
    if path.exists() and _MARK not in path.read_bytes().decode(errors="replace"):
        raise InputError(f"{path}: migrate did not write it and would replace it; move it, or choose another folder")


def _is_inside(folder: Path, name: str) -> bool:
    return (folder / name).resolve().is_relative_to((folder / name.partition("/")[0]).resolve())


@contextmanager
def _as_input_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        what = f"{error.strerror} ({error.filename})"
        raise InputError(f"{folder}: cannot be used: {what}; choose another --output-dir") from error
