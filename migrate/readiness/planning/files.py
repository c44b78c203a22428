"""The files beside a plan: the old policies with a script that restores them, and scripts that people may run."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from migrate import yaml_out
from migrate.errors import InputError
from migrate.files import write_atomic
from migrate.model.plan_documents import Plan
from migrate.model.raw import Json, RawObject
from migrate.model.words import one_line
from migrate.readiness.documents import Documents
from migrate.readiness.helm.values import helm_values
from migrate.readiness.planning.after import REMOVE, REMOVE_FIRST
from migrate.readiness.planning.apply import APPLY, BACKUP, RESTORE, applied_folders, needed_kinds
from migrate.readiness.planning.beside_steps import FOLDER, beside_files
from migrate.translate.kinds import is_policy

_SERVER_FIELDS = frozenset(
    {"creationTimestamp", "deletionTimestamp", "generation", "managedFields", "resourceVersion", "selfLink", "uid"}
)
_LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_REFERRED = ("Tier", "NetworkSet", "GlobalNetworkSet", "HostEndpoint", "Profile", "CiliumCIDRGroup")
"""What policies refer to, and has to be there before them."""
_NEVER = "# migrate wrote this file and never runs it.\n"
_OURS = "migrate wrote this file"
_HEAD_LENGTH = 600
_KEPT = (
    f"{_NEVER}# As the snapshot has the objects: without status, and of annotations only those that name an owner.\n"
)
_HEAD = "#!/usr/bin/env bash\n"
_BEGIN = 'set -euo pipefail\ncd -- "$(dirname -- "${BASH_SOURCE[0]}")"\n'
_DRY = """mode=server
if [ "${1:-}" = --apply ]; then mode=none; fi
"""


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A file of the working folder, with its path in it."""

    path: str
    text: str


def plan_files(documents: Documents, made: Plan) -> tuple[PlanFile, ...]:
    """All files that the plan's commands name, by path."""
    found = [*_backup(documents)]
    if made.route.path in ("aks", "dual-overlay"):
        found += _scripts(documents, made)
    if made.route.path == "dual-overlay":
        found += [PlanFile(path, f"{_NEVER}{text}") for path, text in beside_files(helm_values(documents))]
    return tuple(sorted(found, key=lambda file: file.path))


def write_files(folder: Path, files: Sequence[PlanFile]) -> None:
    """Write them into a working folder; what an earlier plan wrote and this one does not name goes.

    Raises InputError where a place cannot be written, or holds what somebody else wrote or a link to another place.
    """
    for file in files:
        _check_place(folder, file.path)
    for file in files:
        write_atomic(folder / file.path, file.text.encode())
    kept = {folder / file.path for file in files}
    for old in (
        *(folder / BACKUP).glob("*"),
        *(folder / FOLDER).glob("*.yaml"),
        folder / APPLY,
        folder / REMOVE,
        folder / REMOVE_FIRST,
    ):
        if old.is_file() and old not in kept and _is_ours(old):
            old.unlink()


def _check_place(folder: Path, name: str) -> None:
    path = folder / name
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path}: a link leads outside of {folder}; remove the link, or choose another folder")
    if path.exists() and not _is_ours(path):
        raise InputError(f"{path}: migrate did not write it and would replace it; move it, or choose another folder")


def _is_ours(path: Path) -> bool:
    try:
        return _OURS in path.read_text(encoding="utf-8", errors="replace")[:_HEAD_LENGTH]
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; check its rights") from error


def _scripts(documents: Documents, made: Plan) -> Iterator[PlanFile]:
    if documents.translation is not None and applied_folders(documents.translation):
        yield PlanFile(APPLY, _apply(applied_folders(documents.translation), needed_kinds(documents.translation)))
    if any(removal.when == "with_apply" for removal in made.removals):
        yield PlanFile(
            REMOVE_FIRST, _remove(made, "with_apply", "contradict the translated ones, once those are there")
        )
    if any(removal.when == "after_cutover" for removal in made.removals):
        yield PlanFile(REMOVE, _remove(made, "after_cutover", "are in force twice, once Cilium enforces"))


def _backup(documents: Documents) -> Iterator[PlanFile]:
    kinds: dict[tuple[int, str], list[RawObject]] = {}
    for raw in documents.objects:
        if is_policy(raw.ref):
            name = re.sub(r"[^A-Za-z0-9.]", "_", f"{raw.ref.api_version}.{raw.ref.kind}")
            rank = _REFERRED.index(raw.ref.kind) if raw.ref.kind in _REFERRED else len(_REFERRED)
            kinds.setdefault((rank, name), []).append(raw)
    names = []
    for number, key in enumerate(sorted(kinds), start=1):
        names.append(f"{number:02}-{key[1]}.yaml")
        objects = sorted(kinds[key], key=lambda raw: raw.ref.sort_key())
        texts = "".join(f"---\n{yaml_out.dump(_restorable(raw))}" for raw in objects)
        yield PlanFile(f"{BACKUP}/{names[-1]}", f"{_KEPT}{texts}")
    if names:
        yield PlanFile(RESTORE, _restore(names))


def _restorable(raw: RawObject) -> Mapping[str, object]:
    """The object without what the API server adds itself."""
    kept: dict[str, Json] = {key: value for key, value in raw.data.items() if key != "status"}
    metadata = raw.data.get("metadata")
    if isinstance(metadata, dict):
        clean = {key: value for key, value in metadata.items() if key not in _SERVER_FIELDS}
        annotations = clean.get("annotations")
        if isinstance(annotations, dict):
            left = {key: value for key, value in annotations.items() if key != _LAST_APPLIED}
            clean = {key: value for key, value in clean.items() if key != "annotations"}
            clean |= {"annotations": left} if left else {}
        kept["metadata"] = clean
    return kept


def _restore(names: Sequence[str]) -> str:
    lines = "".join(f'kubectl apply --server-side --force-conflicts "--dry-run=$mode" -f {name}\n' for name in names)
    return (
        f"{_HEAD}# Puts the old policies back as the snapshot had them: what policies refer to first.\n"
        "# Without --apply it only asks the API server whether it would take them.\n"
        f"{_NEVER}{_BEGIN}{_DRY}{lines}"
    )


def _remove(made: Plan, when: str, which: str) -> str:
    lines = []
    for removal in made.removals:
        if removal.when == when and removal.command is not None:
            owner = f"  # owner: {_one_line(removal.owner)}" if removal.owner else ""
            lines.append(f'{removal.command.text} --ignore-not-found "--dry-run=$mode"{owner}\n')
    return (
        f"{_HEAD}# Deletes the old policies that {which}.\n"
        "# Without --apply it only shows what would be deleted.\n"
        f"{_NEVER}{_BEGIN}{_DRY}{''.join(lines)}"
    )


def _one_line(text: str) -> str:
    return one_line(text, " ")


def _apply(folders: Mapping[str, bool], kinds: Sequence[str]) -> str:
    targets = {name: f"-k {name}" if kustomized else f"--recursive -f {name}" for name, kustomized in folders.items()}
    asked = "".join(f"try --dry-run=server {target}\n" for target in targets.values())
    applied = "".join(f'try {target}\necho "applied {name}"\n' for name, target in targets.items())
    return (
        f"{_HEAD}# Applies the translated policies the moment Cilium's kinds are Established.\n"
        "# Start it when the change has begun; it waits (LIMIT_SECONDS, 6 hours), and can be run again.\n"
        f"{_NEVER}{_BEGIN}"
        f"kinds=({' '.join(kinds)})\n"
        "limit=${LIMIT_SECONDS:-21600}\n"
        'try() { kubectl apply --server-side --field-manager=cilium-migrate "$@"; }\n'
        'for kind in "${kinds[@]}"; do\n'
        # A kind that has just appeared has no conditions yet, which kubectl takes for an error.
        '  until kubectl wait --for=condition=Established --timeout=5s "crd/$kind" 2>/dev/null; do\n'
        '    if ((SECONDS > limit)); then echo "$kind is not Established after $limit seconds" >&2; exit 1; fi\n'
        "    sleep 2\n"
        "  done\n"
        "done\n"
        f"{asked}{applied}"
    )
