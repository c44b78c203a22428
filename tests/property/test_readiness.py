"""Rules, reports and runbooks on clusters and on what Azure says of them, changed at random."""

from __future__ import annotations

import json
import random
import re
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from copy import deepcopy
from datetime import UTC, date, datetime
from functools import cache
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.errors import InputError
from migrate.model.finding import Finding
from migrate.model.plan_documents import Plan
from migrate.model.raw import FieldPath, Json
from migrate.readiness.checks import all_checks
from migrate.readiness.documents import Documents, read_folder
from migrate.readiness.evaluate import Evaluation, evaluate
from migrate.readiness.helm.values import helm_values
from migrate.readiness.planning.azure_commands import minimum_cli
from migrate.readiness.route import Wishes
from migrate.readiness.rules import load_rules
from migrate.redacted import run_redact
from migrate.scan.taking import ScanInputs
from migrate.workflow import TranslateRequest, run_plan, run_report, run_scan, run_translate, write_translation

ROOT = Path(__file__).parents[2]
CASES = ROOT / "tests" / "cases"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
TODAY = NOW.date()
PROFILES = (
    "npm-node-subnet",
    "npm-overlay-nap",
    "npm-windows",
    "kubenet-calico",
    "calico-azurecni-old",
    "acpc-acns-l7",
)
CLUSTERS = ("readiness/npm", "readiness/calico", "readiness/windows", "readiness/cluster", "inventory/calico-operator")
IDENTITY: frozenset[FieldPath] = frozenset({("kind",), ("apiVersion",), ("metadata",), ("metadata", "name")})
_AT_HAND: FieldPath = ("networkProfile",)

ODD: list[Json] = [
    None,
    "",
    0,
    -1,
    10**30,
    1e308,
    0.5,
    True,
    False,
    [],
    {},
    [None],
    {"": None},
    {"a": {"b": [{"c": 1}]}},
    "☃\u202e",
    "\U0001f600",
    "a" * 300,
    "a\nb",
    "²",
    "4.²",
    "٣٣%",
    "$(touch x)",
    "`id`",
    "';x;\"",
    "<script>",
    "-rf",
    "10.0.0.0/8",
    "fd00::/48",
    "::/0",
    "0.0.0.0/0",
    "300.1.1.1/99",
    "10.244.0.0/33",
    "10.0.128.0/17",
    "33%",
    "0%",
    "100%",
    "1000%",
    "-5%",
    "%",
    "9" * 30,
    "1.33",
    "1.33.0-alpha.1",
    "v1.26",
    "1.33.",
    1.33,
    "Windows",
    "WINDOWS",
    "overlay",
    "Overlay",
    "none",
    "None",
    "kubenet",
    "azure",
    "cilium",
    "calico",
    "weave",
    "Auto",
    "auto",
    "Disabled",
    "Spot",
    "AvailabilitySet",
    "Stopped",
    "Failed",
    "userDefinedRouting",
    "SCTP",
]


def places(value: Json, path: FieldPath = ()) -> Iterator[FieldPath]:
    """The path of every value inside of a value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, held in inner:
        yield (*path, key)
        yield from places(held, (*path, key))


def deep(levels: int) -> Json:
    """Mappings in mappings."""
    return {"a": deep(levels - 1)} if levels else None


@st.composite
def mutated(draw: st.DrawFn, value: Json, kept: frozenset[FieldPath], most: int) -> Json:
    """A value with something taken away, replaced, repeated or added in several places."""
    changed = deepcopy(value)
    for _ in range(draw(st.integers(0, most))):
        open_ = [path for path in places(changed) if path not in kept]
        if open_:
            _change(draw, changed, draw(st.sampled_from(open_)))
    return changed


def _change(draw: st.DrawFn, whole: Json, path: FieldPath) -> None:
    holder = held(whole, path[:-1])
    key = path[-1]
    how = draw(st.sampled_from(["drop", "replace", "replace", "replace", "repeat", "add", "nest"]))
    odd = deepcopy(deep(draw(st.sampled_from([3, 60]))) if how == "nest" else draw(st.sampled_from(ODD)))
    if isinstance(holder, list) and isinstance(key, int):
        if how == "drop":
            del holder[key]
        elif how == "repeat":
            holder.append(deepcopy(holder[key]))
        else:
            holder[key] = odd
    elif isinstance(holder, dict) and isinstance(key, str):
        if how == "drop":
            del holder[key]
        else:
            holder["extra" if how == "add" else key] = odd


def held(value: Json, path: FieldPath) -> Json:
    """What stands at a path that is there."""
    for step in path:
        if isinstance(step, str):
            assert isinstance(value, dict)
            value = value[step]
        else:
            assert isinstance(value, list)
            value = value[step]
    return value


@cache
def azure_of(profile: str) -> Json:
    """What Azure says of a cluster."""
    said: Json = json.loads((CASES / "azure" / f"{profile}.json").read_text(encoding="utf-8"))
    return said


@cache
def objects_of(cluster: str) -> tuple[Json, ...]:
    """The objects of a small cluster, or of the one of the demo."""
    demo = ROOT / "samples" / "demo" / "cluster"
    files = sorted(demo.glob("*.yaml")) if cluster == "demo" else [CASES / f"{cluster}.yaml"]
    found: list[Json] = []
    for document in (one for file in files for one in yaml.safe_load_all(file.read_text(encoding="utf-8")) if one):
        found += document["items"] if document["kind"].endswith("List") else [document]
    return tuple(found)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Json, list[Json]]:
    """What Azure says, and the objects of a cluster."""
    azure = draw(mutated(azure_of(draw(st.sampled_from(PROFILES))), frozenset({_AT_HAND, ("name",)}), 4))
    objects = list(objects_of(draw(st.sampled_from([*CLUSTERS, "demo"]))))
    for _ in range(draw(st.integers(0, 3))):
        number = draw(st.integers(0, len(objects) - 1))
        objects[number] = draw(mutated(objects[number], IDENTITY, 2))
    return azure, objects


def scanned(folder: Path, azure: Json, objects: Sequence[Json]) -> Documents:
    """The working folder of a scan. Raises InputError as the scan does."""
    (folder / "az.json").write_text(json.dumps(azure), encoding="utf-8")
    (folder / "in.json").write_text(
        json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}), encoding="utf-8"
    )
    work = folder / "work"
    work.mkdir(exist_ok=True)
    inputs = ScanInputs(paths=(str(folder / "in.json"),), az_json=folder / "az.json")
    run_scan(inputs, work, "2026-11-21T10:00:00Z", progress=lambda *_: None)
    return read_folder(work)


def asked(documents: Documents, today: date = TODAY) -> Evaluation:
    """What all rules say, of rules that are known only."""
    found = evaluate(documents, today, all_checks())
    assert {finding.id for finding in found.findings} <= load_rules().keys()
    return found


def said(found: Evaluation) -> list[tuple[object, ...]]:
    """What was found and what was not answered, without places in files."""
    findings = [(f.id, str(f.subject), f.field, f.detail, f.effect) for f in found.findings]
    return [*findings, *((one.id, one.lacks) for one in found.unchecked)]


def shuffled(value: Json, chance: random.Random) -> Json:
    """The same value with the keys of its mappings in another order."""
    if isinstance(value, dict):
        keys = list(value)
        chance.shuffle(keys)
        return {key: shuffled(value[key], chance) for key in keys}
    return [shuffled(item, chance) for item in value] if isinstance(value, list) else value


@given(worlds(), st.integers(0, 99))
@settings(max_examples=50)
def test_answers_do_not_depend_on_order(world: tuple[Json, list[Json]], seed: int) -> None:
    azure, objects = world
    with tempfile.TemporaryDirectory() as place:
        try:
            first = said(asked(scanned(Path(place), azure, objects)))
        except InputError:
            return
        chance = random.Random(seed)
        others = [shuffled(one, chance) for one in objects]
        chance.shuffle(others)
        assert said(asked(scanned(Path(place), shuffled(azure, chance), others))) == first


def _other(kind: str, version: str = "v1", **more: Json) -> Mapping[str, Json]:
    space = {} if kind == "Namespace" else {"namespace": "zz-unrelated"}
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "zz-unrelated", **space}, **more}


UNRELATED = (
    _other("Namespace"),
    _other("ServiceAccount"),
    _other("ConfigMap", data={"a": "b"}),
    _other("Lease", "coordination.k8s.io/v1"),
    _other("Widget", "example.com/v1", spec={"osType": "Windows"}),
    _other("Pod", spec={"containers": [{"name": "main"}]}, status={"phase": "Running", "podIP": "10.9.9.9"}),
)


@given(worlds(), st.lists(st.sampled_from(UNRELATED), min_size=1, max_size=3, unique_by=lambda one: str(one["kind"])))
@settings(max_examples=50)
def test_an_unrelated_object_takes_no_finding_away(
    world: tuple[Json, list[Json]], more: list[Mapping[str, Json]]
) -> None:
    azure, objects = world
    with tempfile.TemporaryDirectory() as place:
        try:
            before = {key(finding) for finding in asked(scanned(Path(place), azure, objects)).findings}
        except InputError:
            return
        after = asked(scanned(Path(place), azure, [*objects, *map(dict, more)]))
        assert before <= {key(finding) for finding in after.findings}


def key(finding: Finding) -> tuple[str, str]:
    """What a finding is about; numbers of objects in its detail may grow."""
    return finding.id, str(finding.subject)


@given(worlds(), st.booleans(), st.builds(Wishes, overlay=st.booleans(), through_none=st.booleans()))
@settings(max_examples=8)
def test_everything_that_is_made_of_it_can_be_used(
    world: tuple[Json, list[Json]], translates: bool, wishes: Wishes
) -> None:
    with tempfile.TemporaryDirectory() as place, suppress(InputError):
        made_of(Path(place), *world, translates, wishes)


def made_of(place: Path, azure: Json, objects: Sequence[Json], translates: bool, wishes: Wishes) -> None:
    """Every command after the scan, as a user would run them one after the other."""
    work = place / "work"
    scanned(place, azure, objects)
    if translates:
        request = TranslateRequest(snapshot=work / "snapshot.jsonl.gz", inputs=ScanInputs(), verify=False)
        write_translation(work, run_translate(request, "", progress=lambda *_: None))
    documents = read_folder(work)
    asked(documents)
    helm_values(documents)
    made, markdown = run_plan(work, NOW, wishes)
    (work / "plan.json").write_bytes(msgspec.json.encode(made))
    check_shell(made, markdown, work)
    report = run_report(work, NOW)
    json.loads(report.json())
    json.loads(report.sarif())
    assert report.html().startswith(b"<!")
    ElementTree.fromstring(report.junit())
    assert report.markdown().startswith(b"#")
    run_redact(work, place / "redacted", bytes(range(32)), NOW)


def check_shell(made: Plan, markdown: str, work: Path) -> None:
    """Scripts and blocks are shell, and say nothing to the Azure CLI that is not known."""
    commands = [command for step in made.steps for command in (*step.commands, *step.rollback.commands)]
    commands += [command for one in (*made.preconditions, *made.after_checks) for command in one.commands]
    minimum_cli(command.text for command in commands)
    blocks = re.findall(r"^ *```bash\n(.*?)^ *```$", markdown, re.MULTILINE | re.DOTALL)
    scripts = [file.read_text(encoding="utf-8") for file in sorted(work.rglob("*.sh"))]
    for script in ("\n".join(blocks), *scripts):
        done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
        assert not done.returncode, f"{done.stderr}\n{script}"


GONE: tuple[Json, ...] = ("absent", [], {}, 7)
POOL: FieldPath = ("agentPoolProfiles", 0)
READ: Sequence[tuple[str, str, FieldPath]] = (
    ("CLU-WINDOWS-POOL", "npm-node-subnet", ("agentPoolProfiles",)),
    ("CLU-WINDOWS-POOL", "npm-node-subnet", (*POOL, "osType")),
    ("CLU-NAP-ENABLED", "npm-node-subnet", ("nodeProvisioningProfile",)),
    ("CLU-NAP-ENABLED", "npm-node-subnet", ("nodeProvisioningProfile", "mode")),
    ("CLU-KUBENET-TWO-STEP", "npm-node-subnet", ("networkProfile", "networkPlugin")),
    ("CLU-OVERLAY-NEEDS-NO-POLICY-ENGINE", "kubenet-calico", ("networkProfile", "networkPolicy")),
    ("CLU-OVERLAY-DYNAMIC-IP", "kubenet-calico", ("agentPoolProfiles",)),
    ("CLU-OVERLAY-DYNAMIC-IP", "kubenet-calico", (*POOL, "podSubnetId")),
    ("CLU-OVERLAY-K8S-VERSION", "kubenet-calico", ("currentKubernetesVersion",)),
    ("CLU-K8S-UNSUPPORTED", "npm-node-subnet", ("currentKubernetesVersion",)),
    ("CLU-AVAILABILITY-SET", "npm-node-subnet", ("agentPoolProfiles",)),
    ("CLU-AVAILABILITY-SET", "npm-node-subnet", (*POOL, "type")),
    ("CLU-OS-IMAGE-GONE", "npm-node-subnet", ("agentPoolProfiles",)),
    ("CLU-QUOTA-SURGE", "npm-node-subnet", ("agentPoolProfiles",)),
    ("CLU-QUOTA-SURGE", "npm-node-subnet", (*POOL, "count")),
    ("CLU-SINGLE-SYSTEM-NODE", "npm-node-subnet", ("agentPoolProfiles",)),
    ("CLU-SINGLE-SYSTEM-NODE", "npm-node-subnet", (*POOL, "mode")),
    ("CLU-NODES-NOT-READY", "npm-node-subnet", ("provisioningState",)),
    ("CLU-NODES-NOT-READY", "npm-node-subnet", (*POOL, "provisioningState")),
    ("NET-PODCIDR-SIZE", "kubenet-calico", ("agentPoolProfiles",)),
    ("NET-PODCIDR-SIZE", "kubenet-calico", ("networkProfile", "podCidr")),
    ("NET-PODCIDR-OVERLAP", "kubenet-calico", ("networkProfile", "podCidr")),
    ("NET-UDR-ROUTES", "kubenet-calico", ("networkProfile", "outboundType")),
    ("NET-KUBENET-IDENTITY", "kubenet-calico", ("identity",)),
    ("NET-KUBENET-IDENTITY", "kubenet-calico", (*POOL, "vnetSubnetId")),
    ("NET-NAME-LENGTH", "kubenet-calico", (*POOL, "vnetSubnetId")),
)


@pytest.mark.parametrize(("rule", "profile", "path"), READ)
@pytest.mark.parametrize("instead", GONE, ids=repr)
def test_a_field_that_is_not_there_is_not_no_finding(
    rule: str, profile: str, path: FieldPath, instead: Json, tmp_path: Path
) -> None:
    azure = deepcopy(azure_of(profile))
    last = str(path[-1])
    also = {"currentKubernetesVersion": ["kubernetesVersion"], "podCidr": ["podCidrs"]}
    for name in (last, *also.get(last, ())):
        holder = held(azure, path[:-1])
        assert isinstance(holder, dict)
        if instead == "absent":
            holder.pop(name, None)
        else:
            holder[name] = instead
    namespace: Json = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}}
    found = asked(scanned(tmp_path, azure, [namespace]))
    assert rule in {finding.id for finding in found.findings} | {one.id for one in found.unchecked}
