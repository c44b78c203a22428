"""Cases for `migrate simulate`: a small cluster, policies and flows in one JSON or YAML document.

Fields as in docs/simulate.md: namespaces, serviceAccounts, pods, nodes, options, kubeAPIServer, policies, flows.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from migrate.errors import InputError
from migrate.model.addresses import Address, parse_address
from migrate.model.cluster import Cluster, NamedPort, Namespace, Node, Pod
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NUMBERS, End, EndKind, Flow, Packet
from migrate.model.labels import Labels
from migrate.model.raw import FieldPath, Json, RawObject
from migrate.model.refs import Location
from migrate.model.ruleset import ends_of
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.fields import Fields, Reading, dotted
from migrate.sources.kubernetes import NAMESPACE_NAME

_FAMILY_OF = {ICMP: 4, ICMPV6: 6}
_END_KINDS = ("pod", "node", "ip")
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
    root.ignore("engine", "verdicts", "apiVersion", "kind", "description", "services", "dns")
    if root.integer("version") not in (None, 1):
        root.invalid("this program reads version 1", "version")
    name = root.text("name") or raw.source or "case"
    options = root.child("options")
    cluster = _cluster(root)
    policies = _policies(root)
    flows = _Flows(cluster)
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
        api_server=_addresses(server, "ips") if server else (),
        complete=True,
        ip_families=frozenset(address.version for _, addresses in owned for address in addresses),
    )


def _policies(root: Fields) -> tuple[RawObject, ...]:
    """The case's policies, each with the lines of its own fields."""
    raw = root.reading.raw
    lines: dict[str | int, dict[FieldPath, int]] = {}
    for path, line in raw.lines.items():
        if len(path) > 1 and path[0] == "policies":
            lines.setdefault(path[1], {})[path[2:]] = line
    found: list[RawObject] = []
    for index, item in enumerate(root.items("policies") or ()):
        if isinstance(item, dict):
            found.append(RawObject(item, raw.source, lines.get(index, {})))
        else:
            root.invalid("must be a whole object with apiVersion, kind, metadata and spec", "policies", index)
    return tuple(found)


def _raise(reading: Reading, name: str) -> None:
    if reading.problems:
        source = reading.raw.source or "case"
        lines = [f"{p.at or source}: case {name!r}: {p.field}: {p.message}" for p in reading.problems]
        raise InputError("\n".join(lines))


def _namespaces(root: Fields) -> dict[str, Namespace]:
    found: dict[str, Namespace] = {}
    for fields in root.children("namespaces") or ():
        name = fields.text("name")
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


def _node(fields: Fields) -> Node:
    found = Node(fields.text("name"), Labels.of(fields.string_map("labels")), _addresses(fields, "ips"))
    fields.close()
    return found


def _pod(
    fields: Fields,
    namespaces: dict[str, Namespace],
    accounts: dict[tuple[str, str], Labels],
    nodes: dict[str, Node],
) -> Pod:
    namespace, account = fields.text("namespace"), fields.text("serviceAccount") or "default"
    known = namespaces.get(namespace)
    fields.ignore("annotations")
    found = Pod(
        namespace=namespace,
        name=fields.text("name"),
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
    protocol, port = fields.text("protocol", "TCP"), _number(fields, "port", 65535)
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


class _Flows:
    """Reads flows against one cluster: names to ends, an address to whoever owns it."""

    def __init__(self, cluster: Cluster) -> None:
        self._by_address = ends_of(cluster)
        self._api_server = set(cluster.api_server)
        self._pods = {str(pod): pod for pod in cluster.pods}
        self._nodes = {node.name: node for node in cluster.nodes}

    def read(self, fields: Fields) -> Flow | None:
        """A flow; None with a problem noted when it names nothing or cannot exist."""
        sources, destinations = self._ends(fields, "src"), self._ends(fields, "dst")
        fields.ignore("egress", "ingress", "verdict", "tieSensitive")
        packet = _packet(fields)
        if fields.raw("via") is not None:
            fields.invalid("ways through a service are not modelled; give the flow as it is after translation", "via")
        fields.close()
        if packet is None or not sources or not destinations:
            return None
        family = _FAMILY_OF.get(packet.protocol)
        for source in sources:
            for destination in destinations:
                version = source.address.version
                if version == destination.address.version and family in (None, version):
                    return Flow(source, destination, packet)
        fields.invalid("its ends have no addresses of one IP family that the protocol can use")
        return None

    def _ends(self, fields: Fields, key: str) -> Sequence[End]:
        """The ends that `src` or `dst` may mean: one for each address of what it names."""
        child = fields.child(key)
        named = [kind for kind in _END_KINDS if child is not None and child.has(kind)]
        if child is None or len(named) != 1:
            fields.invalid(f"must name one end by {', '.join(_END_KINDS)}", key)
            return ()
        kind, name = named[0], child.text(named[0])
        child.close()
        try:
            found = [self.of_address(parse_address(name))] if kind == "ip" else self._owned(kind, name)
        except ValueError:
            child.invalid(f'"{name}" is not an IP address', kind)
            return ()
        if found is None:
            child.invalid(f"{kind} {name} is not in the case", kind)
        elif not found:
            child.invalid(f"{kind} {name} has no address", kind)
        return found or ()

    def _owned(self, kind: str, name: str) -> Sequence[End] | None:
        """The ends of a pod or node; None when there is none of that name. On the host's network a pod is its node."""
        owner = self._pods.get(name) if kind == "pod" else self._nodes.get(name)
        if isinstance(owner, Pod) and owner.host_network:
            owner = self._nodes.get(owner.node or "", owner)
        return None if owner is None else [self.of_address(address) for address in owner.addresses]

    def of_address(self, address: Address) -> End:
        """The end that owns an address; outside when nobody does."""
        known = self._by_address.get(str(address))
        return known or End(EndKind.OUTSIDE, address, api_server=address in self._api_server)


def _packet(fields: Fields) -> Packet | None:
    protocol = fields.text("protocol", "TCP")
    number = PROTOCOL_NUMBERS.get(protocol)
    port = _number(fields, "port", 255 if number in _FAMILY_OF else 65535)
    icmp_type = _number(fields, "icmpType", 255)
    source_port, code = _number(fields, "srcPort", 65535), _number(fields, "icmpCode", 255)
    if number is None:
        fields.invalid(f'"{protocol}" is not one of {", ".join(PROTOCOL_NUMBERS)}', "protocol")
        return None
    if not fields.has("port") and not fields.has("icmpType"):
        fields.invalid("must be given: the destination port, or for ICMP the type", "port")
    return Packet(number, (icmp_type if port is None else port) or 0, source_port or 0, code or 0)


def _number(fields: Fields, key: str, highest: int) -> int | None:
    value = fields.integer(key)
    if value is not None and not 0 <= value <= highest:
        fields.invalid(f"must be from 0 to {highest}", key)
    return value
