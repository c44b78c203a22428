"""Translation cases as data: tests/cases/translate/<case>/in/*.yaml with expect.yaml, see the README.md there."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias, cast

import msgspec
import yaml

from migrate.model.documents import TranslationResult
from migrate.model.finding import Finding
from migrate.model.raw import Json, RawObject
from migrate.translate.engine import Outcome, OutputFile, translate
from migrate.translate.profiles import Profile, load_profile

Data: TypeAlias = dict[str, Json]
CASES = Path(__file__).parent.parent / "cases" / "translate"
TARGETS = ("cilium-1.18", "cilium-1.20")
_FLOW = re.compile(r"(\S+) -> (\S+) (\w+)/(\d+)")
_CLUSTER_KINDS = frozenset({"Namespace", "Node", "Pod", "ServiceAccount", "Service", "EndpointSlice"})


class ExpectedFinding(msgspec.Struct, frozen=True, forbid_unknown_fields=True, order=True):
    """A finding about an object, by its id and its two effects."""

    id: str
    object: str
    effect: str = "none"
    effect_on_intent: str = "none"


class Given(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What is expected for one target where targets differ."""

    results: dict[str, str] | None = None
    findings: tuple[ExpectedFinding, ...] | None = None
    emitted: tuple[str, ...] | None = None


class Expectation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a case says, by hand, from the documents that `why` names.

    `allowed` and `denied` flows meet the same verdict before and after; the two others change. Of those that are denied
    afterwards, `with_compat` are allowed by the objects of compat/, as they are today.
    """

    why: str
    results: dict[str, str]
    findings: tuple[ExpectedFinding, ...] = ()
    emitted: tuple[str, ...] = ()
    allowed: tuple[str, ...] = ()
    denied: tuple[str, ...] = ()
    newly_allowed: tuple[str, ...] = ()
    newly_denied: tuple[str, ...] = ()
    compat: tuple[str, ...] = ()
    with_compat: tuple[str, ...] = ()
    cluster: str | None = "small"
    targets: tuple[str, ...] = TARGETS
    engines: tuple[str, ...] = ("npm-linux",)
    mode: Literal["rewrite", "supplement", "keep"] = "rewrite"
    complete: bool = True
    per_target: dict[str, Given] = {}

    def verdicts(self, *, after: bool) -> dict[str, str]:
        """The verdict of each flow, before or after the move."""
        changed = dict.fromkeys(self.newly_allowed, "allow" if after else "deny")
        changed |= dict.fromkeys(self.newly_denied, "deny" if after else "allow")
        return dict.fromkeys(self.allowed, "allow") | dict.fromkeys(self.denied, "deny") | changed


@cache
def case_names() -> tuple[str, ...]:
    """The name of each case."""
    return tuple(sorted(path.parent.name for path in CASES.glob("*/expect.yaml")))


@cache
def expectation(name: str) -> Expectation:
    """What a case says. Raises msgspec.ValidationError when its file says something else than it may."""
    return msgspec.convert(yaml.safe_load((CASES / name / "expect.yaml").read_text()), Expectation)


def objects_of(name: str) -> list[Data]:
    """The objects of a case with those of its cluster."""
    cluster = expectation(name).cluster
    shared = [] if cluster is None else _documents(CASES / "clusters" / f"{cluster}.yaml")
    own = [data for path in sorted((CASES / name / "in").glob("*.yaml")) for data in _documents(path)]
    return [*shared, *own]


def _documents(path: Path) -> list[Data]:
    return [cast("Data", data) for data in yaml.safe_load_all(path.read_text()) if data is not None]


def translated(name: str, target: str) -> Outcome:
    """What becomes of a case."""
    expected = expectation(name)
    return translate(
        [RawObject(data) for data in objects_of(name)],
        profile=load_profile(target),
        engines=expected.engines,
        networkpolicy=expected.mode,
        complete=expected.complete,
    )


def findings_of(outcome: Outcome) -> list[Finding]:
    """All findings, of objects and of the whole."""
    document = outcome.translation
    return [*document.findings, *(finding for result in document.results for finding in result.findings)]


def emitted_objects(outcome: Outcome, *, compat: bool = False) -> list[Data]:
    """The objects in the files, read back; those of compat/ where they are asked for."""
    chosen = [file for file in outcome.to_apply if compat or not is_compat(file)]
    return [cast("Data", yaml.safe_load(file.text)) for file in chosen]


def is_compat(file: OutputFile) -> bool:
    """Whether the file stands apart from what the policies say."""
    return file.path.startswith("compat/")


def before(name: str) -> dict[str, object]:
    """The question to the engine of today."""
    data = objects_of(name)
    slices = [item for item in data if item["kind"] == "EndpointSlice"] if "calico" in expectation(name).engines else []
    return cluster_document(data) | {"policies": [*_policies(data), *slices], "flows": flows(name)}


def after(name: str, target: str, *, compat: bool = False) -> dict[str, object]:
    """The question to Cilium: what was written, with compat/ or without, and the NetworkPolicies that stay."""
    outcome, data = translated(name, target), objects_of(name)
    policies = [
        *emitted_objects(outcome, compat=compat),
        *(item for item in _policies(data) if _stays(item, name, outcome)),
    ]
    options = engine_options(load_profile(target)) | {"ipv6": any(":" in address for address in _node_addresses(data))}
    return cluster_document(data) | {"policies": policies, "flows": flows(name), "options": options}


def engine_options(profile: Profile) -> dict[str, object]:
    """The settings of a profile in the words of the engines under tests/engines."""
    return {"sctp": profile.sctp, "icmpRules": profile.icmp_rules, "crossCheck": True}


def _policies(data: list[Data]) -> list[Data]:
    return [item for item in data if item["kind"] not in _CLUSTER_KINDS]


def _stays(item: Data, name: str, outcome: Outcome) -> bool:
    """Whether an object is still there when Cilium enforces: other engines' kinds mean nothing to it."""
    if str(item["apiVersion"]).startswith("cilium.io/"):
        return True
    if item["apiVersion"] != "networking.k8s.io/v1" or expectation(name).mode == "rewrite":
        return False
    ref = RawObject(item).ref
    result = next(result for result in outcome.translation.results if result.source == ref)
    return expectation(name).mode == "keep" or not _replaced(result)


def _replaced(result: TranslationResult) -> bool:
    return any(finding.id == "POL-SOURCE-STAYS" for finding in result.findings)


def flows(name: str) -> list[dict[str, object]]:
    """The flows of a case in the engines' form, in the order of its verdicts."""
    return [_flow(text) for text in expectation(name).verdicts(after=True)]


def _flow(text: str) -> dict[str, object]:
    found = _FLOW.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is not a flow such as: shop/web -> 8.8.8.8 TCP/80")
    source, destination, protocol, port = found.groups()
    return {"src": _end(source), "dst": _end(destination), "protocol": protocol, "port": int(port)}


def _end(text: str) -> dict[str, str]:
    if text.startswith("node:"):
        return {"node": text.removeprefix("node:")}
    return {"pod": text} if "/" in text else {"ip": str(ipaddress.ip_address(text))}


def cluster_document(data: list[Data]) -> dict[str, object]:
    """The cluster of some objects in the form of tests/cases/vectors."""
    namespaces = {_meta(item, "name"): _labels(item) for item in data if item["kind"] == "Namespace"}
    for item in data:
        if item["kind"] == "Pod":
            namespaces.setdefault(_meta(item, "namespace"), {})
    slices = [item for item in data if item["kind"] == "EndpointSlice"]
    return {
        "name": "case",
        "namespaces": [
            {"name": name, "labels": labels | {"kubernetes.io/metadata.name": name}}
            for name, labels in namespaces.items()
        ],
        "serviceAccounts": [
            {"namespace": _meta(item, "namespace"), "name": _meta(item, "name"), "labels": _labels(item)}
            for item in data
            if item["kind"] == "ServiceAccount"
        ],
        "pods": [_pod(item) for item in data if item["kind"] == "Pod"],
        "nodes": [
            {"name": _meta(item, "name"), "ips": _ips(item), "labels": _labels(item)}
            for item in data
            if item["kind"] == "Node"
        ],
        "kubeAPIServer": {
            "ips": [ip for item in slices for e in _list(item, "endpoints") for ip in _list(e, "addresses")]
        },
    }


def _pod(item: Data) -> dict[str, object]:
    spec = _map(item, "spec")
    ports = [port for container in _list(spec, "containers") for port in _list(container, "ports")]
    return {
        "namespace": _meta(item, "namespace"),
        "name": _meta(item, "name"),
        "labels": _labels(item),
        "ips": [_map(entry)["ip"] for entry in _list(_map(item, "status"), "podIPs")],
        "namedPorts": [
            {"name": p["name"], "protocol": p.get("protocol", "TCP"), "port": p["containerPort"]}
            for p in (_map(port) for port in ports)
            if "name" in p
        ],
        "serviceAccount": spec.get("serviceAccountName", "default"),
        "node": spec.get("nodeName", ""),
        "hostNetwork": spec.get("hostNetwork", False),
    }


def _node_addresses(data: list[Data]) -> list[str]:
    return [ip for item in data if item["kind"] == "Node" for ip in _ips(item)]


def _ips(node: Data) -> list[str]:
    return [str(_map(entry)["address"]) for entry in _list(_map(node, "status"), "addresses")]


def _meta(item: Data, key: str) -> str:
    return str(_map(item, "metadata").get(key, "default" if key == "namespace" else ""))


def _labels(item: Data) -> dict[str, str]:
    return {key: str(value) for key, value in _map(_map(item, "metadata"), "labels").items()}


def _map(owner: Json | Mapping[str, Json], key: str | None = None) -> Mapping[str, Json]:
    value = owner if key is None else _map(owner).get(key)
    return value if isinstance(value, Mapping) else {}


def _list(owner: Json | Mapping[str, Json], key: str) -> list[Json]:
    value = owner.get(key) if isinstance(owner, Mapping) else None
    return value if isinstance(value, list) else []
