"""Hint files: what only people know about policies, and `migrate translate --suggest` builds proposals on.

Fields as in docs/hints.md.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from migrate.errors import InputError
from migrate.model.addresses import Network, parse_network
from migrate.model.labels import Labels
from migrate.model.raw import RawObject
from migrate.model.refs import Location
from migrate.sources.fields import Fields, Reading

API_VERSION, KIND = "cilium-migrate/v1alpha1", "Hints"
_LONGEST_NAME = 253
_LABEL = re.compile(r"[a-z0-9_*]([a-z0-9_*-]{0,61}[a-z0-9_*])?")
_METHOD = re.compile(r"[A-Z]+")
_PORT_NAME = re.compile(r"(?=.*[a-z])[a-z0-9]([a-z0-9-]{0,13}[a-z0-9])?")
_NOT_RE2 = re.compile(r"\(\?(?!:)|\\[1-9]")
_PLAIN_LABELS = 2
_CLUSTER_DOMAIN = ".cluster.local"
_DNS_PORT = 53


@dataclass(frozen=True, slots=True)
class NamesHint:
    """A CIDR in policies of these namespaces (all, when none is named) that stands for these DNS names."""

    network: Network
    names: tuple[str, ...]
    namespaces: tuple[str, ...]
    at: Location | None


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """Requests by regular expressions on the whole method and the whole path; None is any."""

    method: str | None
    path: str | None


@dataclass(frozen=True, slots=True)
class HttpHint:
    """All that the pods of a namespace with these labels have to serve on a TCP port."""

    namespace: str
    pod_labels: Labels
    port: str
    requests: tuple[HttpRequest, ...]
    at: Location | None


@dataclass(frozen=True, slots=True)
class DnsServer:
    """The pods that answer DNS. `given` says whether the file names them."""

    namespace: str = "kube-system"
    pod_labels: Labels = Labels((("k8s-app", "kube-dns"),))
    port: int = _DNS_PORT
    search_domains: tuple[str, ...] = ()
    given: bool = False


@dataclass(frozen=True, slots=True)
class Hints:
    """One hint file."""

    names: tuple[NamesHint, ...] = ()
    http: tuple[HttpHint, ...] = ()
    dns: DnsServer = DnsServer()


def read_hints(raw: RawObject) -> Hints:
    """The hints of a document. Raises InputError with one line per problem, each with its place."""
    reading = Reading(raw)
    root = reading.root()
    for key, wanted in (("apiVersion", API_VERSION), ("kind", KIND)):
        if root.text(key) != wanted:
            root.invalid(f"must be {wanted}", key)
    names = tuple(found for fields in root.children("fqdn") or () for found in _names_hint(fields))
    http = tuple(found for fields in root.children("http") or () for found in _http_hint(fields))
    server = root.child("dns")
    dns = _dns_server(server) if server else DnsServer()
    _check_twice(root, "fqdn", [(hint.network, hint.namespaces) for hint in names])
    _check_twice(root, "http", [(hint.namespace, hint.pod_labels, hint.port) for hint in http])
    if not reading.problems and not (names or http):
        root.invalid("must list at least one hint", "fqdn")
    root.close()
    if reading.problems:
        source = raw.source or "hints"
        lines = [f"{problem.at or source}: {problem.field}: {problem.message}" for problem in reading.problems]
        raise InputError("\n".join([*lines, "docs/hints.md describes the format"]))
    return Hints(names, http, dns)


def _check_twice(root: Fields, key: str, seen: Sequence[object]) -> None:
    for index, item in enumerate(seen):
        if item in seen[:index]:
            root.invalid(f"says something else about the same as {key}[{seen.index(item)}]; join them", key, index)


def _names_hint(fields: Fields) -> Iterator[NamesHint]:
    network = _network(fields)
    names = fields.texts("names")
    if not names:
        fields.invalid("must list at least one DNS name", "names")
    for index, name in enumerate(names):
        reason = _name_problem(name)
        if reason:
            fields.invalid(reason, "names", index)
    namespaces = fields.texts("namespaces")
    if not namespaces and fields.has("namespaces"):
        fields.invalid("is empty; leave it out for policies of all namespaces", "namespaces")
    fields.close()
    if network is not None:
        unique = tuple(sorted({name.lower().removesuffix(".") for name in names}))
        yield NamesHint(network, unique, tuple(sorted(set(namespaces))), fields.reading.raw.at(*fields.path))


def _network(fields: Fields) -> Network | None:
    text = fields.text("cidr")
    try:
        return parse_network(text)
    except ValueError:
        fields.invalid("must be a CIDR as it stands in the policy, such as 192.0.2.0/24", "cidr")
        return None


def _name_problem(name: str) -> str:
    """Why the name cannot stand in a policy; empty when it can."""
    text = name.lower().removesuffix(".")
    labels = text.split(".")
    if not all(_LABEL.fullmatch(label) for label in labels) or len(text) > _LONGEST_NAME:
        return f'"{name}" is not a DNS name, nor one with * for a part of it'
    if "**" in text.removeprefix("**."):
        return f'"{name}": ** may only stand for whole labels in front, as in **.example.com'
    if all(label.isdigit() for label in labels):
        return f'"{name}" is an address; name the DNS name that it stands for'
    plain = next((n for n, label in enumerate(reversed(labels)) if "*" in label), len(labels))
    if plain < _PLAIN_LABELS:
        return f'"{name}" stands for the names of many owners; end it in at least {_PLAIN_LABELS} labels without *'
    if text.endswith(_CLUSTER_DOMAIN):
        return f'"{name}" is a name of the cluster, whose pods toFQDNs never matches; allow the pods by label'
    return ""


def _http_hint(fields: Fields) -> Iterator[HttpHint]:
    namespace, labels, port = fields.text("namespace"), fields.string_map("podLabels"), _port(fields)
    if not namespace:
        fields.invalid("must name the namespace of the pods that serve", "namespace")
    if not labels:
        fields.invalid("must name labels of the pods that serve", "podLabels")
    allowed = fields.children("allow")
    if not allowed:
        fields.invalid("must list the requests that are served", "allow")
    requests = tuple(request for one in allowed or () for request in _requests(one))
    fields.close()
    place = fields.reading.raw.at(*fields.path)
    yield HttpHint(namespace, Labels.of(labels), port, tuple(dict.fromkeys(requests)), place)


def _port(fields: Fields) -> str:
    port = fields.scalar("port")
    number = isinstance(port, int) and 1 <= port <= 65535
    if not number and not (isinstance(port, str) and _PORT_NAME.fullmatch(port)):
        fields.invalid("must be a number from 1 to 65535, or the name that the policy has", "port")
    return str(port)


def _requests(fields: Fields) -> Iterator[HttpRequest]:
    methods, paths = fields.texts("methods"), fields.texts("paths")
    if not methods and not paths:
        fields.invalid("must have methods or paths; a port without either needs no hint")
    for index, method in enumerate(methods):
        if not _METHOD.fullmatch(method):
            fields.invalid(f'"{method}" is not a method such as GET', "methods", index)
    for index, path in enumerate(paths):
        reason = _path_problem(path)
        if reason:
            fields.invalid(reason, "paths", index)
    fields.close()
    any_method: tuple[str | None, ...] = methods or (None,)
    any_path: tuple[str | None, ...] = paths or (None,)
    yield from (HttpRequest(method, path) for method in any_method for path in any_path)


def _path_problem(path: str) -> str:
    """Why the path is no regular expression that Envoy takes (RE2, on the whole path)."""
    if not path.startswith("/"):
        return f'"{path}" must begin with /'
    if _NOT_RE2.search(path):
        return f'"{path}": look-around and back references are unknown to Envoy'
    try:
        re.compile(path)
    except re.error as error:
        return f'"{path}" is not a regular expression: {error}'
    return ""


def _dns_server(fields: Fields) -> DnsServer:
    namespace, labels = fields.text("namespace", "kube-system"), fields.string_map("podLabels")
    port = fields.integer("port")
    if port is not None and not 1 <= port <= 65535:
        fields.invalid("must be a number from 1 to 65535", "port")
    domains = fields.texts("searchDomains")
    for index, domain in enumerate(domains):
        if not all(_LABEL.fullmatch(label) and "*" not in label for label in domain.split(".")):
            fields.invalid(f'"{domain}" is not a DNS name', "searchDomains", index)
    named = fields.has("namespace") or bool(labels)
    fields.close()
    pods = Labels.of(labels) if labels else DnsServer().pod_labels
    return DnsServer(namespace, pods, _DNS_PORT if port is None else port, domains, named)
