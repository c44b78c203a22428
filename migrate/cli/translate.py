"""`migrate translate`: policies of a snapshot, a live cluster or files, to Cilium's."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, BinaryIO, NoReturn

import typer

from migrate.cli import options
from migrate.errors import ExitStatus, InputError
from migrate.model.forms import Forms

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.table import Table
    from rich.text import Text

    from migrate.model.documents import Cause, TranslationResult
    from migrate.workflow import Translated, TranslateRequest


class Mode(Enum):
    """What is done with Kubernetes NetworkPolicies, which Cilium also reads itself."""

    REWRITE = "rewrite"
    SUPPLEMENT = "supplement"
    KEEP = "keep"


class FailOn(Enum):
    """The least severity of findings that makes the exit status 1."""

    BLOCKER = "blocker"
    WARNING = "warning"
    NEVER = "never"


_FAILING = {FailOn.BLOCKER: ("blocker",), FailOn.WARNING: ("warning", "blocker"), FailOn.NEVER: ()}


class SplitBy(Enum):
    """What one written object is for."""

    SOURCE = "per-source"
    WORKLOAD = "per-workload"


class Gap(Enum):
    """What is done where Cilium cannot say the same."""

    REFUSE = "refuse"
    NARROW = "narrow"
    WIDEN = "widen"


class OrderedAs(Enum):
    """What Calico's order of policies becomes."""

    CILIUM = "cilium"
    CLUSTER_NETWORK_POLICY = "cluster-network-policy"


class Emit(Enum):
    """What is written beside cilium/."""

    NETWORKPOLICY = "networkpolicy"


class Suggest(Enum):
    """What is proposed beside cilium/, and applied by nobody."""

    FQDN = "fqdn"
    L7 = "l7"


class DryRun(Enum):
    """Who is asked whether the objects would be taken."""

    SERVER = "server"


class Engine(Enum):
    """What enforces policy today."""

    NPM = "npm-linux"
    NPM_WINDOWS = "npm-windows"
    CALICO = "calico"
    NONE = "none"


class Output(Enum):
    """What is printed."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


Snapshot = Annotated[
    Path | None, typer.Option("--snapshot", help="snapshot.jsonl.gz of an earlier scan.", show_default=False)
]
Target = Annotated[
    str | None,
    typer.Option("--target", help="Target profile, such as aks-1.36 or cilium-1.20; default: by the snapshot."),
]
NetworkPolicyMode = Annotated[
    Mode,
    typer.Option(
        "--networkpolicy",
        help="rewrite all NetworkPolicies; supplement: keep them and add what Cilium needs; keep: change nothing.",
    ),
]
BeforeEngine = Annotated[
    list[Engine] | None,
    typer.Option("--before-engine", help="What enforces policy today; default: by the snapshot.", show_default=False),
]
FailOnOption = Annotated[FailOn, typer.Option("--fail-on", help="Findings of this severity make the exit status 1.")]
OutputDir = Annotated[
    Path | None,
    typer.Option("--output-dir", help="Folder that gets cilium/ and translation.json; default: migration."),
]
OutputOption = Annotated[
    Output | None,
    typer.Option(
        "--output", "-o", help="table: a summary; json: translation.json; yaml: all objects, and no default folder."
    ),
]
Diff = Annotated[
    Path | None,
    typer.Option("--diff", help="Print what changed against an earlier run's output in this folder, in place of -o."),
]
SplitOption = Annotated[
    SplitBy, typer.Option("--split", help="One object for each source policy, or for each selection of pods.")
]
OnGap = Annotated[
    Gap,
    typer.Option(
        "--on-gap",
        help="Where Cilium cannot say the same: refuse (exit 1, nothing written for the policy), narrow, or widen.",
    ),
]
Ordered = Annotated[
    OrderedAs,
    typer.Option(
        "--ordered",
        help="Calico's order: worked into Cilium's policies, or in ClusterNetworkPolicies where the target has them.",
    ),
]
Accept = Annotated[
    list[str] | None,
    typer.Option("--accept", help="ID@object: this finding no longer counts for --fail-on; repeat it."),
]
Kustomize = Annotated[bool, typer.Option("--kustomize", help="Also write a kustomization.yaml over the objects.")]
EmitOption = Annotated[
    list[Emit] | None,
    typer.Option(
        "--emit",
        help="networkpolicy: also write networkpolicy/, plain policies that hold while the engines change.",
        show_default=False,
    ),
]
SuggestOption = Annotated[
    list[Suggest] | None,
    typer.Option(
        "--suggest",
        help="Also write proposals into suggested/: fqdn: names in place of CIDRs; l7: HTTP rules. Goes with --hints.",
        show_default=False,
    ),
]
Hints = Annotated[
    Path | None,
    typer.Option("--hints", help="YAML file that says which names and requests policies mean.", show_default=False),
]
Check = Annotated[
    bool,
    typer.Option("--check", help="Write nothing; exit 1 and say what differs when --output-dir is not up to date."),
]
HostPolicies = Annotated[
    bool,
    typer.Option("--host-policies", help="Also write policies of Cilium's host firewall for Calico's HostEndpoints."),
]
DryRunOption = Annotated[
    DryRun | None,
    typer.Option(
        "--dry-run",
        help="server: ask the cluster of --context whether it would take each object; nothing is stored there.",
        show_default=False,
    ),
]

NoVerify = Annotated[
    bool, typer.Option("--no-verify", help="Do not prove the results on the written objects: every proof is none.")
]


def translate(
    snapshot: Snapshot = None,
    filename: options.Filename = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    namespace: options.Namespace = None,
    all_namespaces: options.AllNamespaces = False,
    as_user: options.AsUser = None,
    as_group: options.AsGroup = None,
    az_json: options.AzJson = None,
    target: Target = None,
    networkpolicy: NetworkPolicyMode = Mode.REWRITE,
    before_engine: BeforeEngine = None,
    fail_on: FailOnOption = FailOn.BLOCKER,
    output_dir: OutputDir = None,
    output: OutputOption = None,
    diff: Diff = None,
    split: SplitOption = SplitBy.SOURCE,
    on_gap: OnGap = Gap.NARROW,
    ordered: Ordered = OrderedAs.CILIUM,
    accept: Accept = None,
    kustomize: Kustomize = False,
    emit: EmitOption = None,
    suggest: SuggestOption = None,
    hints: Hints = None,
    check: Check = False,
    host_policies: HostPolicies = False,
    dry_run: DryRunOption = None,
    no_verify: NoVerify = False,
    quiet: options.Quiet = False,
) -> None:
    """Translate policies to Cilium's; each source object gets a result and its findings.

    Without -f, --snapshot and cluster options it reads the snapshot in --output-dir.

    Exit status 1 with findings at --fail-on, 4 when something could not be read.
    """
    from migrate.scan.connection import ConnectionOptions
    from migrate.workflow import TranslateRequest

    if bool(suggest) != (hints is not None):
        raise InputError("--suggest builds on a hint file and --hints is for it alone; give both (docs/hints.md)")
    cluster = ConnectionOptions(context, kubeconfig, as_user, tuple(as_group or ()))
    if dry_run is not None and not (context or kubeconfig):
        raise InputError("--dry-run server asks a cluster; name it with --context or --kubeconfig")
    if dry_run is not None and (filename or snapshot):
        context = kubeconfig = as_user = as_group = None
    read = bool(filename or context or kubeconfig or namespace or all_namespaces or as_user or as_group)
    _check_usage(snapshot, read, az_json, diff, output, check)
    folder = output_dir or options.WORKING_FOLDER
    inputs = options.scan_inputs(filename, context, kubeconfig, namespace, all_namespaces, as_user, as_group, az_json)
    request = TranslateRequest(
        snapshot=None if read else snapshot or folder / "snapshot.jsonl.gz",
        inputs=inputs,
        target=target,
        networkpolicy=networkpolicy.value,
        engines=None if before_engine is None else tuple(sorted(engine.value for engine in before_engine)),
        forms=Forms(
            split=split.value,
            on_gap=on_gap.value,
            accept=tuple(accept or ()),
            kustomize=kustomize,
            plain=Emit.NETWORKPOLICY in (emit or ()),
            ordered=ordered.value,
            hosts=host_policies,
        ),
        ask=cluster if dry_run is not None else None,
        verify=not no_verify,
        suggest=frozenset(kind.value for kind in suggest or ()),
        hints=hints,
    )
    if check:
        _check(request, folder, fail_on, quiet)
    _run(request, folder, output_dir is not None, fail_on, output or Output.TABLE, diff, quiet)


def _check_usage(
    snapshot: Path | None, read: bool, az_json: Path | None, diff: Path | None, output: Output | None, check: bool
) -> None:
    """Raise InputError for options that contradict each other."""
    if snapshot is not None and read:
        raise InputError("--snapshot is the whole input; give it without -f, -n, -A and the options for a cluster")
    if az_json is not None and not read:
        raise InputError("--az-json goes with -f or a cluster; for a snapshot give it to migrate scan")
    if diff is not None and output is not None:
        raise InputError("--diff and -o both say what to print; give one of them")
    if check and (diff is not None or output is not None):
        raise InputError("--check prints what differs from --output-dir; give it without --diff and -o")


def _translated(request: TranslateRequest, quiet: bool) -> Translated:
    from migrate.cli.emit import hint, reading_progress
    from migrate.workflow import run_translate

    with reading_progress(quiet) as progress:
        done = run_translate(request, options.rfc3339(options.now()), stdin=_stdin(), progress=progress)
    hint(f"target {done.outcome.translation.target}: {done.target_reason}", quiet)
    return done


def _check(request: TranslateRequest, folder: Path, fail_on: FailOn, quiet: bool) -> NoReturn:
    """End with 1 when the folder is not what would be written, and else as a run that writes."""
    from migrate.cli.emit import emit, hint
    from migrate.workflow import stale_lines

    done = _translated(request, quiet)
    lines = stale_lines(folder, done)
    emit("".join(f"{line}\n" for line in lines))
    if lines:
        hint(f"{folder} is stale: run the same command without --check and commit what it writes", quiet)
        raise typer.Exit(ExitStatus.FINDINGS)
    raise typer.Exit(_status(done, fail_on, quiet))


def _run(
    request: TranslateRequest,
    folder: Path,
    folder_given: bool,
    fail_on: FailOn,
    output: Output,
    diff: Path | None,
    quiet: bool,
) -> NoReturn:
    from migrate.cli.emit import emit, hint
    from migrate.workflow import difference_lines, write_translation

    done = _translated(request, quiet)
    lines = difference_lines(diff, done) if diff is not None else None
    if output is not Output.YAML or folder_given:
        write_translation(folder, done)
        written = len(done.outcome.files) - len({*done.outcome.translation.files, *_suggested(done)})
        hint(f"wrote {_amount(written, 'object')} and translation.json to {folder}", quiet)
        if _suggested(done):
            hint(f"{_amount(len(_suggested(done)), 'proposal')} in {folder}/suggested, which nothing applies", quiet)
    emit("".join(f"{line}\n" for line in lines) if lines is not None else _text(done, output))
    raise typer.Exit(_status(done, fail_on, quiet))


def _stdin() -> BinaryIO | None:
    return None if sys.stdin is None else sys.stdin.buffer


def _text(done: Translated, output: Output) -> str:
    from migrate.cli.emit import document_text

    if output is Output.JSON:
        return document_text(done.outcome.translation, options.OutputFormat.JSON)
    if output is Output.YAML:
        return "".join(f"---\n{file.text}" for file in done.outcome.to_apply)
    return _tables(done)


def _suggested(done: Translated) -> frozenset[str]:
    """The files of proposals, which may never be applied by accident."""
    return frozenset(item.file for result in done.outcome.translation.results for item in result.suggested)


def _tables(done: Translated) -> str:
    from migrate.cli.emit import plain, table_text

    results = done.outcome.translation.results
    counts = Counter(result.result.value for result in results)
    summary = ", ".join(f"{count} {word}" for word, count in sorted(counts.items())) or "no policies"
    head = plain(f"{_amount(len(results), 'source object')}: {summary}", "bold")
    return table_text(head, *_against_today(done), *_owners(results), *_findings(done))


def _against_today(done: Translated) -> list[Text]:
    """What changes of what is enforced; nothing where nobody compared it."""
    from migrate.cli.emit import plain

    today = done.outcome.translation.against_today
    if today is None:
        return []
    parts = {"cilium/ alone": today.cilium, "with compat/": today.with_compat}
    return [plain(f"{name} against {today.engine} today: {_changes(causes)}") for name, causes in parts.items()]


def _changes(causes: Sequence[Cause]) -> str:
    counts = Counter(cause.change.replace("_", " ") for cause in causes)
    return ", ".join(f"{_amount(count, 'kind')} of flows {word}" for word, count in sorted(counts.items())) or "equal"


_FATES = {
    "stays": "stays",
    "after_cutover": "goes once Cilium enforces",
    "with_old_engine": "goes before Calico's kinds",
    "decided": "to be decided",
}


def _owners(results: Sequence[TranslationResult]) -> list[Table]:
    """Who would bring the originals back, and where to change them; nothing for files and unmarked objects."""
    from rich import box
    from rich.table import Column, Table

    from migrate.cli.emit import plain

    owned = Counter(
        (result.owner.name, _FATES[result.original], result.owner.change)
        for result in results
        if result.owner is not None and result.owner.kind not in ("file", "unknown")
    )
    if not owned:
        return []
    columns = [Column(name, overflow="fold") for name in ("owner", "objects", "original", "change it in")]
    table = Table(*columns, title="Owners", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for (name, fate, change), count in sorted(owned.items()):
        table.add_row(*map(plain, (name, str(count), fate, change)))
    return [table]


def _findings(done: Translated) -> list[Table]:
    from rich import box
    from rich.table import Column, Table

    from migrate.cli.emit import plain

    found = sorted(done.findings(), key=lambda finding: (done.severity(finding).rank, finding.sort_key()))
    if not found:
        return []
    columns = [Column(name, overflow="fold") for name in ("severity", "id", "where", "what")]
    table = Table(*columns, title="Findings", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for finding in found:
        place = f"{finding.subject or ''} {finding.field or ''}".strip()
        severity = f"{done.severity(finding).value}{' (accepted)' if done.is_accepted(finding) else ''}"
        table.add_row(*map(plain, (severity, finding.id, place, finding.detail)))
    return [table]


def _amount(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _status(done: Translated, fail_on: FailOn, quiet: bool) -> ExitStatus:
    """What is proved bad goes before incomplete."""
    from migrate.cli.emit import hint

    counting = [finding for finding in done.findings() if not done.is_accepted(finding)]
    failing = [finding for finding in counting if done.severity(finding).value in _FAILING[fail_on]]
    refused = [finding for finding in counting if finding.id == "POL-GAP-REFUSED"]
    if refused and not failing:
        hint(f"nothing was written for {_amount(len(refused), 'object')}, since gaps are refused", quiet)
        return ExitStatus.FINDINGS
    if failing:
        what = f"{_amount(len(failing), 'finding')} of severity {' or '.join(_FAILING[fail_on])}"
        hint(f"{what}; migrate explain-rule ID says what to do", quiet)
        return ExitStatus.FINDINGS
    if not done.outcome.translation.complete:
        hint("incomplete: not everything of the cluster was read", quiet)
        return ExitStatus.INCOMPLETE
    return ExitStatus.FINE
