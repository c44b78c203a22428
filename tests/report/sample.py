"""A working folder as the other stages leave it: client and server pods, and every kind of result."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import msgspec
from msgspec import structs

from migrate.model.documents import (
    EmittedObject,
    Evidence,
    Fact,
    KindCount,
    Result,
    SnapshotHeader,
    Translation,
    TranslationResult,
)
from migrate.model.finding import Effect, Finding
from migrate.model.raw import Json, RawObject
from migrate.model.refs import ObjectRef
from migrate.scan import snapshot
from migrate.yaml_out import dump

CILIUM = "cilium.io/v2"
KUBERNETES = "networking.k8s.io/v1"
CALICO = "crd.projectcalico.org/v1"


@dataclass(frozen=True)
class Folder:
    """The content of a working folder, before it is on disk."""

    header: SnapshotHeader | None
    objects: tuple[RawObject, ...]
    translation: Translation | None
    files: dict[str, str]

    def write(self, path: Path) -> Path:
        """Put the documents where `migrate report` looks for them."""
        path.mkdir(parents=True, exist_ok=True)
        if self.header is not None:
            snapshot.write(path / "snapshot.jsonl.gz", self.header, self.objects)
        if self.translation is not None:
            (path / "translation.json").write_bytes(msgspec.json.encode(self.translation))
        for name, text in self.files.items():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            (path / name).write_text(text)
        return path


def policy(namespace: str, name: str, spec: dict[str, Json]) -> RawObject:
    """A NetworkPolicy as a scan of a cluster gives it."""
    return raw(KUBERNETES, "NetworkPolicy", namespace, name, spec)


def raw(api_version: str, kind: str, namespace: str | None, name: str, spec: dict[str, Json]) -> RawObject:
    """Any object with a spec."""
    metadata: dict[str, Json] = {"name": name} if namespace is None else {"namespace": namespace, "name": name}
    return RawObject({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec})


def pod(namespace: str, name: str, app: str, address: str) -> RawObject:
    """A running pod with one label."""
    metadata: dict[str, Json] = {"namespace": namespace, "name": name, "labels": {"app": app}}
    status: dict[str, Json] = {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]}
    data: dict[str, Json] = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {}, "status": status}
    return RawObject(data)


def namespace(name: str) -> RawObject:
    """A namespace with the label that Kubernetes sets."""
    labels: dict[str, Json] = {"kubernetes.io/metadata.name": name}
    return RawObject({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}})


def emitted(namespace: str | None, name: str) -> EmittedObject:
    """The Cilium object that the translation wrote."""
    kind = "CiliumNetworkPolicy" if namespace else "CiliumClusterwideNetworkPolicy"
    file = f"cilium/{namespace or '_cluster'}/{name}.yaml"
    return EmittedObject(api_version=CILIUM, kind=kind, namespace=namespace, name=name, file=file)


def result(source: RawObject, word: Result, *findings: Finding, assumptions: tuple[str, ...] = ()) -> TranslationResult:
    """What a source became; an object is written unless it is kept or unsupported."""
    ref = source.ref
    objects = () if word in (Result.KEPT, Result.UNSUPPORTED) else (emitted(ref.namespace, ref.name),)
    return TranslationResult(
        source=ref, at=None, result=word, objects=objects, findings=findings, assumptions=assumptions
    )


def finding(
    source: RawObject | None, identity: str, detail: str, effect: Effect = Effect.NONE, field: str | None = None
) -> Finding:
    """A finding about an object, or about the cluster."""
    subject: ObjectRef | None = source.ref if source else None
    return Finding(id=identity, detail=detail, effect=effect, effect_on_intent=effect, subject=subject, field=field)


SERVER = policy(
    "demo",
    "allow-client",
    {
        "podSelector": {"matchLabels": {"app": "server"}},
        "policyTypes": ["Ingress"],
        "ingress": [
            {
                "from": [{"podSelector": {"matchLabels": {"app": "client"}}}],
                "ports": [{"protocol": "TCP", "port": 80}],
            }
        ],
    },
)
DENY = policy("demo", "default-deny", {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]})
BLOCK = policy(
    "shop",
    "to-database",
    {
        "podSelector": {"matchLabels": {"app": "cart"}},
        "policyTypes": ["Egress"],
        "egress": [{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.9.0.0/16"]}}]}],
    },
)
NAMED = policy(
    "shop",
    "web-in",
    {
        "podSelector": {"matchLabels": {"app": "web"}},
        "ingress": [{"from": [{"namespaceSelector": {}}], "ports": [{"protocol": "TCP", "port": "http"}]}],
    },
)
GLOBAL = raw(
    CALICO,
    "GlobalNetworkPolicy",
    None,
    "allow-dns",
    {
        "order": 100,
        "selector": "app == 'cart'",
        "types": ["Egress"],
        "egress": [
            {"action": "Deny", "protocol": "UDP", "destination": {"nets": ["10.96.0.10/32"], "ports": [53]}},
            {"action": "Allow"},
        ],
    },
)
POLICIES = (SERVER, DENY, BLOCK, NAMED, GLOBAL)
RESULTS = (
    result(DENY, Result.KEPT),
    result(SERVER, Result.EXACT),
    result(
        BLOCK,
        Result.EXACT_HERE,
        finding(
            BLOCK,
            "POL-IPBLOCK-PODS",
            "10.0.0.0/8 covers 5 pods of 2 namespaces, which Cilium does not match by address",
            Effect.NARROWS,
            "spec.egress[0].to[0].ipBlock",
        ),
        assumptions=("The pods that 10.0.0.0/8 covers carry the labels that they have in this snapshot.",),
    ),
    result(
        NAMED,
        Result.CHANGED,
        finding(
            NAMED,
            "POL-NAMED-PORT",
            'port "http" is 8080 on 2 pods and 80 on 1 pod',
            Effect.NARROWS,
            "spec.ingress[0].ports[0].port",
        ),
        finding(NAMED, "POL-EGRESS-OWN-NODE", "web pods reach the kubelet of their own node today", Effect.UNKNOWN),
    ),
    result(
        GLOBAL,
        Result.UNSUPPORTED,
        finding(
            GLOBAL, "POL-CALICO-FIELD", "a Deny before an Allow is not translated", Effect.UNKNOWN, "spec.egress[0]"
        ),
    ),
)
FILES = {
    written.file: f"# from {one.source}\n"
    + dump(
        {
            "apiVersion": CILIUM,
            "kind": written.kind,
            "metadata": {"namespace": written.namespace or "", "name": written.name},
            "spec": {
                "endpointSelector": {"matchLabels": {"any:app": "server"}},
                "enableDefaultDeny": {"ingress": True},
            },
        }
    )
    for one in RESULTS
    for written in one.objects
}
WORKLOADS = (
    *(namespace(name) for name in ("demo", "kube-system", "shop")),
    pod("demo", "client-1", "client", "10.244.0.10"),
    pod("demo", "server-1", "server", "10.244.0.11"),
    pod("shop", "cart-1", "cart", "10.244.1.10"),
    pod("shop", "web-1", "web", "10.244.1.11"),
    pod("shop", "batch-1", "batch", "10.244.1.12"),
    pod("kube-system", "coredns-1", "kube-dns", "10.244.0.2"),
)
HEADER = SnapshotHeader(
    tool_version="0.1.0",
    origin="cluster",
    name="prod-weu-aks",
    taken="2026-11-20T21:04:11Z",
    server_version="1.34.1",
    kinds=(
        KindCount("v1", "Namespace", "read", 3),
        KindCount("v1", "Pod", "read", 6),
        KindCount("networking.k8s.io/v1", "NetworkPolicy", "read", 4),
        KindCount(CALICO, "GlobalNetworkPolicy", "read", 1),
        KindCount("operator.tigera.io/v1", "Installation", "absent", detail="the cluster does not know the kind"),
    ),
    facts=(
        Fact(topic="cloud", value="aks", evidence=(Evidence("Node aks-0", "spec.providerID", "azure:///…"),)),
        Fact(
            topic="engine",
            value="npm-linux",
            detail="DaemonSet runs on 3 of 3 nodes",
            evidence=(Evidence("DaemonSet kube-system/azure-npm", "status.numberReady", "3"),),
        ),
        Fact(
            topic="engine",
            value="calico",
            state="present",
            detail="its kinds are there, nothing enforces them",
            evidence=(Evidence("CustomResourceDefinition", "crd.projectcalico.org/v1", "GlobalNetworkPolicy"),),
        ),
        Fact(topic="kubenet", value="kubenet", evidence=(Evidence("Node aks-0", "spec.podCIDR", "10.244.0.0/24"),)),
        Fact(topic="ip-families", value="IPv4"),
        Fact(topic="node-local-dns", value="none", state="absent", detail="no DaemonSet node-local-dns"),
        Fact(topic="azure-policy", value="unknown", state="unknown", detail="az aks show was not given"),
    ),
)
TRANSLATION = Translation(
    tool_version="0.1.0",
    target="aks-1.34",
    networkpolicy="rewrite",
    engines=("npm-linux",),
    results=RESULTS,
    findings=(finding(None, "POL-SOURCE-STAYS", "4 NetworkPolicies stay in the cluster until they are deleted"),),
)
REALISTIC = Folder(HEADER, (*WORKLOADS, *POLICIES), TRANSLATION, FILES)


def many(policies: int, namespaces: int) -> Folder:
    """A large cluster: every policy like the first one, under a name of its own."""
    spec = SERVER.data["spec"]
    assert isinstance(spec, dict)
    sources = [policy(f"team-{number % namespaces:04}", f"policy-{number:05}", spec) for number in range(policies)]
    results = tuple(
        result(one, Result.EXACT_HERE, finding(one, "POL-NAMED-PORT", f"port number {number}", Effect.NARROWS))
        for number, one in enumerate(sources)
    )
    files = {written.file: FILES["cilium/demo/allow-client.yaml"] for one in results for written in one.objects}
    spaces = [namespace(f"team-{number:04}") for number in range(namespaces)]
    translation = structs.replace(TRANSLATION, results=results)
    return Folder(HEADER, (*spaces, *sources), translation, files)


def without(folder: Folder, *, snapshot: bool = False, translation: bool = False) -> Folder:
    """The same folder before a stage has run."""
    return replace(
        folder,
        header=None if snapshot else folder.header,
        objects=() if snapshot else folder.objects,
        translation=None if translation else folder.translation,
    )
