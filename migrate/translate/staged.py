"""staged/: what staged Calico policies would mean if they were enforced. Each for itself, and never to be applied."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

from migrate.model.documents import Result, TranslationResult
from migrate.model.finding import Effect, Finding
from migrate.model.raw import RawObject
from migrate.model.selectors import And, matches
from migrate.model.words import one_line
from migrate.sources.calico import GROUPS, CalicoPolicy, read_policy
from migrate.sources.calico_staged import STAGED_KUBERNETES, key_of, read_staged_kubernetes
from migrate.sources.calico_tiers import Tier
from migrate.sources.kubernetes import NetworkPolicy
from migrate.translate.calico_order import order_decides
from migrate.translate.compat import FINDING
from migrate.translate.context import Context
from migrate.translate.kinds import CALICO_POLICIES
from migrate.translate.names import Names
from migrate.translate.notes import Notes

LABELS = ((FINDING, "POL-STAGED"),)
"""On each object of staged/, so that one that was applied by mistake can be found, and is no part of the others."""
_ID = "POL-STAGED"
_IDLE = ("Learn", "Ignore")

Policy: TypeAlias = CalicoPolicy | NetworkPolicy
ReadPolicy: TypeAlias = Callable[[RawObject], Policy]


@dataclass(slots=True)
class StagedNames(Names):
    """Names that say what the object is; `taken` may be those of the other objects."""

    def give(self, kind: str, namespace: str | None, wanted: str, suffix: str) -> str:
        # Not super(): a dataclass with slots is another class than the one that the method was defined in.
        return Names.give(self, kind, namespace, f"staged-{wanted}", suffix)


@dataclass(frozen=True, slots=True)
class Beside:
    """What is in force beside a staged policy."""

    policies: tuple[Policy, ...]
    tiers: tuple[Tier, ...]


def beside(sources: Iterable[RawObject], read: ReadPolicy, tiers: Sequence[Tier]) -> Beside:
    """The enforced policies among the objects, as Calico takes them."""
    found = [read(raw) for raw in sources if _is_enforced(raw)]
    return Beside(tuple(policy for policy in found if not policy.problems), tuple(tiers))


def _is_enforced(raw: RawObject) -> bool:
    if raw.ref.group in GROUPS:
        return raw.ref.kind in CALICO_POLICIES
    return raw.ref.kind == "NetworkPolicy" and raw.ref.group == "networking.k8s.io"


def enforced_form(raw: RawObject) -> RawObject:
    """The policy that a staged one stands for."""
    spec = raw.data.get("spec")
    fields = {name: value for name, value in spec.items() if name != "stagedAction"} if isinstance(spec, dict) else {}
    data = {**raw.data, "kind": raw.ref.kind.removeprefix("Staged"), "spec": fields}
    if raw.ref.kind == STAGED_KUBERNETES:
        data |= {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy"}
    return replace(raw, data=data)


def is_to_be_written(raw: RawObject, others: Beside, context: Context, notes: Notes) -> bool:
    """Whether the staged policy would add rules; what it would do instead is noted."""
    if context.engines and "calico" not in context.engines:
        return _nothing("Calico does not run, so nobody looks at it: nothing was written", notes)
    if raw.ref.kind == STAGED_KUBERNETES:
        policy, action = read_staged_kubernetes(raw)
        stage: Policy = policy
    else:
        stage = read_policy(raw)
        action = stage.staged_action
    if action == "Delete":
        return _nothing(_deletion(stage, others), notes)
    if action in _IDLE:
        return _nothing(f"stagedAction {action}: enforced or not, it would change nothing; nothing was written", notes)
    if action not in ("", "Set"):
        text = f"stagedAction {action} is not one of Set, Delete, Learn, Ignore; nothing was written"
        notes.find("POL-INVALID", text, place="spec.stagedAction", result=Result.UNSUPPORTED)
        return False
    return True


def _nothing(text: str, notes: Notes) -> bool:
    notes.find(_ID, f"it enforces nothing today; {text}", result=Result.UNSUPPORTED)
    return False


def _deletion(stage: Policy, others: Beside) -> str:
    same = _same(stage, others)
    if same is None:
        return "stagedAction Delete: it would end a policy that is not there; nothing was written"
    return (
        f"stagedAction Delete: it would end {same.ref}, which stays in force and is translated as it is; nothing was "
        "written: ask without its file in cilium/ what would then be allowed or denied"
    )


def _same(stage: Policy, others: Beside) -> Policy | None:
    return next((policy for policy in others.policies if key_of(policy) == key_of(stage)), None)


def note_meaning(raw: RawObject, alone: TranslationResult, others: Beside, context: Context, notes: Notes) -> None:
    """What the policy would do, how well staged/ says it, and where it cannot be asked beside cilium/."""
    policy: Policy = read_staged_kubernetes(raw)[0] if raw.ref.kind == STAGED_KUBERNETES else read_policy(raw)
    policy = policy if isinstance(policy, NetworkPolicy) else replace(policy, staged=False)
    notes.worsen(alone.result)
    for assumption in alone.assumptions:
        notes.assume(assumption)
    where = ", ".join(item.file for item in alone.objects)
    said = f"{where} says what it means by itself, for simulate and audit only" if where else "nothing was written"
    notes.find(_ID, f"it enforces nothing today and is not in cilium/; enforced, it {_would(policy, context)}; {said}")
    for finding in alone.findings:
        if _is_loss(finding):
            notes.find(_ID, f"staged/ does not say all of it, {finding.id}: {finding.detail}", place=finding.field)
    if where:
        _note_others(policy, others, notes)


def _is_loss(finding: Finding) -> bool:
    return finding.effect is not Effect.NONE or finding.effect_on_intent is not Effect.NONE


def _would(policy: Policy, context: Context) -> str:
    directions = " and ".join(sorted((d.value for d in policy.directions), reverse=True)) or "nothing"
    if not context.pods:
        return f"would police {directions} of the pods that it selects"
    count = sum(_selects(policy, context))
    return f"would police {directions} of {count} of today's pods"


def _selects(policy: Policy, context: Context) -> list[bool]:
    if isinstance(policy, NetworkPolicy):
        namespace: str | None = policy.ref.namespace or "default"
        selector = policy.subject
    else:
        terms = (policy.selector, policy.namespace_selector, policy.account_selector)
        namespace, selector = policy.namespace, And(tuple(term for term in terms if term is not None))
    pods = context.pods if namespace is None else context.pods_by_namespace.get(namespace, ())
    return [matches(selector, pod) for pod in pods]


def _note_others(policy: Policy, others: Beside, notes: Notes) -> None:
    same = _same(policy, others)
    if same is not None:
        notes.find(_ID, f"it would take the place of {same.ref}: ask without the file of that one in cilium/")
    rest = [other for other in others.policies if other is not same]
    if rest and order_decides([*rest, policy], others.tiers):
        text = "the order of Calico's policies decides here, so staged/ beside cilium/ is not what Calico would enforce"
        notes.find(_ID, f"{text}; staged/ alone is right for a pod that no other policy selects")


def commented(text: str, raw: RawObject) -> str:
    """The text of a file of staged/ under the warning that it is none to apply."""
    head = f"Stands for {raw.ref}, which nobody enforces: for simulate and audit only, do not apply it"
    return f"# {one_line(head)}\n{text}"
