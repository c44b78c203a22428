"""The documents of a working folder, whichever of them are there: what rules and reports may look at."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import msgspec

from migrate.audit.fresh import outdated, policies_digest
from migrate.errors import InputError
from migrate.files import file_digest, read_bytes
from migrate.model.audit_documents import Audit
from migrate.model.cluster import Cluster
from migrate.model.cutover_documents import CutoverCheck
from migrate.model.documents import Fact, SnapshotHeader, Translation, Verification
from migrate.model.node_documents import NodeStates
from migrate.model.plan_documents import Plan
from migrate.model.raw import RawObject, by_kind
from migrate.model.refs import ObjectRef
from migrate.nodes import examine
from migrate.readiness.future import Future, future_of
from migrate.scan import snapshot
from migrate.scan.collector import collector_off
from migrate.scan.inventory import AZURE_KIND
from migrate.sources import kubernetes
from migrate.sources.cluster import read_cluster
from migrate.sources.kubernetes import NetworkPolicy
from migrate.translate.documents import TRANSLATION, read_translation

if TYPE_CHECKING:
    from migrate.readiness.route import Wishes

SNAPSHOT = snapshot.FILE_NAME
VERIFICATION = "verification.json"
AUDIT = "audit.json"
PLAN = "plan.json"
CUTOVER = "cutover.json"
NODES = examine.FILE_NAME
_Document = TypeVar("_Document", Verification, Audit, Plan, NodeStates, CutoverCheck)
_NAMES = {
    Verification: ("Verification", "migrate verify"),
    Audit: ("Audit", "migrate audit replay"),
    Plan: ("plan", "migrate plan"),
    NodeStates: ("description of nodes", "migrate scan --nodes"),
    CutoverCheck: ("CutoverCheck", "migrate audit verify-cutover"),
}
"""What a document is called in messages, and the command that makes it."""


class Input(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """A file that was read. `made` is RFC 3339, None when the document does not say."""

    file: str
    kind: str
    sha256: str
    bytes: int
    tool_version: str
    made: str | None
    complete: bool


@dataclass(frozen=True, eq=False)
class Documents:
    """What a working folder holds; None is what nobody has made. `header` or `translation` is there.

    Too large to be compared: each is equal to itself only, and so a key of what is worked out once.

    `wishes` are the ways that somebody chose where several lead to the target.
    `audit_outdated` says what has changed since the audit was judged; its input is not complete then. `cutover` is
    what Cilium was seen to do afterwards.
    """

    folder: Path
    header: SnapshotHeader | None
    objects: tuple[RawObject, ...]
    translation: Translation | None
    verification: Verification | None = None
    audit: Audit | None = None
    nodes: NodeStates | None = None
    inputs: tuple[Input, ...] = ()
    wishes: Wishes | None = None
    audit_outdated: tuple[str, ...] = ()
    cutover: CutoverCheck | None = None

    @cached_property
    def by_ref(self) -> dict[ObjectRef, RawObject]:
        """The snapshot's objects by identity."""
        return {raw.ref: raw for raw in self.objects}

    def find(self, ref: ObjectRef) -> RawObject | None:
        """The snapshot's object of an identity, if there is one."""
        return self.by_ref.get(ref)

    @cached_property
    def network_policies(self) -> tuple[tuple[RawObject, NetworkPolicy], ...]:
        """Kubernetes' NetworkPolicies that can be read, with what was read of them."""
        raws = (raw for raw in self.by_kind.get("NetworkPolicy", ()) if raw.ref.group == "networking.k8s.io")
        read = ((raw, kubernetes.read_policy(raw)) for raw in raws)
        return tuple((raw, policy) for raw, policy in read if not policy.problems)

    @cached_property
    def by_kind(self) -> dict[str, tuple[RawObject, ...]]:
        """The snapshot's objects by kind."""
        return by_kind(self.objects)

    @cached_property
    def azure(self) -> RawObject | None:
        """What `az aks show` said, if it was given."""
        return next(iter(self.by_kind.get(AZURE_KIND, ())), None)

    @cached_property
    def cluster(self) -> Cluster:
        """What runs in the cluster."""
        return read_cluster(self.objects, complete=self.header is not None and self.header.complete)

    @cached_property
    def lost(self) -> tuple[str, ...]:
        """Files of objects that say what the policies say, which the translation names and which are not there."""
        results = self.translation.results if self.translation is not None else ()
        named = (item.file for result in results for item in result.objects if item.file.startswith("cilium/"))
        return tuple(file for file in named if not (self.folder / file).is_file())

    @cached_property
    def future(self) -> Future | None:
        """What the policies will do once the translation is applied; None without snapshot or translation."""
        if self.header is None or self.translation is None:
            return None
        with collector_off():
            return future_of(self.folder, self.header, self.objects, self.cluster, self.translation)

    @cached_property
    def nodes_outdated(self) -> bool:
        """Whether the nodes were compared with other objects than those of the snapshot, or with none."""
        taken = {document.sha256 for document in self.inputs if document.file == SNAPSHOT}
        return self.nodes is not None and self.nodes.snapshot not in taken

    def facts(self, topic: str) -> Iterator[Fact]:
        """What the inventory says on a topic, and is in force."""
        for fact in self.header.facts if self.header is not None else ():
            if fact.topic == topic and fact.state == "active":
                yield fact

    def was_read(self, kind: str) -> bool:
        """Whether the objects of a kind are known: all of them were read, or the cluster does not have the kind."""
        counts = self.header.kinds if self.header is not None else ()
        return any(count.kind == kind and count.status in ("read", "absent") for count in counts)


def read_folder(folder: Path) -> Documents:
    """The documents of a working folder. Raises InputError when there are none or one cannot be used."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; run `migrate scan` first, or name the working folder with --dir")
    there = [path for path in (folder / SNAPSHOT, folder / TRANSLATION) if path.is_file()]
    if not there:
        raise InputError(f"{folder}: neither {SNAPSHOT} nor {TRANSLATION} is there; run `migrate scan` first")
    header, objects, inputs = None, tuple[RawObject, ...](), []
    if folder / SNAPSHOT in there:
        taken = snapshot.read(folder / SNAPSHOT)
        header, objects = taken.header, tuple(taken.objects)
        inputs.append(input_of(folder / SNAPSHOT, "Snapshot", header.tool_version, header.taken, header.complete))
    translation = None
    if folder / TRANSLATION in there:
        translation = read_translation(folder / TRANSLATION)
        inputs.append(
            input_of(folder / TRANSLATION, "Translation", translation.tool_version, None, translation.complete)
        )
    verification = read_optional(folder / VERIFICATION, Verification)
    if verification is not None:
        made = input_of(folder / VERIFICATION, "Verification", verification.tool_version, None, verification.complete)
        inputs.append(made)
    audit, changes = read_audit(folder), tuple[str, ...]()
    if audit is not None:
        changes = outdated(audit, folder, folder / SNAPSHOT)
        is_complete = audit.complete and not changes
        inputs.append(input_of(folder / AUDIT, "Audit", audit.tool_version, audit.until, is_complete))
    cutover = read_optional(folder / CUTOVER, CutoverCheck)
    if cutover is not None:
        whole = cutover.complete and cutover.policies_digest == policies_digest(folder)
        inputs.append(input_of(folder / CUTOVER, "CutoverCheck", cutover.tool_version, cutover.made, whole))
    nodes = read_optional(folder / NODES, NodeStates)
    found = Documents(
        folder,
        header,
        objects,
        translation,
        verification,
        audit,
        nodes,
        tuple(inputs),
        audit_outdated=changes,
        cutover=cutover,
    )
    return found if nodes is None else replace(found, inputs=(*inputs, _nodes_input(found, nodes)))


def _nodes_input(documents: Documents, nodes: NodeStates) -> Input:
    """The description of the nodes as an input; it is as old as the dump that was taken first."""
    made = min((node.taken for node in nodes.nodes if node.taken), default=None)
    is_complete = nodes.complete and not documents.nodes_outdated
    return input_of(documents.folder / NODES, "NodeStates", nodes.tool_version, made, is_complete)


def read_audit(folder: Path) -> Audit | None:
    """The result of an audit in a working folder. Raises InputError when it is there and cannot be used."""
    return read_optional(folder / AUDIT, Audit)


def read_optional(path: Path, kind: type[_Document]) -> _Document | None:
    """A document that need not be there. Raises InputError when it is there and cannot be used."""
    if not path.is_file():
        return None
    try:
        return msgspec.json.decode(read_bytes(path), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        name, maker = _NAMES[kind]
        raise InputError(f"{path}: is no {name} of this version: {error}; run `{maker}` again") from error


def input_of(path: Path, kind: str, tool_version: str, made: str | None, complete: bool) -> Input:
    """A document as one of those that something was made from. Raises InputError when it cannot be read."""
    return Input(
        file=path.name,
        kind=kind,
        sha256=file_digest(path).hex(),
        bytes=path.stat().st_size,
        tool_version=tool_version,
        made=made,
        complete=complete,
    )
