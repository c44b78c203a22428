"""Rules about what policies say: what the target refuses, cannot hold, or takes otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import date

import msgspec

from migrate.model.audit_documents import Audit
from migrate.model.documents import Result
from migrate.model.finding import Effect, Finding
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.model.selectors import NEGATIVE, requirements
from migrate.readiness import limits
from migrate.readiness.documents import Documents
from migrate.readiness.evaluate import Check, Missing, Need
from migrate.readiness.seen import for_aks, may_run, minor, peers, runs, target
from migrate.scan.inventory.look import counted, dig, items, label
from migrate.sources import calico, cilium
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, PodPeer
from migrate.translate.kinds import is_policy
from migrate.translate.lint_policies import lint
from migrate.translate.zero_prefix import outside_blocks

_SHARE = 0.8
"""The share of a limit from which on it is near."""
_CILIUM = (cilium.CNP, cilium.CCNP)
_CALICO_READ = ("GlobalNetworkPolicy", "NetworkPolicy")
_BUILT_IN_TIERS = ("default", "kube-admin", "kube-baseline", "adminnetworkpolicy", "baselineadminnetworkpolicy")
_MADE_BY = "projectcalico.org/created-by"
_SCTP = "SCTP"
_NAMED_PROTOCOLS = ("TCP", "UDP", "SCTP", "ICMP", "ICMPv6", "1", "6", "17", "58", "132")
_ASK_AZURE = "whether Advanced Container Networking Services is on: `az aks show -o json`, given with --az-json"


def _end_port(documents: Documents, today: date) -> Iterator[Finding]:
    profile = target(documents)
    release = minor(profile.cilium)
    if release is None or release >= limits.version("end_port_cilium"):
        return
    for raw, policy in documents.network_policies:
        for rule in (*policy.ingress, *policy.egress):
            ranges = [match for match in rule.ports or () if match.end is not None]
            if ranges:
                detail = f"{counted(len(ranges), 'range')} with endPort; {profile.title} is older than Cilium 1.17"
                yield _about(raw, "POL-ENDPORT", detail, Effect.UNKNOWN, f"{rule.field}.ports")


def _many_blocks(documents: Documents, today: date) -> Iterator[Finding]:
    limit = limits.number("npm_ip_blocks")
    for raw, policy in documents.network_policies:
        blocks = sum(isinstance(peer, BlockPeer) for _, peer in peers(policy))
        if blocks > limit:
            yield _about(raw, "POL-MANY-IPBLOCK", f"it has {blocks} ipBlocks; up to {limit} NPM takes edits well")


def _calico_native(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """What nothing was written for; a policy among it opens what it closes today."""
    results = documents.translation.results if documents.translation is not None else ()
    written = {result.source for result in results if result.result is not Result.UNSUPPORTED}
    why = "it was not translated" if documents.translation is None else "nothing was written for it"
    for raw in documents.objects:
        if raw.ref.group in calico.GROUPS and is_policy(raw.ref) and not _is_built_in(raw) and raw.ref not in written:
            effect = Effect.WIDENS if raw.ref.kind in _CALICO_READ else Effect.NONE
            yield _about(raw, "POL-CALICO-NATIVE", f"Cilium does not read it, and {why}", effect)
    yield from _unread(documents, *_CALICO_READ)


def _is_built_in(raw: RawObject) -> bool:
    """What Calico makes itself: profiles, its own tiers, automatic host endpoints."""
    if raw.ref.kind == "Tier":
        return raw.ref.name in _BUILT_IN_TIERS
    return raw.ref.kind == "Profile" or bool(label(raw, _MADE_BY))


def _world_by_negation(documents: Documents, today: date) -> Iterator[Finding]:
    profile = target(documents)
    if not profile.negative_namespace_selector_admits_world:
        return
    negative = [raw for raw, policy in documents.network_policies if _negates_namespaces(policy)]
    staying = _staying(documents)
    for found in lint(negative, profile):
        if found.id != "LINT-NEGATIVE-ONLY" or found.subject is None:
            continue
        until = "" if found.subject in staying else ", from the cutover until it is deleted"
        detail = f"{profile.title} lets the outside and nodes through this peer{until}"
        effect = Effect.NONE if runs(documents, "npm-linux") else Effect.WIDENS
        yield Finding(
            id="POL-NS-NEGATIVE-WORLD",
            detail=f"{detail}; NPM does the same today" if effect is Effect.NONE else detail,
            effect=effect,
            effect_on_intent=Effect.WIDENS,
            subject=found.subject,
            field=found.field,
            at=found.at,
        )


def _world_by_zero_prefix(documents: Documents, today: date) -> Iterator[Finding]:
    profile, families = target(documents), documents.cluster.pod_families
    staying = _staying(documents)
    for raw, policy in documents.network_policies:
        until = "" if raw.ref in staying else ", from the cutover until the policy is deleted"
        for block in outside_blocks(policy, profile, families):
            effect = Effect.WIDENS if families else Effect.UNKNOWN
            yield Finding(
                id="POL-CIDR-ZERO-WORLD",
                detail=f"{profile.title} takes {block.cidr} for every address outside where only the other IP version "
                f"runs{until}",
                effect=effect,
                effect_on_intent=effect,
                subject=raw.ref,
                field=block.field,
                at=policy.at,
            )


def _staying(documents: Documents) -> frozenset[ObjectRef]:
    """The sources that the translation leaves in the cluster."""
    results = () if documents.translation is None else documents.translation.results
    return frozenset(result.source for result in results if result.original == "stays")


def _negates_namespaces(policy: NetworkPolicy) -> bool:
    asked = (peer.namespaces for _, peer in peers(policy) if isinstance(peer, PodPeer) and peer.namespaces is not None)
    return any(requirement.operator in NEGATIVE for selector in asked for requirement in requirements(selector))


def _other_protocols(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    if target(documents).extended_protocols:
        return
    for raw in (raw for kind in _CALICO_READ for raw in documents.by_kind.get(kind, ())):
        if raw.ref.group not in calico.GROUPS:
            continue
        policy = calico.read_policy(raw)
        for rule in (*policy.ingress, *policy.egress):
            if rule.action.lower() == "allow" and rule.protocol not in (None, *_NAMED_PROTOCOLS):
                detail = f"it allows IP protocol {rule.protocol}, which Cilium drops at pods whatever policies say"
                yield _about(raw, "POL-OTHER-PROTO", detail, Effect.NARROWS, rule.field)
    if documents.audit is None:
        yield Missing(f"traffic of other protocols that is in use: {Need.AUDIT.value}")
        return
    yield from _in_use(documents.audit, "POL-OTHER-PROTO", lambda protocol: protocol != _SCTP)


def _in_use(audit: Audit, identity: str, wanted: Callable[[str], bool]) -> Iterator[Finding]:
    """What was recorded of protocols that Cilium does not carry."""
    for group in audit.other_protocols:
        if wanted(group.protocol):
            detail = f"{group.source} → {group.destination} uses {group.protocol} ({group.events} times recorded)"
            yield Finding(id=identity, detail=detail, effect=Effect.NARROWS)


def _sctp(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """SCTP that is no matter of a policy: of Services, of containers, and in use."""
    if target(documents).sctp:
        return
    for raw in documents.by_kind.get("Service", ()):
        if any(dig(port, "protocol") == _SCTP for port in items(dig(raw.data, "spec", "ports"))):
            yield _about(raw, "POL-SCTP", "the Service has an SCTP port, which the target drops", Effect.NARROWS)
    yield from _pods_with_sctp(documents)
    if documents.audit is None:
        yield Missing(f"SCTP that is in use without being declared: {Need.AUDIT.value}")
    else:
        yield from _in_use(documents.audit, "POL-SCTP", lambda protocol: protocol == _SCTP)


def _pods_with_sctp(documents: Documents) -> Iterator[Finding]:
    """One finding for the pods of a workload."""
    found: dict[tuple[str, str], list[RawObject]] = {}
    workloads = {str(pod): pod.workload or pod.name for pod in documents.cluster.pods if not pod.host_network}
    for raw in documents.by_kind.get("Pod", ()):
        namespace = raw.ref.namespace or "default"
        workload = workloads.get(f"{namespace}/{raw.ref.name}")
        containers = items(dig(raw.data, "spec", "containers"))
        ports = (port for container in containers for port in items(dig(container, "ports")))
        if workload is not None and any(dig(port, "protocol") == _SCTP for port in ports):
            found.setdefault((namespace, workload), []).append(raw)
    for raws in found.values():
        detail = f"{counted(len(raws), 'pod')} like it: a container has an SCTP port, which the target drops"
        yield _about(raws[0], "POL-SCTP", detail, Effect.NARROWS)


def _names(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Policies by DNS names, with what they lack on this target."""
    lacking = list(_lacking_for_names(documents))
    for raw, policy in _cilium_policies(documents):
        if any(rule.peers.domains for spec in policy.specs for rule in spec.rules):
            detail = "; ".join(["it needs toFQDNs", *lacking])
            effect = Effect.NARROWS if lacking else Effect.NONE
            yield _about(raw, "POL-FQDN", detail, effect)


def _lacking_for_names(documents: Documents) -> Iterator[str]:
    profile = target(documents)
    if not profile.fqdn:
        yield f"{profile.title} refuses it without Advanced Container Networking Services"
    version, first = minor(profile.kubernetes), limits.version("fqdn_kubernetes")
    if version is not None and version < first:
        yield f"it works from Kubernetes {first[0]}.{first[1]} on"
    for fact in documents.facts("node-local-dns"):
        yield f"{fact.value} answers on the node, where Cilium's DNS proxy may not see it"


def _layer_seven(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    """Policies by HTTP or Kafka, with what stands against them on this target."""
    against = list(_against_layer_seven(documents))
    profile = target(documents)
    for raw, policy in _cilium_policies(documents):
        items = [item for spec in policy.specs for rule in spec.rules for item in rule.items or ()]
        kinds = sorted({kind for item in items for kind in item.l7 if kind != "dns"})
        if kinds:
            wide = raw.ref.kind == cilium.CCNP and not profile.l7_in_clusterwide
            refused = ["the target takes none in a clusterwide policy"] if wide else []
            lacking = [*refused, *against]
            effect = Effect.NARROWS if lacking else Effect.NONE
            yield _about(raw, "POL-L7", "; ".join([f"it has rules of {', '.join(kinds)}", *lacking]), effect)


def _against_layer_seven(documents: Documents) -> Iterator[str]:
    profile = target(documents)
    if not profile.l7:
        yield f"{profile.title} has no L7 policies"
    if not profile.managed:
        return
    if any(fact.value == "istio" for fact in documents.facts("service-mesh")):
        yield "they are not supported together with those of Istio"
    for kind, name in (("Node", "l7_nodes"), ("Pod", "l7_pods")):
        count, limit = len(documents.by_kind.get(kind, ())), limits.number(name)
        if count > limit:
            yield f"the cluster has {count} {kind.lower()}s, and {limit} are supported"


def _admission(documents: Documents, today: date) -> Iterator[Finding | Missing]:
    profile = target(documents)
    if not (profile.fqdn or profile.l7 or any(documents.facts("acns"))):
        if documents.azure is None:
            yield Missing(_ASK_AZURE)
        return
    written = sum(raw.ref.kind in _CILIUM for raw in documents.future.objects) if documents.future else 0
    if written:
        detail = f"{counted(written, 'object')} of Cilium meet the admission policy of AKS when they are applied"
        yield Finding(id="POL-ADMISSION-VAP", detail=detail, effect=Effect.UNKNOWN)


def _size(documents: Documents, today: date) -> Iterator[Finding]:
    whole, noted = limits.number("object_bytes"), limits.number("annotation_bytes")
    for raw in documents.future.objects if documents.future else ():
        size = len(msgspec.json.encode(raw.data)) if raw.ref.kind in _CILIUM else 0
        if size > whole * _SHARE:
            detail = f"it has {size} bytes; the API server stores {whole} at most"
            yield _about(raw, "POL-CNP-SIZE", detail, Effect.UNKNOWN)
        elif size > noted * _SHARE:
            detail = f"it has {size} bytes; `kubectl apply` without --server-side fails near {noted}"
            yield _about(raw, "POL-CNP-SIZE", detail, Effect.UNKNOWN)


def _cilium_policies(documents: Documents) -> Iterator[tuple[RawObject, cilium.CiliumPolicy]]:
    """Cilium's policies as they will be; without a translation those of the snapshot."""
    objects = documents.objects if documents.future is None else documents.future.objects
    for raw in objects:
        if raw.ref.group == "cilium.io" and raw.ref.kind in _CILIUM:
            yield raw, cilium.read_policy(raw)


def _unread(documents: Documents, *kinds: str) -> Iterator[Missing]:
    """What a cluster refused to show; from files, kinds of which nothing was given at all."""
    header = documents.header
    counts = [count for count in header.kinds if count.kind in kinds] if header else []
    lost = sorted({count.kind for count in counts if count.status not in ("read", "absent")})
    if lost or not counts:
        yield Missing(f"objects of kind {', '.join(lost or kinds)}, which were not read")


def _about(
    raw: RawObject, identity: str, detail: str, effect: Effect = Effect.NONE, field: str | None = None
) -> Finding:
    return Finding(id=identity, detail=detail, effect=effect, subject=raw.ref, field=field, at=raw.at())


def _on_npm(documents: Documents) -> bool:
    return may_run(documents, "npm-linux")


def _on_calico(documents: Documents) -> bool:
    return may_run(documents, "calico")


_POLICIES = ("NetworkPolicy",)
_FUTURE = (Need.SNAPSHOT, Need.TRANSLATION)
CHECKS = (
    Check("POL-ENDPORT", _end_port, kinds=_POLICIES, concerns=for_aks),
    Check("POL-MANY-IPBLOCK", _many_blocks, kinds=_POLICIES, concerns=_on_npm),
    Check("POL-CALICO-NATIVE", _calico_native, concerns=_on_calico),
    Check("POL-NS-NEGATIVE-WORLD", _world_by_negation, kinds=_POLICIES),
    Check("POL-CIDR-ZERO-WORLD", _world_by_zero_prefix, kinds=_POLICIES),
    Check("POL-OTHER-PROTO", _other_protocols),
    Check("POL-SCTP", _sctp, kinds=("Pod", "Service")),
    Check("POL-FQDN", _names, needs=_FUTURE),
    Check("POL-L7", _layer_seven, needs=_FUTURE),
    Check("POL-ADMISSION-VAP", _admission, needs=_FUTURE, concerns=for_aks),
    Check("POL-CNP-SIZE", _size, needs=_FUTURE),
)
