"""Cases for `migrate simulate`: a small cluster, policies and flows in one JSON or YAML document.

Fields as in docs/simulate.md: namespaces, serviceAccounts, pods, nodes, options, kubeAPIServer, policies, flows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from migrate.errors import InputError
from migrate.model.addresses import Address, parse_address
from migrate.model.cluster import Cluster, NamedPort, Namespace, Node, Pod
from migrate.model.flow import ICMP, ICMPV6, PROTOCOL_NUMBERS, End, EndKind, Flow, Packet
from migrate.model.labels import Labels
from migrate.model.raw import Json, RawObject
from migrate.model.ruleset import ends_of
from migrate.sources.cluster import SERVICE_ACCOUNT_NAME
from migrate.sources.fields import Fields, Reading
from migrate.sources.kubernetes import NAMESPACE_NAME

_FAMILY_OF = {ICMP: 4, ICMPV6: 6}


@dataclass(frozen=True, slots=True)
class Case:
    """A named question to an engine. `options` are settings by the engine's own names."""

    name: str
    cluster: Cluster
    policies: tuple[RawObject, ...]
    flows: tuple[Flow, ...]
    options: dict[str, Json] = field(default_factory=dict)


def read_case(raw: RawObject) -> Case:
    """A case from its document. Raises InputError with one line per problem, each with its field."""
    reading = Reading(raw)
    root = reading.root()
    root.ignore("version", "engine", "verdicts", "apiVersion", "kind", "description", "services", "dns")
    name = root.text("name")
    namespaces = _namespaces(root)
    accounts = _accounts(root)
    nodes = tuple(_node(fields) for fields in root.children("nodes") or ())
    pods = tuple(_pod(fields, namespaces, accounts) for fields in root.children("pods") or ())
    server = root.child("kubeAPIServer")
    options = root.child("options")
    cluster = Cluster(
        namespaces=tuple(namespaces.values()),
        pods=pods,
        nodes=nodes,
        api_server=_addresses(server, "ips") if server else (),
        complete=True,
        ip_families=frozenset(a.version for found in (pods, nodes) for owner in found for a in owner.addresses),
    )
    listed = enumerate(root.items("policies") or ())
    policies = tuple(_policy(raw, item, index) for index, item in listed if isinstance(item, dict))
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
    )


def _policy(raw: RawObject, item: dict[str, Json], index: int) -> RawObject:
    """One of the case's policies, with the lines of its own fields."""
    prefix = ("policies", index)
    return RawObject(item, raw.source, {path[2:]: line for path, line in raw.lines.items() if path[:2] == prefix})


def _raise(reading: Reading, name: str) -> None:
    if reading.problems:
        source = reading.raw.source or "case"
        lines = [f"{p.at or source}: case {name!r}: {p.field}: {p.message}" for p in reading.problems]
        raise InputError("\n".join(lines))


def _namespaces(root: Fields) -> dict[str, Namespace]:
    found: dict[str, Namespace] = {}
    for fields in root.children("namespaces") or ():
        name = fields.text("name")
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


def _pod(fields: Fields, namespaces: dict[str, Namespace], accounts: dict[tuple[str, str], Labels]) -> Pod:
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
    fields.close()
    return found


def _named_port(fields: Fields) -> NamedPort:
    found = NamedPort(fields.text("name"), fields.text("protocol", "TCP"), fields.integer("port") or 0)
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
        fields.ignore("egress", "ingress", "verdict", "tieSensitive", "via")
        packet = _packet(fields)
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
        child = fields.child(key)
        if child is None:
            fields.invalid("a flow needs an end here: pod, node or ip", key)
            return ()
        pod, node, text = child.text("pod"), child.text("node"), child.text("ip")
        child.close()
        if pod:
            return self._pod_ends(child, pod)
        if node:
            known = self._nodes.get(node)
            if known is None:
                child.invalid(f"node {node} is not in the case", "node")
                return ()
            return [self.of_address(address) for address in known.addresses]
        try:
            return [self.of_address(parse_address(text))]
        except ValueError:
            child.invalid(f'"{text}" is not an IP address, and neither pod nor node is given', "ip")
            return ()

    def _pod_ends(self, child: Fields, name: str) -> Sequence[End]:
        pod = self._pods.get(name)
        if pod is None:
            child.invalid(f"pod {name} is not in the case", "pod")
            return ()
        if not pod.host_network:
            server = self._api_server
            return [End(EndKind.POD, a, pod=pod, api_server=a in server) for a in pod.addresses]
        node = self._nodes.get(pod.node or "")
        return [End(EndKind.NODE, a, node=node, api_server=a in self._api_server) for a in pod.addresses]

    def of_address(self, address: Address) -> End:
        """The end that owns an address; outside when nobody does."""
        known = self._by_address.get(str(address))
        return known or End(EndKind.OUTSIDE, address, api_server=address in self._api_server)


def _packet(fields: Fields) -> Packet | None:
    protocol, port = fields.text("protocol", "TCP"), fields.integer("port")
    source_port, code = fields.integer("srcPort") or 0, fields.integer("icmpCode") or 0
    icmp_type = fields.integer("icmpType")
    number = PROTOCOL_NUMBERS.get(protocol)
    if number is None:
        fields.invalid(f'"{protocol}" is not one of {", ".join(PROTOCOL_NUMBERS)}', "protocol")
        return None
    port = (icmp_type if port is None else port) or 0
    limit = 255 if number in _FAMILY_OF else 65535
    if not 0 <= port <= limit or not 0 <= source_port <= 65535:
        fields.invalid(f"must be from 0 to {limit}", "port")
        return None
    return Packet(number, port, source_port, code)
