"""Nodes of Azure NPM against the objects: samples, faults made one by one, and dumps that are not what they seem."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.model.finding import Finding
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.npm.names import Scheme
from tests.unit.npm_node import (
    CLUSTER,
    LEGACY,
    LINUX_ONLY,
    NODE,
    POLICIES,
    REJECTED,
    RULES,
    SETS,
    dump_of,
    facts,
    findings,
    sample,
    scanned,
)

FULL_RULES = sample("hash-sha256/with-linux-only.iptables-save.txt")
FULL_SETS = sample("hash-sha256/with-linux-only.ipset-save.txt")


@pytest.fixture(scope="module")
def policies(tmp_path_factory: pytest.TempPathFactory) -> ClusterView:
    return scanned(tmp_path_factory.mktemp("policies"), CLUSTER, POLICIES)


@pytest.fixture(scope="module")
def all_policies(tmp_path_factory: pytest.TempPathFactory) -> ClusterView:
    return scanned(tmp_path_factory.mktemp("all"), CLUSTER, POLICIES, LINUX_ONLY, REJECTED)


@pytest.fixture(scope="module")
def no_policies(tmp_path_factory: pytest.TempPathFactory) -> ClusterView:
    return scanned(tmp_path_factory.mktemp("none"), CLUSTER)


def ids(found: list[Finding]) -> list[str]:
    return [finding.id for finding in found]


# The samples


@pytest.mark.parametrize("scheme", list(Scheme), ids=lambda scheme: scheme.value)
@pytest.mark.parametrize("debug", [True, False], ids=["with NPM's own names", "without"])
def test_samples_have_no_drift(policies: ClusterView, tmp_path: Path, scheme: Scheme, debug: bool) -> None:
    folder = f"hash-{scheme.value}"
    files = {RULES: sample(f"{folder}/iptables-save.txt"), SETS: sample(f"{folder}/ipset-save.txt")}
    if debug:
        files["npm-debug-manager.json"] = sample(f"{folder}/npm-debug-manager.json")
    dump = dump_of(tmp_path, files)
    assert findings(dump, policies) == []
    told = facts(dump, policies)
    assert (told["npm"].value, told["npm"].state) == ("v2", "active")
    assert (told["npm-backend"].value, told["npm-names"].value) == ("nft", scheme.value)
    assert told["npm"].detail == "3 policies, 23 rules, 29 sets"


@pytest.mark.parametrize("scheme", list(Scheme), ids=lambda scheme: scheme.value)
def test_samples_with_harder_policies_have_none_either(
    all_policies: ClusterView, tmp_path: Path, scheme: Scheme
) -> None:
    folder = f"hash-{scheme.value}/with-linux-only"
    files = {RULES: sample(f"{folder}.iptables-save.txt"), SETS: sample(f"{folder}.ipset-save.txt")}
    (refused,) = findings(dump_of(tmp_path, files), all_policies)
    assert (refused.id, str(refused.subject)) == ("NODE-NPM-REFUSED", "NetworkPolicy demo/v6-block")
    assert "IPv6 block" in refused.detail


def test_the_faults_of_the_drift_sample_are_named_and_nothing_else(policies: ClusterView, tmp_path: Path) -> None:
    files = {
        RULES: sample("drift/iptables-save.txt"),
        LEGACY: sample("drift/iptables-legacy-save.txt"),
        SETS: sample("drift/ipset-save.txt"),
    }
    found = findings(dump_of(tmp_path, files), policies)
    assert [(each.id, str(each.subject), str(each.at).partition("/")[2]) for each in found] == [
        ("NODE-NPM-DRIFT-MEMBERS", f"Node {NODE}", f"{SETS}:5"),
        ("NODE-NPM-DRIFT-MEMBERS", f"Node {NODE}", f"{SETS}:9"),
        ("NODE-NPM-DRIFT-MISSING", "NetworkPolicy demo/frontend-egress", f"{RULES}:2"),
        ("NODE-NPM-DRIFT-RULE", "NetworkPolicy demo/backend-ingress", f"{RULES}:40"),
        ("NODE-NPM-DRIFT-STALE", f"Node {NODE}", f"{RULES}:33"),
        ("NODE-NPM-JUMP", f"Node {NODE}", f"{RULES}:24"),
        ("NODE-NPM-OTHER-BACKEND", f"Node {NODE}", f"{LEGACY}:6"),
    ]
    missing, unknown, no_chain, rule, stale, jump, backend = (each.detail for each in found)
    assert "10.244.2.11 of pod demo/backend-1 is missing in set podlabel-app:backend" in missing
    assert "10.244.9.9 is in set ns-demo" in unknown
    assert no_chain.endswith("there is no chain AZURE-NPM-EGRESS-3n4k4bhyww")
    assert "expected `TCP 8080 from ns-demo and podlabel-app:frontend`, found `TCP 8081 from" in rule
    assert stale.endswith("the snapshot has no policy demo/old-policy")
    assert jump.endswith("rule 6 of 6 (last) in FORWARD; expected right after KUBE-SERVICES")
    assert "iptables-legacy -D FORWARD 1" in backend


def test_without_policies_npm_leaves_an_empty_chain(
    no_policies: ClusterView, policies: ClusterView, tmp_path: Path
) -> None:
    dump = dump_of(tmp_path, {RULES: sample("hash-sha256/no-policies.iptables-save.txt")})
    assert findings(dump, no_policies) == []
    (found,) = findings(dump, policies)
    assert found.id == "NODE-NPM-EMPTY"
    assert "chain AZURE-NPM is empty although there are policies" in found.detail


def test_without_a_snapshot_nothing_is_said_of_drift(tmp_path: Path) -> None:
    dump = dump_of(tmp_path, {RULES: sample("drift/iptables-save.txt"), SETS: sample("drift/ipset-save.txt")})
    assert findings(dump, None) == []
    assert facts(dump, None)["npm"].value == "v2"


# Faults, made one by one in a good dump


@dataclass(frozen=True)
class Fault:
    """An edit of the good dump: what is replaced in which file, and a name that stands in what is said of it."""

    what: str
    file: str
    old: str
    new: str
    named: str
    id: str


def chain_of(line: str) -> str:
    """The chain of a policy that a line belongs to or leads to, else the chain that it stands in."""
    found = re.findall(r"AZURE-NPM-(?:IN|E)GRESS-[0-9a-z]{10}\b", line)
    return str(found[-1]) if found else line.split()[1]


def lost_rules() -> Iterator[Fault]:
    for line in FULL_RULES.splitlines():
        if line.startswith("-A AZURE-NPM"):
            is_jump = line.startswith(("-A AZURE-NPM-INGRESS -m set", "-A AZURE-NPM-EGRESS -m set"))
            identity = "NODE-NPM-DRIFT-MISSING" if is_jump else "NODE-NPM-DRIFT-RULE"
            yield Fault(f"lost: {line}", RULES, f"{line}\n", "", chain_of(line), identity)
    jump = "-A FORWARD -m conntrack --ctstate NEW -j AZURE-NPM\n"
    yield Fault("lost jump", RULES, jump, "", "FORWARD has no jump to AZURE-NPM", "NODE-NPM-JUMP")


def changed_rules() -> Iterator[Fault]:
    for line in FULL_RULES.splitlines():
        if not line.startswith("-A AZURE-NPM"):
            continue
        name, chain = line.split()[1], chain_of(line)
        for old, new in (
            ("--dport 53 ", "--dport 54 "),
            ("-m set ! --match-set", "-m set --match-set"),
            ("-p udp -m udp", "-p tcp -m tcp"),
            ("-j AZURE-NPM-ACCEPT", "-j ACCEPT"),
            ("0x800/0x800 -m comment", "0x800/0xffff -m comment"),
        ):
            if old in line:
                yield Fault(f"{old} in {line}", RULES, line, line.replace(old, new), chain, "NODE-NPM-DRIFT-RULE")
        if name == chain:
            more = f"{line}\n-A {chain} -s 10.0.0.9/32 -j ACCEPT"
            yield Fault(f"more than {line}", RULES, line, more, chain, "NODE-NPM-DRIFT-RULE")


def other_rules() -> Iterator[Fault]:
    stale = "AZURE-NPM-INGRESS-aaaaaaaaaa"
    first = "-A AZURE-NPM-INGRESS -m set"
    jump = f'-A AZURE-NPM-INGRESS -m comment --comment "INGRESS-POLICY-demo/gone-TO-x" -j {stale}\n{first}'
    added = f":{stale} - [0:0]\n:AZURE-NPM-INGRESS - [0:0]\n"
    yield Fault("more chains", RULES, first, jump, "demo/gone", "NODE-NPM-DRIFT-STALE")
    yield Fault("chain on its way out", RULES, ":AZURE-NPM-INGRESS - [0:0]\n", added, "", "")
    forward = "-A FORWARD -m conntrack --ctstate NEW -j AZURE-NPM\n"
    for what, new in (
        ("twice", forward * 2),
        ("all states", "-A FORWARD -j AZURE-NPM\n"),
        ("goto", forward.replace(" -j ", " -g ")),
        ("behind", f"-A FORWARD -s 10.0.0.0/8 -j RETURN\n{forward}"),
    ):
        yield Fault(f"jump {what}", RULES, forward, new, "AZURE-NPM", "NODE-NPM-JUMP")
    services = '-A FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals"'
    accepts = f"-A FORWARD -j ACCEPT\n{services}"
    yield Fault("all accepted before", RULES, services, accepts, "ends with ACCEPT", "NODE-NPM-JUMP")


def members() -> Iterator[Fault]:
    for line in FULL_SETS.splitlines():
        word, kernel, *rest = line.split(" ", 2)
        if word == "add":
            yield Fault(f"lost: {line}", SETS, f"{line}\n", "", kernel, "NODE-NPM-DRIFT-MEMBERS")
            continue
        kind = rest[0].split()[0]
        new = {"hash:net": "10.9.9.9", "hash:ip,port": "10.9.9.9,tcp:1", "list:set": "azure-npm-2jtt8xpa1d6w9vrdbxz8"}
        entry = f"add {kernel} {new[kind]}\n"
        if entry not in FULL_SETS:
            at = f"{FULL_SETS[FULL_SETS.index(line) :].partition(chr(10))[0]}\n"
            yield Fault(f"more in {line}", SETS, at, at + entry, kernel, "NODE-NPM-DRIFT-MEMBERS")


FAULTS = [*lost_rules(), *changed_rules(), *other_rules(), *members()]


def with_faults(faults: list[Fault]) -> dict[str, str]:
    files = {RULES: FULL_RULES, SETS: FULL_SETS}
    for fault in faults:
        assert fault.old in files[fault.file]
        files[fault.file] = files[fault.file].replace(fault.old, fault.new, 1)
    return files


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: str(fault.what)[:90])
def test_a_fault_is_named_and_nothing_else(all_policies: ClusterView, tmp_path: Path, fault: Fault) -> None:
    files = with_faults([fault])
    if fault.what == "more chains":
        files[RULES] = files[RULES].replace(":KUBE-FORWARD", ":AZURE-NPM-INGRESS-aaaaaaaaaa - [0:0]\n:KUBE-FORWARD")
    found = [each for each in findings(dump_of(tmp_path, files), all_policies) if each.id != "NODE-NPM-REFUSED"]
    assert ids(found) == ([fault.id] if fault.id else [])
    assert all(fault.named in each.detail for each in found)
    assert all(each.at is not None for each in found)


@given(
    faults=st.lists(st.sampled_from([*lost_rules(), *members()]), min_size=2, max_size=5, unique_by=lambda f: f.named)
)
@settings(max_examples=40, deadline=None)
def test_several_faults_are_all_named(
    all_policies: ClusterView, tmp_path_factory: pytest.TempPathFactory, faults: list[Fault]
) -> None:
    dump = dump_of(tmp_path_factory.getbasetemp() / "faults", with_faults(faults))
    found = findings(dump, all_policies)
    details = [each.detail for each in found if each.id != "NODE-NPM-REFUSED"]
    for fault in faults:
        assert any(fault.named in detail for detail in details), fault
    assert all(any(fault.named in detail for fault in faults) for detail in details)


# Dumps and clusters that are not what they seem


def named(text: str, prefix: str) -> str:
    return next(line for line in text.splitlines() if line.startswith(prefix))


def shuffled(line: str) -> str:
    """A rule with its sets the other way around, as another node's NPM writes it."""
    uses = re.findall(r"-m set (?:! )?--match-set \S+ \S+ ", line)
    return line.replace("".join(uses), "".join(reversed(uses))) if len(uses) > 1 else line


def test_order_and_comments_mean_nothing(all_policies: ClusterView, tmp_path: Path) -> None:
    hostile = r'--comment "DROP-ALL\" -j AZURE-NPM --dport 1 \\"'
    lines = [shuffled(line) for line in FULL_RULES.splitlines()]
    lines = [re.sub(r'(--comment "[A-Z]+-POLICY-\S{30})[^"]*"', r'\1"', line) for line in lines]
    lines = [re.sub(r'--comment "ALLOW[^"]*"', lambda _: hostile, line) for line in lines]
    own = [line for line in lines if line.startswith("-A AZURE-NPM-EGRESS-")]
    others = [line for line in lines if line not in own]
    end = others.index("COMMIT")
    text = "\n".join([*others[:end], *reversed(own), *others[end:]])
    assert text.count("\n") == FULL_RULES.count("\n") - 1
    sets = FULL_SETS.splitlines()
    creates, adds = ([line for line in sets if line.startswith(word)] for word in ("create", "add"))
    files = {RULES: text + "\n", SETS: "\n".join([*reversed(creates), *reversed(adds), ""])}
    assert ids(findings(dump_of(tmp_path, files), all_policies)) == ["NODE-NPM-REFUSED"]


@pytest.mark.parametrize(
    "comment", [r"a\"b", "INGRESS-POLICY-demo/backend-ingress-TO-x", "\x1b[31m", "a" * 400, "../../x"]
)
def test_a_hostile_comment_names_nothing(all_policies: ClusterView, tmp_path: Path, comment: str) -> None:
    stale = "AZURE-NPM-INGRESS-aaaaaaaaaa"
    first = named(FULL_RULES, "-A AZURE-NPM-INGRESS -m set")
    text = FULL_RULES.replace(first, f'-A AZURE-NPM-INGRESS -m comment --comment "{comment}" -j {stale}\n{first}')
    text = text.replace(":KUBE-FORWARD", f":{stale} - [0:0]\n:KUBE-FORWARD")
    found = findings(dump_of(tmp_path, {RULES: text, SETS: FULL_SETS}), all_policies)
    (said,) = [each for each in found if each.id == "NODE-NPM-DRIFT-STALE"]
    assert stale in said.detail
    assert said.detail.isprintable()
    assert ids(found) == ["NODE-NPM-DRIFT-STALE", "NODE-NPM-REFUSED"]


def test_a_cut_dump_of_rules_has_no_drift(all_policies: ClusterView, tmp_path: Path) -> None:
    for end in range(0, FULL_RULES.index("COMMIT"), 97):
        found = findings(dump_of(tmp_path, {RULES: FULL_RULES[:end], SETS: FULL_SETS}), all_policies)
        assert set(ids(found)) <= {"NODE-DUMP-UNREAD"}, (end, found)
        assert found or end <= FULL_RULES.index("*filter")


def test_a_cut_dump_of_sets_has_no_drift(all_policies: ClusterView, tmp_path: Path) -> None:
    last = FULL_SETS.rindex("create ")
    for end in range(200, last, 61):
        found = findings(dump_of(tmp_path, {RULES: FULL_RULES, SETS: FULL_SETS[:end]}), all_policies)
        assert "NODE-NPM-REFUSED" in ids(found)
        rest = [each for each in found if each.id not in ("NODE-NPM-REFUSED", "NODE-DUMP-UNREAD")]
        assert all("cut off" in each.detail for each in rest), (end, rest)
        assert len(found) > 1


def test_sets_of_another_cluster_are_one_finding(all_policies: ClusterView, tmp_path: Path) -> None:
    sets = re.sub(r"\b10\.244\.", "10.77.", FULL_SETS)
    by_chance = sets.replace("10.77.0.5\n", "10.244.0.5\n", 1)
    for text in (sets, by_chance):
        found = findings(dump_of(tmp_path, {RULES: FULL_RULES, SETS: text}), all_policies)
        assert ids(found) == ["NODE-NPM-OTHER-CLUSTER"]


def test_a_snapshot_of_one_namespace_says_nothing_of_others(all_policies: ClusterView, tmp_path: Path) -> None:
    """As a scan with --namespace ops leaves it; kube-system and demo are on the node all the same."""
    objects = tuple(raw for raw in all_policies.objects if "ops" in (raw.ref.namespace, raw.ref.name))
    header = msgspec.structs.replace(all_policies.header, namespaces=("ops",))
    view = ClusterView(header, objects)
    assert findings(dump_of(tmp_path, {RULES: FULL_RULES, SETS: FULL_SETS}), view) == []
    lost = FULL_SETS.replace("add azure-npm-18ah52khjxc4y9g93k4k 10.244.2.20\n", "")
    stale = FULL_RULES.replace("INGRESS-POLICY-demo/api-restricted-", "INGRESS-POLICY-ops/gone-")
    found = findings(dump_of(tmp_path, {RULES: stale, SETS: lost}), view)
    assert ids(found) == ["NODE-NPM-DRIFT-MEMBERS", "NODE-NPM-DRIFT-STALE"]


def test_sets_that_were_emptied_are_not_of_another_cluster(all_policies: ClusterView, tmp_path: Path) -> None:
    kept = [line for line in FULL_SETS.splitlines() if not re.match(r"add \S+ 10\.244\.", line)]
    kept.append("add azure-npm-2jtt8xpa1d6w9vrdbxz8 10.244.1.10")
    found = findings(dump_of(tmp_path, {RULES: FULL_RULES, SETS: "\n".join([*kept, ""])}), all_policies)
    assert set(ids(found)) == {"NODE-NPM-DRIFT-MEMBERS", "NODE-NPM-REFUSED"}


POD = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, namespace: demo, labels: {{app: backend}}{more}}}
spec:
  hostNetwork: {host}
  containers: [{{name: c, image: i, ports: [{{name: http, containerPort: 8080}}]}}]
status: {{phase: {phase}, podIP: "{ip}", podIPs: [{{ip: "{ip}"}}, {{ip: "{second}"}}]}}
"""


ENDING = ", deletionTimestamp: '2026-11-21T07:00:00Z'"


def pod(ip: str, second: str = "fd00::9", phase: str = "Running", host: str = "false", more: str = "") -> str:
    return POD.format(name="more", ip=ip, second=second, phase=phase, host=host, more=more)


@pytest.mark.parametrize(
    ("yaml", "in_sets", "found"),
    [
        pytest.param(pod("10.244.7.7"), True, 0, id="dual-stack, IPv4 first"),
        pytest.param(pod("10.244.7.7"), False, 1, id="a pod that NPM missed is one finding for all its sets"),
        pytest.param(pod("fd00::9", "10.244.7.7"), False, 0, id="dual-stack, IPv6 first: in no set"),
        pytest.param(pod("fd00::9", "10.244.7.7"), True, 1, id="the second address does not belong there"),
        pytest.param(pod("10.244.7.7", host="true"), False, 0, id="hostNetwork"),
        pytest.param(pod("10.244.7.7", host="true"), True, 1, id="hostNetwork, in sets all the same"),
        pytest.param(pod("10.244.7.7", phase="Succeeded"), False, 0, id="Succeeded"),
        pytest.param(pod("10.244.7.7", phase="Failed"), True, 1, id="Failed, in sets all the same"),
        pytest.param(pod("10.244.7.7", more=ENDING), True, 0, id="ending, there"),
        pytest.param(pod("10.244.7.7", more=ENDING), False, 0, id="ending, gone"),
        pytest.param(pod("10.244.7.7", more=", creationTimestamp: '2026-11-21T09:00:01Z'"), False, 0, id="came later"),
        pytest.param(pod("10.244.7.7", more=", creationTimestamp: '2026-11-21T08:00:01Z'"), False, 1, id="came before"),
        pytest.param(pod("", ""), False, 0, id="without an address"),
    ],
)
def test_which_pods_belong_in_sets(tmp_path: Path, yaml: str, in_sets: bool, found: int) -> None:
    view = scanned(tmp_path / "snapshot", CLUSTER, POLICIES, yaml=yaml)
    sets = sample("hash-sha256/ipset-save.txt")
    for kernel in ("2jtt8xpa1d6w9vrdbxz8", "26imkjirbx3x5k9h8jli", "54sn9dg2rlmcfi980p1c") if in_sets else ():
        sets += f"add azure-npm-{kernel} 10.244.7.7\n"
    sets += "add azure-npm-64r7b76fx87ma3vwp98v 10.244.7.7,tcp:8080\n" if in_sets else ""
    files = {RULES: sample("hash-sha256/iptables-save.txt"), SETS: sets}
    said = findings(dump_of(tmp_path, files, taken="2026-11-21T09:00:00Z"), view)
    assert ids(said) == ["NODE-NPM-DRIFT-MEMBERS"] * found
    assert all("ns-demo" in each.detail and "10.244.7.7" in each.detail for each in said)


@pytest.mark.parametrize(
    ("created", "found", "said"),
    [
        ("2026-11-21T09:00:01Z", [], ""),
        ("2026-11-21T08:59:55Z", ["NODE-NPM-DRIFT-MISSING"], "it was only 5 s old"),
        ("2026-11-20T09:00:00Z", ["NODE-NPM-DRIFT-MISSING"], "there is no chain AZURE-NPM-INGRESS-"),
    ],
)
def test_a_policy_may_be_too_young_to_be_there(tmp_path: Path, created: str, found: list[str], said: str) -> None:
    yaml = (
        "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n"
        f"metadata: {{name: young, namespace: demo, creationTimestamp: '{created}'}}\nspec: {{podSelector: {{}}}}\n"
    )
    view = scanned(tmp_path / "snapshot", CLUSTER, POLICIES, yaml=yaml)
    files = {RULES: sample("hash-sha256/iptables-save.txt"), SETS: sample("hash-sha256/ipset-save.txt")}
    seen = findings(dump_of(tmp_path, files, taken="2026-11-21T09:00:00Z"), view)
    assert ids(seen) == found
    assert all(said in each.detail for each in seen)


SETTINGS = """
apiVersion: v1
kind: ConfigMap
metadata: {{name: azure-npm-config, namespace: kube-system}}
data: {{azure-npm.json: '{{"Toggles": {{"ApplyIPSetsOnNeed": {}}}}}'}}
"""
UNUSED = "azure-npm-66wl80p55ppo0m6g19xk"
"""podlabel-tier:api, which no policy asks for."""


def without_sets(text: str, *names: str) -> str:
    return "".join(line for line in text.splitlines(keepends=True) if not any(name in line for name in names))


def only_used(text: str) -> str:
    """The sets that rules use, and their members that are sets."""
    used = set(re.findall(r"--match-set (\S+)", FULL_RULES))
    used |= {line.split()[2] for line in text.splitlines() if line.startswith("add") and line.split()[1] in used}
    return "".join(line for line in text.splitlines(keepends=True) if line.split()[1] in used)


@pytest.mark.parametrize(
    ("toggle", "found"), [("true", False), ("false", True), ('"no bool"', False)], ids=["on need", "all", "not known"]
)
def test_npm_may_make_only_the_sets_that_are_used(tmp_path: Path, toggle: str, found: bool) -> None:
    view = scanned(tmp_path / "snapshot", CLUSTER, POLICIES, LINUX_ONLY, yaml=SETTINGS.format(toggle))
    dump = dump_of(tmp_path, {RULES: FULL_RULES, SETS: only_used(FULL_SETS)})
    assert ids(findings(dump, view)) == ["NODE-NPM-DRIFT-MEMBERS"] * found


def test_a_set_that_is_not_there_is_named(all_policies: ClusterView, tmp_path: Path) -> None:
    dump = dump_of(tmp_path, {RULES: FULL_RULES, SETS: without_sets(FULL_SETS, UNUSED)})
    (absent, _) = findings(dump, all_policies)
    assert absent.id == "NODE-NPM-DRIFT-MEMBERS"
    assert f"there is no set podlabel-tier:api ({UNUSED})" in absent.detail


def test_a_set_that_no_object_leads_to_is_named_once(all_policies: ClusterView, tmp_path: Path) -> None:
    strange = [f"azure-npm-{letter * 20}" for letter in "abcdefgh"]
    more = "".join(f"create {name} hash:net family inet\nadd {name} 10.244.1.10\n" for name in strange)
    empty = f"create azure-npm-{'z' * 20} hash:net family inet\n"
    dump = dump_of(tmp_path, {RULES: FULL_RULES, SETS: FULL_SETS + more + empty})
    (found, _) = findings(dump, all_policies)
    assert found.id == "NODE-NPM-DRIFT-MEMBERS"
    assert "8 sets have members, though no object of the snapshot leads there" in found.detail
    assert found.detail.endswith("and 3 more")
