"""Which way leads this cluster to Cilium: the path, its steps in order, and where what is known does not agree."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from migrate.model.documents import Fact
from migrate.readiness.documents import Documents
from migrate.scan.inventory import engines
from migrate.scan.inventory.look import dig, text

Path: TypeAlias = Literal["aks", "dual-overlay", "already-cilium", "unknown"]
Step: TypeAlias = Literal["policy-none", "overlay", "dataplane", "cilium-beside", "nodes", "enforce", "remove-old"]
Cni: TypeAlias = Literal[
    "kubenet", "azure-cni-node-subnet", "azure-cni-pod-subnet", "azure-cni-overlay", "self-managed", "unknown"
]

REIMAGES: frozenset[Step] = frozenset({"policy-none", "overlay", "dataplane"})
"""Steps in which AKS makes every node of every pool anew."""

_PROFILE = ("spec", "networkProfile")
_AZURE_CNIS: tuple[Cni, ...] = ("kubenet", "azure-cni-node-subnet", "azure-cni-pod-subnet", "azure-cni-overlay")
_UNSAID = "?"
_ENGINES_OF_AZURE = {"azure": "npm-linux", "calico": "calico", "cilium": "cilium"}
_SUBNET_CNIS = ("azure-cni-node-subnet",)
_TITLES = {"npm-linux": "Azure NPM", "npm-windows": "Azure NPM on Windows", "calico": "Calico", "cilium": "Cilium"}


@dataclass(frozen=True, slots=True)
class Wishes:
    """Ways that can be chosen where more than one is documented.

    `overlay`: a cluster whose pods have addresses of the node subnet goes to overlay as well. `through_none`: the old
    policy engine is taken away in a step of its own, where the dataplane update would do that too.
    """

    overlay: bool = False
    through_none: bool = False


@dataclass(frozen=True, slots=True)
class Route:
    """The way of one cluster.

    `engine` is what enforces today ("" for nothing), `cni` who gives pods their network. `doubts` are sentences about
    what the sources or the snapshot contradict each other in; `missing` says what an "unknown" path lacks, each with
    how to get it. `choices` are sentences about other documented ways, each with the option that takes it.
    """

    path: Path
    title: str
    steps: tuple[Step, ...] = ()
    engine: str = ""
    cni: Cni = "unknown"
    doubts: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    choices: tuple[str, ...] = ()

    def takes(self, step: Step) -> bool:
        """Whether the way includes a step."""
        return step in self.steps

    @property
    def reimages(self) -> int:
        """How often AKS makes all nodes anew."""
        return sum(step in REIMAGES for step in self.steps)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What the documents say of the cluster.

    `engines` are those that run and enforce. `claimed` is Azure's word for one, "" for none; None where Azure was not
    asked, does not say, or does not run the pods' network.
    """

    managed: bool
    cloud_known: bool
    cni: Cni
    engines: tuple[str, ...]
    engine_known: bool
    claimed: str | None
    doubts: tuple[str, ...]


def route_of(documents: Documents, wishes: Wishes | None = None) -> Route:
    """The way that the documents show; with what is missing where they do not show one."""
    chosen = wishes or Wishes()
    seen = _seen(documents)
    engine = _engine(seen)
    if documents.header is None:
        return Route("unknown", _UNKNOWN, missing=("a snapshot: `migrate scan`",))
    if engine == "cilium" and (seen.claimed is not None or len(_of_linux(seen.engines)) == 1):
        return Route("already-cilium", "Cilium is the data plane already", (), engine, seen.cni, seen.doubts)
    missing = tuple(_missing(seen))
    if missing:
        return Route("unknown", _UNKNOWN, (), engine, seen.cni, seen.doubts, missing)
    return _aks(seen, engine, chosen) if seen.managed else _beside(seen, engine)


_UNKNOWN = "the way to Cilium cannot be told from what was read"


def _aks(seen: _Seen, engine: str, wishes: Wishes) -> Route:
    overlay = seen.cni == "kubenet" or (wishes.overlay and seen.cni in _SUBNET_CNIS)
    none = bool(engine) and (overlay or wishes.through_none)
    steps: list[Step] = ["policy-none"] if none else []
    steps += ["overlay"] if overlay else []
    steps.append("dataplane")
    return Route(
        "aks",
        _title(seen, engine, overlay=overlay),
        tuple(steps),
        engine,
        seen.cni,
        (*seen.doubts, *_doubts(seen, engine, overlay=overlay)),
        choices=tuple(_choices(seen, engine, wishes)),
    )


def _beside(seen: _Seen, engine: str) -> Route:
    """A cluster whose network is nobody's service: Cilium's overlay beside the old one, then node by node."""
    what = _TITLES.get(engine, engine) or "a CNI without policy"
    doubt = "Cilium's guide says that moving from a CNI that enforces policy was not tested; rehearse it"
    return Route(
        "dual-overlay",
        f"{what} → Cilium, node by node with two overlays",
        ("cilium-beside", "nodes", "enforce", "remove-old"),
        engine,
        "self-managed",
        (*seen.doubts, *((doubt,) if engine else ())),
    )


def _title(seen: _Seen, engine: str, *, overlay: bool) -> str:
    before = {
        "kubenet": "kubenet",
        "azure-cni-overlay": "Azure CNI Overlay",
        "azure-cni-pod-subnet": "Azure CNI (pod subnet)",
    }.get(seen.cni, "Azure CNI (node subnet)")
    policy = f" with {_TITLES[engine]}" if engine else " without a policy engine"
    return f"{before}{policy} → {'Azure CNI Overlay → ' if overlay else ''}Azure CNI Powered by Cilium"


def _doubts(seen: _Seen, engine: str, *, overlay: bool) -> Iterator[str]:
    if seen.cni == "kubenet" and engine:
        yield (
            "Microsoft's documents disagree on whether a policy engine has to go before kubenet becomes overlay: "
            "update-azure-cni.md wants none, use-network-policies.md moves kubenet with Calico as it is. This plan "
            "takes it away first, which is slower and refused by neither; try it on a copy"
        )
    if overlay and engine and seen.cni != "kubenet":
        yield (
            "update-azure-cni.md allows overlay and data plane in either order; whether the overlay step is accepted "
            "while Cilium enforces policy is said nowhere, so this plan takes overlay first"
        )


def _choices(seen: _Seen, engine: str, wishes: Wishes) -> Iterator[str]:
    if seen.cni in _SUBNET_CNIS and not wishes.overlay:
        yield (
            "Pods keep addresses of the node subnet: Cilium runs there too. --overlay also moves them to an overlay, "
            "which cannot be undone and takes a second making-anew of every node"
        )
    if engine and seen.cni != "kubenet" and not (wishes.through_none or wishes.overlay):
        yield (
            f"The data plane update takes {_TITLES[engine]} away itself. --through-none takes it away in a step of "
            "its own before, as use-network-policies.md describes; nothing is enforced from there on"
        )


def _missing(seen: _Seen) -> Iterator[str]:
    if not seen.cloud_known:
        yield "who runs the cluster: nodes (`kubectl get nodes -o yaml`), or Azure's word with --az-json"
    if seen.cni == "unknown":
        yield "who gives pods their network: on AKS `az aks show -o json`, given to `migrate scan --az-json`"
    if seen.claimed is None and not seen.engine_known:
        yield "which engine enforces policy: DaemonSets and nodes (`kubectl get daemonsets,nodes -A -o yaml`)"
    if seen.claimed is None and len(_of_linux(seen.engines)) > 1:
        yield f"which of {', '.join(seen.engines)} is to be replaced: take the other one away first"


def _engine(seen: _Seen) -> str:
    """The engine that has to go: what Azure says it runs, else what was seen to run."""
    if seen.claimed is not None:
        return seen.claimed
    found = _of_linux(seen.engines) or seen.engines
    return found[0] if found else ""


def _of_linux(engines: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(engine for engine in engines if engine != "npm-windows")


def _seen(documents: Documents) -> _Seen:
    facts = documents.header.facts if documents.header is not None else ()
    cni = _cni(documents)
    aks = any(fact.value == "aks" for fact in documents.facts("cloud"))
    managed = aks and cni != "self-managed"
    running = engines(facts)
    claimed = _claimed(documents) if managed else None
    enforcement = [fact for fact in facts if fact.topic == "policy-enforcement"]
    return _Seen(
        managed=managed,
        cloud_known=aks or bool(documents.by_kind.get("Node")),
        cni=cni,
        engines=running,
        engine_known=bool(enforcement) and all(fact.state != "unknown" for fact in enforcement),
        claimed=claimed,
        doubts=tuple(_disagreements(facts, running, claimed)),
    )


def _cni(documents: Documents) -> Cni:
    found = {fact.value for fact in documents.facts("cni")}
    for known in _AZURE_CNIS:
        if known in found:
            return known
    return "self-managed" if found else "unknown"


def _claimed(documents: Documents) -> str | None:
    azure = documents.azure
    if azure is None:
        return None
    if text(azure, *_PROFILE, "networkDataplane") == "cilium":
        return "cilium"
    said = dig(azure.data, *_PROFILE)
    policy = said.get("networkPolicy", _UNSAID) if isinstance(said, dict) else _UNSAID
    if policy in (None, "", "none"):
        return ""
    return _ENGINES_OF_AZURE.get(policy) if isinstance(policy, str) else None


def _disagreements(facts: Sequence[Fact], running: tuple[str, ...], claimed: str | None) -> Iterator[str]:
    if claimed is None:
        return
    others = [_TITLES.get(engine, engine) for engine in _of_linux(running) if engine != claimed]
    if others:
        said = _TITLES.get(claimed, "no policy engine")
        yield (
            f"Azure says {said}, and the snapshot shows {', '.join(others)} running: the commands follow Azure; find "
            "out who installed the other one before you start"
        )
    for fact in facts:
        if fact.topic == "engine" and fact.value == claimed and fact.state != "active":
            yield f"Azure says {_TITLES[claimed]}, and it was not seen to run: {fact.detail}"
