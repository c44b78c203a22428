"""What a node still has of programs that do not run there any more, and of the old engine where Cilium runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote

from migrate.model.documents import Evidence, Fact
from migrate.model.finding import Effect, Finding
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.host import Host
from migrate.nodes.runs import runs
from migrate.nodes.software import Software, What, known
from migrate.nodes.traces import Trace, traces
from migrate.nodes.wording import clean, first_few

_SHOWN = 8
"""Traces that a fact names as its evidence."""
_WORDS: Mapping[What, tuple[str, str]] = {
    "chains": ("chain", "chains"),
    "sets": ("IP set", "IP sets"),
    "links": ("link", "links"),
    "tables": ("nftables table", "nftables tables"),
    "cni": ("CNI file", "CNI files"),
    "paths": ("path", "paths"),
    "pinned": ("pinned BPF object", "pinned BPF objects"),
    "bpf": ("attached program", "attached programs"),
}
_HARMLESS: frozenset[What] = frozenset(("paths",))
"""What alone does nothing."""
_SAME_NAMES = frozenset(("cni0", "br-int", "genev_sys_6081"))


def examine_leftovers(host: Host, view: ClusterView | None) -> Iterator[Finding | Fact]:
    """Whose traces there are, which of them nobody keeps, and which stand in Cilium's way."""
    found: dict[str, list[Trace]] = {}
    for trace in traces(host):
        found.setdefault(trace.owners[0].id, []).append(trace)
    cilium = _runs_cilium(found, view, host)
    for name, several in sorted(found.items()):
        program = known().by_id[name]
        yield _fact(program, several)
        if cilium and _is_in_the_way(view, program) and _acts(several):
            yield _finding("NODE-LEFTOVER-AFTER", host, program, several, "which Cilium runs on", Effect.NARROWS)
        elif view is not None and not program.own_findings and (gone := _gone(view, several)):
            yield _finding(
                "NODE-LEFTOVER", host, program, gone, "and nothing of it runs in the cluster", Effect.UNKNOWN
            )
        else:
            yield from _other_backend(host, program, several)


def _runs_cilium(found: Mapping[str, Sequence[Trace]], view: ClusterView | None, host: Host) -> bool:
    """Whether an agent of Cilium works on this node: by its pod, else by its links."""
    name = host.dump.manifest.name
    pods = view.by_kind.get("Pod", ()) if view is not None else ()
    if view is not None and pods:
        labels = (pod for pod in view.cluster.pods if pod.node == name and pod.host_network)
        return any(pod.labels.get("k8s-app") == "cilium" for pod in labels)
    return any(trace.what == "links" for trace in found.get("cilium", ()))


def _is_in_the_way(view: ClusterView | None, program: Software) -> bool:
    """Whether a program's rules have no place beside Cilium's.

    The engines that Cilium follows never have. Other engines and networks may have Cilium chained behind them.
    """
    if program.id == "cilium" or program.role not in {"engine", "network"}:
        return False
    if program.own_findings:
        return True
    running = runs(view, program) if view is not None else None
    return running is False or (running is None and program.role == "engine")


def _acts(several: Sequence[Trace]) -> bool:
    """Whether there is more than the machine's own network would have: chains, sets, programs or a tunnel."""
    return any(trace.what in {"chains", "sets", "tables", "bpf", "links"} for trace in several)


def _gone(view: ClusterView, several: Sequence[Trace]) -> Sequence[Trace]:
    """The traces that the snapshot shows no running program for; none when it shows nobody's end for sure."""
    running = {owner.id: runs(view, owner) for trace in several for owner in trace.owners}
    sure = [trace for trace in several if all(running[owner.id] is False for owner in trace.owners)]
    if all(trace.what in _HARMLESS for trace in sure):
        return ()
    return [trace for trace in several if not any(running[owner.id] for owner in trace.owners)]


def _fact(program: Software, several: Sequence[Trace]) -> Fact:
    shown = tuple(Evidence(str(trace.at), trace.what, clean(trace.name)) for trace in several[:_SHOWN])
    return Fact(topic="traces", value=program.id, state="present", detail=_counted(several), evidence=shown)


def _counted(several: Sequence[Trace]) -> str:
    counts: dict[What, list[str]] = {}
    for trace in several:
        counts.setdefault(trace.what, []).append(trace.name)
    parts = []
    for what, names in counts.items():
        one, more = _WORDS.get(what, (what, what))
        parts.append(f"{len(names)} {one if len(names) == 1 else more} ({first_few(names)})")
    return ", ".join(parts)


def _finding(
    identity: str, host: Host, program: Software, several: Sequence[Trace], why: str, effect: Effect
) -> Finding:
    name = host.dump.manifest.name
    commands = "; ".join(removal(program, several))
    if identity == "NODE-LEFTOVER-AFTER":
        said = f"node {name}, {why}, has traces of {program.title}: {_counted(several)}"
    else:
        said = f"node {name} has traces of {program.title}, {why}: {_counted(several)}"
    return Finding(
        id=identity,
        detail=f"{said}. To remove: {commands}",
        effect=effect,
        subject=host.dump.node,
        at=_worst(several).at,
    )


def _worst(several: Sequence[Trace]) -> Trace:
    order: tuple[What, ...] = ("chains", "tables", "bpf", "sets", "links", "cni", "pinned", "paths")
    return min(several, key=lambda trace: order.index(trace.what) if trace.what in order else len(order))


def removal(program: Software, several: Sequence[Trace]) -> tuple[str, ...]:
    """Commands that take the traces away; the program's own where it has some. They are shown, never run."""
    if program.remove:
        return program.remove
    commands: list[str] = []
    chains = [trace for trace in several if trace.what == "chains"]
    for tool in sorted({_tool(trace) for trace in chains}):
        words = "|".join(_pattern(glob) for glob in program.chains)
        commands.append(f"{tool}-save | grep -vE {quote(f'[ :]({words})( |$)')} | {tool}-restore")
    forms: tuple[tuple[What, str], ...] = (
        ("sets", "ipset destroy {}"),
        ("tables", "nft delete table {1} {0}"),
        ("links", "ip link delete {}"),
        ("cni", "rm /etc/cni/net.d/{}"),
        ("pinned", "rm {}"),
        ("paths", "rm -r {}"),
    )
    for what, form in forms:
        names = [trace for trace in several if trace.what == what]
        commands += [form.format(quote(clean(trace.name)), quote(trace.detail)) for trace in names[:_SHOWN]]
    return tuple(commands) or ("have the node made anew",)


def _tool(trace: Trace) -> str:
    backend = trace.backend.value if trace.backend is not None else "nft"
    return f"ip6tables-{backend}" if trace.detail.endswith("IPv6") else f"iptables-{backend}"


def _pattern(glob: str) -> str:
    return glob.replace(".", r"\.").replace("*", "[^ ]*")


def _other_backend(host: Host, program: Software, several: Sequence[Trace]) -> Iterator[Finding]:
    """Chains in the backend that the node does not use any more; those of NPM and Calico are told elsewhere."""
    active = host.dump.active_backend
    if active is None or program.own_findings or program.role == "host" or program.id == "kube-proxy":
        return
    there = [trace for trace in several if trace.backend not in {None, active}]
    if there and len(there) < len([trace for trace in several if trace.what == "chains"]):
        yield _finding(
            "NODE-LEFTOVER",
            host,
            program,
            there,
            f"in the backend that is not in use ({active.value} is)",
            Effect.UNKNOWN,
        )
