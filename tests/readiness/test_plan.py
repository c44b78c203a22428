"""The cutover plan on folders that scans and translations made: its commands, times, windows, files and ways back."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import pytest
import yaml

from migrate.model.plan_documents import Plan
from migrate.model.raw import Json
from migrate.readiness.documents import Documents
from migrate.readiness.planning.azure_commands import known_commands, minimum_cli
from migrate.readiness.planning.files import plan_files, write_files
from migrate.readiness.planning.markdown import runbook
from migrate.readiness.planning.plan import plan
from migrate.readiness.planning.pools import pools_of, reimage_duration
from migrate.readiness.planning.shell import assignments
from migrate.readiness.route import Wishes
from tests.readiness.folders import POLICIES, inventory, scanned, translated, written

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
CALICO: Json = {"networkPolicy": "calico"}
ROUTES = [
    pytest.param("npm-node-subnet", {}, Wishes(), id="NPM in one step"),
    pytest.param("npm-node-subnet", {}, Wishes(overlay=True), id="NPM over overlay"),
    pytest.param("npm-node-subnet", CALICO, Wishes(through_none=True), id="Calico through none"),
    pytest.param("npm-overlay-nap", {}, Wishes(), id="node auto-provisioning"),
    pytest.param("npm-windows", {}, Wishes(), id="Windows pools"),
    pytest.param("kubenet-calico", {}, Wishes(), id="kubenet with Calico"),
    pytest.param("kubenet-calico", {"networkPolicy": None}, Wishes(), id="kubenet without an engine"),
    pytest.param("calico-azurecni-old", {}, Wishes(overlay=True), id="availability set to overlay"),
    pytest.param("acpc-acns-l7", {}, Wishes(), id="Cilium already"),
    pytest.param("", {}, Wishes(), id="two overlays"),
]


def planned(
    folder: Path, profile: str = "npm-node-subnet", network: Json = None, wishes: Wishes | None = None
) -> tuple[Documents, Plan]:
    """The plan of the sample policies on a cluster of AKS; without a profile of one with its own Calico."""
    files = POLICIES if profile else (*inventory("calico-operator"), *POLICIES[1:])
    if profile:
        scanned(folder, *files, profile=profile, networkProfile=network or {})
    else:
        scanned(folder, *files)
    documents = translated(folder)
    return documents, plan(documents, NOW, wishes)


def texts_of(made: Plan) -> list[str]:
    """The text of every command of a plan."""
    commands = [c for s in made.steps for c in (*s.commands, *s.rollback.commands)]
    commands += [c for p in (*made.preconditions, *made.after_checks) for c in p.commands]
    commands += [restart.command for restart in made.restarts if restart.command is not None]
    commands += [removal.command for removal in made.removals if removal.command is not None]
    return [command.text for command in commands]


def parse(script: str) -> None:
    """Fails where the text is no shell."""
    done = subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False)
    assert not done.returncode, f"{done.stderr}\n{script}"


@pytest.mark.parametrize(("profile", "network", "wishes"), ROUTES)
def test_commands_are_known_and_parse(profile: str, network: Json, wishes: Wishes, tmp_path: Path) -> None:
    documents, made = planned(tmp_path, profile, network, wishes)
    for text in texts_of(made):
        parse(text)
        minimum_cli([text])
    for block in re.findall(r"^ *```bash\n(.*?)^ *```$", runbook(made), re.MULTILINE | re.DOTALL):
        parse(block)
    for file in plan_files(documents, made):
        if file.path.endswith(".sh"):
            parse(file.text)


@pytest.mark.parametrize(
    ("text", "least"),
    [
        pytest.param("az aks show --name x --resource-group y --output tsv", "2.0.61", id="an old command"),
        pytest.param("az aks update --name x --network-dataplane cilium", "2.52.0", id="the data plane"),
        pytest.param("az aks update --network-policy none", "2.63.0", id="taking the engine away"),
        pytest.param("x=$(az aks update --node-provisioning-mode=Manual | cat)", "2.76.0", id="inside of others"),
        pytest.param("az version\naz aks operation-abort --name x", "2.47.0", id="the newest of several"),
        pytest.param("kubectl get nodes", None, id="no Azure"),
    ],
)
def test_lowest_version_of_the_cli(text: str, least: str | None) -> None:
    assert minimum_cli([text]) == least


@pytest.mark.parametrize(
    "text",
    [
        "az aks upgrade --name x",
        "az aks update --enable-cilium",
        "az aks update --network-policy weave",
        "az aks update --name",
    ],
)
def test_what_the_list_does_not_know_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"commands\.yaml|no value"):
        minimum_cli([text])


@pytest.mark.parametrize(
    ("profile", "wishes", "least"),
    [
        ("npm-node-subnet", Wishes(), "2.63.0"),
        ("npm-overlay-nap", Wishes(), "2.76.0"),
    ],
)
def test_a_plan_names_the_lowest_cli(profile: str, wishes: Wishes, least: str, tmp_path: Path) -> None:
    _, made = planned(tmp_path, profile, wishes=wishes)
    assert made.minimum_cli == least
    assert f"| Azure CLI | {least} or newer |" in runbook(made)


def test_both_options_of_the_data_plane_are_given(tmp_path: Path) -> None:
    _, made = planned(tmp_path)
    (step,) = [step for step in made.steps if step.id == "dataplane"]
    update = [command.text for command in step.commands if "az aks update" in command.text]
    assert update == [
        'az aks update --name "$CLUSTER" --resource-group "$RESOURCE_GROUP" '
        "--network-dataplane cilium --network-policy cilium"
    ]
    assert [(a.name, a.value) for a in step.terraform] == [
        ("network_data_plane", "cilium"),
        ("network_policy", "cilium"),
    ]
    assert (step.no_return, step.rollback.possible) == (True, False)


def test_order_of_the_steps_of_kubenet(tmp_path: Path) -> None:
    _, made = planned(tmp_path, "kubenet-calico")
    order = ["backup", "freeze", "policy-none", "overlay", "dataplane", "apply", "remove-old-policies"]
    assert [step.id for step in made.steps if step.id in order] == order
    back = {step.id: step.rollback for step in made.steps}
    assert "--network-policy calico" in back["policy-none"].commands[0].text
    assert [back[step].possible for step in ("policy-none", "overlay", "dataplane")] == [True, False, False]
    assert [gate.before for gate in made.gates] == ["policy-none", "overlay", "dataplane", "remove-old-policies"]


def test_provisioning_is_switched_off_first_and_on_last(tmp_path: Path) -> None:
    _, made = planned(tmp_path, "npm-overlay-nap")
    ids = [step.id for step in made.steps]
    assert ids.index("nap-off") < ids.index("dataplane") < ids.index("nap-on")
    assert not {"nap-off", "nap-on"} & {step.id for step in planned(tmp_path)[1].steps}


def test_policies_are_there_before_two_overlays_enforce(tmp_path: Path) -> None:
    documents, made = planned(tmp_path, "")
    order = ["cilium-beside", "apply", "nodes", "enforce", "remove-old"]
    assert [step.id for step in made.steps if step.id in order] == order
    files = {file.path: file.text for file in plan_files(documents, made)}
    config = yaml.safe_load(files["dual-overlay/node-config.yaml"])
    (label,) = config["spec"]["nodeSelector"]["matchLabels"]
    assert any(f"{label}=true" in text for text in texts_of(made))
    assert yaml.safe_load(files["dual-overlay/values-migration.yaml"])["policyEnforcementMode"] == "never"


POOL: Mapping[str, Json] = {"name": "one", "osType": "Linux", "mode": "System", "type": "VirtualMachineScaleSets"}


@pytest.mark.parametrize(
    ("pools", "expected", "worst"),
    [
        pytest.param([{"count": 3, "upgradeSettings": {"maxSurge": "10%"}}], 30, 120, id="a part is rounded up"),
        pytest.param([{"count": 9, "upgradeSettings": {"maxSurge": "33%"}}], 30, 120, id="three at a time"),
        pytest.param([{"count": 10, "upgradeSettings": {"maxSurge": "4"}}], 30, 120, id="the last lot is smaller"),
        pytest.param([{"count": 25}], 90, 360, id="no setting is a tenth"),
        pytest.param([{"count": 2, "upgradeSettings": {"maxSurge": "50"}}], 10, 40, id="no more than there are"),
        pytest.param([{"count": 3}, {"count": 5, "name": "two"}], 50, 200, id="pools go at the same time"),
        pytest.param(
            [{"count": 2, "upgradeSettings": {"drainTimeoutInMinutes": 5, "nodeSoakDurationInMinutes": 7}}],
            34,
            44,
            id="soak time always, drains at worst",
        ),
        pytest.param([{"count": 0}, {"count": 1, "name": "two"}], 10, 40, id="an empty pool takes no time"),
    ],
)
def test_time_by_nodes_and_surge(pools: list[Mapping[str, Json]], expected: int, worst: int, tmp_path: Path) -> None:
    profile: Json = [{**POOL, **pool} for pool in pools]
    documents = scanned(tmp_path, *POLICIES, profile="npm-node-subnet", agentPoolProfiles=profile)
    found = reimage_duration(pools_of(documents))
    assert found is not None
    assert (found.expected_minutes, found.worst_minutes) == (expected, worst)
    assert found.sources


def test_every_operation_counts(tmp_path: Path) -> None:
    _, made = planned(tmp_path, "kubenet-calico")
    assert (made.nodes, made.expected_minutes, made.worst_minutes) == (3, 90, 360)
    (window,) = [window for window in made.windows if window.id == "unenforced"]
    assert (window.begins, window.ends, window.expected_minutes) == ("policy-none", "dataplane", 90)


def test_who_enforced_nothing_opens_nothing(tmp_path: Path) -> None:
    _, made = planned(tmp_path, "kubenet-calico", {"networkPolicy": None})
    assert made.windows == ()
    assert "nothing is opened by the change" in runbook(made)


def pod(name: str, address: str, app: str) -> dict[str, Json]:
    """A running pod of namespace shop, on a node that nobody else is on."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": "shop", "labels": {"app": app}},
        "spec": {"nodeName": "n1", "containers": [{"name": "main"}]},
        "status": {"phase": "Running", "podIP": address, "podIPs": [{"ip": address}]},
    }


def closed(*ingress: Json) -> dict[str, Json]:
    """A policy for the database."""
    spec: Json = {
        "podSelector": {"matchLabels": {"app": "db"}},
        "policyTypes": ["Ingress"],
        "ingress": [*ingress],
    }
    metadata: Json = {"name": "db", "namespace": "shop"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


NODE: Mapping[str, Json] = {
    "apiVersion": "v1",
    "kind": "Node",
    "metadata": {"name": "n1"},
    "spec": {},
    "status": {"addresses": [{"type": "InternalIP", "address": "192.0.2.10"}]},
}
PODS = (pod("web", "10.0.0.1", "web"), pod("job", "10.0.0.2", "job"), pod("db", "10.0.0.3", "db"))
FROM_WEB: Json = {"from": [{"podSelector": {"matchLabels": {"app": "web"}}}]}


@pytest.mark.parametrize(
    ("policies", "pairs", "destinations"),
    [
        pytest.param([closed()], 2, ["shop/Pod/db"], id="two pods reach what nobody reaches today"),
        pytest.param([closed(FROM_WEB)], 1, ["shop/Pod/db"], id="one of them reaches it today already"),
        pytest.param([closed({})], 0, [], id="a policy that stops nothing"),
    ],
)
def test_what_is_open_is_everything_that_is_stopped_today(
    policies: Sequence[Mapping[str, Json]], pairs: int, destinations: list[str], tmp_path: Path
) -> None:
    documents = scanned(tmp_path, written(tmp_path, *PODS, *policies), profile="npm-node-subnet")
    exposure = plan(documents, NOW).exposure
    assert exposure is not None
    assert (exposure.known, exposure.pod_pairs) == (True, pairs)
    assert [end.destination for end in exposure.destinations] == destinations
    assert all(end.from_outside for end in exposure.destinations)


def test_the_open_time_is_not_known_without_pods(tmp_path: Path) -> None:
    documents = scanned(tmp_path, written(tmp_path, closed()), profile="npm-node-subnet")
    made = plan(documents, NOW)
    assert made.exposure is not None
    assert (made.exposure.known, made.complete) == (False, False)
    assert "Not known: no pods with addresses" in runbook(made)


@pytest.mark.parametrize("wishes", [Wishes(), Wishes(overlay=True)])
def test_pools_that_nobody_lists_leave_the_times_open(wishes: Wishes, tmp_path: Path) -> None:
    documents = scanned(tmp_path, *POLICIES, profile="npm-node-subnet", agentPoolProfiles=None)
    made = plan(documents, NOW, wishes)
    (window,) = [window for window in made.windows if window.id == "unenforced"]
    assert (window.expected_minutes, window.worst_minutes) == (None, None)
    assert ("over 3 operations" in window.title) is wishes.overlay
    states = {each.id: each.state for each in made.preconditions}
    known = {"no-windows-pools", "system-nodes", "pool-kinds"} & states.keys()
    assert {states[identity] for identity in known} == {"check"}


@pytest.mark.parametrize(
    ("profile", "network", "wishes", "identity", "state"),
    [
        pytest.param("npm-windows", {}, Wishes(), "no-windows-pools", "not_met", id="a Windows pool"),
        pytest.param("npm-node-subnet", {}, Wishes(), "no-windows-pools", "met", id="no Windows pool"),
        pytest.param("npm-overlay-nap", {}, Wishes(), "no-node-auto-provisioning", "not_met", id="auto-provisioning"),
        pytest.param("npm-node-subnet", {}, Wishes(), "no-node-auto-provisioning", "met", id="no auto-provisioning"),
        pytest.param("npm-overlay-nap", {}, Wishes(), "system-nodes", "not_met", id="one system node"),
        pytest.param("npm-node-subnet", {}, Wishes(), "system-nodes", "met", id="three system nodes"),
        pytest.param("kubenet-calico", {}, Wishes(), "identity", "not_met", id="system-assigned identity"),
        pytest.param("kubenet-calico", {"podCidr": "10.244.0.0/21"}, Wishes(), "pod-network", "not_met", id="8 nodes"),
        pytest.param("kubenet-calico", {}, Wishes(), "pod-network", "check", id="room for 256 nodes"),
        pytest.param("calico-azurecni-old", {}, Wishes(overlay=True), "pool-kinds", "not_met", id="availability set"),
        pytest.param("calico-azurecni-old", {}, Wishes(overlay=True), "kubernetes-version", "not_met", id="1.26"),
        pytest.param("kubenet-calico", {}, Wishes(), "kubernetes-version", "met", id="1.35"),
        pytest.param("npm-node-subnet", {}, Wishes(), "audit", "not_met", id="no audit"),
    ],
)
def test_conditions_that_the_documents_answer(
    profile: str, network: Json, wishes: Wishes, identity: str, state: str, tmp_path: Path
) -> None:
    _, made = planned(tmp_path, profile, network, wishes)
    (found,) = [each for each in made.preconditions if each.id == identity]
    assert (found.state, bool(found.commands)) == (state, True)
    assert ("Do not begin yet" in runbook(made)) is any(each.state == "not_met" for each in made.preconditions)


@pytest.mark.parametrize(
    ("profile", "among", "not_among"),
    [
        pytest.param("npm-windows", {"CLU-WINDOWS-POOL"}, set(), id="a blocker"),
        pytest.param("npm-overlay-nap", set(), {"CLU-NAP-ENABLED"}, id="what the plan has a step for"),
        pytest.param("kubenet-calico", {"NET-KUBENET-IDENTITY"}, {"CLU-KUBENET-TWO-STEP"}, id="one of each"),
    ],
)
def test_blockers_of_all_rules_stand_in_the_way(
    profile: str, among: set[str], not_among: set[str], tmp_path: Path
) -> None:
    _, made = planned(tmp_path, profile)
    (found,) = [each for each in made.preconditions if each.id == "no-blockers"]
    assert among <= set(found.rules)
    assert not not_among & set(found.rules)
    assert (found.state == "met") is (found.rules == ())


def test_no_blocker_is_no_condition_that_fails(tmp_path: Path) -> None:
    scanned(tmp_path, written(tmp_path, NODE, *PODS, closed()), profile="npm-node-subnet")
    (found,) = [each for each in plan(translated(tmp_path), NOW).preconditions if each.id == "no-blockers"]
    assert (found.state, found.rules) == ("met", ())


def test_checks_come_before_the_clean_up(tmp_path: Path) -> None:
    text = runbook(planned(tmp_path)[1])
    places = [
        *("## Preconditions", "## Time without enforcement", "## Before the change", "## The change", "## Restarts"),
        *("## Checks after the change", "## Clean-up", "## Old policy objects", "## Where this comes from"),
    ]
    assert sorted(places, key=text.index) == places


def test_the_list_of_commands_is_sourced_and_in_use(tmp_path: Path) -> None:
    texts = []
    for profile in ("kubenet-calico", "npm-overlay-nap", "npm-node-subnet"):
        (tmp_path / profile).mkdir()
        made = planned(tmp_path / profile, profile)[1]
        texts += [*texts_of(made), *(each.otherwise for each in made.preconditions)]
    everything = " ".join(texts).replace("=", " ")
    for known in known_commands().values():
        assert known.sources
        assert known.command in everything
        assert [name for name in known.options if f"{name} " not in f"{everything} "] == []


def test_node_subnet_needs_an_address_for_each_pod_of_a_surge_node(tmp_path: Path) -> None:
    _, flat = planned(tmp_path)
    (surge,) = [each for each in flat.preconditions if each.id == "surge"]
    assert "2 more nodes at a time, 222 free addresses" in surge.detail


HOSTILE = "a'; touch pwned; echo '$(touch pwned)`touch pwned` | x\n```\n# [b](c) <script>"


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    documents = scanned(tmp_path, *POLICIES, profile="npm-node-subnet", name=HOSTILE, resourceGroup=HOSTILE)
    made = plan(documents, NOW)
    script = f'{assignments(made.variables)}printf "%s" "$CLUSTER" > name\nprintf "%s" "$RESOURCE_GROUP" > group\n'
    subprocess.run(["bash", "-eu"], input=script, text=True, check=True, cwd=tmp_path)
    assert [(tmp_path / name).read_text() for name in ("name", "group")] == [HOSTILE, HOSTILE]
    assert not (tmp_path / "pwned").exists()
    assert not re.search(r"^# \[b\]", re.sub(r"^(`{4,})bash\n.*?^\1$", "", runbook(made), flags=re.M | re.S), re.M)


def test_unknown_names_are_visible(tmp_path: Path) -> None:
    documents = scanned(tmp_path, *inventory("aks-npm"))
    made = plan(documents, NOW)
    text = assignments(made.variables)
    assert "export CLUSTER='<CLUSTER>'  # fill in" in text
    assert "fill in $name first" in runbook(made)
    assert any("--az-json" in each for each in made.incomplete)


def test_backup_restores_what_the_snapshot_has(tmp_path: Path) -> None:
    owner: Json = {"meta.helm.sh/release-name": "shop"}
    policy = closed()
    metadata: Json = {
        "name": "db",
        "namespace": "shop",
        "uid": "42",
        "resourceVersion": "7",
        "annotations": owner,
    }
    policy |= {"metadata": metadata, "status": {"x": 1}}
    tier: Mapping[str, Json] = {"apiVersion": "crd.projectcalico.org/v1", "kind": "Tier", "metadata": {"name": "t"}}
    documents = scanned(tmp_path, written(tmp_path, policy, tier), profile="npm-node-subnet")
    files = {file.path: file.text for file in plan_files(documents, plan(documents, NOW))}
    (kept,) = yaml.safe_load_all(files["backup/02-networking.k8s.io_v1.NetworkPolicy.yaml"])
    assert kept["metadata"] == {"name": "db", "namespace": "shop", "annotations": owner}
    assert (kept["spec"], "status" in kept) == (policy["spec"], False)
    order = re.findall(r"-f (\S+)", files["backup/restore.sh"])
    assert order == ["01-crd.projectcalico.org_v1.Tier.yaml", "02-networking.k8s.io_v1.NetworkPolicy.yaml"]


def test_files_of_others_are_not_replaced(tmp_path: Path) -> None:
    from migrate.errors import InputError

    documents, made = planned(tmp_path)
    files = plan_files(documents, made)
    write_files(tmp_path, files)
    write_files(tmp_path, files)
    stale = tmp_path / "backup" / "99-gone.yaml"
    stale.write_text("# migrate wrote this file and never runs it.\n")
    without = [file for file in files if file.path != "remove-old-policies.sh"]
    write_files(tmp_path, without)
    assert not (tmp_path / "remove-old-policies.sh").exists()
    (tmp_path / "backup" / "mine.yaml").write_text("kind: Mine\n")
    write_files(tmp_path, files)
    assert not stale.exists()
    assert (tmp_path / "backup" / "mine.yaml").exists()
    (tmp_path / "apply.sh").write_text("echo mine\n")
    with pytest.raises(InputError, match=r"apply\.sh: migrate did not write it"):
        write_files(tmp_path, files)


def test_owners_that_bring_policies_back_are_named(tmp_path: Path) -> None:
    policy = closed()
    policy["metadata"] = {
        "name": "db",
        "namespace": "shop",
        "annotations": {"argocd.argoproj.io/tracking-id": "shop-app:networking.k8s.io/NetworkPolicy:shop/db"},
    }
    scanned(tmp_path, written(tmp_path, *PODS, policy), profile="npm-node-subnet")
    made = plan(translated(tmp_path), NOW)
    (removal,) = made.removals
    assert (removal.when, removal.returns, "shop-app" in removal.owner) == ("after_cutover", "at_once", True)
    assert removal.command is not None
    assert removal.command.text == "kubectl -n shop delete networkpolicies.networking.k8s.io db"
    (freeze,) = [step for step in made.steps if step.id == "freeze"]
    assert "shop-app" in freeze.notes[0]


@pytest.mark.parametrize(
    ("profile", "files", "order"),
    [
        pytest.param("npm-node-subnet", POLICIES, ["dataplane", "apply", "remove-contradicting"], id="AKS"),
        pytest.param(
            "", inventory("calico-operator"), ["apply", "nodes", "remove-contradicting", "enforce"], id="two overlays"
        ),
    ],
)
def test_what_contradicts_goes_before_cilium_enforces(
    profile: str, files: Sequence[Path], order: list[str], tmp_path: Path
) -> None:
    excluded = closed()
    excluded["spec"] = {"podSelector": {}, "policyTypes": ["Ingress"], "egress": [{}], "ingress": []}
    scanned(tmp_path, *files, written(tmp_path, excluded), profile=profile)
    documents = translated(tmp_path)
    made = plan(documents, NOW)
    assert [r.when for r in made.removals if r.object == "NetworkPolicy shop/db"] == ["with_apply"]
    assert [step.id for step in made.steps if step.id in order] == order
    (script,) = [file.text for file in plan_files(documents, made) if file.path == "remove-contradicting.sh"]
    assert "kubectl -n shop delete networkpolicies.networking.k8s.io db " in script


def test_nothing_contradicts(tmp_path: Path) -> None:
    scanned(tmp_path, written(tmp_path, *PODS, closed()), profile="npm-node-subnet")
    made = plan(translated(tmp_path), NOW)
    assert "remove-contradicting" not in [step.id for step in made.steps]
    assert [removal.when for removal in made.removals] == ["after_cutover"]


def test_a_block_ends_where_something_is_done_by_hand(tmp_path: Path) -> None:
    text = runbook(planned(tmp_path, "")[1])
    before, _, after = text.partition("By hand: reboot the machine")
    assert before.rstrip().endswith("```")
    assert re.match(r"[^\n]*\n\n```bash\nkubectl get node ", after)


def test_what_stays_is_not_removed(tmp_path: Path) -> None:
    scanned(tmp_path, written(tmp_path, *PODS, closed()), profile="npm-node-subnet")
    assert plan(translated(tmp_path, "--networkpolicy", "keep"), NOW).removals == ()


def test_leftovers_of_calico_go_last(tmp_path: Path) -> None:
    _, made = planned(tmp_path, "")
    assert [step.id for step in made.steps][-2:] == ["remove-old", "remove-calico-kinds"]
    (removal,) = [each for each in made.removals if each.object.startswith("GlobalNetworkPolicy")]
    assert removal.when == "with_old_engine"


def test_there_is_no_plan_without_knowing_the_way(tmp_path: Path) -> None:
    documents = scanned(tmp_path, *inventory("policies-only"))
    made = plan(documents, NOW)
    assert (made.steps, made.complete, made.route.path) == ((), False, "unknown")
    assert "There is no plan" in runbook(made)
    assert "who runs the cluster" in runbook(made)


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    documents, first = planned(tmp_path, "kubenet-calico")
    second = plan(documents, NOW)
    assert msgspec.json.encode(first) == msgspec.json.encode(second)
    assert runbook(first) == runbook(second)
    assert plan_files(documents, first) == plan_files(documents, second)
