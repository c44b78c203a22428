"""Translates a case and compares, flow by flow, what its own engine says with what the target's engine will say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import msgspec

from tests.differential.shrink import shrink
from tests.policy_engines import EngineAnswer, PolicyEngine
from tests.reference import kubernetes
from tests.reference.cases import Answer, Case, Directory, End, Flow, Party, Word, own_node

Object: TypeAlias = dict[str, object]
Key: TypeAlias = tuple[str, str, str, str]
"""apiVersion, kind, namespace and name of an object."""

Sides: TypeAlias = tuple[bool, bool]
"""Something about the egress and the ingress side of a flow."""

Reach: TypeAlias = Literal["any", "pods", "nodes"]
"""Flows with any peer, or with one kind of it."""

_POLICING_HOSTS = ("HostEndpoint", "FelixConfiguration")
POLICY_KINDS = ("NetworkPolicy", "GlobalNetworkPolicy")


@dataclass(frozen=True, slots=True)
class Excuse:
    """A declared change: flows that a policy decides on these sides, and of these the ones within reach."""

    effect: Literal["widens", "narrows"]
    egress: bool = True
    ingress: bool = True
    reach: Reach = "any"

    def covers(self, source: Party, destination: Party) -> Sides:
        """Which sides of a flow the excuse is about, if the policy decides them."""
        return self.egress and self._reaches(destination), self.ingress and self._reaches(source)

    def _reaches(self, peer: Party) -> bool:
        if self.reach == "pods":
            return peer.pod is not None
        return self.reach == "any" or peer.node != ""


ANYTHING = frozenset({Excuse("widens"), Excuse("narrows")})


@dataclass(frozen=True, slots=True)
class Claim:
    """What a translation says of one source: its result, and what it does to flows that the policy decides."""

    result: str
    excuses: frozenset[Excuse] = frozenset()


@dataclass(frozen=True, slots=True)
class Translated:
    """What a translation gives: the objects that will be in the cluster, and a claim for each source by its key."""

    objects: tuple[Object, ...]
    claims: Mapping[Key, Claim]


Translator: TypeAlias = Callable[[Case, str], Translated]
"""From a case and the name of a target profile."""


@dataclass(frozen=True, slots=True)
class Engines:
    """The real engines: Calico's, and Cilium's of each target."""

    calico: PolicyEngine
    cilium: Mapping[str, PolicyEngine]


@dataclass(frozen=True, slots=True)
class Difference:
    """A flow for which one side's answer changes."""

    flow: Flow
    before: Answer
    after: Answer

    def __str__(self) -> str:
        before, after = (f"egress {a.egress}, ingress {a.ingress}" for a in (self.before, self.after))
        return f"{self.flow}: {before} becomes {after}"


@dataclass(slots=True)
class Comparison:
    """The outcome of one or more cases.

    `declared` flows have a side that is decided by policies whose translation is said to widen or to narrow, whether
    the side's answer changes or not. `excluded` ones have a known difference that holds for every policy. `refused`
    are emitted objects that the target's engine does not take.
    """

    equal: int = 0
    declared_equal: int = 0
    declared_different: int = 0
    excluded: int = 0
    policies: Counter[str] = field(default_factory=Counter)
    differences: list[Difference] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    @property
    def holds(self) -> bool:
        """Whether nothing differs that was not declared."""
        return not self.differences and not self.refused

    def add(self, other: Comparison) -> None:
        """Take in the counts of another case."""
        self.equal += other.equal
        self.declared_equal += other.declared_equal
        self.declared_different += other.declared_different
        self.excluded += other.excluded
        self.policies += other.policies
        self.differences += other.differences
        self.refused += other.refused

    @property
    def share_declared(self) -> float:
        """Share of the judged flows that a declaration takes out of the comparison."""
        declared = self.declared_equal + self.declared_different
        return declared / max(1, declared + self.equal + len(self.differences))

    def __str__(self) -> str:
        results = ", ".join(f"{name} {count}" for name, count in sorted(self.policies.items()))
        return (
            f"{self.equal} flows equal, {len(self.differences)} undeclared differences, "
            f"{self.declared_different} declared differences, {self.declared_equal} declared but equal "
            f"(declared {self.share_declared:.0%}), {self.excluded} excluded, "
            f"{len(self.refused)} objects refused; policies: {results}"
        )


def compare(case: Case, target: str, translator: Translator, engines: Engines) -> Comparison:
    """Translate the case for a target and judge both sides of every flow under both engines."""
    translated = translator(case, target)
    document = engines.cilium[target](after(case, translated.objects))
    found = Comparison(refused=_refused(document))
    found.policies.update(translated.claims[key_of(item)].result for item in case.policies if is_policy(item))
    directory, excused = Directory(case), _excused(case, translated, engines)
    for flow, was, becomes, excuse in zip(case.flows, truth(case, engines), answers(document), excused, strict=True):
        differs = set(_changes(was, becomes))
        if _is_known(case, directory, flow):
            found.excluded += 1
        elif not excuse.issuperset(differs):
            found.differences.append(Difference(flow, was, becomes))
        elif not excuse:
            found.equal += 1
        elif differs:
            found.declared_different += 1
        else:
            found.declared_equal += 1
    return found


Change: TypeAlias = tuple[Literal["egress", "ingress"], Literal["widens", "narrows"]]
"""What happens to one side of a flow."""


def _changes(before: Answer, after: Answer) -> Iterator[Change]:
    if (before.egress == "deny") is not (after.egress == "deny"):
        yield "egress", "widens" if before.egress == "deny" else "narrows"
    if (before.ingress == "deny") is not (after.ingress == "deny"):
        yield "ingress", "widens" if before.ingress == "deny" else "narrows"


def _excused(case: Case, translated: Translated, engines: Engines) -> list[set[Change]]:
    """The changes of each flow that the translation declared."""
    directory = Directory(case)
    found = [_of_hosts(case, *directory.parties(flow)) for flow in case.flows]
    claims = [(item, translated.claims[key_of(item)]) for item in case.policies if is_policy(item)]
    for excuse in sorted({excuse for _, claim in claims for excuse in claim.excuses}, key=str):
        decided = _decided(case, [item for item, claim in claims if excuse in claim.excuses], engines)
        for flow, changes, answer in zip(case.flows, found, decided, strict=True):
            egress, ingress = excuse.covers(*directory.parties(flow))
            if egress and answer.egress != "unenforced":
                changes.add(("egress", excuse.effect))
            if ingress and answer.ingress != "unenforced":
                changes.add(("ingress", excuse.effect))
    return found


def _of_hosts(case: Case, source: Party, destination: Party) -> set[Change]:
    """The sides of hosts where Calico polices them, which no policy for pods says again.

    Findings POL-HOSTENDPOINT and POL-ENDPOINT-TO-HOST tell of it for the cluster.
    """
    if not any(item["kind"] in _POLICING_HOSTS for item in case.policies):
        return set()
    ends: tuple[tuple[Literal["egress", "ingress"], Party], ...] = (("egress", source), ("ingress", destination))
    return {
        (side, effect)
        for side, party in ends
        if party.pod is None or party.pod.host_network
        for effect in ("widens", "narrows")
    }


def _decided(case: Case, policies: list[Object], engines: Engines) -> list[Answer]:
    """What the engine says with some of the policies only: the sides that are not `unenforced` are theirs.

    Without Tier objects every tier ends in Deny, so a policy decides all flows of the pods that it selects.
    """
    others = [item for item in case.policies if not is_policy(item) and item["kind"] != "Tier"]
    return truth(msgspec.structs.replace(case, policies=(*policies, *others)), engines)


def smallest(case: Case, difference: Difference, target: str, translator: Translator, engines: Engines) -> Case:
    """A small case with one flow that changes in the same way."""

    def disagrees(smaller: Case) -> bool:
        found = compare(smaller, target, translator, engines).differences
        return any((d.before, d.after) == (difference.before, difference.after) for d in found)

    return shrink(case, difference.flow, disagrees)


def unchanged(case: Case, target: str) -> Translated:
    """No translation at all: the policies as they are, claimed to mean the same for every target."""
    return Translated(case.policies, {key_of(item): Claim("exact") for item in case.policies})


def truth(case: Case, engines: Engines) -> list[Answer]:
    """What the policies of the case mean today. Raises ValueError for a policy that its engine does not take."""
    if case.engine == "kubernetes":
        return kubernetes.evaluate(case, block_covers_cluster=True)
    document = engines.calico(case.document())
    refused = _refused(document)
    if refused:
        raise ValueError(f"{case.name}: Calico refuses {'; '.join(refused)}")
    return answers(document)


def after(case: Case, objects: Sequence[Object]) -> Object:
    """The case as the target's engine sees it: the sources are gone, what was emitted is there.

    The ends are addresses: of a node given by name that engine takes the first one, of whatever IP family.
    """
    directory = Directory(case)
    flows = tuple(
        msgspec.structs.replace(flow, src=End(ip=str(source.address)), dst=End(ip=str(destination.address)))
        for flow in case.flows
        for source, destination in [directory.parties(flow)]
    )
    return msgspec.structs.replace(case, policies=tuple(objects), flows=flows).document()


def _is_known(case: Case, directory: Directory, flow: Flow) -> bool:
    """Whether the flow is from a pod to its own node, which NetworkPolicy never stops and Cilium does.

    Finding POL-EGRESS-OWN-NODE says so for every policy that isolates egress. Calico stops these flows too.
    """
    source, destination = directory.parties(flow)
    return case.engine == "kubernetes" and source.pod is not None and own_node(source, destination)


def key_of(item: Mapping[str, object]) -> Key:
    """The identity of an object."""
    metadata = item["metadata"]
    assert isinstance(metadata, dict)
    return (str(item["apiVersion"]), str(item["kind"]), str(metadata.get("namespace", "")), str(metadata["name"]))


def is_policy(item: Mapping[str, object]) -> bool:
    """Whether the object is a policy, and not something that policies refer to."""
    return item["kind"] in POLICY_KINDS


_WORDS: dict[str, Word] = {"allow": "allow", "deny": "deny", "unenforced": "unenforced"}


def answers(document: EngineAnswer) -> list[Answer]:
    """An engine's words for each flow. Raises ValueError when it could not judge one."""
    found: list[Answer] = []
    for index, flow in enumerate(document["flows"]):
        if "error" in flow:
            raise ValueError(f"flow {index}: {flow['error']}")
        found.append(Answer(_WORDS[flow["egress"]], _WORDS[flow["ingress"]]))
    return found


def _refused(document: EngineAnswer) -> list[str]:
    return [
        f"{policy['kind']} {policy.get('namespace', '')}/{policy['name']}: {policy.get('error', '')}"
        for policy in document["policies"] or ()
        if not policy["ok"]
    ]
