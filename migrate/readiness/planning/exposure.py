"""Who could reach what while nothing is enforced: connectivity without any policy minus today's, by the engine."""

from __future__ import annotations

from typing import Literal

from migrate.model.cluster import Cluster
from migrate.model.documents import Cause, Matrix
from migrate.model.plan_documents import Exposure, Opened, OpenedEnd
from migrate.model.raw import RawObject
from migrate.readiness.documents import Documents
from migrate.scan.inventory import engines
from migrate.sources.endpoints import BACKEND_KINDS
from migrate.translate.kinds import is_policy
from migrate.verify.causes import workload
from migrate.verify.engines import Built, build_engine
from migrate.verify.matrix import NODES, OUTSIDE
from migrate.verify.verification import State, Wanted, verify

MOST_OPENED = 10
MOST_DESTINATIONS = 20
_ENGINES = {"npm-linux": "npm", "npm-windows": "npm-windows", "calico": "calico", "cilium": "cilium"}
_TITLES = {"npm": "Azure NPM", "npm-windows": "Azure NPM on Windows", "calico": "Calico", "cilium": "Cilium"}
_MOST_WORKLOADS = 400
"""With more workloads than these the answer is by namespace: nobody reads a longer one."""
_NAMED = 6


def exposure_of(documents: Documents) -> Exposure:
    """What is open when the engine of today is gone and nothing has taken its place."""
    header = documents.header
    found = engines(header.facts) if header is not None else ()
    known = sorted({_ENGINES[engine] for engine in found if engine in _ENGINES} - {"npm-windows"})
    if len(known) != 1:
        if any(fact.state == "unknown" for fact in (header.facts if header else ()) if fact.topic == "engine"):
            return Exposure(known=False, engine="", unknown=("which engine enforces policy today is not known",))
        why = "several engines enforce policy today" if known else "nothing enforces policy today, so nothing is opened"
        return Exposure(known=not known, engine="", unknown=(why,))
    if not any(pod.addresses for pod in documents.cluster.pods):
        return Exposure(known=False, engine=_TITLES[known[0]], unknown=("no pods with addresses are in the snapshot",))
    return _opened(documents, known[0])


def _opened(documents: Documents, engine: str) -> Exposure:
    cluster = documents.cluster
    policies = [raw for raw in documents.objects if _takes_part(raw)]
    today, nothing = _state(engine, engine, policies, cluster), _state("no policy", "kubernetes", [], cluster)
    workloads = {(pod.namespace, workload(pod)) for pod in cluster.pods}
    by: Literal["workload", "namespace"] = "workload" if len(workloads) <= _MOST_WORKLOADS else "namespace"
    done = verify(today, nothing, cluster, wanted=Wanted(proof="snapshot", matrix=by))
    causes = sorted((c for c in done.causes if c.change == "newly_allowed"), key=_largest_first)
    ends = _ends(done.matrix) if done.matrix is not None else []
    header = documents.header
    unread = () if header is None or header.complete else ("the snapshot is not complete: more may be open",)
    return Exposure(
        known=True,
        engine=_TITLES[engine],
        pod_pairs=done.newly_allowed_pairs,
        opened=tuple(_cause(cause) for cause in causes[:MOST_OPENED]),
        more_opened=max(0, len(causes) - MOST_OPENED),
        by=by,
        destinations=tuple(ends[:MOST_DESTINATIONS]),
        more_destinations=max(0, len(ends) - MOST_DESTINATIONS),
        unknown=(*unread, *done.left_out),
    )


def _takes_part(raw: RawObject) -> bool:
    return is_policy(raw.ref) or raw.ref.kind in ("FelixConfiguration", *BACKEND_KINDS)


def _state(name: str, engine: str, policies: list[RawObject], cluster: Cluster) -> State:
    def build(of: Cluster) -> Built:
        return build_engine(engine, policies, of, {})

    return State(name, build(cluster), build)


def _largest_first(cause: Cause) -> tuple[int, bool, str]:
    return -cause.pod_pairs, not (cause.sources.outside or cause.destinations.outside), str(cause)


def _cause(cause: Cause) -> Opened:
    return Opened(
        stopped_by=cause.before,
        side=cause.side,
        example=cause.counterexample,
        source_pods=cause.sources.pods,
        source_namespaces=cause.sources.namespaces,
        from_nodes=cause.sources.nodes,
        from_outside=cause.sources.outside,
        destination_pods=cause.destinations.pods,
        destination_namespaces=cause.destinations.namespaces,
        to_nodes=cause.destinations.nodes,
        to_outside=cause.destinations.outside,
        pod_pairs=cause.pod_pairs,
    )


def _ends(matrix: Matrix) -> list[OpenedEnd]:
    """The destinations that gain, those from outside first, then by how many gain something."""
    found = [end for column in range(len(matrix.names)) if (end := _end(matrix, column)).sources]
    return sorted(found, key=lambda end: (not end.from_outside, -end.newly, -end.sources, end.destination))


def _end(matrix: Matrix, column: int) -> OpenedEnd:
    gained = [
        (name, before[column])
        for name, before, after in zip(matrix.names, matrix.before, matrix.after, strict=True)
        if before[column] != after[column]
    ]
    special = [name for name in (OUTSIDE, NODES) if any(name == source for source, _ in gained)]
    others = sorted(name for name, _ in gained if name not in special)
    return OpenedEnd(
        destination=matrix.names[column],
        sources=len(gained),
        newly=sum(before == "-" for _, before in gained),
        first=tuple([*special, *others][:_NAMED]),
        from_outside=OUTSIDE in special,
        from_nodes=NODES in special,
    )
