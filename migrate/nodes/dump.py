"""A node's dump: a folder of raw files, read into typed values; what cannot be used is said, the rest is used."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import TypeVar

import msgspec

import migrate
from migrate.errors import InputError
from migrate.files import file_digest, read_bytes
from migrate.model.finding import Effect, Finding
from migrate.model.hns import HnsState
from migrate.model.ip_sets import IpSets
from migrate.model.node_documents import NodeFile, NodeManifest, System
from migrate.model.node_state import Backend, Ruleset, Table
from migrate.model.refs import Location, ObjectRef
from migrate.nodes import files
from migrate.nodes.files import MANIFEST, Printed, printed_as
from migrate.nodes.wording import printable
from migrate.scan.node_json import salvage_hns
from migrate.sources.node.ipset_save import salvage_ipset_save
from migrate.sources.node.iptables_save import salvage_iptables_save

UNREAD = "NODE-DUMP-UNREAD"
_MOST = 5
"""Complaints of one file that are told one by one."""
_MOST_MIB = 256
"""Of one file. Rules of 20,000 Services are a twentieth of that."""
_MOST_OF_MANIFEST = 16 << 20
_RULES = {
    files.IPTABLES_LEGACY: (Backend.LEGACY, 4),
    files.IP6TABLES_LEGACY: (Backend.LEGACY, 6),
    files.IP6TABLES_NFT: (None, 6),
    files.IPTABLES_NFT: (None, 4),
}
"""The backend and family of a dump whose header says nothing."""
_OF_HNS = (files.HNS_ENDPOINTS, files.HCN_ENDPOINTS, files.HCN_NETWORKS)
_Read = TypeVar("_Read", Ruleset, IpSets, HnsState)


@dataclass(frozen=True, eq=False)
class NodeDump:
    """The raw files of one node, and what they hold. `problems` are parts that could not be used.

    `hns` has one state per file of a Windows node. `at` places are files relative to the folder's parent, so that
    several nodes stay apart.
    """

    folder: Path
    manifest: NodeManifest
    rulesets: tuple[Ruleset, ...] = ()
    sets: IpSets | None = None
    hns: tuple[HnsState, ...] = ()
    problems: tuple[Finding, ...] = ()
    paths: dict[Printed, tuple[Path, ...]] = field(default_factory=dict)

    @property
    def node(self) -> ObjectRef:
        """The Node object that the dump is of."""
        return node_ref(self.manifest.name)

    def tables(self, name: str, family: int = 4) -> Iterator[tuple[Ruleset, Table]]:
        """All tables of a name and family, of both backends."""
        for ruleset in self.rulesets:
            for table in ruleset.tables:
                if table.name == name and (table.family or 4) == family:
                    yield ruleset, table

    @cached_property
    def active_backend(self) -> Backend | None:
        """The backend that the node's kubelet and kube-proxy write to; None where the dump does not tell.

        Source: kubelet keeps KUBE-IPTABLES-HINT, older ones KUBE-KUBELET-CANARY, in mangle of the one in use.
        """
        for mark in ("KUBE-IPTABLES-HINT", "KUBE-KUBELET-CANARY"):
            for backend in Backend:
                for _, table in self.tables("mangle"):
                    if table.backend is backend and mark in table.by_name():
                        return backend
        return None

    def bodies(self, printed: Printed) -> Iterator[tuple[Location, bytes]]:
        """The files of a kind with the place that findings name. Raises InputError when one cannot be read."""
        for path in self.paths.get(printed, ()):
            yield Location(_shown(self.folder, path), None), read_bytes(path)

    def text(self, printed: Printed) -> str | None:
        """The text of the first file of a kind; None when there is none. What is no UTF-8 is replaced."""
        return next((body.decode(errors="replace") for _, body in self.bodies(printed)), None)


def node_ref(name: str) -> ObjectRef:
    """A Node object by its name."""
    return ObjectRef(api_version="v1", kind="Node", namespace=None, name=name)


def read_dumps(folder: Path) -> tuple[NodeDump, ...]:
    """The dumps in a folder: of one node, or one folder for each; by name. Raises InputError when there is none."""
    dumps = [read_dump(path) for path in dump_folders(folder)]
    names = Counter(dump.manifest.name for dump in dumps)
    if twice := [name for name, count in names.items() if count > 1]:
        raise InputError(f"{folder}: two dumps are of node {min(twice)}; take one of them away")
    return tuple(sorted(dumps, key=lambda dump: dump.manifest.name))


def dump_folders(folder: Path) -> tuple[Path, ...]:
    """The folders of single dumps: those in a folder, or else itself. Raises InputError when there is none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of a node's dump, or of one folder per node")
    found = dumps_below(folder) or ((folder,) if _is_dump(folder) else ())
    if not found:
        known = ", ".join(printed.name for printed in (files.IPTABLES_NFT, files.IPSET, files.HNS_ENDPOINTS))
        raise InputError(f"{folder}: no dump of a node is in it (such as {known}); `migrate scan node` makes one")
    return found


def dumps_below(folder: Path) -> tuple[Path, ...]:
    """The folders in a folder that hold a dump. Raises InputError when one cannot be read."""
    try:
        return tuple(sorted(path for path in folder.iterdir() if path.is_dir() and _is_dump(path)))
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}; change its rights") from error


def read_dump(folder: Path) -> NodeDump:
    """The dump of one node. Raises InputError when its node.json is there and is none."""
    paths, unusable = dump_files(folder)
    return _Reader(folder, _manifest(folder, paths), paths, unusable).dump()


def read_manifest(folder: Path) -> NodeManifest:
    """Whose dump a folder is, and what it holds. Raises InputError when its node.json is none."""
    return _manifest(folder, dump_files(folder)[0])


def dump_files(folder: Path) -> tuple[dict[Printed, tuple[Path, ...]], dict[str, str]]:
    """The files of a dump by what they are, and by name why others of them cannot be used."""
    paths: dict[Printed, tuple[Path, ...]] = {}
    unusable: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        printed = None if path.is_dir() else printed_as(path.name)
        why = "" if printed is None else _unusable(path)
        if why:
            unusable[path.name] = why
        elif printed is not None:
            paths[printed] = (*paths.get(printed, ()), path)
    return paths, unusable


def _unusable(path: Path) -> str:
    """Why a file is none to read; else empty. Links could lead out of the dump."""
    if path.is_symlink() or not path.is_file():
        return "is no plain file; put the file itself there"
    if not os.access(path, os.R_OK):
        return "cannot be read: permission denied; change its rights"
    if path.stat().st_size > _MOST_MIB << 20:
        return f"is larger than {_MOST_MIB} MiB, which no node prints; it was not read"
    return ""


def _is_dump(folder: Path) -> bool:
    return any(path.name == MANIFEST or printed_as(path.name) for path in folder.iterdir() if path.is_file())


def _manifest(folder: Path, paths: dict[Printed, tuple[Path, ...]]) -> NodeManifest:
    """What node.json says, or what the files of a dump that was made by hand tell."""
    path = folder / MANIFEST
    if path.is_file():
        if path.stat().st_size > _MOST_OF_MANIFEST:
            raise InputError(f"{path}: is no description of a dump: it is larger than {_MOST_OF_MANIFEST >> 20} MiB")
        try:
            return msgspec.json.decode(read_bytes(path), type=NodeManifest)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: is no description of a dump: {error}; take the dump again") from error
    system: System = "windows" if paths.keys() & set(files.OF_WINDOWS) else "linux"
    listed = tuple(
        NodeFile(name=path.name, command=printed.command) for printed, several in paths.items() for path in several
    )
    name = folder.resolve().name
    return NodeManifest(tool_version=migrate.__version__, name=name, system=system, way="files", files=listed)


def _shown(folder: Path, path: Path) -> str:
    return f"{folder.name}/{path.name}"


class _Reader:
    """Reads the files of one dump, and notes what is wrong with them."""

    def __init__(
        self,
        folder: Path,
        manifest: NodeManifest,
        paths: dict[Printed, tuple[Path, ...]],
        unusable: dict[str, str],
    ) -> None:
        self._folder = folder
        self._manifest = manifest
        self._paths = paths
        self._unusable = unusable
        self._problems: list[Finding] = []

    def dump(self) -> NodeDump:
        """All that can be used."""
        sets = [self._salvaged(path, salvage_ipset_save) for path in self._paths.get(files.IPSET, ())]
        return NodeDump(
            self._folder,
            self._manifest,
            tuple(self._rulesets()),
            sets[0] if sets else None,
            tuple(self._salvaged(path, salvage_hns) for kind in _OF_HNS for path in self._paths.get(kind, ())),
            (*self._problems, *self._not_read()),
            self._paths,
        )

    def _rulesets(self) -> Iterator[Ruleset]:
        for printed, (backend, family) in _RULES.items():
            for path in self._paths.get(printed, ()):
                ruleset = self._salvaged(path, partial(salvage_iptables_save, family=family))
                tables = tuple(replace(table, backend=table.backend or backend) for table in ruleset.tables)
                yield replace(ruleset, tables=tables)

    def _salvaged(self, path: Path, salvage: Callable[[bytes, str], tuple[_Read, tuple[InputError, ...]]]) -> _Read:
        read, complaints = salvage(read_bytes(path), _shown(self._folder, path))
        self._problems += [self._problem(str(complaint)) for complaint in complaints[:_MOST]]
        if len(complaints) > _MOST:
            self._problems.append(self._problem(f"{_shown(self._folder, path)}: {len(complaints) - _MOST} more lines"))
        return read

    def _not_read(self) -> Iterator[Finding]:
        for name, why in self._unusable.items():
            yield self._problem(f"{self._folder.name}/{name}: {why}")
        for file in self._manifest.files:
            if file.status == "failed":
                yield self._problem(f"{file.name}: `{file.command}` failed: {file.detail}")
            elif file.status == "read" and file.name not in self._unusable:
                yield from self._changed(file)

    def _changed(self, file: NodeFile) -> Iterator[Finding]:
        """A file that is not what its node.json describes."""
        there = {path.name: path for paths in self._paths.values() for path in paths}
        place = f"{self._folder.name}/{file.name}"
        if file.name not in there:
            yield self._problem(f"{place}: {MANIFEST} lists it as read, and it is not there; copy the whole folder")
        elif file.sha256 is not None and file_digest(there[file.name]).hex() != file.sha256:
            yield self._problem(f"{place}: is not what was read on the node (another SHA-256); take the dump again")

    def _problem(self, detail: str) -> Finding:
        found = Finding(id=UNREAD, detail=detail, effect=Effect.UNKNOWN, subject=node_ref(self._manifest.name))
        return printable(found)
