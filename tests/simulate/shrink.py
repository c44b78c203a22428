"""Makes a case on which model and engine disagree small: leaves out whatever they still disagree without."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import TypeAlias

import msgspec

from migrate.errors import InputError
from tests.reference.cases import Case, Flow

Document: TypeAlias = dict[str, object]
Path: TypeAlias = tuple[str | int, ...]

_BULK = ("policies", "pods", "nodes", "namespaces", "serviceAccounts")
_KEPT = ("version", "name", "engine", "flows", "apiVersion", "kind", "namespace", "metadata")
_STEPS = 2000


def shrink(case: Case, flow: Flow, disagrees: Callable[[Case], bool]) -> Case:
    """The smallest case found with that one flow. `disagrees` may raise ValueError for what is no case any more."""
    document = msgspec.structs.replace(case, flows=(flow,)).document()
    steps = _STEPS

    def holds(attempt: Document) -> bool:
        nonlocal steps
        steps -= 1
        try:
            smaller = msgspec.convert(attempt, Case)
            return steps > 0 and _complete(smaller) and disagrees(smaller)
        except (ValueError, KeyError, RuntimeError, InputError, msgspec.ValidationError):
            return False

    for name in _BULK:
        document = _halved(document, name, holds)
    smaller = _pruned(document, holds)
    while smaller != document and steps > 0:
        document, smaller = smaller, _pruned(smaller, holds)
    return msgspec.convert(document, Case)


def _halved(document: Document, name: str, holds: Callable[[Document], bool]) -> Document:
    """Without halves of a list, then quarters, down to single items."""
    items = document.get(name)
    if not isinstance(items, list):
        return document
    size = len(items)
    while size:
        for start in reversed(range(0, len(items), size)):
            rest = items[:start] + items[start + size :]
            if holds({**document, name: rest}):
                items = rest
                document = {**document, name: items}
        size //= 2
    return document


def _pruned(document: Document, holds: Callable[[Document], bool]) -> Document:
    """One pass over every field and item, the last ones first."""
    for path in reversed(list(_places(document))):
        attempt = copy.deepcopy(document)
        if _delete(attempt, path) and holds(attempt):
            document = attempt
    return document


def _places(value: object, path: Path = ()) -> Iterator[Path]:
    if isinstance(value, dict):
        items: list[tuple[str | int, object]] = [(key, item) for key, item in value.items() if key not in _KEPT]
    elif isinstance(value, list):
        items = list(enumerate(value))
    else:
        return
    for key, item in items:
        yield (*path, key)
        yield from _places(item, (*path, key))


def _delete(document: Document, path: Path) -> bool:
    """Delete in place; False when an earlier deletion took the place away."""
    owner: object = document
    for step in path[:-1]:
        if (isinstance(owner, dict) and step in owner) or (
            isinstance(owner, list) and isinstance(step, int) and step < len(owner)
        ):
            owner = owner[step]  # type: ignore[index]
        else:
            return False
    last = path[-1]
    if (isinstance(owner, dict) and last in owner) or (
        isinstance(owner, list) and isinstance(last, int) and last < len(owner)
    ):
        del owner[last]  # type: ignore[arg-type]
        return True
    return False


def _complete(case: Case) -> bool:
    """Whether everything that pods refer to is there; Calico, for one, cuts off a pod without it."""
    namespaces = {namespace.name for namespace in case.namespaces}
    accounts = {(account.namespace, account.name) for account in case.service_accounts}
    nodes = {node.name for node in case.nodes}
    return all(
        pod.namespace in namespaces
        and (pod.namespace, pod.service_account) in accounts
        and pod.node in nodes
        and pod.ips
        for pod in case.pods
    ) and all(node.ips for node in case.nodes)
