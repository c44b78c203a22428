"""Who enforces policies today: the engines of a cluster, and the policies that none of them reads."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from migrate.model.documents import Evidence, Fact
from migrate.model.raw import FieldPath, RawObject
from migrate.scan.inventory.gather import POLICY_KINDS, Inventory
from migrate.scan.inventory.look import counted, dig, evidence, first_few, items, label, text
from migrate.scan.inventory.programs import Program, is_known, programs
from migrate.scan.inventory.sightings import Sighting, with_role

NETWORK_POLICY_GROUP = "networking.k8s.io"
NOT_ENFORCED = "none: policies exist but nothing enforces them"
"""Value of the fact policy-enforcement for a cluster that fails open."""

_AZURE_POLICY = ("spec", "networkProfile", "networkPolicy")
_AZURE_ENGINES = {"azure": "npm-linux", "calico": "calico", "cilium": "cilium"}
_POLICY_LABEL = "kubernetes.azure.com/network-policy"
_VOLUMES = ("spec", "template", "spec", "volumes")
_UNKNOWN_DAEMON = "other: "
_CNI_FOLDERS = ("/etc/cni/net.d", "/opt/cni/bin")


def engine_sightings(inventory: Inventory, seen: Sequence[Sighting]) -> tuple[Sighting, ...]:
    """The engines that workloads, Azure or node labels speak of, by id."""
    found = {sighting.id: sighting for sighting in with_role(seen, "engine")}
    for program, said in _claims(inventory).items():
        sighting = found.get(program.id)
        if sighting is None or (sighting.state == "unknown" and not inventory.shows_workloads):
            found[program.id] = _claimed(inventory, program, said)
        else:
            found[program.id] = msgspec.structs.replace(sighting, evidence=sighting.evidence + said)
    return tuple(_with_data_plane(inventory, found[engine]) for engine in sorted(found))


def engine_facts(inventory: Inventory, engines: Sequence[Sighting], cni: Sequence[Fact]) -> list[Fact]:
    """One fact for each engine and each CNI that nobody knows by sight, or that there is none.

    That there is none can only be said when the CNI is known: one that is not may enforce policies itself.
    """
    facts = [_with_enforcement(sighting).fact("engine") for sighting in engines]
    facts += [_unknown_program(raw) for raw in unknown_network_daemons(inventory)]
    if any(fact.state in ("active", "unknown") for fact in facts):
        return facts
    if not inventory.shows_workloads:
        tell = "not every DaemonSet and node was read; `kubectl get daemonsets,nodes -A -o yaml` would tell"
    elif any(fact.state == "unknown" for fact in cni):
        tell = "no DaemonSet of a known engine; the CNI is not known and may enforce policies itself"
    else:
        return [*facts, Fact(topic="engine", value="none", state="absent", detail="no DaemonSet of a known engine")]
    return [*facts, Fact(topic="engine", value="unknown", state="unknown", detail=tell)]


def enforcement_facts(inventory: Inventory, engines: Sequence[Sighting], facts: Sequence[Fact]) -> list[Fact]:
    """For NetworkPolicies, and for each further API group with policies: who enforces them."""
    policies: dict[str, list[RawObject]] = {NETWORK_POLICY_GROUP: []}
    for kind in POLICY_KINDS:
        for raw in inventory.all(kind):
            policies.setdefault(raw.ref.group, []).append(raw)
    return [_enforcement(group, policies[group], engines, facts) for group in sorted(policies)]


def group_of(fact: Fact) -> str:
    """The API group that a fact of topic policy-enforcement speaks of."""
    return fact.detail.partition(":")[0]


def unknown_network_daemons(inventory: Inventory) -> tuple[RawObject, ...]:
    """DaemonSets that write CNI configuration or programs to the nodes, and that no rule file knows."""
    return tuple(raw for raw in inventory.all("DaemonSet") if not is_known(raw) and _writes_cni(raw) is not None)


def _enforcement(group: str, policies: list[RawObject], engines: Sequence[Sighting], facts: Sequence[Fact]) -> Fact:
    readers = [engine for engine in engines if group in engine.program.enforces]
    who = [e for e in readers if e.state == "active" and e.enforcing]
    said = f"{group}: {counted(len(policies), 'policy')}"
    shown = first_few(evidence(raw, "metadata", "name") for raw in policies)
    if who:
        shown += tuple(e.evidence[0] for e in who if e.evidence)
        return Fact(topic="policy-enforcement", value=", ".join(e.id for e in who), detail=said, evidence=shown)
    if any(map(_in_doubt, readers)) or _may_have_strange_readers(group, engines, facts):
        detail = f"{said}; whether an engine runs and enforces them could not be told, see topic engine"
        return Fact(topic="policy-enforcement", value="unknown", state="unknown", detail=detail, evidence=shown)
    value = NOT_ENFORCED if policies else "none"
    return Fact(topic="policy-enforcement", value=value, state="absent", detail=said, evidence=shown)


def _in_doubt(engine: Sighting) -> bool:
    """Whether an engine may enforce although nothing shows it; one of which only leftovers are there does not."""
    return engine.enforcing is not False and (
        engine.state == "unknown" or (engine.state == "active" and engine.enforcing is None)
    )


def _may_have_strange_readers(group: str, engines: Sequence[Sighting], facts: Sequence[Fact]) -> bool:
    """Whether a program that is not known here may enforce a group.

    A CNI that no workload shows may enforce what Kubernetes defines, but not the kinds of a product: those are read by
    its own agent, which is a DaemonSet.
    """
    known = {engine.id for engine in engines}
    strange = [fact.value for fact in facts if fact.state == "unknown" and fact.value not in known]
    of_a_product = any(group in program.groups for program in programs())
    return any(not of_a_product or value.startswith(_UNKNOWN_DAEMON) for value in strange)


def _with_enforcement(sighting: Sighting) -> Sighting:
    """The sighting with a word on whether the program enforces, where that is not plain."""
    program = sighting.program
    if sighting.enforcing is None and sighting.state == "active":
        words = program.tell or "whether it enforces policies cannot be told"
    elif sighting.enforcing is False:
        words = "enforces no policies"
    else:
        return sighting
    return msgspec.structs.replace(sighting, details=(*sighting.details, words))


def _claims(inventory: Inventory) -> dict[Program, tuple[Evidence, ...]]:
    """Engines that Azure or the labels of AKS nodes name, with what names them."""
    found: dict[str, list[Evidence]] = {}
    azure = inventory.azure
    engine = _AZURE_ENGINES.get(text(azure, *_AZURE_POLICY)) if azure else None
    if azure is not None and engine is not None:
        found.setdefault(engine, []).append(evidence(azure, *_AZURE_POLICY))
        if engine == "npm-linux" and (pool := _windows_pool(azure)) is not None:
            found.setdefault("npm-windows", []).extend((evidence(azure, *_AZURE_POLICY), pool))
    for node in inventory.all("Node"):
        engine = _AZURE_ENGINES.get(label(node, _POLICY_LABEL))
        if engine is not None:
            found.setdefault(engine, []).append(evidence(node, "metadata", "labels", _POLICY_LABEL))
    return {program: first_few(found[program.id]) for program in programs() if program.id in found}


def _windows_pool(azure: RawObject) -> Evidence | None:
    for index, pool in enumerate(items(dig(azure.data, "spec", "agentPoolProfiles"))):
        if dig(pool, "osType") == "Windows":
            return evidence(azure, "spec", "agentPoolProfiles", index, "osType")
    return None


def _claimed(inventory: Inventory, program: Program, said: tuple[Evidence, ...]) -> Sighting:
    """An engine that is only spoken of. Azure's word counts unless the snapshot shows that nothing runs."""
    if inventory.shows_workloads:
        detail = "said to be on, but no DaemonSet of it was found"
        return Sighting(program=program, state="unknown", details=(detail,), evidence=said)
    if inventory.azure is not None:
        detail = "said by Azure; whether its pods run was not seen"
        return Sighting(program=program, state="active", enforcing=True, details=(detail,), evidence=said)
    detail = "said by node labels only; `kubectl get daemonsets -n kube-system` would tell"
    return Sighting(program=program, state="unknown", details=(detail,), evidence=said)


def _with_data_plane(inventory: Inventory, sighting: Sighting) -> Sighting:
    """Calico with the data plane that its operator or Felix was told to use."""
    if sighting.id != "calico":
        return sighting
    value, shown = _calico_data_plane(inventory)
    details = (*sighting.details, f"data plane {value}")
    return msgspec.structs.replace(sighting, details=details, evidence=sighting.evidence + shown)


def _calico_data_plane(inventory: Inventory) -> tuple[str, tuple[Evidence, ...]]:
    for raw in inventory.all("Installation"):
        for path in (("status", "computed", "calicoNetwork"), ("spec", "calicoNetwork")):
            if chosen := text(raw, *path, "linuxDataplane"):
                return chosen.lower(), (evidence(raw, *path, "linuxDataplane"),)
    felix = next((raw for raw in inventory.all("FelixConfiguration") if raw.ref.name == "default"), None)
    if felix is not None and dig(felix.data, "spec", "bpfEnabled") is True:
        return "bpf", (evidence(felix, "spec", "bpfEnabled"),)
    if felix is not None and text(felix, "spec", "nftablesMode") == "Enabled":
        return "nftables", (evidence(felix, "spec", "nftablesMode"),)
    if felix is not None:
        return "iptables", (evidence(felix, "spec", "bpfEnabled"),)
    return "unknown (no Installation or FelixConfiguration was read)", ()


def _unknown_program(raw: RawObject) -> Fact:
    place = _writes_cni(raw) or ()
    return Fact(
        topic="engine",
        value=f"{_UNKNOWN_DAEMON}{raw.ref.namespace}/{raw.ref.name}",
        state="unknown",
        detail="writes CNI files to the nodes and is not known here; its documentation tells whether it enforces",
        evidence=(evidence(raw, *place),),
    )


def _writes_cni(raw: RawObject) -> FieldPath | None:
    """Where a DaemonSet mounts a CNI folder of its node; None when it mounts none."""
    for index, volume in enumerate(items(dig(raw.data, *_VOLUMES))):
        path = dig(volume, "hostPath", "path")
        if isinstance(path, str) and path.rstrip("/").startswith(_CNI_FOLDERS):
            return (*_VOLUMES, index, "hostPath", "path")
    return None
