"""`migrate audit deploy`: says what it will put into the cluster, asks, and does it."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from migrate.cli import options
from migrate.cli.emit import emit, hint, plain
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from migrate.control.deploy import DeployPlan
    from migrate.control.manifests import Manifest
    from migrate.deployed import DeployRequest

_PANEL = "Pods of the agents"
_MOST_NAMED = 10

Image = Annotated[
    str,
    typer.Option("--image", help="Image of the agents, by digest: REGISTRY/NAME@sha256:... (docs/release-image.md)."),
]
AllowTag = Annotated[
    bool, typer.Option("--allow-tag", help="Take an image by tag too, which may be another one on each node.")
]
Duration = Annotated[str, typer.Option("--duration", help="How long each node is recorded, such as 24h.")]
AgentNamespace = Annotated[
    str, typer.Option("--namespace", "-n", help="Namespace of the agents; made where it is not there.")
]
NodeSelector = Annotated[
    list[str] | None,
    typer.Option("--node-selector", help="Only nodes with this label, KEY=VALUE; repeat it.", rich_help_panel=_PANEL),
]
PriorityClass = Annotated[
    str | None, typer.Option("--priority-class", help="A PriorityClass of the cluster.", rich_help_panel=_PANEL)
]
Priority = Annotated[
    int | None,
    typer.Option("--priority", help="Make a PriorityClass of this value for the run.", rich_help_panel=_PANEL),
]
NodeCritical = Annotated[
    bool,
    typer.Option(
        "--system-node-critical", help="The highest priority: other pods may be evicted.", rich_help_panel=_PANEL
    ),
]
Capability = Annotated[
    list[str] | None,
    typer.Option(
        "--capability",
        help="One more capability: SYS_ADMIN, SYS_RESOURCE or SYSLOG, for older nodes; repeat it.",
        rich_help_panel=_PANEL,
    ),
]
PullSecret = Annotated[
    list[str] | None,
    typer.Option("--pull-secret", help="Secret of the namespace for the registry; repeat it.", rich_help_panel=_PANEL),
]
NoServices = Annotated[
    bool,
    typer.Option("--no-services", help="Leave the addresses of Services out of the settings.", rich_help_panel=_PANEL),
]
MaxSize = Annotated[str, typer.Option("--max-size", help="Limit of the recording on each node, such as 500MiB.")]
Folder = Annotated[Path, typer.Option("--dir", "-d", help="Working folder with the snapshot and the translation.")]
Snapshot = Annotated[Path | None, typer.Option("--snapshot", help="Snapshot that gives the cluster.")]
PoliciesDir = Annotated[Path | None, typer.Option("--policies", help="What will judge the traffic.")]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Make nothing. With -o yaml or json: the objects; no cluster is asked.")
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask before anything is made.")]


def deploy(
    image: Image,
    allow_tag: AllowTag = False,
    duration: Duration = "24h",
    namespace: AgentNamespace = "cilium-migrate",
    node_selector: NodeSelector = None,
    priority_class: PriorityClass = None,
    priority: Priority = None,
    system_node_critical: NodeCritical = False,
    capability: Capability = None,
    pull_secret: PullSecret = None,
    no_services: NoServices = False,
    max_size: MaxSize = "1GiB",
    folder: Folder = options.WORKING_FOLDER,
    snapshot: Snapshot = None,
    policies: PoliciesDir = None,
    context: options.Context = None,
    kubeconfig: options.Kubeconfig = None,
    dry_run: DryRun = False,
    yes: Yes = False,
    output: options.Output = options.OutputFormat.TABLE,
    quiet: options.Quiet = False,
) -> None:
    """Put an agent on each Linux node of a cluster, which records what its pods do for a while.

    Says what it will make and with which rights, and asks. Nothing but these objects is made; when one cannot be, the
    others are deleted again. `--dry-run -o yaml` prints them for: kubectl apply --server-side -f -
    Exit status 4 when nodes will not be watched, 3 when the cluster refuses.
    """
    from migrate.audit.durations import parse_duration
    from migrate.audit.sizes import parse_size
    from migrate.audited import Place
    from migrate.collect.manifest import checked_namespace
    from migrate.control.settings import checked_agent_image, checked_priority, checked_selector
    from migrate.deployed import DeployRequest
    from migrate.scan.connection import ConnectionOptions

    if not dry_run and output is not options.OutputFormat.TABLE:
        raise InputError("-o yaml and -o json print the objects that would be made; add --dry-run")
    request = DeployRequest(
        place=Place(folder, snapshot, policies),
        image=checked_agent_image(image, allow_tag=allow_tag),
        began=time.time_ns(),
        seconds=parse_duration(duration),
        namespace=checked_namespace(namespace, "--namespace"),
        max_size=parse_size(max_size),
        services=not no_services,
        node_selector=checked_selector(tuple(node_selector or ())),
        priority_class=_priority_class(priority_class, priority, system_node_critical),
        priority=checked_priority(priority),
        capabilities=_capabilities(capability),
        pull_secrets=_secrets(pull_secret),
        cluster=ConnectionOptions(context, kubeconfig),
    )
    if output is options.OutputFormat.TABLE:
        _deploy(request, dry_run=dry_run, yes=yes, quiet=quiet)
    else:
        _print(request, output)


def _priority_class(name: str | None, priority: int | None, is_critical: bool) -> str:
    from migrate.control.manifests import NODE_CRITICAL
    from migrate.control.settings import checked_name

    if sum((name is not None, priority is not None, is_critical)) > 1:
        raise InputError("--priority-class, --priority and --system-node-critical contradict each other; give one")
    if is_critical:
        return NODE_CRITICAL
    return checked_name(name, "--priority-class") if name is not None else ""


def _capabilities(names: list[str] | None) -> tuple[str, ...]:
    from migrate.control.manifests import optional_capabilities
    from migrate.control.settings import checked_capabilities

    return checked_capabilities(tuple(names or ()), tuple(one.name for one in optional_capabilities()))


def _secrets(names: list[str] | None) -> tuple[str, ...]:
    from migrate.control.settings import checked_name

    return tuple(checked_name(name, "--pull-secret") for name in names or ())


def _print(request: DeployRequest, output: options.OutputFormat) -> None:
    from migrate.control.manifests import manifests_yaml
    from migrate.deployed import deploy_manifests

    objects = deploy_manifests(request)
    emit(manifests_yaml(objects) if output is options.OutputFormat.YAML else _list_text(objects))


def _list_text(objects: tuple[Manifest, ...]) -> str:
    import msgspec

    made = {"apiVersion": "v1", "kind": "List", "items": [msgspec.Raw(one.body) for one in objects]}
    return msgspec.json.format(msgspec.json.encode(made), indent=2).decode() + "\n"


def _deploy(request: DeployRequest, *, dry_run: bool, yes: bool, quiet: bool) -> None:
    from migrate.control.deploy import DeployError
    from migrate.control.deploy import deploy as make
    from migrate.deployed import prepare_deploy

    plan = prepare_deploy(request)
    emit("".join(f"{line}\n" for line in described(plan)))
    if plan.impossible:
        raise DeployError(f"nothing was made: {'; '.join(plan.impossible)}")
    if not dry_run:
        if not yes:
            ask()
        make(plan, lambda what: hint(f"making {what}", quiet))
        hint(f"run {plan.run} is deployed; migrate audit attach follows it, migrate audit stop ends it", quiet)
    raise typer.Exit(ExitStatus.INCOMPLETE if plan.nodes.unwatched else ExitStatus.FINE)


def ask() -> None:
    """Go on only if somebody says so."""
    if sys.stdin is None or not sys.stdin.isatty():
        raise InputError("nobody can be asked whether to make these objects; give --yes, or see --dry-run -o yaml")
    typer.confirm("Go on?", abort=True, err=True)


def described(plan: DeployPlan) -> Iterator[str]:
    """What deploying will make, with which rights, which nodes it leaves out, and what may go wrong."""
    from migrate.audit.durations import duration_text

    settings = plan.wishes.settings
    nodes = len(plan.nodes.watched) + len(plan.nodes.unwatched)
    yield f"Run {plan.run} on {plan.connection.name}: {len(plan.nodes.watched)} of {nodes} nodes"
    yield f"- each is recorded for {duration_text(settings.seconds)}; the image is {plan.wishes.image}"
    yield f"- made: {', '.join(map(str, plan.objects))}; in namespace {plan.namespace}"
    if plan.namespace_stays:
        yield "- the namespace is there already, and stays at the end"
    yield from _rights_described(plan)
    yield from (
        f"- not watched: {line}" for line in _shortened([f"{n.name}: {n.reason}" for n in plan.nodes.unwatched])
    )
    yield from (f"- left by run {found.run}, is deleted first: {found}" for found in plan.remains)
    yield from (f"- {plain(doubt).plain}" for doubt in plan.doubts)


def _rights_described(plan: DeployPlan) -> Iterator[str]:
    """The privileges, plainly."""
    from migrate.control.manifests import needed_capabilities, optional_capabilities

    yield "- on each node, as root (user 0) in the node's network namespace, with these capabilities and no others:"
    asked = [one for one in optional_capabilities() if one.name in plan.wishes.capabilities]
    for capability in (*needed_capabilities(), *asked):
        yield f"    {capability.name}: {capability.why}"
    yield "- of the node's files: /var/lib/cilium-migrate for the recording, /sys/fs/bpf for pinned maps; nothing else"
    yield "- in the cluster: list and watch pods, services, nodes and endpointslices; its own lease; events; no Secrets"
    yield "- it opens no port, and changes or stops no packet"
    if plan.wishes.priority is not None:
        yield f"- its PriorityClass has the value {plan.wishes.priority}, and never moves a running pod"
    elif plan.wishes.priority_class:
        yield f"- its priority class is {plan.wishes.priority_class}, which may have other pods evicted"


def _shortened(lines: Sequence[str]) -> Iterator[str]:
    yield from (plain(line).plain for line in lines[:_MOST_NAMED])
    if len(lines) > _MOST_NAMED:
        yield f"and {len(lines) - _MOST_NAMED} more"
