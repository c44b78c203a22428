"""HTTP rules on the ports of a workload: what an object's ingress would be with them, and what keeps them out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from migrate.model.documents import EmittedObject
from migrate.model.raw import Json, as_list
from migrate.sources.hints import HttpHint, HttpRequest
from migrate.translate.render import NAMESPACE_KEY, JsonMap

_PREFIX = "k8s:"


@dataclass(frozen=True, slots=True)
class HttpUse:
    """What became of a hint at one rule, such as ingress[0]. `problem` says why it was left as it is."""

    place: str
    problem: str = ""


def with_http(spec: JsonMap, hint: HttpHint, item: EmittedObject, refused: str = "") -> list[HttpUse]:
    """Put the requests of a hint into one policy document, wherever it opens the port to the hint's pods.

    `refused` says why this object can have none, whatever is in it.
    """
    needed = _needed(hint, item)
    selector = spec.get("endpointSelector")
    terms = list(_terms(selector)) if isinstance(selector, dict) else []
    if (item.namespace not in (None, hint.namespace)) or not _may_meet(terms, needed):
        return []
    problem = refused or _problem(terms, needed, spec)
    used: list[HttpUse] = []
    rules = spec.get("ingress")
    for index, rule in enumerate(rules if isinstance(rules, list) else ()):
        if not isinstance(rule, dict):
            continue
        place = f"ingress[{index}]"
        reason = problem or _not_alone(rule, hint.port)
        if _opens(rule, hint.port) and reason:
            used.append(HttpUse(place, reason))
        elif _opens(rule, hint.port):
            rule["toPorts"] = [part for entry in as_list(rule.get("toPorts")) for part in _split(entry, hint)]
            used.append(HttpUse(place))
    return used


def _needed(hint: HttpHint, item: EmittedObject) -> dict[str, str]:
    """The labels by which the hint's pods are known; the namespace too where an object has none."""
    found = {key.removeprefix(_PREFIX): value for key, value in hint.pod_labels.items()}
    return found if item.namespace else {**found, NAMESPACE_KEY.removeprefix(_PREFIX): hint.namespace}


def _terms(selector: JsonMap) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """The requirements of a selector: key, operator, values."""
    labels, expressions = selector.get("matchLabels"), selector.get("matchExpressions")
    for key, value in labels.items() if isinstance(labels, dict) else ():
        yield key.removeprefix(_PREFIX), "In", (str(value),)
    for one in as_list(expressions):
        if isinstance(one, dict):
            values = tuple(map(str, as_list(one.get("values"))))
            yield str(one.get("key")).removeprefix(_PREFIX), str(one.get("operator")), values


def _may_meet(terms: list[tuple[str, str, tuple[str, ...]]], needed: dict[str, str]) -> bool:
    """Whether a pod with the labels may be selected."""
    return all(_holds(operator, values, needed[key]) for key, operator, values in terms if key in needed)


def _holds(operator: str, values: tuple[str, ...], value: str) -> bool:
    if operator == "In":
        return value in values
    return operator == "Exists" or (operator == "NotIn" and value not in values)


def _problem(terms: list[tuple[str, str, tuple[str, ...]]], needed: dict[str, str], spec: JsonMap) -> str:
    """Why the whole document cannot take the requests; empty when it can."""
    asked = {(key, values[0]) for key, operator, values in terms if operator == "In" and len(values) == 1}
    missing = [f"{key}={value}" for key, value in sorted(needed.items()) if (key, value) not in asked]
    if missing:
        return f"it selects more pods than those of the hint, since it does not ask for {', '.join(missing)}"
    closes = spec.get("enableDefaultDeny")
    if isinstance(closes, dict) and closes.get("ingress") is not True:
        return "it does not close ingress, and http rules without that are not reliable"
    return ""


def _opens(rule: JsonMap, port: str) -> bool:
    entries = _entries(rule)
    return any(_covers(entry, port) for entry in entries) if "toPorts" in rule else "icmps" not in rule


def _not_alone(rule: JsonMap, port: str) -> str:
    """Why the rule has no place for http rules; empty when the port stands there by itself."""
    if "toPorts" not in rule:
        return f"the rule opens every port; give it port {port} by itself"
    for item in as_list(rule.get("toPorts")):
        if isinstance(item, dict) and item.get("rules") and any(_is(e, port) for e in as_list(item.get("ports"))):
            return "another hint already says what is served there; join the two"
    wide = [entry for entry in _entries(rule) if _covers(entry, port) and not _is(entry, port)]
    return f"the rule opens port {port} in a range or for more protocols; give it the port by itself" if wide else ""


def _entries(rule: JsonMap) -> list[JsonMap]:
    items = [item for item in as_list(rule.get("toPorts")) if isinstance(item, dict)]
    return [entry for item in items for entry in as_list(item.get("ports")) if isinstance(entry, dict)]


def _covers(entry: JsonMap, port: str) -> bool:
    """Whether a port entry opens the TCP port."""
    if entry.get("protocol") not in ("TCP", "ANY", None):
        return False
    first, last = str(entry.get("port")), entry.get("endPort")
    if first in (port, "0"):
        return True
    return first.isdecimal() and port.isdecimal() and isinstance(last, int) and int(first) <= int(port) <= last


def _is(entry: Json, port: str) -> bool:
    return entry == {"port": port, "protocol": "TCP"}


def _split(item: Json, hint: HttpHint) -> list[Json]:
    """One toPorts item as one for the other ports, when there are some, and one for the hint's with its requests."""
    if not isinstance(item, dict):
        return [item]
    ports = as_list(item.get("ports"))
    others: list[Json] = [entry for entry in ports if not _is(entry, hint.port)]
    if len(others) == len(ports):
        return [item]
    requests: list[Json] = [_request(one) for one in hint.requests]
    found: list[Json] = [{**item, "ports": others}] if others else []
    return [*found, {"ports": [{"port": hint.port, "protocol": "TCP"}], "rules": {"http": requests}}]


def _request(request: HttpRequest) -> Json:
    found: JsonMap = {}
    if request.method is not None:
        found["method"] = request.method
    if request.path is not None:
        found["path"] = request.path
    return found
