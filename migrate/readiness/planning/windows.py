"""The times in which policy is not enforced, by the steps of a way."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.plan_documents import PlanStep, Window
from migrate.readiness.route import REIMAGES, Route

_GUARD = (
    "Close what must not be open by other means for that time: network security groups, authentication in front of "
    "the workloads, or workloads scaled to zero."
)


def windows_of(route: Route, steps: Sequence[PlanStep]) -> tuple[Window, ...]:
    """Every time in which less is enforced than today, in order."""
    if route.path == "aks":
        return _of_aks(route, steps)
    return _beside(route) if route.path == "dual-overlay" else ()


def _of_aks(route: Route, steps: Sequence[PlanStep]) -> tuple[Window, ...]:
    if not route.engine:
        return ()
    first = "policy-none" if route.takes("policy-none") else "dataplane"
    ids = [step.id for step in steps]
    open_ = [step for step in steps[ids.index(first) :] if step.id in REIMAGES]
    durations = [step.duration for step in open_ if step.duration is not None]
    several = len(open_) > 1
    what = (
        "The old engine leaves each node as that is made anew, and Cilium enforces only once the last node of the data "
        "plane update is. From when on AKS no longer enforces on nodes that still wait is not documented: take it for "
        "open from the first minute."
    )
    found = [
        Window(
            id="unenforced",
            title=f"Nothing is enforced{f', over {len(open_)} operations' if several else ''}",
            begins=first,
            ends="dataplane",
            enforced="nothing",
            what=what,
            exposed=True,
            expected_minutes=sum(duration.expected_minutes for duration in durations) if durations else None,
            worst_minutes=sum(duration.worst_minutes for duration in durations) if durations else None,
            guard=f"{_GUARD} The time between two operations counts too." if several else _GUARD,
        )
    ]
    return (*found, _old_only("dataplane"))


def _old_only(step: str) -> Window:
    return Window(
        id="old-policies-only",
        title="Only old NetworkPolicies are enforced, as Cilium reads them",
        begins=step,
        ends="apply",
        enforced="partly",
        what=(
            "If Cilium enforces before the translated policies are there: NetworkPolicies that are in the cluster "
            "count, Calico's own kinds do not. It does not come about when they are applied before the last node is "
            "made anew."
        ),
        exposed=False,
        expected_minutes=0,
        worst_minutes=None,
        guard="Start apply.sh with the update; it waits by itself.",
    )


def _beside(route: Route) -> tuple[Window, ...]:
    if not route.engine:
        return ()
    what = (
        "Pods on nodes that moved are under no policy: Cilium does not enforce until the last step, the old engine "
        "does not filter their interfaces. It grows node by node, from one node to the whole cluster."
    )
    return (
        Window(
            id="unenforced",
            title="Pods on nodes that moved are not protected",
            begins="nodes",
            ends="enforce",
            enforced="partly",
            what=what,
            exposed=True,
            expected_minutes=None,
            worst_minutes=None,
            guard=f"{_GUARD} Move the nodes within one change, those of the most exposed workloads last.",
        ),
    )
