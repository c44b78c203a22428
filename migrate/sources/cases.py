"""Cases for `migrate simulate`: a small cluster, policies and flows in one JSON or YAML document.

Fields as in docs/simulate.md: namespaces, serviceAccounts, pods, nodes, services, dns, options, kubeAPIServer,
policies, flows.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from migrate.errors import InputError
from migrate.model.addresses import Address, parse_address
from migrate.model.cluster import Cluster, NamedPort, Namespace, Node, Pod, families_of_pods
from migrate.model.flow import Flow
from migrate.model.labels import Labels
from migrate.model.raw import FieldPath, Json, RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.sources.case_flows import FlowReader
from migrate.sources.case_services import CaseServices, number_in, read_services
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.fields import Fields, Reading, dotted
from migrate.sources.kubernetes import NAMESPACE_NAME

_NAMED_PORT_PROTOCOLS = ("TCP", "UDP", "SCTP")


@dataclass(frozen=True, slots=True)
class Case:
    """A named question to an engine. `options` are settings by the engine's own names, which stand at `options_at`."""

    name: str
    cluster: Cluster
    policies: tuple[RawObject, ...]
    flows: tuple[Flow, ...]
    options: dict[str, Json] = field(default_factory=dict)
    options_at: Location | None = None


def read_case(raw: RawObject) -> Case:
    """A case from its document. Raises InputError with one line per problem, each with its field."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("engine", "verdicts", "apiVersion", "kind", "description")
    if root.integer("version") not in (None, 1):
        root.invalid("this program reads version 1", "version")
    name = root.text("name") or raw.source or "case"
    options = root.child("options")
    cluster = _cluster(root)
    policies = _policies(root)
    owners = {str(pod): pod for pod in cluster.pods}
    services = read_services(root, owners, {node.name: node.addresses for node in cluster.nodes})
    cluster = replace(cluster, services=tuple(known.service for known in services.values()))
    flows = FlowReader(cluster, CaseServices(services, cluster))
    read = [flows.read(fields) for fields in root.children("flows") or ()]
    root.close()
    _raise(reading, name)
    return Case(
        name=name,
        cluster=cluster,
        policies=policies,
        flows=tuple(flow for flow in read if flow is not None),
        options={key: options.raw(key) for key in options.keys()} if options else {},  # noqa: SIM118
        options_at=raw.at("options"),
    )


def _cluster(root: Fields) -> Cluster:
    namespaces = _namespaces(root)
    accounts = _accounts(root)
    nodes = {fields.path: _node(fields) for fields in root.children("nodes") or ()}
    known = {node.name: node for node in nodes.values()}
    pods = {fields.path: _pod(fields, namespaces, accounts, known) for fields in root.children("pods") or ()}
    _check_names(root, ((path, f"node {node.name}") for path, node in nodes.items()))
    _check_names(root, ((path, f"pod {pod}") for path, pod in pods.items()))
    owned = [(path, node.addresses) for path, node in nodes.items()]
    owned += [(path, pod.addresses) for path, pod in pods.items() if not pod.host_network]
    _check_names(root, ((path, f"address {address}") for path, addresses in owned for address in addresses))
    server = root.child("kubeAPIServer")
    return Cluster(
        namespaces=tuple(namespaces.values()),
        pods=tuple(pods.values()),
        nodes=tuple(nodes.values()),
        names=_names(root),
        api_server=_addresses(server, "ips") if server else (),
        complete=True,
        ip_families=frozenset(address.version for _, addresses in owned for address in addresses),
        pod_families=families_of_pods(pods.values()),
    )


def _policies(root: Fields) -> tuple[RawObject, ...]:
    """The case's policies, and EndpointSlices among its services, each with the lines of its own fields."""
    source, lines = root.reading.raw.source, _lines_of_items(root.reading.raw)
    seen: dict[tuple[str, str, str, str], int] = {}
    found: list[RawObject] = []
    for index, item in enumerate(root.items("policies") or ()):
        if isinstance(item, dict):
            found.append(RawObject(item, source, lines.get(("policies", index), {})))
            _check_twice(root, seen, found[-1].ref, index)
        else:
            root.invalid("must be a whole object with apiVersion, kind, metadata and spec", "policies", index)
    services = root.raw("services")
    for index, item in enumerate(services if isinstance(services, list) else ()):
        if isinstance(item, dict) and item.get("kind") == "EndpointSlice":
            found.append(RawObject(item, source, lines.get(("services", index), {})))
    return tuple(found)


def _lines_of_items(raw: RawObject) -> dict[FieldPath, dict[FieldPath, int]]:
    """The lines of each item of the document's lists, by its own paths."""
    found: dict[FieldPath, dict[FieldPath, int]] = {}
    for path, line in raw.lines.items():
        if len(path) > 1:
            found.setdefault(path[:2], {})[path[2:]] = line
    return found


def _check_twice(root: Fields, seen: dict[tuple[str, str, str, str], int], ref: ObjectRef, index: int) -> None:
    """Complain of an object whose name another one of its kind has; of what has no name the engines complain."""
    first = seen.setdefault((ref.group, ref.kind, ref.namespace or "", ref.name), index)
    if ref.name and first != index:
        root.invalid(f"{ref} is also in policies[{first}]", "policies", index)


def _raise(reading: Reading, name: str) -> None:
    if reading.problems:
        source = reading.raw.source or "case"
        lines = [f"{p.at or source}: case {name!r}: {p.field}: {p.message}" for p in reading.problems]
        raise InputError("\n".join(lines))


def _namespaces(root: Fields) -> dict[str, Namespace]:
    found: dict[str, Namespace] = {}
    for fields in root.children("namespaces") or ():
        name = _name(fields)
        if name in found:
            fields.invalid(f"namespace {name} stands here twice", "name")
        labels = {NAMESPACE_NAME: name} | fields.string_map("labels")
        found[name] = Namespace(name, Labels.of(labels))
        fields.close()
    return found


def _accounts(root: Fields) -> dict[tuple[str, str], Labels]:
    found: dict[tuple[str, str], Labels] = {}
    for fields in root.children("serviceAccounts") or ():
        namespace, name = fields.text("namespace"), fields.text("name")
        found[namespace, name] = Labels.of({**fields.string_map("labels"), SERVICE_ACCOUNT_NAME: name})
        fields.close()
    return found


def _names(root: Fields) -> tuple[tuple[str, tuple[Address, ...]], ...] | None:
    """The case's DNS: names with their addresses; None when it does not say."""
    known = root.child("dns")
    return None if known is None else tuple((name, _addresses(known, name)) for name in known.keys())  # noqa: SIM118


def _node(fields: Fields) -> Node:
    found = Node(_name(fields), Labels.of(fields.string_map("labels")), _addresses(fields, "ips"))
    fields.close()
    return found


def _pod(
    fields: Fields,
    namespaces: dict[str, Namespace],
    accounts: dict[tuple[str, str], Labels],
    nodes: dict[str, Node],
) -> Pod:
    namespace, account = _name(fields, "namespace"), fields.text("serviceAccount") or "default"
    known = namespaces.get(namespace)
    fields.ignore("annotations")
    found = Pod(
        namespace=namespace,
        name=_name(fields),
        labels=Labels.of(fields.string_map("labels")),
        namespace_labels=known.labels if known else Labels(((NAMESPACE_NAME, namespace),)),
        service_account=account,
        service_account_labels=accounts.get((namespace, account), Labels(((SERVICE_ACCOUNT_NAME, account),))),
        addresses=_addresses(fields, "ips"),
        named_ports=tuple(_named_port(port) for port in fields.children("namedPorts") or ()),
        node=fields.text("node") or None,
        host_network=fields.flag("hostNetwork"),
    )
    _check_addresses(fields, found, nodes.get(found.node or ""))
    fields.close()
    return found


def _name(fields: Fields, key: str = "name") -> str:
    found = fields.text(key)
    if fields.raw(key) in (None, ""):
        fields.invalid("must be given", key)
    return found


def _check_addresses(fields: Fields, pod: Pod, node: Node | None) -> None:
    """One address of each family at most; on the host's network they are the node's."""
    if len({address.version for address in pod.addresses}) < len(pod.addresses):
        fields.invalid("a pod has at most one address of each IP family", "ips")
    if pod.host_network and node is None:
        fields.invalid("a pod with hostNetwork is its node, so it needs one that is in the case", "node")
    elif pod.host_network and node is not None and not set(pod.addresses) <= set(node.addresses):
        fields.invalid(f"a pod with hostNetwork has the addresses of its node {node.name}", "ips")


def _check_names(root: Fields, named: Iterable[tuple[FieldPath, str]]) -> None:
    """Complain of every name or address that stands in two places."""
    first: dict[str, FieldPath] = {}
    for path, name in named:
        if first.setdefault(name, path) != path:
            root.invalid(f"{name} is also in {dotted(first[name])}", *path)


def _named_port(fields: Fields) -> NamedPort:
    protocol, port = fields.text("protocol", "TCP"), number_in(fields, "port", 0, 65535)
    if protocol not in _NAMED_PORT_PROTOCOLS:
        fields.invalid(f'"{protocol}" is not one of {", ".join(_NAMED_PORT_PROTOCOLS)}', "protocol")
    found = NamedPort(fields.text("name"), protocol, port or 0)
    fields.close()
    return found


def _addresses(fields: Fields, key: str) -> tuple[Address, ...]:
    found: list[Address] = []
    for index, text in enumerate(fields.texts(key)):
        try:
            found.append(parse_address(text))
        except ValueError:
            fields.invalid(f'"{text}" is not an IP address', key, index)
    return tuple(found)
