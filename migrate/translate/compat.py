"""compat/: the smallest further objects that keep what Azure NPM lets through beyond its policies' text.

Each belongs to one source object and one finding, and none asks for default deny: it adds to what is allowed to pods
that are isolated anyway, and can be deleted by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace

from migrate import yaml_out
from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.refs import Location, ObjectRef
from migrate.model.selectors import And, Conjunction, Not, TooManyTermsError, disjuncts
from migrate.model.words import one_line
from migrate.sources.kubernetes import NetworkPolicy, PodPeer, Rule
from migrate.translate.context import Context
from migrate.translate.enforced import leaves_own_node, same_namespace
from migrate.translate.exposed import Exposed, exposed_services
from migrate.translate.kubernetes import subject_of, translate_rule
from migrate.translate.names import Names
from migrate.translate.notes import Notes
from migrate.translate.npm_peers import Opening, opening
from migrate.translate.objects import ANYONE, CNP, CiliumPolicy, CiliumRule, Peers, PolicySpec, Port
from migrate.translate.render import JsonMap
from migrate.translate.selectors import filtered_labels, possible

FINDING = "cilium-migrate/finding"
"""The label that says which finding an object belongs to."""
_OUTSIDE = Peers(entities=("world", "remote-node"))
_OWN_NODE = Peers(entities=("host",))
_ENDINGS = {
    "POL-EGRESS-OWN-NODE": "own-node",
    "POL-NS-NEGATIVE-ONLY": "outside",
    "POL-NS-NOTIN-MULTI": "not-in",
    "POL-NOT-ENFORCED-BY-NPM": "not-enforced",
    "SVC-ETP-CLUSTER": "outside-clients",
}


@dataclass(frozen=True, slots=True)
class Kept:
    """An object of compat/ and the finding that it belongs to."""

    policy: CiliumPolicy
    finding_id: str
    assumptions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Compat:
    """All objects of compat/, and findings about what they let through."""

    kept: tuple[Kept, ...]
    findings: tuple[Finding, ...]


def compat(policies: Sequence[NetworkPolicy], refused: Collection[ObjectRef], context: Context, names: Names) -> Compat:
    """What keeps the enforcement of today; nothing where another engine than NPM on Linux enforces.

    `refused` are the policies that NPM refuses, so that it enforces nothing of them.
    """
    if "npm-linux" not in context.engines:
        return Compat((), ())
    enforced = [policy for policy in policies if policy.ref not in refused]
    maker = _Maker(context.exact, names)
    kept = [found for policy in enforced for found in maker.of_policy(policy)]
    for policy in policies:
        if policy.ref in refused:
            kept += maker.of_refused(policy, enforced)
    return Compat((*kept, *maker.of_services(enforced)), tuple(maker.findings))


def to_text(data: JsonMap, kept: Kept) -> str:
    """The object under a comment that says what it keeps."""
    policy = kept.policy
    place = f", {policy.at}" if policy.at is not None else ""
    lines = [
        f"Beside {policy.source} ({policy.source.api_version}){place}",
        f"Keeps what Azure NPM lets through beyond the policies' text ({kept.finding_id}): {policy.description}",
        *(f"Holds while {assumption}" for assumption in kept.assumptions),
        "Delete it when nothing that is wanted needs it any more",
    ]
    return "".join(f"# {one_line(line)}\n" for line in lines) + yaml_out.dump(data)


def refused_finding(kept: Kept, target: str, text: str) -> Finding:
    """What is told when the target would not take the object, so that it is not written."""
    return Finding(
        id="POL-PROFILE-REFUSES",
        detail=f"{target} would refuse what keeps {kept.finding_id} in compat/: {text}",
        effect=Effect.NARROWS,
        subject=kept.policy.source,
        at=kept.policy.at,
    )


class _Maker:
    """Makes the objects, with names that nothing else has."""

    def __init__(self, context: Context, names: Names) -> None:
        self._context = context
        self._names = names
        self.findings: list[Finding] = []

    def of_policy(self, policy: NetworkPolicy) -> Iterator[Kept]:
        """What NPM lets through beside a policy that it enforces."""
        if leaves_own_node(policy, self._context):
            rules = [CiliumRule(Direction.EGRESS, _OWN_NODE)]
            text = "connections from its pods to their own node"
            yield from self._beside(policy, "POL-EGRESS-OWN-NODE", rules, Notes(policy.ref, policy.at), text)
        for finding_id, text in (
            ("POL-NS-NOTIN-MULTI", "everybody whom NotIn with several namespaces keeps out by the text only"),
            ("POL-NS-NEGATIVE-ONLY", "what is no pod, where a namespaceSelector is made of negations"),
        ):
            notes = Notes(policy.ref, policy.at)
            yield from self._beside(policy, finding_id, self._openings(policy, finding_id, notes), notes, text)

    def of_refused(self, policy: NetworkPolicy, enforced: Sequence[NetworkPolicy]) -> Iterator[Kept]:
        """Everything, for the pods that nothing isolates as long as NPM refuses the policy."""
        subject = subject_of(policy, self._context, Notes(policy.ref, policy.at))
        if subject is None:
            return
        free: dict[Conjunction, list[Direction]] = {}
        for direction in Direction:
            if direction in policy.directions:
                for conjunction in self._free(policy, direction, enforced):
                    free.setdefault(conjunction, []).append(direction)
        specs = [
            PolicySpec(conjunction, frozenset(), tuple(CiliumRule(direction, ANYONE) for direction in directions))
            for conjunction, directions in free.items()
        ]
        text = "all that its pods send and receive, as far as no other policy isolates them"
        if specs:
            yield self._kept(policy.ref, policy.at, "POL-NOT-ENFORCED-BY-NPM", specs, text)

    def of_services(self, enforced: Sequence[NetworkPolicy]) -> Iterator[Kept]:
        """Outside clients of node ports, whom NPM does not check where the entry node runs the backend."""
        for exposed in exposed_services(enforced, self._context):
            if possible(exposed.backends) is None:
                continue
            if filtered_labels(exposed.backends, self._context.profile):
                text = "the Service selects by labels that Cilium's policies cannot read"
                self._not_said(Notes(exposed.ref, None), "SVC-ETP-CLUSTER", text)
            elif exposed.unseen:
                yield self._of_service(exposed)

    def _of_service(self, exposed: Exposed) -> Kept:
        ports = tuple(Port(port.protocol, port.target or port.port) for port in exposed.unseen)
        spec = PolicySpec(exposed.backends, frozenset(), (CiliumRule(Direction.INGRESS, _OUTSIDE, ports),))
        text = "outside clients that come in where a backend runs and, wider than today, all others on these ports"
        kept = self._kept(exposed.ref, None, "SVC-ETP-CLUSTER", [spec], text)
        detail = (
            f"{kept.policy.namespace}/{kept.policy.name} in compat/ keeps its outside clients by admitting the outside "
            "and other nodes to the backends' ports, also past the Service and by entry nodes without a backend, "
            "where NPM checks them"
        )
        widens = Effect.WIDENS
        self.findings.append(
            Finding(id="SVC-COMPAT-WIDER", detail=detail, effect=widens, effect_on_intent=widens, subject=exposed.ref)
        )
        return kept

    def _beside(
        self, policy: NetworkPolicy, finding_id: str, rules: Sequence[CiliumRule], notes: Notes, text: str
    ) -> Iterator[Kept]:
        subject = subject_of(policy, self._context, Notes(policy.ref, policy.at))
        if rules and subject is not None:
            specs = [PolicySpec(subject, frozenset(), tuple(rules))]
            yield replace(
                self._kept(policy.ref, policy.at, finding_id, specs, text), assumptions=tuple(notes.assumptions)
            )

    def _kept(
        self, source: ObjectRef, at: Location | None, finding_id: str, specs: Sequence[PolicySpec], text: str
    ) -> Kept:
        namespace = source.namespace or "default"
        name = self._names.give(CNP, namespace, f"{source.name}-{_ENDINGS[finding_id]}", "compat")
        labels = ((FINDING, finding_id),)
        return Kept(CiliumPolicy(namespace, name, tuple(specs), source, at, text, labels), finding_id)

    def _openings(self, policy: NetworkPolicy, finding_id: str, notes: Notes) -> list[CiliumRule]:
        found: list[CiliumRule] = []
        for direction in Direction:
            for rule in policy.rules(direction):
                for peer in rule.peers or ():
                    opened = opening(peer) if isinstance(peer, PodPeer) else None
                    if opened is not None and opened.finding_id == finding_id:
                        found += self._opened(rule, direction, opened, policy, notes)
        return list(dict.fromkeys(found))

    def _opened(
        self, rule: Rule, direction: Direction, opened: Opening, policy: NetworkPolicy, notes: Notes
    ) -> Iterator[CiliumRule]:
        """A rule for those whom NPM admits beside the pods that the text means."""
        if opened.everybody:
            yield from translate_rule(replace(rule, peers=None), direction, policy, self._context, notes)
            return
        if opened.pods is not None:
            yield from translate_rule(replace(rule, peers=(opened.pods,)), direction, policy, self._context, notes)
        if opened.outside:
            for found in translate_rule(replace(rule, peers=None), direction, policy, self._context, notes):
                yield from _to_outside(found)

    def _free(
        self, policy: NetworkPolicy, direction: Direction, enforced: Sequence[NetworkPolicy]
    ) -> Iterator[Conjunction]:
        """Selectors of the policy's pods that no enforced policy of its namespace isolates."""
        beside = (other for other in enforced if same_namespace(other, policy))
        others = [Not(other.subject) for other in beside if direction in other.directions]
        notes = Notes(policy.ref, policy.at)
        try:
            found = disjuncts(And((policy.subject, *dict.fromkeys(others))))
        except TooManyTermsError:
            text = "the pods that no other policy isolates cannot be said in few selectors"
            self._not_said(notes, "POL-NOT-ENFORCED-BY-NPM", text)
            return
        for conjunction in found:
            legal = possible(conjunction)
            if legal is not None and filtered_labels(legal, self._context.profile):
                text = "other policies select by labels that Cilium's policies cannot read"
                self._not_said(notes, "POL-NOT-ENFORCED-BY-NPM", text)
            elif legal is not None:
                yield legal

    def _not_said(self, notes: Notes, finding_id: str, text: str) -> None:
        notes.find("POL-COMPAT-NOT-SAID", f"nothing in compat/ keeps {finding_id}: {text}", effect=Effect.NARROWS)
        self.findings += [finding for finding in notes.findings if finding not in self.findings]


def _to_outside(rule: CiliumRule) -> Iterator[CiliumRule]:
    """The rule for what is no pod: there nothing has a named port, while the pods of the subject do."""
    ports = rule.ports
    if ports is not None and rule.direction is Direction.EGRESS:
        ports = tuple(port for port in ports if isinstance(port.port, int))
    if ports != () and rule.peers == ANYONE:
        yield replace(rule, peers=_OUTSIDE, ports=ports)
