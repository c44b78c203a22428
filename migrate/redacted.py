"""A working folder for others to see: its sources with pseudonyms, and what follows from them made again.

Documents that are made from others (translation, verification, audit, report) are not rewritten but worked out anew
from the redacted snapshot and recording: their sentences cannot hold a name that their input does not have.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

import msgspec

from migrate.audit.node import cluster_digest
from migrate.audited import Place, run_judged, write_document
from migrate.compared import VerifyRequest
from migrate.errors import InputError
from migrate.files import write_atomic
from migrate.model.audit_documents import Audit
from migrate.model.documents import KindCount, SnapshotHeader, Translation, Verification
from migrate.model.finding import Finding
from migrate.model.forms import Forms
from migrate.readiness.documents import AUDIT, SNAPSHOT, VERIFICATION, Documents, read_folder
from migrate.redact.addresses import AddressMap
from migrate.redact.names import Names
from migrate.redact.objects import Redactor, label_values, ordered_names
from migrate.redact.recording import redact_recording
from migrate.scan import snapshot
from migrate.scan.encoded import EncodedObjects
from migrate.scan.inventory import Inventory, assess, detect
from migrate.scan.taking import ScanInputs
from migrate.sources.cluster import read_cluster
from migrate.translate.documents import TRANSLATION
from migrate.verify.incremental import encode
from migrate.verify.verification import Wanted
from migrate.workflow import TranslateRequest, run_report, run_translate, run_verify, write_translation

RECORDING = "audit.db"
KEY_FILE = "redact.key"
NOTE = "REDACTED.md"
_KEY_BYTES = 32
_NOTE_TEXT = """# Redacted

Names, labels and addresses in these documents are pseudonyms: the same name is the same pseudonym everywhere in this
folder, and addresses that share a prefix still do. Numbers, ports, times, versions and the structure are as they were.
Annotations, texts of settings and messages of the cluster are left out. What is derived from the snapshot and from the
recording was made again from their redacted form. Dumps of nodes are left out. Only who holds the key can link a
pseudonym to a name.
"""


@dataclass(frozen=True, slots=True)
class Redacted:
    """What was written into a folder, and in what the results differ from those of the originals."""

    folder: Path
    written: tuple[str, ...]
    differs: tuple[str, ...]


def redaction_key(path: Path) -> bytes:
    """The key of a file, which is made when it is not there. Raises InputError when it is no key."""
    try:
        if not path.exists():
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(handle, "w", encoding="ascii") as file:
                file.write(secrets.token_hex(_KEY_BYTES) + "\n")
        key = bytes.fromhex(path.read_text(encoding="ascii").strip())
    except OSError as error:
        raise InputError(
            f"{path}: the key cannot be used: {error.strerror}; name another file with --key-file"
        ) from error
    except ValueError as error:
        raise InputError(f"{path}: is no key; give a file with {2 * _KEY_BYTES} hexadecimal digits") from error
    if len(key) < _KEY_BYTES:
        raise InputError(f"{path}: the key is too short; give a file with {2 * _KEY_BYTES} hexadecimal digits")
    return key


def run_redact(folder: Path, place: Path, key: bytes, now: datetime) -> Redacted:
    """Redact a working folder into another one, with a report. Raises InputError as `redact_documents` does."""
    done = redact_documents(folder, place, key, now)
    return replace(done, written=(*done.written, *_reports(place, now)))


def redact_documents(folder: Path, place: Path, key: bytes, now: datetime) -> Redacted:
    """Redact the documents of a working folder into another one, without making a report on them.

    Raises InputError when it has no snapshot, or the place is not empty or cannot be used.
    """
    _check_place(place)
    documents = read_folder(folder)
    if documents.header is None:
        raise InputError(f"{folder / SNAPSHOT}: no such file; a folder is redacted by its snapshot, so scan first")
    redactor = _redactor(key, documents)
    header = _write_snapshot(documents, documents.header, place, redactor)
    write_atomic(place / NOTE, _NOTE_TEXT.encode())
    written, differs = [NOTE, SNAPSHOT], list[str]()
    if documents.translation is not None:
        _translate(documents.translation, place, now, redactor)
        written.append(TRANSLATION)
        differs += _translation_differs(documents.translation, read_folder(place).translation)
    if documents.verification is not None and documents.translation is not None:
        written.append(VERIFICATION)
        differs += _verification_differs(documents.verification, _verify(documents.verification, place))
    if (folder / RECORDING).is_file():
        digest = cluster_digest(read_cluster(snapshot.read(place / SNAPSHOT).objects, complete=header.complete))
        redact_recording(folder / RECORDING, place / RECORDING, redactor, digest)
        written.append(RECORDING)
        if documents.translation is not None:
            differs += _audit(documents.audit, place)
            written.append(AUDIT)
    return Redacted(place, tuple(written), tuple(differs))


def _check_place(place: Path) -> None:
    """Refuse a place that is no folder, that holds something, or that may not be looked into."""
    try:
        used = place.exists() and any(place.iterdir())
    except OSError as error:
        raise InputError(f"{place}: cannot be used: {error.strerror}; name a new folder") from error
    if used:
        raise InputError(f"{place}: is not empty, and what is there would be mistaken for redacted; name a new folder")


def _redactor(key: bytes, documents: Documents) -> Redactor:
    names = Names(key, ordered_names(documents.objects))
    return Redactor(names, AddressMap(key), label_values(documents.objects))


def _write_snapshot(documents: Documents, header: SnapshotHeader, place: Path, redactor: Redactor) -> SnapshotHeader:
    objects = EncodedObjects.of(redactor.object(raw) for raw in documents.objects)
    kinds = tuple(KindCount(one.api_version, one.kind, one.status, one.count) for one in header.kinds)
    inventory = Inventory.of(objects, kinds, every_namespace=header.namespaces is None)
    facts = detect(inventory)
    found = [*_scan_findings(header.findings), *assess(facts, inventory)]
    made = msgspec.structs.replace(
        header,
        name=f"redacted {redactor.names.name(header.name)}",
        server_version=None if header.server_version is None else redactor.names.words(header.server_version),
        namespaces=None if header.namespaces is None else tuple(map(redactor.names.name, header.namespaces)),
        kinds=kinds,
        facts=facts,
        findings=tuple(sorted(found, key=Finding.sort_key)),
        redacted=True,
    )
    snapshot.write(place / SNAPSHOT, made, objects)
    return made


def _scan_findings(findings: tuple[Finding, ...]) -> Iterator[Finding]:
    """What the scan met, without the objects and messages; what it concluded is concluded again."""
    for finding in findings:
        if finding.id.startswith("SCAN-") and finding.id not in ("SCAN-FAIL-OPEN", "SCAN-TWO-ENGINES"):
            yield Finding(id=finding.id, detail="the message is left out", effect=finding.effect)


def _translate(before: Translation, place: Path, now: datetime, redactor: Redactor) -> None:
    request = TranslateRequest(
        snapshot=place / SNAPSHOT,
        inputs=ScanInputs(),
        target=before.target,
        networkpolicy=before.networkpolicy,
        engines=before.engines,
        forms=Forms(
            split=before.split,
            on_gap=before.on_gap,
            accept=tuple(f"{one.id}@{_renamed(one.object, redactor)}" for one in before.accepted),
            kustomize="cilium/kustomization.yaml" in before.files,
            plain=any(result.plain for result in before.results),
            ordered=before.ordered,
        ),
    )
    done = run_translate(request, now.strftime("%Y-%m-%dT%H:%M:%SZ"), progress=lambda kind, read, total: None)
    marked = msgspec.structs.replace(done.outcome.translation, redacted=True)
    write_translation(place, replace(done, outcome=replace(done.outcome, translation=marked)))


def _renamed(shown: str, redactor: Redactor) -> str:
    """An object as documents print it ("NetworkPolicy shop/web") under its pseudonyms."""
    kind, _, place = shown.partition(" ")
    namespace, slash, name = place.rpartition("/")
    return f"{kind} {redactor.names.name(namespace)}{slash}{redactor.names.ranked(name)}"


def _verify(before: Verification, place: Path) -> Verification:
    matrix = before.matrix.by if before.matrix is not None else None
    made = run_verify(VerifyRequest(folder=place), Wanted(matrix=matrix)).document
    marked = msgspec.structs.replace(made, redacted=True)
    write_atomic(place / VERIFICATION, encode(marked))
    return marked


def _translation_differs(before: Translation, after: Translation | None) -> Iterator[str]:
    counts = [
        Counter((r.source.kind, r.result.value) for r in one.results) if one is not None else Counter()
        for one in (before, after)
    ]
    for kind, result in sorted(counts[0].keys() | counts[1].keys()):
        was, now = counts[0][kind, result], counts[1][kind, result]
        if was != now:
            yield f"{TRANSLATION}: {kind} {result}: {was} before, {now} redacted"


def _verification_differs(before: Verification, after: Verification) -> Iterator[str]:
    for name in ("result", "newly_denied_pairs", "newly_allowed_pairs"):
        was, now = getattr(before, name), getattr(after, name)
        if was != now:
            yield f"{VERIFICATION}: {name}: {was} before, {now} redacted"


def _audit(before: Audit | None, place: Path) -> Iterator[str]:
    made = run_judged(Place(place))
    profile = made.policies.rpartition(" on ")[2]
    made = msgspec.structs.replace(made, redacted=True, policies=f"the redacted policies on {profile}")
    write_document(Place(place), made)
    if before is not None and before.tally != made.tally:
        yield f"{AUDIT}: the numbers of verdicts are not the same"


def _reports(place: Path, now: datetime) -> list[str]:
    made = run_report(place, now)
    write_atomic(place / "report.html", made.html())
    write_atomic(place / "report.json", made.json())
    return ["report.html", "report.json"]
