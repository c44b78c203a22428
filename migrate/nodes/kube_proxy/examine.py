"""What kube-proxy has on a node, compared with the Services of the snapshot."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, TypeAlias

from migrate.model.documents import Evidence, Fact
from migrate.model.finding import Effect, Finding
from migrate.model.node_documents import RuleHits
from migrate.model.node_machine import VirtualServer
from migrate.model.node_state import Chain, Ending, Jump, MarkIs, Rule, Ruleset, Table
from migrate.model.refs import Location
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.host import Host
from migrate.nodes.kube_proxy.programmed import Mode, Programmed, masquerade_marks, programmed
from migrate.nodes.kube_proxy.services import ServedPort, served_ports
from migrate.nodes.kube_proxy.source_ranges import range_findings
from migrate.nodes.moments import is_after
from migrate.nodes.runs import all_read
from migrate.nodes.software import known
from migrate.nodes.wording import first_few

State: TypeAlias = Literal["active", "present", "absent", "unknown"]
_TOPIC = "kube-proxy-mode"


def examine_kube_proxy(host: Host, view: ClusterView | None) -> Iterator[Finding | Fact | RuleHits]:
    """Mode and marks, what was accepted past the policies, and Services that the node serves otherwise."""
    sets = tuple(programmed(host))
    yield from _modes(host, sets, _said_mode(view))
    yield from _two_modes(host, sets, view)
    yield from _marks(host)
    yield from _unchecked(host)
    if view is None or not all_read(view, "Service"):
        return
    ports = tuple(served_ports(view.by_kind.get("Service", ())))
    for rules in sets:
        if rules.hooked and rules.mode is not Mode.IPVS:
            yield from _stale(host, rules, ports)
            yield from _missing(host, rules, ports)
    if host.servers:
        yield from _virtual(host, host.servers, ports)
    yield from range_findings(host, sets, ports)


def _modes(host: Host, sets: Sequence[Programmed], said: str | None) -> Iterator[Fact]:
    """One fact per mode. Of several the configuration tells which one is in use; what is not hooked is left over."""
    seen: dict[str, list[Programmed]] = {}
    for rules in sets:
        seen.setdefault(rules.shown, []).append(rules)
    for shown, several in sorted(seen.items()):
        evidence = tuple(
            Evidence(str(rules.at), f"Services over IPv{rules.family}", str(len(rules.chains) or "?"))
            for rules in several
        )
        hooked = any(rules.hooked for rules in several)
        yield Fact(topic=_TOPIC, value=shown, state=_state(several[0], hooked, len(seen), said), evidence=evidence)
    if not seen:
        complete = bool(host.dump.rulesets) and host.nft is not None and host.links is not None
        detail = "no chains of kube-proxy, no table and no virtual servers"
        yield Fact(topic=_TOPIC, value="none", state="absent" if complete else "unknown", detail=detail)


def _state(rules: Programmed, hooked: bool, modes: int, said: str | None) -> State:
    if not hooked:
        return "present"
    if modes == 1 or rules.mode.value == said:
        return "active"
    return "present" if said else "unknown"


def _two_modes(host: Host, sets: Sequence[Programmed], view: ClusterView | None) -> Iterator[Finding]:
    """Rules of several modes or backends, or of another mode than the cluster's configuration names."""
    shown = sorted({rules.shown for rules in sets})
    said = _said_mode(view)
    if len(shown) < 2 and (said is None or not sets or any(rules.mode.value == said for rules in sets)):
        return
    there = " and ".join(f"{name} ({_first(sets, name).at})" for name in shown)
    wanted = f"; the cluster's configuration says {said}" if said else ""
    yield Finding(
        id="NODE-PROXY-MODE",
        detail=f"node {host.dump.manifest.name} has rules of kube-proxy in mode {there}{wanted}",
        effect=Effect.UNKNOWN,
        subject=host.dump.node,
        at=_first(sets, shown[0]).at,
    )


def _said_mode(view: ClusterView | None) -> str | None:
    modes = {mode.value for mode in Mode}
    facts = view.header.facts if view is not None else ()
    return next((f.value for f in facts if f.topic == _TOPIC and f.state == "active" and f.value in modes), None)


def _first(sets: Sequence[Programmed], shown: str) -> Programmed:
    return next(rules for rules in sets if rules.shown == shown)


def _marks(host: Host) -> Iterator[Fact]:
    for ruleset, rule, change in masquerade_marks(host):
        value = f"{change.value:#x}/{change.mask:#x}"
        shown = Evidence(str(ruleset.at(rule)), "KUBE-MARK-MASQ", value)
        yield Fact(
            topic="masquerade-mark",
            value=value,
            detail="what kube-proxy marks so leaves as the node",
            evidence=(shown,),
        )


def _stale(host: Host, rules: Programmed, ports: Sequence[ServedPort]) -> Iterator[Finding]:
    """Chains for Services that the snapshot does not have."""
    expected = {key for port in ports for key in rules.keys(port.name)}
    stale = {suffix: at for suffix, at in rules.chains.items() if suffix not in expected}
    if stale:
        names = first_few(rules.names.get(suffix, f"chain {suffix}") for suffix in stale)
        said = f"has chains of kube-proxy (IPv{rules.family}) for {len(stale)} service ports that the snapshot does "
        yield _about(host, "NODE-PROXY-STALE", f"{said}not have: {names}", next(iter(stale.values())), Effect.NONE)


def _missing(host: Host, rules: Programmed, ports: Sequence[ServedPort]) -> Iterator[Finding]:
    """Services of the snapshot that the rules do not name; where lines of the table are missing nothing is said."""
    if not rules.complete or rules.mode is not Mode.IPTABLES:
        return
    missing = [
        str(port.name)
        for port in ports
        if rules.family in port.families()
        and not any(key in rules.chains for key in rules.keys(port.name))
        and str(port.name) not in rules.without_endpoints
        and not _younger(host, port)
    ]
    if missing:
        said = f"has no chain and no refusal (IPv{rules.family}) for {len(missing)} service ports of the snapshot: "
        yield _about(host, "NODE-PROXY-MISSING", said + first_few(missing), rules.at, Effect.UNKNOWN)


def _virtual(host: Host, servers: Sequence[VirtualServer], ports: Sequence[ServedPort]) -> Iterator[Finding]:
    """Mode ipvs: virtual servers beside the Services. A node port may be served at any address of the node."""
    there = {(server.protocol, server.address, server.port): server for server in servers}
    node_ports = {(port.name.protocol, port.node_port) for port in ports}
    asked = {
        (port.name.protocol, address, port.number)
        for port in ports
        for address in (*port.cluster, *port.balancers, *port.external)
    }
    stale = [each for key, each in there.items() if key not in asked and (key[0], key[2]) not in node_ports]
    if stale:
        names = first_few(f"{server.protocol} {server.address} port {server.port}" for server in stale)
        said = f"has {len(stale)} virtual servers for addresses of no Service of the snapshot: {names}"
        yield _about(host, "NODE-PROXY-STALE", said, stale[0].at, Effect.NONE)
    families = {server.address.version for server in servers}
    wanted = ((port, address) for port in ports for address in port.cluster if address.version in families)
    missing = [
        str(port.name)
        for port, address in wanted
        if (port.name.protocol, address, port.number) not in there and not _younger(host, port)
    ]
    if missing:
        said = f"has no virtual server for {len(missing)} service ports of the snapshot: {first_few(missing)}"
        yield _about(host, "NODE-PROXY-MISSING", said, servers[0].at, Effect.UNKNOWN)


def _about(host: Host, identity: str, said: str, at: Location, effect: Effect) -> Finding:
    detail = f"node {host.dump.manifest.name} {said}"
    return Finding(id=identity, detail=detail, effect=effect, subject=host.dump.node, at=at)


def _younger(host: Host, port: ServedPort) -> bool:
    """Whether the Service was made after the dump was taken."""
    return is_after(port.created, host.dump.manifest.taken)


def _unchecked(host: Host) -> Iterator[Finding | RuleHits]:
    """What KUBE-FORWARD accepts by its mark before the chain of a policy engine is asked: nobody checked that."""
    for family in (4, 6):
        for ruleset, table in host.dump.tables("filter", family):
            engine = _engine_behind(table)
            chain = table.by_name().get("KUBE-FORWARD")
            for rule in chain.rules if chain is not None and engine and table.complete else ():
                if rule.target is Ending.ACCEPT and any(isinstance(part, MarkIs) for part in rule.conditions):
                    yield from _accepted(host, ruleset, rule, engine)


def _engine_behind(table: Table) -> str:
    """The first chain of a policy engine that FORWARD asks only after KUBE-FORWARD; "" when there is none.

    NPM's chain is empty while there are no policies.
    """
    forward = table.by_name().get("FORWARD", Chain("FORWARD", 0))
    targets = [rule.target.chain for rule in forward.rules if isinstance(rule.target, Jump)]
    if "KUBE-FORWARD" not in targets:
        return ""
    before, after = targets[: targets.index("KUBE-FORWARD")], targets[targets.index("KUBE-FORWARD") :]
    asked = (name for name in after if _of_engine(name) and name not in before)
    return next((name for name in asked if table.by_name()[name].rules), "")


def _of_engine(chain: str) -> bool:
    return any(program.role == "engine" for program in known().owners("chains", chain))


def _accepted(host: Host, ruleset: Ruleset, rule: Rule, engine: str) -> Iterator[Finding | RuleHits]:
    if rule.counters is None:
        return
    manifest, at = host.dump.manifest, ruleset.at(rule)
    yield RuleHits(
        of=f"KUBE-FORWARD before {engine}",
        verdict="allowed",
        packets=rule.counters.packets,
        bytes=rule.counters.bytes,
        since=manifest.booted,
        at=at,
    )
    if rule.counters.packets:
        yield Finding(
            id="NODE-PROXY-UNCHECKED",
            detail=(
                f"node {manifest.name}: KUBE-FORWARD accepted {rule.counters.packets} connections from outside to node "
                f"ports and balancers before {engine} was asked"
            ),
            effect=Effect.NARROWS,
            subject=host.dump.node,
            at=at,
        )
