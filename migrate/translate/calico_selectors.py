"""Calico selectors as conjunctions that Cilium can read.

What Cilium has no word for (substrings, labels of service accounts) is expanded over today's objects, which is noted.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.labels import Labels, Scope
from migrate.model.selectors import (
    NEGATIVE,
    And,
    Conjunction,
    Operator,
    Requirement,
    Selector,
    TooManyTermsError,
    disjuncts,
    simplify,
)
from migrate.sources.calico import ORCHESTRATOR
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.kubernetes import NAMESPACE_NAME
from migrate.translate.context import Context
from migrate.translate.notes import Notes
from migrate.translate.selectors import filtered_labels, possible

_PLAIN = (Operator.IN, Operator.NOT_IN, Operator.EXISTS, Operator.DOES_NOT_EXIST)


def pod_conjunctions(
    terms: Sequence[Selector], place: str, context: Context, notes: Notes
) -> tuple[Conjunction, ...] | None:
    """The pods that all terms select, as conjunctions in Cilium's reach; None when it cannot be said.

    The findings of the reason are noted. Without alternatives (an empty tuple) no pod is selected.
    """
    try:
        alternatives = disjuncts(And(tuple(terms)))
    except TooManyTermsError as error:
        notes.find(
            "POL-SELECTOR-TOO-LARGE",
            f"the selector has {error} when its || and ! are multiplied out; simplify it or split the policy",
            place=place,
            result=Result.UNSUPPORTED,
            effect=context.changes(Effect.UNKNOWN),
            on_intent=Effect.UNKNOWN,
        )
        return None
    if any(not _known_today(requirement, context) for alternative in alternatives for requirement in alternative):
        notes.find(
            "POL-SELECTOR-SUBSTRING",
            "the selector asks for parts of label values or for labels of service accounts, which Cilium cannot; "
            "without the cluster's pods and service accounts it cannot be written as the values of today either",
            place=place,
            effect=context.changes(Effect.UNKNOWN),
            on_intent=Effect.UNKNOWN,
            result=Result.UNSUPPORTED,
        )
        return None
    found: list[Conjunction] = []
    for alternative in alternatives:
        conjunction = _without_orchestrator(alternative)
        if conjunction is None:
            continue
        for accounts in _account_names(_values(conjunction, place, context, notes), place, context, notes):
            reachable = possible(accounts)
            if reachable is not None and reachable not in found:
                found.append(reachable)
    return tuple(found)


def _needs_today(requirement: Requirement) -> bool:
    """Whether Cilium has no word for a requirement, so that today's objects must stand for it."""
    by_label = requirement.scope is Scope.SERVICE_ACCOUNT and requirement.key != SERVICE_ACCOUNT_NAME
    return by_label or requirement.operator not in _PLAIN


def _known_today(requirement: Requirement, context: Context) -> bool:
    """Whether what stands for a requirement that Cilium has no word for was given."""
    if not _needs_today(requirement):
        return True
    by_label = requirement.scope is Scope.SERVICE_ACCOUNT and requirement.key != SERVICE_ACCOUNT_NAME
    return context.cluster.accounts_given if by_label else bool(context.cluster.pods)


def hidden_keys(conjunctions: Iterable[Conjunction], context: Context) -> str:
    """The label keys that Cilium's policy cannot see, for a message; empty when there is none."""
    keys = {requirement.key for c in conjunctions for requirement in filtered_labels(c, context.profile)}
    return ", ".join(sorted(keys))


def _without_orchestrator(conjunction: Conjunction) -> Conjunction | None:
    """Calico labels every pod projectcalico.org/orchestrator=k8s; None when that contradicts."""
    pod = Labels(((ORCHESTRATOR, "k8s"),))
    if not all(r.matches(pod) for r in conjunction if r.key == ORCHESTRATOR and r.scope is Scope.POD):
        return None
    return tuple(r for r in conjunction if r.key != ORCHESTRATOR or r.scope is not Scope.POD)


def _values(conjunction: Conjunction, place: str, context: Context, notes: Notes) -> Conjunction:
    """The conjunction with substring operators replaced by the values that exist today."""
    kept: list[Requirement] = []
    for requirement in conjunction:
        if requirement.operator in _PLAIN or requirement.scope is Scope.SERVICE_ACCOUNT:
            kept.append(requirement)
            continue
        kept.append(_expanded(requirement, context))
        asked = f"{requirement.key} {requirement.operator.value} {', '.join(requirement.values)}"
        notes.find(
            "POL-SELECTOR-SUBSTRING",
            f"{asked}: written as the label values that exist today",
            place=place,
            effect=Effect.NONE if context.cluster.complete else Effect.UNKNOWN,
            on_intent=Effect.NONE if context.cluster.complete else Effect.UNKNOWN,
        )
        notes.assume(f"no new value of label {requirement.key} appears")
    return tuple(kept)


def _expanded(requirement: Requirement, context: Context) -> Requirement:
    if requirement.scope is Scope.NAMESPACE:
        owners: Iterable[Labels] = (namespace.labels for namespace in context.cluster.namespaces)
    else:
        owners = (pod.labels for pod in context.cluster.pods)
    negative = requirement.operator in NEGATIVE
    positive = requirement.negated() if negative else requirement
    values = sorted({labels[requirement.key] for labels in owners if positive.matches(labels)})
    operator = Operator.NOT_IN if negative else Operator.IN
    return Requirement(requirement.key, operator, tuple(values), requirement.scope)


def _account_names(conjunction: Conjunction, place: str, context: Context, notes: Notes) -> Iterable[Conjunction]:
    """The conjunction with labels of service accounts replaced by the accounts that have them today.

    An account's name means something in its namespace only, so there is one alternative for each namespace.
    """
    asked = [r for r in conjunction if r.scope is Scope.SERVICE_ACCOUNT and _needs_today(r)]
    if not asked:
        return [conjunction]
    rest = tuple(r for r in conjunction if r not in asked)
    by_namespace: dict[str, set[str]] = {}
    for account in context.cluster.accounts:
        if all(r.matches(account.labels) for r in asked):
            by_namespace.setdefault(account.namespace, set()).add(account.name)
    notes.find(
        "POL-SELECTOR-SUBSTRING",
        f"service account labels ({', '.join(r.key for r in asked)}) were written as the names of the accounts that "
        "have them today",
        place=place,
    )
    notes.assume("service accounts keep their labels")
    return [c for name, accounts in sorted(by_namespace.items()) if (c := _in_accounts(rest, name, accounts))]


def _in_accounts(rest: Conjunction, namespace: str, accounts: set[str]) -> Conjunction | None:
    return simplify(
        (
            *rest,
            Requirement(NAMESPACE_NAME, Operator.IN, (namespace,), Scope.NAMESPACE),
            Requirement(SERVICE_ACCOUNT_NAME, Operator.IN, tuple(accounts), Scope.SERVICE_ACCOUNT),
        )
    )
