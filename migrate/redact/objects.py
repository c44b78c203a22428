"""Objects of a snapshot with pseudonyms in place of names and addresses. Their structure and numbers stay.

What is replaced is everything that is not known to be public: a value that no rule speaks of becomes a pseudonym too.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache

import yaml

from migrate.model.documents import API_VERSION
from migrate.model.raw import Json, RawObject
from migrate.redact.addresses import AddressMap
from migrate.redact.names import Names
from migrate.scan.inventory import AZURE_KIND
from migrate.scan.kinds import KINDS
from migrate.sources.calico import GROUPS

_METADATA = "projectcalico.org/metadata"
_LABEL_MAPS = frozenset(("labels", "matchLabels", "labelsToApply"))
_SELECTOR_TEXTS = frozenset(
    (
        *("selector", "notSelector", "namespaceSelector", "nodeSelector", "serviceAccountSelector", "peerSelector"),
        *("endpointSelector", "localWorkloadSelector"),
    )
)
_HOSTS = frozenset(
    (
        "domainNames",
        "domains",
        "dnsNames",
        "externalName",
        "matchName",
        "matchPattern",
        "controlPlaneEndpoint",
        "server",
        "server",
    )
)
_VERSIONS = frozenset(
    (
        *("kernelVersion", "kubeletVersion", "kubeProxyVersion", "containerRuntimeVersion", "osImage", "osSku"),
        *(
            "kubernetesVersion",
            "currentKubernetesVersion",
            "currentOrchestratorVersion",
            "nodeImageVersion",
            "revisions",
        ),
        *("apiVersion", "calicoVersion", "schedule", "timeAdded"),
    )
)
_DROPPED = frozenset(("annotations", "managedFields", "description", "log"))
_RANKED = frozenset(("tier",))
_POLICIES = re.compile(
    r"(Staged)?(Global|Kubernetes)?NetworkPolicy|Cilium\w*NetworkPolicy|\w*(Admin|Cluster)NetworkPolicy|Tier"
)
_NUMBER = re.compile(r"\d+(\.\d+)?([:-]\d+)?(ns|us|ms|s|m|h|%)?|(\d+[hms])+|\d+(:\d+){1,2}")
_LABEL_VALUE = re.compile(r"([A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?")
_ADDRESS = re.compile(r"[0-9A-Fa-f:.]+(/\d{1,3})?")
_WITH_PORT = re.compile(r"(?:\[([0-9A-Fa-f:.]+)\]|([0-9.]+)):(\d+)")
_PLACE = re.compile(r"(?P<scheme>https?://)?(?P<host>\[[0-9A-Fa-f:.]+\]|[^:/\[\]]+)(?P<port>:\d+)?(/.*)?")
_KEY = r"[a-zA-Z0-9_./-]+"
_TEXT = r""" "[^"]*"|'[^']*' """.strip()
_TERM = re.compile(
    rf"(?P<key>{_KEY})\s+(?P<part>contains|starts\s+with|ends\s+with)\s+(?P<operand>{_TEXT})"
    rf"|has\(\s*(?P<has>{_KEY})\s*\)|(?P<all>(?:all|global)\(\s*\))|(?P<text>{_TEXT})|(?P<word>{_KEY})"
)
_KEYWORDS = frozenset(("in", "not"))


@dataclass
class Redactor:
    """Replaces names and addresses of objects. `values` has the values of each label key, for selectors of parts."""

    names: Names
    addresses: AddressMap
    values: Mapping[str, Sequence[str]] = field(default_factory=dict)
    _scalars: dict[str, str] = field(default_factory=dict)

    def object(self, raw: RawObject) -> RawObject:
        """The object with pseudonyms, as if it came from a cluster: files are not named."""
        rest = {key: value for key, value in raw.data.items() if key not in ("metadata", "data", "kind")}
        data = {self.names.field(key): self._any(key, value) for key, value in rest.items()}
        data["apiVersion"] = _public_version(raw.ref.api_version) or self.names.name(raw.ref.api_version)
        data["kind"] = raw.ref.kind
        data["metadata"] = self._metadata(raw)
        if raw.ref.kind == "ConfigMap":
            data["data"] = self._config(raw.data.get("data"))
        return RawObject(data)

    def scalar(self, text: str) -> str:
        """A value: an address as one, a public word as it is, anything else as a name."""
        found = self._scalars.get(text)
        if found is None:
            found = self._scalars[text] = self._address(text) or self.names.name(text)
        return found

    def _metadata(self, raw: RawObject) -> Json:
        metadata = raw.data.get("metadata")
        if not isinstance(metadata, dict):
            return {}
        made: dict[str, Json] = {"name": self._object_name(raw)}
        if raw.ref.namespace:
            made["namespace"] = self.names.name(raw.ref.namespace)
        labels = metadata.get("labels")
        if isinstance(labels, dict):
            made["labels"] = self._labels(labels)
        owners = metadata.get("ownerReferences")
        if isinstance(owners, list):
            made["ownerReferences"] = [self._owner(owner, labels) for owner in owners if isinstance(owner, dict)]
        annotations = metadata.get("annotations")
        stored = annotations.get(_METADATA) if isinstance(annotations, dict) else None
        if isinstance(stored, str):
            made["annotations"] = {_METADATA: self._stored(stored)}
        return made

    def _object_name(self, raw: RawObject) -> str:
        if raw.ref.kind == AZURE_KIND:
            return f"redacted {self.names.name(raw.ref.name)}"
        if not _POLICIES.fullmatch(raw.ref.kind):
            return self.names.name(raw.ref.name)
        tier, dot, rest = raw.ref.name.partition(".")
        if raw.ref.group in GROUPS and dot and raw.ref.kind != "Tier":
            return f"{self._tier(tier)}.{self.names.ranked(rest)}"
        return self._tier(raw.ref.name) if raw.ref.kind == "Tier" else self.names.ranked(raw.ref.name)

    def _tier(self, name: str) -> str:
        """A well-known tier keeps its name, which Calico and the translation look at."""
        kept = self.names.name(name) == name
        return name if kept else self.names.ranked(name)

    def _owner(self, owner: Mapping[str, Json], labels: Json) -> Json:
        made = {self.names.field(key): self._any(key, value) for key, value in owner.items() if key != "name"}
        name = owner.get("name")
        unique = labels.get("pod-template-hash") if isinstance(labels, dict) else None
        if isinstance(name, str) and isinstance(unique, str) and unique and name.endswith(f"-{unique}"):
            made["name"] = f"{self.names.name(name.removesuffix(f'-{unique}'))}-{self.names.name(unique)}"
        elif isinstance(name, str):
            made["name"] = self.names.name(name)
        return made

    def _stored(self, text: str) -> str:
        """Calico's own copy of an object's metadata: its labels are the ones that count."""
        try:
            stored = json.loads(text)
        except ValueError:
            return "{}"
        labels = stored.get("labels") if isinstance(stored, dict) else None
        name = stored.get("name") if isinstance(stored, dict) else None
        made: dict[str, Json] = {"labels": self._labels(labels)} if isinstance(labels, dict) else {}
        if isinstance(name, str):
            made["name"] = self.names.ranked(name)
        return json.dumps(made)

    def _any(self, key: str, value: Json) -> Json:
        """The value of a field."""
        if isinstance(value, dict):
            return self._mapping(key, value)
        if isinstance(value, list):
            return [self._any(key, item) for item in value]
        return self._leaf(key, value) if isinstance(value, str) else value

    def _mapping(self, key: str, value: Mapping[str, Json]) -> Json:
        if key in _LABEL_MAPS or (key in ("selector", "nodeSelector") and _is_label_map(value)):
            return self._labels(value)
        if "operator" in value and "key" in value:
            return self._requirement(value)
        return {self.names.field(name): self._any(name, item) for name, item in value.items() if name not in _DROPPED}

    def _labels(self, labels: Mapping[str, Json]) -> Json:
        return {
            self.names.label_key(key): self._label_value(key, value) if isinstance(value, str) else value
            for key, value in labels.items()
        }

    def _label_value(self, key: str, value: str) -> str:
        return self.names.words(value) if key in _VERSION_LABELS else self.scalar(value)

    def _requirement(self, value: Mapping[str, Json]) -> Json:
        """A label requirement or a taint's toleration: its key is a label's."""
        others = {name: item for name, item in value.items() if name not in ("key", "values")}
        made = {self.names.field(name): self._any(name, item) for name, item in others.items()}
        key, values = value["key"], value.get("values")
        made["key"] = self.names.label_key(key) if isinstance(key, str) else key
        if isinstance(values, list):
            made["values"] = [self._required(item) if isinstance(item, str) else item for item in values]
        return made

    def _required(self, text: str) -> str:
        """A value of a requirement; one that no label can have stays one, since NPM refuses it."""
        return self.scalar(text) if _LABEL_VALUE.fullmatch(text) else f"{self.names.name(text)} odd"

    def _leaf(self, key: str, text: str) -> str:
        if key in _SELECTOR_TEXTS:
            return self.selector(text)
        if key in _HOSTS:
            return self._place(text)
        if key == "apiVersion":
            return _public_version(text) or self.names.name(text)
        if key in _VERSIONS:
            return self.names.words(text)
        if key == "image":
            return self._image(text)
        if key == "key":
            return self.names.label_key(text)
        if key in _RANKED:
            return self._tier(text)
        if key == "providerID":
            return f"{text.partition('://')[0]}://{self.names.name(text)}" if _cloud(text) else self.names.name(text)
        return text if _NUMBER.fullmatch(text) else self.scalar(text)

    def selector(self, text: str) -> str:
        """A selector of Calico's. Parts of values become the set of today's values that have them.

        Text that is no selector at all is replaced as a whole.
        """
        if any(char.isalnum() for char in _TERM.sub("", text)):
            return self.names.name(text)
        return _TERM.sub(self._term, text)

    def _term(self, found: re.Match[str]) -> str:
        if found["part"]:
            return self._values_with(found["key"], found["part"].split()[0], found["operand"][1:-1])
        if found["has"]:
            return f"has({self.names.label_key(found['has'])})"
        if found["all"]:
            return found["all"]
        if found["text"]:
            return f"'{self.scalar(found['text'][1:-1])}'"
        return found["word"] if found["word"] in _KEYWORDS else self.names.label_key(found["word"])

    def _values_with(self, key: str, how: str, part: str) -> str:
        bare = key.removeprefix("pcns.").removeprefix("pcsa.")
        matching = [value for value in self.values.get(bare, ()) if _has(value, how, part)] or [part]
        listed = ", ".join(f"'{self.scalar(value)}'" for value in sorted(matching))
        return f"{self.names.label_key(key)} in {{{listed}}}"

    def _place(self, text: str) -> str:
        """A host or its address, with a scheme and a port where they stood."""
        found = _PLACE.fullmatch(text)
        if found is None or self._address(text) is not None:
            return self._address(text) or self.names.host(text)
        bare = self._address(found["host"].strip("[]"))
        host = self.names.host(found["host"]) if bare is None else f"[{bare}]" if ":" in bare else bare
        return f"{found['scheme'] or ''}{host}{found['port'] or ''}"

    def _image(self, text: str) -> str:
        """An image of no registry; of its tag the numbers stay, by which programs are known."""
        place, _, tag = text.partition("@")[0].rpartition("/")[2].partition(":")
        return f"registry.invalid/{self.names.name(place)}" + (f":{self.names.words(tag)}" if tag else "")

    def _address(self, text: str) -> str | None:
        """An address or network, with a port or without, replaced; None when it is none."""
        ported = _WITH_PORT.fullmatch(text)
        if ported is not None and (inner := self._address(ported[1] or ported[2])) is not None:
            return f"[{inner}]:{ported[3]}" if ported[1] else f"{inner}:{ported[3]}"
        if not _ADDRESS.fullmatch(text):
            return None
        try:
            if "/" in text:
                return str(self.addresses.network(ipaddress.ip_network(text, strict=False)))
            return str(self.addresses.address(ipaddress.ip_address(text)))
        except ValueError:
            return None

    def _config(self, data: Json) -> Json:
        """Settings that are written as YAML, JSON or a word; other text is left out."""
        made: dict[str, Json] = {}
        for key, body in data.items() if isinstance(data, dict) else ():
            parsed = _parsed(body) if isinstance(body, str) else None
            name = key if key in _SETTINGS else self.names.name(key)
            if isinstance(parsed, dict | list):
                made[name] = yaml.safe_dump(self._any(key, parsed), sort_keys=True)
            elif isinstance(body, str) and "\n" not in body:
                made[name] = body if _NUMBER.fullmatch(body) else self.scalar(body)
        return made


_VERSION_LABELS = frozenset(("kubernetes.azure.com/node-image-version", "kubernetes.azure.com/os-sku"))
_SETTINGS = frozenset(
    (
        *("config.conf", "kubeconfig.conf", "ClusterConfiguration", "ip-masq-agent", "config", "veth_mtu", "ipam"),
        *("azure-npm.json", "cni-chaining-mode", "enable-policy", "enable-ipv4", "enable-ipv6", "calico_backend"),
    )
)


def label_values(objects: Iterable[RawObject]) -> dict[str, list[str]]:
    """The values of each label key among the objects' own labels."""
    found: dict[str, set[str]] = {}
    for raw in objects:
        metadata = raw.data.get("metadata")
        labels = metadata.get("labels") if isinstance(metadata, dict) else None
        for key, value in labels.items() if isinstance(labels, dict) else ():
            if isinstance(value, str):
                found.setdefault(key, set()).add(value)
    return {key: sorted(values) for key, values in found.items()}


def ordered_names(objects: Iterable[RawObject]) -> set[str]:
    """Names of policies and tiers as they are compared: without the tier's name in front."""
    found: set[str] = set()
    for raw in objects:
        if _POLICIES.fullmatch(raw.ref.kind):
            found |= {raw.ref.name, raw.ref.name.partition(".")[2] or raw.ref.name}
    return found


def _has(value: str, how: str, part: str) -> bool:
    if how == "contains":
        return part in value
    return value.startswith(part) if how == "starts" else value.endswith(part)


def _is_label_map(value: Mapping[str, Json]) -> bool:
    """Whether a selector is a plain map of labels, as a Service's is."""
    return not {"matchLabels", "matchExpressions"} & set(value) and all(isinstance(v, str) for v in value.values())


def _cloud(text: str) -> bool:
    return text.partition("://")[0] in ("azure", "aws", "gce", "kind", "openstack", "vsphere")


@cache
def _public_groups() -> frozenset[str]:
    read = {version.rpartition("/")[0] for kind in KINDS for version in kind.api_versions}
    return frozenset(
        {*read, API_VERSION.rpartition("/")[0], "", "autoscaling", "extensions", "kubeproxy.config.k8s.io"}
    )


def _public_version(text: str) -> str | None:
    """An apiVersion of a group that everybody knows."""
    group, _, version = text.rpartition("/")
    known = group in _public_groups() and re.fullmatch(r"v\d+((alpha|beta)\d+)?", version)
    return text if known else None


def _parsed(body: str) -> Json:
    try:
        loaded: Json = yaml.load(body, Loader=yaml.CSafeLoader)
    except yaml.YAMLError:
        return None
    return loaded
