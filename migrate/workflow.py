"""Composes the stages. Heavy stages are loaded by the function that needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from migrate.compared import VerifyRequest
    from migrate.model.documents import Simulation, Verification
    from migrate.model.finding import Finding, Severity
    from migrate.readiness.rules import Rule
    from migrate.report.made import MadeReport
    from migrate.scan.live import Progress
    from migrate.scan.snapshot import Snapshot
    from migrate.scan.taking import ScanInputs
    from migrate.translate.engine import Outcome


def run_report(folder: Path, now: datetime) -> MadeReport:
    """The report on whatever documents a working folder holds. Raises InputError when it holds none."""
    from migrate.readiness.rules import load_rules
    from migrate.report.made import make_report

    return make_report(folder, load_rules(), now)


def run_scan(
    inputs: ScanInputs, folder: Path, taken: str, *, stdin: BinaryIO | None = None, progress: Progress
) -> Snapshot:
    """Take a snapshot and write it into a working folder. After an InputError or ClusterError nothing was written."""
    from migrate.scan import snapshot
    from migrate.scan.taking import take_snapshot

    taking = take_snapshot(inputs, stdin, taken, progress)
    snapshot.write(folder / snapshot.FILE_NAME, taking.header, taking.objects)
    return taking


@dataclass(frozen=True, slots=True)
class TranslateRequest:
    """What to translate: a snapshot on disk, or (None) inputs that are read first; for which target and how.

    `target` and `engines` are None to be taken from the snapshot.
    """

    snapshot: Path | None
    inputs: ScanInputs
    target: str | None = None
    networkpolicy: str = "rewrite"
    engines: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True)
class Translated:
    """A translation, with what is needed to judge its findings."""

    outcome: Outcome
    target_reason: str
    rules: Mapping[str, Rule]

    def findings(self) -> list[Finding]:
        """All findings, those of single objects and those of the whole cluster."""
        translation = self.outcome.translation
        return [*translation.findings, *(finding for result in translation.results for finding in result.findings)]

    def severity(self, finding: Finding) -> Severity:
        """How much the finding stands in the way."""
        from migrate.readiness.rules import severity_of

        return severity_of(finding)


def run_translate(
    request: TranslateRequest, taken: str, *, stdin: BinaryIO | None = None, progress: Progress
) -> Translated:
    """Translate the policies of a snapshot. Writes nothing. Raises InputError and ClusterError as reading does."""
    from migrate.readiness.rules import load_rules
    from migrate.scan import snapshot
    from migrate.scan.inventory import engines
    from migrate.scan.taking import take_snapshot
    from migrate.translate import translate
    from migrate.translate.profiles import load_profile, profile_for

    asked = None if request.target is None else load_profile(request.target)
    if request.snapshot is not None:
        source = snapshot.read(request.snapshot)
    else:
        source = take_snapshot(request.inputs, stdin, taken, progress)
    name, reason = (asked.name, "as asked") if asked else profile_for(source.header.facts)
    outcome = translate(
        source.objects,
        profile=asked or load_profile(name),
        engines=engines(source.header.facts) if request.engines is None else request.engines,
        networkpolicy=request.networkpolicy,
        complete=source.header.complete and source.header.namespaces is None,
    )
    return Translated(outcome, reason, load_rules())


def write_translation(folder: Path, done: Translated) -> None:
    """Write cilium/ and translation.json into a folder. Raises InputError when that cannot be."""
    from migrate.translate import output

    output.write_translation(folder, done.outcome)


def difference_lines(folder: Path, done: Translated) -> list[str]:
    """What changed against the translation in a folder. Raises InputError when there is none."""
    from migrate.translate import output
    from migrate.translate.difference import differences
    from migrate.translate.documents import read_translation

    before, texts = read_translation(folder / output.TRANSLATION), output.earlier_files(folder)
    after = {file.path: file.text for file in done.outcome.files}
    return list(differences(before, done.outcome.translation, texts, after))


def run_simulate(engine: str, paths: Sequence[Path], target: str, *, stdin: BinaryIO | None = None) -> Simulation:
    """Put the flows of case files to an engine. Raises InputError for a file, a case or a target that is none."""
    from migrate.scan.cases import read_cases
    from migrate.translate.profiles import load_profile
    from migrate.verify.simulation import simulate_cases

    release = int(load_profile(target).crds.partition(".")[2])
    cases, one_input = read_cases(paths, stdin)
    return simulate_cases(cases, engine, release, one_input=one_input)


def run_verify(request: VerifyRequest) -> Verification:
    """Compare two policy states over the whole flow space. Raises InputError when an input is missing."""
    from migrate.compared import folders, translation
    from migrate.verify.verification import verify

    read = folders if request.before is not None and request.after is not None else translation
    compared = read(request)
    return verify(compared.before, compared.after, compared.cluster, complete=compared.complete)
