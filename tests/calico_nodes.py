"""Small random clusters on Calico, and what Calico's own agent (Felix, v3.28) writes on one of their nodes."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TypedDict

from migrate.model.raw import Json
from migrate.nodes.cluster_view import ClusterView
from migrate.scan import snapshot
from tests.command_line import migrate

NODE = "n1"
_NAMESPACES = ("default", "shop", "a-long-name-of-a-namespace")
_ORDERS = (None, 10, 900, 1000, 2000)


class SelectorAnswer(TypedDict, total=False):
    """How Calico writes a selector, and its id; or why it refuses it."""

    text: str
    id: str
    error: str


class Rendered(TypedDict):
    """Text for iptables-restore, ip6tables-restore and ipset restore."""

    policies: list[dict[str, Json]]
    iptables: str
    ip6tables: str
    ipset: str
    selectors: list[SelectorAnswer]


def ask(program: Path, document: Mapping[str, object]) -> Rendered:
    """What `calico render` answers."""
    ended = subprocess.run([program, "render"], input=json.dumps(document), capture_output=True, text=True, check=False)
    if ended.returncode != 0:
        raise RuntimeError(ended.stderr)
    answer: Rendered = json.loads(ended.stdout)
    return answer


@dataclass(frozen=True, slots=True)
class RandomCluster:
    """Objects as the API has them, and the same for the engine."""

    objects: tuple[Mapping[str, Json], ...]
    case: Mapping[str, object]

    def rendered(self, program: Path, **options: str) -> Rendered:
        """What Felix writes on the node.

        Where it is told to reject it puts a REJECT into the raw table too, which no kernel takes: that one drops here.
        """
        answer = ask(program, {**self.case, "render": {"node": NODE, **options}})
        return {**answer, "iptables": _restorable(answer["iptables"]), "ip6tables": _restorable(answer["ip6tables"])}

    def view(self, folder: Path, *more: Mapping[str, Json]) -> ClusterView:
        """The cluster as `migrate scan` keeps it."""
        place = folder / "objects.json"
        items = [*self.objects, *more, CALICO_NODE]
        place.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": items}), encoding="utf-8")
        ended = migrate(folder, "scan", "--output-dir", folder, "-q", "-f", place)
        assert ended.status in (0, 4), ended.stderr
        taken = snapshot.read(folder / "snapshot.jsonl.gz")
        return ClusterView(taken.header, tuple(taken.objects))


def _restorable(text: str) -> str:
    raw, commit, rest = text.partition("COMMIT\n")
    return raw.replace("--jump REJECT", "--jump DROP") + commit + rest


CALICO_NODE: Mapping[str, Json] = {
    "apiVersion": "apps/v1",
    "kind": "DaemonSet",
    "metadata": {"name": "calico-node", "namespace": "kube-system"},
    "spec": {"template": {"spec": {"containers": [{"name": "calico-node", "image": "calico/node:v3.28.2"}]}}},
    "status": {"desiredNumberScheduled": 2, "numberReady": 2},
}


def random_cluster(seed: int) -> RandomCluster:
    """A cluster of two nodes, ten pods and a dozen policies of all kinds."""
    return _Maker(Random(seed)).cluster()


class _Maker:
    def __init__(self, random: Random) -> None:
        self._random = random

    def cluster(self) -> RandomCluster:
        namespaces: list[dict[str, Json]] = [{"name": name, "labels": self._labels()} for name in _NAMESPACES]
        named = [(name, account, self._labels()) for name in _NAMESPACES for account in ("default", "build")]
        accounts = [{"namespace": space, "name": name, "labels": labels} for space, name, labels in named]
        pods = [self._pod(number) for number in range(1, 11)]
        slices = [self._slice(name) for name in _NAMESPACES]
        policies = [self._kubernetes(number) for number in range(4)]
        policies += [self._calico(number) for number in range(6)]
        sets = [self._network_set(number) for number in range(4)]
        hosts = [self._host(number) for number in range(2)]
        objects = [
            *(_object("v1", "Namespace", None, n["name"], labels=n["labels"]) for n in namespaces),
            *(_object("v1", "ServiceAccount", space, name, labels=labels) for space, name, labels in named),
            *(_object("v1", "Node", None, name) for name in (NODE, "n2")),
            *(_as_pod(pod) for pod in pods),
            *slices,
            *policies,
            *sets,
            *hosts,
        ]
        case = {
            "version": 1,
            "namespaces": namespaces,
            "serviceAccounts": accounts,
            "pods": pods,
            "policies": [*slices, *policies, *sets, *hosts],
        }
        return RandomCluster(tuple(objects), case)

    def _some(self, values: Sequence[str], most: int = 2) -> list[str]:
        return self._random.sample(values, self._random.randint(1, most))

    def _chance(self, probability: float) -> bool:
        return self._random.random() < probability

    def _labels(self) -> dict[str, Json]:
        keys = {"app": ("web", "db", "it-s"), "tier": ("front", "back"), "example.com/x": ("", "1")}
        return {key: self._random.choice(values) for key, values in keys.items() if self._chance(0.6)}

    def _pod(self, number: int) -> dict[str, Json]:
        ips: list[Json] = [f"10.65.{number % 2}.{number}"]
        if self._chance(0.5):
            ips.append(f"fd00:65::{number}")
        ports: list[Json] = [{"name": "http", "protocol": "TCP", "port": self._random.choice((80, 8080))}]
        if self._chance(0.5):
            ports.append({"name": "dns", "protocol": "UDP", "port": 53})
        return {
            "namespace": self._random.choice(_NAMESPACES),
            "name": f"pod-{number}",
            "labels": self._labels(),
            "ips": ips,
            "namedPorts": ports,
            "serviceAccount": self._random.choice(("default", "build")),
            "node": NODE if number % 3 else "n2",
        }

    def _slice(self, namespace: str) -> dict[str, Json]:
        labels: dict[str, Json] = {"kubernetes.io/service-name": "backend"}
        addresses: list[Json] = [f"10.65.7.{self._random.randint(1, 9)}"]
        return {
            **_object("discovery.k8s.io/v1", "EndpointSlice", namespace, "backend-x", labels=labels),
            "addressType": "IPv4",
            "ports": [{"name": "p", "port": 8443, "protocol": self._random.choice(("TCP", "UDP"))}],
            "endpoints": [{"addresses": addresses, "conditions": {"ready": self._chance(0.8)}}],
        }

    def _term(self) -> str:
        return self._random.choice(
            (
                *("app == 'web'", "app != 'db'", "tier in {'front','back'}", "tier not in { 'back' }", "has(app)"),
                *("!has(tier)", "app contains 'e'", "app starts with 'd'", "example.com/x == ''", "all()"),
                *("projectcalico.org/namespace == 'shop'", "pcns.tier == 'front'", "pcsa.app == 'web'"),
            )
        )

    def _selector(self) -> str:
        first, second = self._term(), self._term()
        return self._random.choice((first, f"{first} && {second}", f"!({first} || {second})", f"({first})||{second}"))

    def _label_selector(self) -> dict[str, Json]:
        found: dict[str, Json] = {}
        if self._chance(0.5):
            found["matchLabels"] = self._labels()
        if self._chance(0.5):
            expressions: tuple[dict[str, Json], ...] = (
                {"key": "app", "operator": "In", "values": ["web", "db"]},
                {"key": "app", "operator": "NotIn", "values": ["web"]},
                {"key": "tier", "operator": "Exists"},
                {"key": "tier", "operator": "DoesNotExist"},
            )
            found["matchExpressions"] = [self._random.choice(expressions)]
        return found

    def _kubernetes(self, number: int) -> dict[str, Json]:
        name = self._random.choice(("short", "a-name-that-is-too-long-for-a-chain"))
        types = self._some(("Ingress", "Egress"))
        spec: dict[str, Json] = {"podSelector": self._label_selector(), "policyTypes": [*types]}
        for key, peers in (("ingress", "from"), ("egress", "to")):
            spec[key] = [self._kubernetes_rule(peers) for _ in range(self._random.randint(0, 3))]
        namespace = self._random.choice(_NAMESPACES)
        return {**_object("networking.k8s.io/v1", "NetworkPolicy", namespace, f"{name}-{number}"), "spec": spec}

    def _kubernetes_rule(self, peers: str) -> dict[str, Json]:
        found: dict[str, Json] = {}
        if self._chance(0.8):
            found[peers] = [self._peer() for _ in range(self._random.randint(1, 3))]
        if self._chance(0.7):
            found["ports"] = [self._port() for _ in range(self._random.randint(1, 4))]
        return found

    def _peer(self) -> dict[str, Json]:
        if self._chance(0.3):
            six = self._chance(0.3)
            block: dict[str, Json] = {
                "cidr": "fd00:65::/32" if six else self._random.choice(("10.65.0.0/16", "0.0.0.0/0"))
            }
            if self._chance(0.5):
                block["except"] = ["fd00:65:0:1::/64"] if six else ["10.65.1.0/24", "10.65.3.0/24"]
            return {"ipBlock": block}
        found: dict[str, Json] = {}
        if self._chance(0.5):
            found["namespaceSelector"] = self._label_selector()
        if self._chance(0.5) or not found:
            found["podSelector"] = self._label_selector()
        return found

    def _port(self) -> dict[str, Json]:
        protocol = self._random.choice(("TCP", "UDP", "SCTP"))
        ports: tuple[dict[str, Json], ...] = (
            {"protocol": protocol},
            {"protocol": protocol, "port": self._random.choice((53, 80, 81, 443))},
            {"port": 8000, "endPort": 8000 + self._random.randint(0, 99)},
            {"protocol": protocol, "port": self._random.choice(("http", "dns"))},
        )
        return self._random.choice(ports)

    def _calico(self, number: int) -> dict[str, Json]:
        namespace = self._random.choice((None, None, "shop", "default"))
        spec: dict[str, Json] = {"types": [*self._some(("Ingress", "Egress"))]}
        order = self._random.choice(_ORDERS)
        if order is not None:
            spec["order"] = order
        # Few selectors, so that neighbours in the order form groups.
        spec["selector"] = self._random.choice(("all()", "has(app)", self._selector()))
        if self._chance(0.3):
            spec["serviceAccountSelector"] = "has(app)"
        if namespace is None and self._chance(0.4):
            spec["namespaceSelector"] = self._random.choice(("all()", "tier == 'front'", "has(app) || all()"))
        for key in ("ingress", "egress"):
            spec[key] = [self._calico_rule(key == "ingress") for _ in range(self._random.randint(0, 4))]
        kind = "GlobalNetworkPolicy" if namespace is None else "NetworkPolicy"
        name = self._random.choice(("gate", "another-name-that-is-too-long"))
        return {**_object("projectcalico.org/v3", kind, namespace, f"{name}-{number}"), "spec": spec}

    def _calico_rule(self, ingress: bool) -> dict[str, Json]:
        rule: dict[str, Json] = {"action": self._random.choice(("Allow", "Deny", "Pass", "Log"))}
        protocol = self._random.choice((None, "TCP", "UDP", "SCTP", "ICMP", "ICMPv6", 47, "UDPLite"))
        if protocol is not None:
            rule["protocol"] = protocol
        elif self._chance(0.3):
            rule["notProtocol"] = self._random.choice(("TCP", 50))
        if protocol in ("ICMP", "ICMPv6") and self._chance(0.7):
            key = self._random.choice(("icmp", "notICMP"))
            rule[key] = {"type": 8, "code": 0} if self._chance(0.5) else {"type": self._random.choice((0, 3, 8))}
        six = protocol == "ICMPv6" or (protocol != "ICMP" and self._chance(0.2))
        ported = protocol in ("TCP", "UDP", "SCTP")
        if self._chance(0.15):
            side = "source" if ingress else "destination"
            service: dict[str, Json] = {"services": {"name": "backend", "namespace": "shop"}}
            rule[side] = service
            for unported in ("icmp", "notICMP"):
                rule.pop(unported, None)
            return rule
        for side in ("source", "destination"):
            if self._chance(0.7):
                rule[side] = self._entity(six, ported)
        return rule

    def _entity(self, six: bool, ported: bool) -> dict[str, Json]:
        found: dict[str, Json] = {}
        if self._chance(0.5):
            found["selector"] = self._selector()
        if self._chance(0.3):
            found["notSelector"] = self._selector()
        if self._chance(0.3):
            found["namespaceSelector"] = self._random.choice(("all()", "global()", "tier == 'front'", "!has(app)"))
        if self._chance(0.2):
            accounts: dict[str, Json] = {"names": [*self._some(("default", "build"))]}
            if self._chance(0.5):
                accounts["selector"] = "has(app)"
            found["serviceAccounts"] = accounts
        nets = ("fd00:65::/64", "fd00:66::/64", "fd00::/8") if six else ("10.65.0.0/16", "10.0.0.0/8", "192.0.2.7/32")
        if self._chance(0.3):
            found["nets"] = [*self._some(nets, 3)]
        if self._chance(0.3):
            found["notNets"] = [*self._some(nets, 2)]
        if ported and self._chance(0.6):
            found["ports"] = self._ports(20)
        if ported and self._chance(0.3):
            found["notPorts"] = self._ports(3)
        return found

    def _ports(self, most: int) -> list[Json]:
        choices: list[Json] = [80, "8000:8010", "http", "dns", *range(1000, 1040, 2)]
        return self._random.sample(choices, self._random.randint(1, most))

    def _network_set(self, number: int) -> dict[str, Json]:
        nets: list[Json] = ["192.0.2.0/24", "198.51.100.7", "10.65.0.0/24", "fd00:9::/64", "192.0.2.128/25"]
        namespace = self._random.choice((None, "shop"))
        kind = "GlobalNetworkSet" if namespace is None else "NetworkSet"
        made = _object("projectcalico.org/v3", kind, namespace, f"set-{number}", labels=self._labels())
        return {**made, "spec": {"nets": self._random.sample(nets, 2)}}

    def _host(self, number: int) -> dict[str, Json]:
        spec: dict[str, Json] = {
            "node": (NODE, "n2")[number],
            "interfaceName": "eth0",
            "expectedIPs": [f"192.0.2.{10 + number}"],
            "ports": [{"name": "http", "protocol": "TCP", "port": 8088}],
        }
        made = _object("projectcalico.org/v3", "HostEndpoint", None, f"host-{number}", labels=self._labels())
        return {**made, "spec": spec}


def _object(api_version: str, kind: str, namespace: str | None, name: Json, labels: Json = None) -> dict[str, Json]:
    metadata: dict[str, Json] = {"name": name}
    if namespace is not None:
        metadata["namespace"] = namespace
    if labels:
        metadata["labels"] = labels
    return {"apiVersion": api_version, "kind": kind, "metadata": metadata}


def _as_pod(pod: Mapping[str, Json]) -> dict[str, Json]:
    ips, named = pod["ips"], pod["namedPorts"]
    assert isinstance(ips, list)
    assert isinstance(named, list)
    ports: list[Json] = [
        {"name": port["name"], "protocol": port["protocol"], "containerPort": port["port"]}
        for port in named
        if isinstance(port, dict)
    ]
    namespace = pod["namespace"]
    assert isinstance(namespace, str)
    return {
        **_object("v1", "Pod", namespace, pod["name"], labels=pod["labels"]),
        "spec": {
            "nodeName": pod["node"],
            "serviceAccountName": pod["serviceAccount"],
            "containers": [{"name": "c", "image": "i", "ports": ports}],
        },
        "status": {"phase": "Running", "podIP": ips[0], "podIPs": [{"ip": ip} for ip in ips]},
    }
