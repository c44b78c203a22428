"""Composes the stages. Heavy stages are loaded by the function that needs them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeAlias

import msgspec

from migrate.model.forms import Forms

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from migrate.compared import VerifyRequest
    from migrate.model.documents import Explanation, Lint, Simulation, Translation, Verification
    from migrate.model.finding import Finding, Severity
    from migrate.model.node_documents import NodeStates
    from migrate.model.plan_documents import Plan, PlanCheck
    from migrate.model.raw import RawObject
    from migrate.readiness.route import Wishes
    from migrate.readiness.rules import Rule
    from migrate.report.made import MadeReport
    from migrate.scan.connection import ConnectionOptions
    from migrate.scan.live import Progress
    from migrate.scan.snapshot import Snapshot
    from migrate.scan.taking import ScanInputs
    from migrate.sources.hints import Hints
    from migrate.translate.engine import Outcome
    from migrate.translate.profiles import Profile
    from migrate.truths import ExplainRequest, FlowRequest
    from migrate.verify.verification import Wanted


LiveNodes: TypeAlias = "Callable[[Path, str, Progress], tuple[Finding, ...]]"


def run_report(folder: Path, now: datetime, baseline: Path | None = None) -> MadeReport:
    """The report on whatever documents a working folder holds, against an earlier report if one is given.

    Raises InputError when the folder holds none, or the earlier report is none.
    """
    from migrate.readiness.rules import load_rules
    from migrate.report.made import make_report

    return make_report(folder, load_rules(), now, baseline)


def run_plan(folder: Path, now: datetime, wishes: Wishes) -> tuple[Plan, str]:
    """The cutover plan of a working folder and its runbook; the files that it names are written into the folder.

    Raises InputError when the folder holds no document, or a place in it cannot be written.
    """
    from migrate.readiness.documents import read_folder
    from migrate.readiness.planning.files import plan_files, write_files
    from migrate.readiness.planning.markdown import runbook
    from migrate.readiness.planning.plan import plan

    documents = read_folder(folder)
    made = plan(documents, now, wishes)
    write_files(folder, plan_files(documents, made))
    return made, runbook(made)


def run_plan_check(
    folder: Path,
    inputs: ScanInputs,
    fresh: Path | None,
    now: datetime,
    *,
    stdin: BinaryIO | None = None,
    progress: Progress,
) -> PlanCheck:
    """Compare a fresh snapshot (a file, or None for a scan of the inputs now) with what was proved and audited.

    Raises InputError and ClusterError as reading does. The folder stays as it is.
    """
    from tempfile import TemporaryDirectory

    from migrate.rechecked import Recheck, rechecked, scan_beside

    with TemporaryDirectory(prefix="migrate-check-") as place:
        taken = fresh or scan_beside(folder, Path(place), inputs, now, stdin, progress)
        return rechecked(Recheck(folder, taken, partial(_translated_again, progress=progress)), now)


def _translated_again(fresh: Path, before: Translation, progress: Progress) -> Outcome:
    """The translation of another snapshot, made as an earlier one was."""
    from migrate.rechecked import forms_of
    from migrate.scan.taking import ScanInputs

    request = TranslateRequest(
        snapshot=fresh,
        inputs=ScanInputs(),
        target=before.target,
        networkpolicy=before.networkpolicy,
        forms=forms_of(before),
        verify=any(result.proof != "none" for result in before.results),
    )
    return run_translate(request, "", progress=progress).outcome


def run_scan(
    inputs: ScanInputs, folder: Path, taken: str, *, stdin: BinaryIO | None = None, progress: Progress
) -> Snapshot:
    """Take a snapshot and write it into a working folder. After an InputError or ClusterError nothing was written."""
    from migrate.scan import snapshot
    from migrate.scan.taking import take_snapshot

    taking = take_snapshot(inputs, stdin, taken, progress)
    snapshot.write(folder / snapshot.FILE_NAME, taking.header, taking.objects)
    return taking


def run_scan_with_nodes(
    inputs: ScanInputs,
    folder: Path,
    taken: str,
    dumps: Sequence[Path],
    *,
    stdin: BinaryIO | None = None,
    progress: Progress,
    live: LiveNodes | None = None,
) -> tuple[Snapshot, NodeStates | None]:
    """Take a snapshot, and compare the dumps of nodes with it: those in the folder, and `dumps`, which go there.

    `live` reads nodes into the folder of dumps, right after the snapshot, and says which it could not read.
    What the nodes say is None where there are no dumps. After an InputError or ClusterError about the inputs nothing
    was written.
    """
    from migrate.nodes.examine import FOLDER
    from migrate.nodes.working import examine_folder, find_dumps, kept_dumps, take_over

    found = find_dumps(dumps)
    kept_dumps(folder)
    snapshot = run_scan(inputs, folder, taken, stdin=stdin, progress=progress)
    take_over(folder, found)
    not_read = () if live is None else live(folder / FOLDER, taken, progress)
    return snapshot, examine_folder(folder, snapshot.header, snapshot.objects, not_read)


def run_node_scan(
    folder: Path, name: str, host_root: Path, taken: str, *, progress: Progress
) -> tuple[Path, NodeStates]:
    """Read the node on which this runs into a working folder; the dump's place, and what it says by itself.

    Raises InputError when this process may not read it, or the place cannot be written; then nothing was.
    """
    from migrate.collect.host import host_at
    from migrate.collect.node import read_node
    from migrate.nodes.dump import read_dump
    from migrate.nodes.examine import FOLDER, examine
    from migrate.nodes.written import write_dump

    reading = read_node(host_at(host_root), name, taken, progress=progress)
    place = write_dump(folder / FOLDER, reading.manifest, reading.bodies)
    return place, examine((read_dump(place),), None, None)


@dataclass(frozen=True, slots=True)
class TranslateRequest:
    """What to translate: a snapshot on disk, or (None) inputs that are read first; for which target and how.

    `target` and `engines` are None to be taken from the snapshot. `ask` is a cluster that is asked whether it would
    take the objects. `verify`: what the results claim is proved on the objects. `suggest` names kinds of proposals
    ("fqdn", "l7"), which rest on the file `hints`.
    """

    snapshot: Path | None
    inputs: ScanInputs
    target: str | None = None
    networkpolicy: str = "rewrite"
    engines: tuple[str, ...] | None = None
    forms: Forms = Forms()
    ask: ConnectionOptions | None = None
    verify: bool = True
    suggest: frozenset[str] = frozenset()
    hints: Path | None = None


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

    def is_accepted(self, finding: Finding) -> bool:
        """Whether the user takes the finding as it is."""
        from migrate.translate.accepted import accepted_as

        return accepted_as(finding) in self.outcome.translation.accepted

    def severity(self, finding: Finding) -> Severity:
        """How much the finding stands in the way."""
        from migrate.readiness.rules import severity_of

        return severity_of(finding)


def run_translate(
    request: TranslateRequest, taken: str, *, stdin: BinaryIO | None = None, progress: Progress
) -> Translated:
    """Translate the policies of a snapshot, and prove it. Writes nothing.

    Raises InputError and ClusterError as reading does, and UndeclaredError when the proof finds a bug of ours.
    """
    from migrate.readiness.rules import load_rules
    from migrate.scan import snapshot
    from migrate.scan.hints import read_hint_file
    from migrate.scan.inventory import engines
    from migrate.scan.taking import take_snapshot
    from migrate.translate.engine import translate
    from migrate.translate.profiles import load_profile, profile_for

    hints = None if request.hints is None else read_hint_file(request.hints, request.suggest)
    asked = None if request.target is None else load_profile(request.target)
    if request.snapshot is not None:
        source = snapshot.read(request.snapshot)
    else:
        source = take_snapshot(request.inputs, stdin, taken, progress)
    name, reason = (asked.name, "as asked") if asked else profile_for(source.header.facts)
    profile = asked or load_profile(name)
    outcome = translate(
        source.objects,
        profile=profile,
        engines=engines(source.header.facts) if request.engines is None else request.engines,
        networkpolicy=request.networkpolicy,
        complete=source.header.complete and source.header.namespaces is None,
        widen=request.forms.on_gap == "widen",
        host_policies=request.forms.hosts,
        ordered=request.forms.ordered,
    )
    return Translated(_completed(outcome, request, source.objects, profile, hints), reason, load_rules())


def _completed(
    outcome: Outcome, request: TranslateRequest, objects: Sequence[RawObject], profile: Profile, hints: Hints | None
) -> Outcome:
    """The outcome in the forms that are asked for, proved, and with proposals."""
    from migrate.proved.proof import proved
    from migrate.scan.connection import connect
    from migrate.translate.handover import handed_over
    from migrate.translate.refused import with_refusals
    from migrate.translate.suggest import Wanted, with_suggestions

    outcome = handed_over(outcome, objects, request.forms)
    target = None if request.ask is None else connect(request.ask)
    if target is not None:
        outcome = with_refusals(outcome, target)
    if request.verify:
        outcome = proved(outcome, objects, profile)
    if hints is not None:
        outcome = with_suggestions(outcome, objects, Wanted(request.suggest, hints), target)
    return outcome


def write_translation(folder: Path, done: Translated) -> None:
    """Write the objects and translation.json into a folder. Raises InputError when that cannot be."""
    from migrate.translate import output

    output.write_translation(folder, done.outcome)


def difference_lines(folder: Path, done: Translated) -> list[str]:
    """What changed against the translation in a folder. Raises InputError when there is none."""
    from migrate.translate import output
    from migrate.translate.difference import differences
    from migrate.translate.documents import TRANSLATION, read_translation

    before, texts = read_translation(folder / TRANSLATION), output.earlier_files(folder)
    after = {file.path: file.text for file in done.outcome.files}
    return list(differences(before, done.outcome.translation, texts, after))


def stale_lines(folder: Path, done: Translated) -> list[str]:
    """In what a folder is not what this translation would write; the version of this program does not count.

    Raises InputError when there is no translation.
    """
    from migrate.translate import output
    from migrate.translate.difference import differs_otherwise
    from migrate.translate.documents import TRANSLATION, read_translation

    lines = difference_lines(folder, done)
    named = {*output.earlier_files(folder), *(file.path for file in done.outcome.files)}
    lines += [f"- {name}: no translation names it" for name in output.stray_files(folder, named)]
    if not lines and differs_otherwise(read_translation(folder / TRANSLATION), done.outcome.translation):
        lines.append(f"~ {TRANSLATION}: places, owners or assumptions")
    return lines


def run_simulate(engine: str, paths: Sequence[Path], target: str, *, stdin: BinaryIO | None = None) -> Simulation:
    """Put the flows of case files to an engine. Raises InputError for a file, a case or a target that is none."""
    from migrate.scan.cases import read_cases
    from migrate.translate.profiles import load_profile
    from migrate.verify.simulation import simulate_cases

    release = int(load_profile(target).crds.partition(".")[2])
    cases, one_input = read_cases(paths, stdin)
    return simulate_cases(cases, engine, release, one_input=one_input)


def run_simulate_snapshot(engine: str, request: FlowRequest, target: str) -> Simulation:
    """Put flows of a snapshot to an engine. Raises InputError for a name that is not there, or a bad snapshot."""
    from migrate.truths import simulation

    return simulation(request, engine, target)


def run_explain(request: ExplainRequest) -> Explanation:
    """A flow on all three truths. Raises InputError for a name that is not there, or an input that is missing."""
    from migrate.truths import explanation

    return explanation(request)


@dataclass(frozen=True, slots=True)
class Verified:
    """A verification, and whether it is the last one because nothing had changed."""

    document: Verification
    reused: bool = False


def run_verify(request: VerifyRequest, wanted: Wanted, *, incremental: bool = False) -> Verified:
    """Compare two policy states over the whole flow space; of a working folder the result is kept in it.

    Raises InputError when an input is missing.
    """
    from migrate.compared import compared, inputs_digest, kept_as
    from migrate.files import write_atomic
    from migrate.scan.collector import collector_off
    from migrate.verify.incremental import encode, reusable
    from migrate.verify.verification import verify

    place = kept_as(request)
    inputs = inputs_digest(request, str(wanted))
    last = reusable(place, inputs) if incremental and place is not None else None
    if last is not None:
        return Verified(last, reused=True)
    with collector_off():
        both = compared(request)
        document = verify(both.before, both.after, both.cluster, unread=both.unread, wanted=wanted, inputs=inputs)
    if place is not None:
        write_atomic(place, encode(document))
    return Verified(document)


def run_lint(
    paths: Sequence[str], target: str | None, taken: Path | None, *, stdin: BinaryIO | None = None
) -> tuple[Lint, str]:
    """Check policies for a target, and say why for that one. Raises InputError when there are none."""
    import migrate
    from migrate.errors import InputError
    from migrate.model.documents import JudgedFinding, Lint
    from migrate.readiness.rules import severity_of
    from migrate.scan import snapshot
    from migrate.scan.files import read_files
    from migrate.sources.cluster import read_cluster
    from migrate.translate.limits import forecast
    from migrate.translate.lint_policies import is_linted, lint
    from migrate.translate.profiles import load_profile, profile_for

    source = None if taken is None else snapshot.read(taken)
    name, reason = (target, "as asked") if target else profile_for(() if source is None else source.header.facts)
    profile = load_profile(name)
    reading = read_files(paths, stdin)
    count = sum(is_linted(raw.ref) for raw in reading.objects)
    if not count:
        raise InputError(f"{', '.join(paths)}: no policy that Cilium reads is there; give files or folders with some")
    cluster = None if source is None else read_cluster(source.objects, complete=source.header.complete)
    beside = () if source is None else source.objects
    found = [*reading.findings, *lint(reading.objects, profile, cluster, beside)]
    if cluster is not None:
        found += forecast(reading.objects, cluster, profile)
    judged = [JudgedFinding(**msgspec.structs.asdict(one), severity=severity_of(one)) for one in found]
    document = Lint(
        tool_version=migrate.__version__,
        target=profile.name,
        objects=count,
        snapshot=source is not None,
        complete=reading.complete and (source is None or source.header.complete),
        findings=tuple(judged),
    )
    return document, reason
