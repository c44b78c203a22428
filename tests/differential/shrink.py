"""Makes a disagreeing case small: leaves out whatever it still disagrees without."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from tests.reference.cases import Case, Flow

Path: TypeAlias = tuple[str | int, ...]
Document: TypeAlias = dict[str, object]

_TOP_LISTS = ("policies", "pods", "nodes", "namespaces", "serviceAccounts")
_LISTS = ("namedPorts", "ips", "ingress", "egress", "from", "to", "ports", "matchExpressions", "except", "nets")
_KEPT_FULL = ("names", "values", "types", "policyTypes")
_MAPS = ("labels", "matchLabels")
_OPTIONAL = (
    "egress",
    "endPort",
    "except",
    "from",
    "icmp",
    "ingress",
    "kubeAPIServer",
    "namespaceSelector",
    "options",
    "order",
    "ports",
    "protocol",
    "serviceAccountSelector",
    "serviceAccounts",
    "source",
    "destination",
    "to",
)
_EMPTY_WITHOUT = ("from", "to", "ports", "protocol", "ingress", "egress")
"""Fields without which a rule, a port or a spec may be empty."""
_NEVER_EMPTY = ("values", "types", "policyTypes", "nets", "ips", "names")
_SELECTORS = ("selector", "namespaceSelector", "serviceAccountSelector", "notSelector")
_COMPARISON = re.compile(r"!?has\([^)]*\)|[\w./-]+ (?:not in|in) \{[^}]*\}|[\w./-]+ [=!a-z ]+ (?:'[^']*'|\"[^\"]*\")")


class OutOfTriesError(Exception):
    """The number of tries is used up."""


def shrink(case: Case, flow: Flow, disagrees: Callable[[Case], bool], tries: int = 300) -> Case:
    """The smallest case found with that one flow."""
    shrinker = _Shrinker(msgspec.structs.replace(case, flows=(flow,)).document(), disagrees, tries)
    try:
        shrinker.cut_top_lists()
        while shrinker.cut_once():
            pass
    except OutOfTriesError:
        pass
    return msgspec.convert(shrinker.document, Case)


class _Shrinker:
    """The smallest document so far."""

    def __init__(self, document: Document, disagrees: Callable[[Case], bool], tries: int) -> None:
        self.document = document
        self._disagrees = disagrees
        self._tries = tries

    def cut_top_lists(self) -> None:
        """Leave out policies, pods and so on in bulk: halves, then quarters, down to single ones."""
        for name in _TOP_LISTS:
            size = len(self._list(name))
            while size:
                for start in reversed(range(0, len(self._list(name)), size)):
                    items = self._list(name)
                    self._try({**self.document, name: items[:start] + items[start + size :]})
                size //= 2

    def cut_once(self) -> bool:
        """One pass over everything inside that can be left out; whether something could."""
        shrunk = False
        for path, replacement in reversed(list(_candidates(self.document))):
            attempt = copy.deepcopy(self.document)
            if _apply(attempt, path, replacement):
                shrunk |= self._try(attempt)
        return shrunk

    def _list(self, name: str) -> list[object]:
        found = self.document.get(name, [])
        assert isinstance(found, list)
        return found

    def _try(self, attempt: Document) -> bool:
        if self._tries <= 0:
            raise OutOfTriesError
        self._tries -= 1
        try:
            case = msgspec.convert(attempt, Case)
            smaller = _complete(case) and self._disagrees(case)
        except (ValueError, KeyError, RuntimeError, msgspec.ValidationError):
            return False
        if smaller:
            self.document = attempt
        return smaller


def _complete(case: Case) -> bool:
    """Whether everything that pods refer to is there; Calico, for one, cuts off a pod without it."""
    namespaces = {namespace.name for namespace in case.namespaces}
    accounts = {(account.namespace, account.name) for account in case.service_accounts}
    nodes = {node.name for node in case.nodes}
    return all(
        pod.namespace in namespaces and (pod.namespace, pod.service_account) in accounts and pod.node in nodes
        for pod in case.pods
    )


def _candidates(value: object, path: Path = ()) -> Iterator[tuple[Path, str | None]]:
    """Places to cut (None), or to put a simpler selector. Later places lie deeper or further right."""
    if isinstance(value, dict):
        for key, item in value.items():
            if key == "flows":
                continue
            here = (*path, key)
            if key in _OPTIONAL or (path and path[-1] in _MAPS):
                yield here, None
            if key in _SELECTORS and isinstance(item, str):
                yield from ((here, part) for part in ("all()", *_COMPARISON.findall(item)) if part != item)
            yield from _candidates(item, here)
    elif isinstance(value, list | tuple):
        removable = path[-1] in (*_TOP_LISTS, *_LISTS) or (path[-1] in _KEPT_FULL and len(value) > 1)
        for index, item in enumerate(value):
            if removable:
                yield (*path, index), None
            yield from _candidates(item, (*path, index))


def _apply(document: Document, path: Path, replacement: str | None) -> bool:
    """Cut or replace in place; False when an earlier cut took the place away or what is left is no valid object."""
    owner, last = _owner(document, path), path[-1]
    if isinstance(owner, list) and isinstance(last, int) and last < len(owner):
        del owner[last]
        return bool(owner) or path[-2] not in _NEVER_EMPTY
    if not isinstance(owner, dict) or last not in owner:
        return False
    if replacement is not None:
        owner[last] = replacement
        return True
    del owner[last]
    return bool(owner) or last in _EMPTY_WITHOUT or path[-2] in _MAPS


def _owner(document: Document, path: Path) -> object:
    """The object or list that holds the last part of a path; None when it is not there any more."""
    owner: object = document
    for part in path[:-1]:
        if isinstance(owner, dict):
            owner = owner.get(part)
        elif isinstance(owner, list) and isinstance(part, int) and part < len(owner):
            owner = owner[part]
        else:
            return None
    return owner
