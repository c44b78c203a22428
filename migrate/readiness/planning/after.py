"""After the change: checks as commands, restarts for long-lived connections, and the old objects that have to go."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, TypeAlias

from migrate.model.audit_documents import AuditEnd, StandingConnection
from migrate.model.documents import Translation, TranslationResult
from migrate.model.plan_documents import Command, PlanStep, Precondition, Removal, Restart, Rollback
from migrate.readiness.documents import Documents
from migrate.readiness.planning.shell import AZ_TARGET, quoted, run
from migrate.readiness.route import Route

REMOVE, REMOVE_FIRST = "remove-old-policies.sh", "remove-contradicting.sh"
_RESTARTABLE = ("Deployment", "StatefulSet", "DaemonSet")
_PLURALS = {
    ("networking.k8s.io", "NetworkPolicy"): "networkpolicies.networking.k8s.io",
    ("extensions", "NetworkPolicy"): "networkpolicies.networking.k8s.io",
}
_CALICO_GROUPS = ("crd.projectcalico.org", "projectcalico.org")
_EFFECTS = {
    "cut": "Cilium denies it",
    "cut_unless_client_speaks": "goes on only if the client sends first",
    "cut_unless_server_speaks": "goes on only if the server sends first",
    "unknown": "not known",
}


def after_checks(documents: Documents, route: Route) -> tuple[Precondition, ...]:
    """What shows that the change is done and well, in order."""
    found = [
        *(_azure_checks() if route.path == "aks" else ()),
        *_cilium_checks(),
        *_traffic_checks(),
        *_engine_checks(route),
    ]
    return tuple(found)


def _azure_checks() -> Iterator[Precondition]:
    query = '"networkProfile.[networkPlugin, networkDataplane, networkPolicy]"'
    yield _check(
        "profile",
        "AKS says Cilium",
        run(f"az aks show {AZ_TARGET} --query {query} --output tsv", "azure, cilium, cilium"),
        "the update did not end: look at the activity log of the cluster",
    )


def _cilium_checks() -> Iterator[Precondition]:
    yield _check(
        "agents",
        "Cilium runs on every node",
        run("kubectl -n kube-system get daemonset cilium", "DESIRED, READY and UP-TO-DATE are the number of nodes"),
        "policies are not enforced on a node without it",
        "CUT-POST-CHECKS",
    )
    yield _check(
        "endpoints",
        "Every endpoint is ready, and none that a policy selects has an empty policy map",
        run(
            "for pod in $(kubectl -n kube-system get pods --selector k8s-app=cilium --output name); do\n"
            '  kubectl -n kube-system exec "$pod" --container cilium-agent -- cilium-dbg endpoint list\n'
            "done",
            "POLICY Enabled where policies select the pod; no not-ready, no regenerating that stays",
        ),
        "restart the agent of that node; new pods with an empty map were reported on AKS builds near 1.18.11",
        "CUT-EMPTY-POLICY-MAP",
    )
    yield _check(
        "policies",
        "Cilium took every policy",
        run(
            "kubectl get ciliumnetworkpolicies,ciliumclusterwidenetworkpolicies --all-namespaces "
            "--output 'custom-columns=KIND:.kind,NS:.metadata.namespace,NAME:.metadata.name,"
            'VALID:.status.conditions[?(@.type=="Valid")].status\'',
            "True (or nothing, on versions that do not say) for each",
        ),
        "an object that is not valid is not enforced: its message says why",
    )


def _traffic_checks() -> Iterator[Precondition]:
    yield _check(
        "drops",
        "Nothing is dropped that somebody needs",
        run(
            "kubectl -n kube-system exec daemonset/cilium --container cilium-agent -- "
            "timeout 60 cilium-dbg monitor --type drop --type policy-verdict",
            "no “Policy denied” that you do not want; once for each node",
        ),
        "look for the pair in the report; allow it in cilium/ or compat/ and apply again",
        "CUT-POST-CHECKS",
    )
    yield _check(
        "flows",
        "What the audit saw still goes through",
        run("migrate audit --duration 24h", "a recording after the change, to compare with the one before"),
        "each connection that is missing is one to explain",
    )


def _engine_checks(route: Route) -> Iterator[Precondition]:
    names = {"npm-linux": "azure-npm", "npm-windows": "azure-npm", "calico": "calico"}.get(route.engine)
    pattern = f"{names}|kube-proxy" if names and route.path == "aks" else names or "kube-proxy"
    if names or route.path == "aks":
        yield _check(
            "old-engine",
            "The old engine is gone",
            run(
                f"kubectl get daemonsets --all-namespaces | grep -E '{pattern}' || echo gone",
                "gone",
            ),
            "two engines filter at once: find out who keeps the old one",
            "NODE-LEFTOVER-AFTER",
        )
    yield _check(
        "services",
        "Services answer from outside, with Local and with Cluster as externalTrafficPolicy",
        run(
            "kubectl get services --all-namespaces --output 'custom-columns=NS:.metadata.namespace,"
            "NAME:.metadata.name,TYPE:.spec.type,POLICY:.spec.externalTrafficPolicy,"
            "ADDRESS:.status.loadBalancer.ingress[*].ip'",
            "each LoadBalancer and NodePort answers a request from outside",
        ),
        "see findings SVC-ETP-CLUSTER and SVC-HEALTH-PROBE",
        "SVC-ETP-CLUSTER",
    )
    yield _check(
        "platform",
        "DNS, API server and metadata are reached from pods under a policy",
        run(
            "kubectl get pods --all-namespaces --no-headers --output wide "
            "| grep -vE 'Running|Completed' || echo all well",
            "all well",
        ),
        "a pod that does not become ready is the first sign",
    )


def _check(identity: str, title: str, command: Command, otherwise: str, *rules: str) -> Precondition:
    return Precondition(
        id=identity, title=title, state="check", commands=(command,), otherwise=otherwise, rules=tuple(rules)
    )


def restarts(documents: Documents) -> tuple[tuple[Restart, ...], str]:
    """Workloads to restart in this order, servers before their clients; else why that is not known."""
    if documents.audit is None:
        return (), "No audit was made, so connections that stand for long are not known: `migrate audit`."
    standing = documents.audit.connections
    if not standing:
        return (), "The audit saw no connection that stood for long."
    of: dict[AuditEnd, list[StandingConnection]] = {}
    for connection in standing:
        for end in {connection.client, connection.server}:
            if end.kind == "pod":
                of.setdefault(end, []).append(connection)
    ordered = _servers_first(sorted(of, key=str), standing)
    return tuple(_restart(number, end, of[end]) for number, end in enumerate(ordered, start=1)), ""


def _servers_first(ends: Sequence[AuditEnd], standing: Sequence[StandingConnection]) -> list[AuditEnd]:
    """Each workload after those that it is a client of; a circle is cut at the first name of it."""
    servers: dict[AuditEnd, set[AuditEnd]] = {end: set() for end in ends}
    for connection in standing:
        if connection.client in servers and connection.server in servers and connection.client != connection.server:
            servers[connection.client].add(connection.server)
    done: list[AuditEnd] = []
    left = list(ends)
    while left:
        following = next((end for end in left if servers[end] <= set(done)), left[0])
        left.remove(following)
        done.append(following)
    return done


def _restart(order: int, end: AuditEnd, connections: Sequence[StandingConnection]) -> Restart:
    kind, _, name = end.name.rpartition("/")
    command = None
    if kind in _RESTARTABLE:
        command = run(f"kubectl -n {quoted(end.namespace)} rollout restart {quoted(f'{kind.lower()}/{name}')}")
    denied = any(connection.effect == "cut" for connection in connections)
    reason = "Cilium denies a connection of it: allow it, or take it as lost" if denied else "it connects anew"
    if command is None:
        reason += "; nothing restarts it by itself, so its owner has to"
    return Restart(
        order=order,
        namespace=end.namespace,
        workload=end.name,
        reason=reason,
        connections=tuple(sorted({_shown(connection) for connection in connections})),
        command=command,
    )


def _shown(one: StandingConnection) -> str:
    return f"{one.client} → {one.server} {one.port}/{one.protocol} ({_EFFECTS[one.effect]})"


def removals(documents: Documents) -> tuple[Removal, ...]:
    """The old objects that must not stay, with who would bring them back."""
    results = () if documents.translation is None else documents.translation.results
    return tuple(_removal(result) for result in results if result.original != "stays" and _goes(result))


def _goes(result: TranslationResult) -> bool:
    return result.source.group != "cilium.io"


_GOES_ON, _READ_BY_CILIUM = "; until then Cilium enforces it as it reads it", ("networking.k8s.io", "extensions")
_CONTRADICTING = ("POL-SOURCE-STAYS", "POL-TYPES-EXCLUDED")
"""Findings by which Cilium enforces the original otherwise than its translation."""
_When: TypeAlias = Literal["with_apply", "after_cutover", "with_old_engine", "decide"]
_WHENS: Mapping[str, _When] = {
    "after_cutover": "after_cutover",
    "with_old_engine": "with_old_engine",
    "decided": "decide",
}
_WHY: Mapping[_When, str] = {
    "with_apply": "Cilium reads it otherwise than the old engine: it would isolate, or allow, beside what was written",
    "after_cutover": "Cilium means the same by it as by what was written for it: it is in force twice",
    "with_old_engine": "Cilium does not read it; it is a leftover as soon as the old engine is gone",
    "decide": "nothing was written in its place: decide what has to become of it",
}


def _removal(result: TranslationResult) -> Removal:
    when = _WHENS[result.original]
    if when == "after_cutover" and any(finding.id in _CONTRADICTING for finding in result.findings):
        when = "with_apply"
    owner = result.owner
    ref = result.source
    plural = _PLURALS.get((ref.group, ref.kind), f"{ref.kind.lower()}.{ref.group}")
    place = f"-n {quoted(ref.namespace)} " if ref.namespace else ""
    command = None
    if when != "decide":
        command = run(f"kubectl {place}delete {quoted(plural)} {quoted(ref.name)}")
    return Removal(
        object=str(ref),
        api_version=ref.api_version,
        when=when,
        why=_WHY[when] + (_GOES_ON if when == "decide" and ref.group in _READ_BY_CILIUM else ""),
        owner="" if owner is None else owner.name,
        returns="unknown" if owner is None else owner.returns,
        change="" if owner is None else owner.change,
        command=command,
    )


def clean_up_steps(documents: Documents, route: Route, gone: Sequence[Removal]) -> tuple[PlanStep, ...]:
    """Taking away what is left of the old engine."""
    found = [_remove_policies(gone)] if any(removal.when == "after_cutover" for removal in gone) else []
    if _has_compat(documents.translation):
        found.append(_remove_compat())
    if route.engine == "calico" or _calico_kinds(documents):
        found.append(_remove_kinds())
    return tuple(found)


def _remove_policies(gone: Sequence[Removal]) -> PlanStep:
    left = sum(removal.when == "after_cutover" for removal in gone)
    return PlanStep(
        id="remove-old-policies",
        phase="clean-up",
        title="Delete the old policies that are in force twice",
        why=f"{left} of them: whoever changes only one of the two wonders why. The list of old objects has the owners.",
        commands=(
            run(f"bash {REMOVE}", "what would be deleted (a dry run)"),
            run("# read what would be deleted, and go on only if that is meant"),
            run(f"bash {REMOVE} --apply", "deleted, for each"),
        ),
        notes=(
            "First change them where their owner keeps them, or they come back.",
            f"Delete a few first (the lines of {REMOVE} one by one), look at the drops, go on.",
        ),
        rollback=Rollback(
            possible=True, how="apply them again from the backup", commands=(run("bash backup/restore.sh --apply"),)
        ),
        rules=("POL-SOURCE-STAYS",),
    )


def remove_first_step(gone: Sequence[Removal]) -> PlanStep | None:
    """Taking away what would contradict the translated policies; None where nothing does."""
    first = sum(removal.when == "with_apply" for removal in gone)
    if not first:
        return None
    return PlanStep(
        id="remove-contradicting",
        phase="apply",
        title="Delete the old policies that contradict the translated ones",
        why=(
            f"{first} of them: Cilium reads them otherwise than the old engine, and adds them to the translated ones. "
            "Left there, they isolate pods that were free, or allow what was taken away, from the first moment on."
        ),
        commands=(
            run(f"bash {REMOVE_FIRST}", "what would be deleted (a dry run)"),
            run("# read what would be deleted, and go on only if that is meant"),
            run(f"bash {REMOVE_FIRST} --apply", "deleted, for each"),
        ),
        notes=(
            "Only after the step before: the translated policies have to be there. It is done before Cilium enforces; "
            "where the old engine still does, what these policies allow or deny ends now.",
            "Change them where their owner keeps them, or pause the owner, or they come back.",
        ),
        rollback=Rollback(
            possible=True, how="apply them again from the backup", commands=(run("bash backup/restore.sh --apply"),)
        ),
        rules=("POL-SOURCE-STAYS",),
    )


def _remove_compat() -> PlanStep:
    return PlanStep(
        id="remove-compat",
        phase="clean-up",
        title="Take back what compat/ keeps open",
        why="It allows what the old engine let through beyond the policies' text. Nobody asked for it in a policy.",
        notes=("One object after the other, each when nothing uses it any more (drops, Hubble, or an audit).",),
        rollback=Rollback(
            possible=True, how="apply it again", commands=(run("kubectl apply --server-side --recursive -f compat"),)
        ),
    )


def _remove_kinds() -> PlanStep:
    return PlanStep(
        id="remove-calico-kinds",
        phase="clean-up",
        title="Delete Calico's kinds, only after Calico is gone",
        why="They stay in the API with their objects and look like enforced policies. Deleted too early they break it.",
        commands=(
            run("kubectl get daemonsets --all-namespaces | grep calico || echo gone", "gone"),
            run(
                "kubectl get customresourcedefinitions --output name | grep -E '\\.(projectcalico\\.org|tigera\\.io)$'",
                "the kinds to delete; all their objects go with them",
            ),
        ),
        notes=("Then kubectl delete each of them, and the namespaces tigera-operator and calico-system.",),
        no_return=True,
        rollback=Rollback(possible=False, how="None for the kinds; backup/ and the export have the policy objects."),
        rules=("NODE-CALICO-CRD-LEFT",),
    )


def _has_compat(translation: Translation | None) -> bool:
    results = () if translation is None else translation.results
    objects = [e for r in results for e in r.objects] + ([] if translation is None else [*translation.objects])
    return any(e.file.startswith("compat/") for e in objects)


def _calico_kinds(documents: Documents) -> bool:
    kinds = () if documents.header is None else documents.header.kinds
    return any(k.status == "read" and k.api_version.rpartition("/")[0] in _CALICO_GROUPS for k in kinds)
