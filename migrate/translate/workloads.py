"""One object for each selection of pods, in place of one for each source.

Sound because Cilium judges an endpoint by the union of all rules that select it: allows are added up, a deny counts
wherever it is written, and one policy that asks for default deny in a direction is enough. So two policies of one
kind and namespace with the very same selector say the same as one object with the rules of both.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from hashlib import sha256

import msgspec
import yaml

from migrate import yaml_out
from migrate.model.documents import EmittedObject, TranslationResult
from migrate.model.raw import Json
from migrate.model.refs import ObjectRef
from migrate.sources.calico import HOST_ENDPOINT
from migrate.translate.engine import Outcome, OutputFile
from migrate.translate.names import Names, file_of
from migrate.translate.objects import CCNP, CNP
from migrate.translate.render import JsonMap, marks

_LISTS = ("ingress", "ingressDeny", "egress", "egressDeny")
_NAMING_LABELS = ("app.kubernetes.io/name", "app", "k8s-app", "name")
_EVERY_POD = "all-pods"


@dataclass(slots=True)
class _Workload:
    """One selection of pods, with the rules of every source that has it."""

    kind: str
    namespace: str | None
    selector: JsonMap
    isolates: dict[str, bool] = field(default_factory=lambda: {"ingress": False, "egress": False})
    rules: dict[str, list[Json]] = field(default_factory=lambda: {name: [] for name in _LISTS})
    origins: dict[ObjectRef, list[str]] = field(default_factory=dict)
    comments: dict[ObjectRef, list[str]] = field(default_factory=dict)

    def take(self, spec: Mapping[str, Json], source: ObjectRef) -> None:
        """Add the rules of one source."""
        places = self.origins.setdefault(source, [])
        asked = spec.get("enableDefaultDeny")
        for direction, isolates in asked.items() if isinstance(asked, dict) else ():
            self.isolates[direction] = self.isolates[direction] or isolates is True
        for name in _LISTS:
            given = spec.get(name)
            for rule in given if isinstance(given, list) else ():
                if rule == {}:
                    continue  # it allows nothing, and stands for the default deny only
                if rule not in self.rules[name]:
                    self.rules[name].append(rule)
                places.append(f"{name}[{self.rules[name].index(rule)}]")

    def spec(self) -> JsonMap:
        """All rules as one."""
        isolates: JsonMap = {**self.isolates}
        found: JsonMap = {"endpointSelector": self.selector, "enableDefaultDeny": isolates}
        for name in _LISTS:
            if self.rules[name]:
                found[name] = self.rules[name]
            elif self.isolates.get(name):
                found[name] = [{}]
        return found


def per_workload(outcome: Outcome) -> Outcome:
    """The same rules, grouped by the pods that they are for; CIDR groups and objects of no source stay as they are."""
    texts = {file.path: file.text for file in outcome.files}
    workloads: dict[str, _Workload] = {}
    grouped: dict[ObjectRef, list[str]] = {}
    moved: set[str] = set()
    for result in outcome.translation.results:
        for item in result.objects:
            if _is_for_pods(item, result):
                moved.add(item.file)
                grouped.setdefault(result.source, []).extend(_take(item, texts[item.file], result, workloads))
    emitted, written = _written(workloads, outcome)
    results = [_regrouped(result, grouped.get(result.source, ()), emitted) for result in outcome.translation.results]
    files = [*(file for file in outcome.files if file.path not in moved), *written]
    return replace(
        outcome,
        translation=msgspec.structs.replace(outcome.translation, results=tuple(results)),
        files=tuple(sorted(files, key=lambda file: file.path)),
    )


def _is_for_pods(item: EmittedObject, result: TranslationResult) -> bool:
    """Whether an object is a policy that selects pods; those for a HostEndpoint select nodes."""
    return item.kind in (CNP, CCNP) and result.source.kind != HOST_ENDPOINT


def _take(item: EmittedObject, text: str, result: TranslationResult, workloads: dict[str, _Workload]) -> list[str]:
    """Put the specs of one object where they belong; returns the keys of these places."""
    data: JsonMap = yaml.load(text, Loader=yaml.CSafeLoader)
    specs = data.get("specs") or [data["spec"]]
    assert isinstance(specs, list)
    keys: list[str] = []
    for spec in specs:
        assert isinstance(spec, dict)
        selector = spec["endpointSelector"]
        assert isinstance(selector, dict)
        key = f"{item.kind}/{item.namespace or ''}/{_digest(selector)}"
        workload = workloads.setdefault(key, _Workload(item.kind, item.namespace, selector))
        workload.take(spec, result.source)
        workload.comments.setdefault(result.source, [line for line in text.splitlines() if line.startswith("#")])
        keys.append(key)
    return keys


def _regrouped(
    result: TranslationResult, keys: Iterable[str], emitted: Mapping[str, EmittedObject]
) -> TranslationResult:
    others = [item for item in result.objects if not _is_for_pods(item, result)]
    objects = [*others, *(emitted[key] for key in dict.fromkeys(keys))]
    return msgspec.structs.replace(result, objects=tuple(sorted(objects, key=lambda item: item.file)))


def _written(workloads: Mapping[str, _Workload], outcome: Outcome) -> tuple[dict[str, EmittedObject], list[OutputFile]]:
    """Each workload as an object with a name by its labels; of those that would share a name each gets a digest."""
    existing = [result.source for result in outcome.translation.results if result.source.group == "cilium.io"]
    staying = [o for r in outcome.translation.results for o in r.objects if not _is_for_pods(o, r)]
    staying += outcome.translation.objects
    existing += [ObjectRef(o.api_version, o.kind, o.namespace, o.name) for o in staying]
    names = Names.beside(existing)
    wanted = {key: _wanted_name(workload.selector) for key, workload in workloads.items()}
    shared = Counter((w.kind, w.namespace, wanted[key]) for key, w in workloads.items())
    emitted: dict[str, EmittedObject] = {}
    files: list[OutputFile] = []
    for key in sorted(workloads):
        workload, digest = workloads[key], key.rpartition("/")[2]
        alone = shared[workload.kind, workload.namespace, wanted[key]] == 1
        name = wanted[key] if alone else f"{wanted[key]}-{digest}"
        name = names.give(workload.kind, workload.namespace, name, digest)
        path = file_of(workload.kind, workload.namespace, name)
        emitted[key] = EmittedObject(
            api_version="cilium.io/v2", kind=workload.kind, namespace=workload.namespace, name=name, file=path
        )
        files.append(OutputFile(path, _text(workload, name)))
    return emitted, files


def _text(workload: _Workload, name: str) -> str:
    sources = ", ".join(map(str, workload.origins))
    metadata: JsonMap = {"name": name, **({"namespace": workload.namespace} if workload.namespace else {})}
    lines = [line for comment in workload.comments.values() for line in comment]
    if len(workload.origins) > 1:
        lines += [
            f"# {source}: {', '.join(places) or 'no rule, only the default deny'}"
            for source, places in workload.origins.items()
        ]
    data: JsonMap = {
        "apiVersion": "cilium.io/v2",
        "kind": workload.kind,
        "metadata": metadata | marks(sources),
        "spec": workload.spec(),
    }
    return "".join(f"{line}\n" for line in lines) + yaml_out.dump(data)


def _wanted_name(selector: Mapping[str, Json]) -> str:
    """A name by which people know the pods: the label that names an application, then the other values."""
    labels = selector.get("matchLabels")
    given = labels if isinstance(labels, dict) else {}
    if not selector:
        return _EVERY_POD
    first = next((key for key in _NAMING_LABELS if key in given), None)
    keys = [*([first] if first else ()), *(key for key in sorted(given) if key != first)]
    parts = [_legal(str(given[key])) for key in keys]
    if selector.get("matchExpressions"):
        parts.append(_digest(selector))
    return "-".join(part for part in parts if part) or f"pods-{_digest(selector)}"


def _legal(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def _digest(selector: Mapping[str, Json]) -> str:
    return sha256(msgspec.json.encode(selector, order="sorted")).hexdigest()[:8]
