"""`migrate scan --nodes`: asks before it creates anything, reads the nodes, and shows what came of it."""

from __future__ import annotations

import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.cli.emit import hint, plain
from migrate.errors import ClusterError, ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.collect.leftovers import Leftover
    from migrate.collect.live import Gathered, NodeWishes, Prepared
    from migrate.model.finding import Finding
    from migrate.scan.connection import ConnectionOptions
    from migrate.scan.live import Progress

_PANEL = "Nodes of a live cluster"
_MOST_NAMED = 10

Nodes = Annotated[
    bool,
    typer.Option(
        "--nodes",
        help="Also read what each node enforces: by a short-lived pod on it, and by NPM's own endpoint. "
        "Says what it will create, and asks first.",
        rich_help_panel=_PANEL,
    ),
]
NodeName = Annotated[
    list[str] | None, typer.Option("--node", help="Only this node; repeat it.", rich_help_panel=_PANEL)
]
Image = Annotated[
    str | None,
    typer.Option(
        "--image",
        help="Image of the pods on Linux nodes, with this program in it (docs/nodes-cluster.md): a tag or digest.",
        rich_help_panel=_PANEL,
    ),
]
WindowsImage = Annotated[
    str | None,
    typer.Option(
        "--windows-image",
        help="Image of the pods on Windows nodes: any for host processes.",
        rich_help_panel=_PANEL,
    ),
]
CollectorNamespace = Annotated[
    str,
    typer.Option(
        "--collector-namespace", help="Namespace for the pods; it must allow privileged ones.", rich_help_panel=_PANEL
    ),
]
NodeParallel = Annotated[
    int, typer.Option("--node-parallel", min=1, max=100, help="Pods at a time.", rich_help_panel=_PANEL)
]
NodeTimeout = Annotated[
    str, typer.Option("--node-timeout", help="How long one node may take, such as 2m.", rich_help_panel=_PANEL)
]
NpmOnly = Annotated[
    bool,
    typer.Option(
        "--npm-only",
        help="With --nodes: create no pods, only ask NPM's own endpoint through the API server.",
        rich_help_panel=_PANEL,
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before pods are created.", rich_help_panel=_PANEL)]
NodesManifest = Annotated[
    bool,
    typer.Option(
        "--nodes-manifest",
        help="With --nodes: print the pods as YAML with a reason for each right, and create nothing.",
        rich_help_panel=_PANEL,
    ),
]
NAMESPACE = "cilium-migrate"
TIMEOUT = "2m"


def wishes_of(
    filename: list[str] | None,
    nodes: bool,
    names: list[str] | None,
    image: str | None,
    windows_image: str | None,
    namespace: str,
    parallel: int,
    timeout: str,
    npm_only: bool,
    nodes_manifest: bool,
) -> NodeWishes | None:
    """Which nodes to read, and how; None for none. Raises InputError when the options contradict each other."""
    from migrate.audit.durations import parse_duration
    from migrate.collect.live import NodeWishes
    from migrate.collect.manifest import Images, checked_image, checked_namespace
    from migrate.collect.pods import PodSettings

    if not nodes:
        if names or image or windows_image or npm_only or nodes_manifest:
            given = "--node, --image, --windows-image, --npm-only and --nodes-manifest"
            raise InputError(f"{given} go with --nodes; add it")
        return None
    if filename:
        raise InputError("--nodes reads the nodes of a live cluster, -f reads files; give one or the other")
    chosen = tuple(sorted(set(names or ())))
    if npm_only:
        if image is not None or windows_image is not None:
            raise InputError("--npm-only creates no pods, so it takes no --image; give one or the other")
        return NodeWishes(None, chosen)
    if image is None:
        raise InputError(
            "--nodes needs --image: what the pods on the nodes run (docs/nodes-cluster.md says how to make it); "
            "or --npm-only, which creates no pods"
        )
    windows = None if windows_image is None else checked_image(windows_image, "--windows-image")
    images = Images(checked_image(image, "--image"), windows)
    seconds = parse_duration(timeout, "--node-timeout")
    return NodeWishes(PodSettings(checked_namespace(namespace), images, seconds, parallel), chosen)


def manifests(connection: ConnectionOptions, wishes: NodeWishes) -> str:
    """The pods that would be created, as YAML. Raises as `migrate.collect.live.prepare` does."""
    from migrate.collect.live import prepare

    return prepare(connection, wishes, options.now()).manifests()


class LiveNodes:
    """Reads the nodes as it was agreed to. The pods are gone after that, also when it was interrupted."""

    def __init__(self, prepared: Prepared) -> None:
        self._prepared = prepared
        self._stop = threading.Event()
        self.left: tuple[str, ...] = ()
        """Pods that could not be deleted."""

    def __call__(self, folder: Path, taken: str, progress: Progress) -> tuple[Finding, ...]:
        """Read into the folder of dumps; what nodes were not read, and why. The first signal ends it in good order."""
        from migrate.cli.audit_live import ended_by_signals
        from migrate.collect.live import gather

        with ended_by_signals(self._stop.set):
            gathered = gather(self._prepared, folder, taken, self._stop, progress)
        self.left = gathered.left
        _tell_of_left(self._prepared, gathered)
        return gathered.findings()

    def end(self) -> None:
        """End the command with its own status if the reading was interrupted."""
        if self._stop.is_set():
            hint("interrupted; what was read before is kept, and nothing was left half-written", False)
            raise typer.Exit(ExitStatus.INTERRUPTED)


def agreed(connection: ConnectionOptions, wishes: NodeWishes, *, yes: bool) -> LiveNodes:
    """The reading that was described and agreed to. Pods of earlier runs are taken away.

    Raises InputError when nobody can be asked, and typer.Abort when the answer is no.
    """
    from migrate.collect.live import prepare, remove_left

    prepared = prepare(connection, wishes, options.now())
    typer.echo("\n".join(_described(prepared)), err=True)
    if wishes.pods is not None and not yes:
        _ask()
    try:
        remove_left(prepared)
    except ClusterError as error:
        hint(f"pods of an earlier run are still there: {error}", False)
    return LiveNodes(prepared)


def _ask() -> None:
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError("nobody can be asked whether to create these pods; give --yes, or see --nodes-manifest")
    typer.confirm("Go on?", abort=True, err=True)


def _described(prepared: Prepared) -> Iterator[str]:
    """What will be created where, with which rights, and which nodes will not be read."""
    yield f"Nodes of {prepared.connection.name} to be read: {len(prepared.nodes)}"
    if prepared.pods:
        yield from _pods_described(prepared)
    if prepared.npm:
        yield f"- NPM's endpoint asked by pods/proxy in kube-system: {len(prepared.npm)} of them; nothing is created"
    if prepared.npm_unknown:
        yield f"- NPM's endpoint is not asked: {prepared.npm_unknown}"
    if prepared.impossible:
        yield f"- no pod will be created: {prepared.impossible}"
    obstacles = [f"{node.name}: {node.cannot}" for node in prepared.nodes if node.cannot and prepared.wishes.pods]
    for obstacle in _shortened(obstacles):
        yield f"- not read: {plain(obstacle).plain}"
    for line in _shortened([_left_described(pod) for pod in prepared.left]):
        yield f"- {line}"


def _left_described(pod: Leftover) -> str:
    fate = "may still be in use and stays" if pod.busy else "is deleted"
    return f"pod {pod.name} of an earlier run (made {pod.made}, node {pod.node}) {fate}"


def _pods_described(prepared: Prepared) -> Iterator[str]:
    from migrate.audit.durations import duration_text

    settings = prepared.wishes.pods
    if settings is None or prepared.impossible:
        return
    systems = Counter(pod.system for pod in prepared.pods)
    yield (
        f"- pods created in namespace {settings.namespace}: {len(prepared.pods)}, {settings.parallel} at a time, "
        f"one on each node, deleted when its log was read, after {duration_text(settings.seconds)}, or with Ctrl-C"
    )
    if systems["linux"]:
        yield (
            f"- on Linux ({systems['linux']}): {settings.images.linux}, in the node's network, as root with "
            "NET_ADMIN, NET_RAW and BPF, the node's files read-only; no token, no port, and nothing is changed"
        )
    if systems["windows"]:
        yield (
            f"- on Windows ({systems['windows']}): {settings.images.windows}, a host process as NT AUTHORITY\\"
            "SYSTEM that may do everything there; its script only reads (--nodes-manifest shows it)"
        )


def _shortened(lines: Sequence[str]) -> Iterator[str]:
    yield from lines[:_MOST_NAMED]
    if len(lines) > _MOST_NAMED:
        yield f"and {len(lines) - _MOST_NAMED} more"


def _tell_of_left(prepared: Prepared, gathered: Gathered) -> None:
    """Said even when quiet: pods with rights on nodes must not be forgotten."""
    if gathered.left and prepared.wishes.pods is not None:
        names = " ".join(gathered.left)
        hint(
            "these pods could not be deleted; they end by themselves, but delete them: "
            f"kubectl delete pods --namespace {prepared.wishes.pods.namespace} {names}",
            False,
        )
