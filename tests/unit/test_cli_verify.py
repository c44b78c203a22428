"""`migrate verify` from its options to its exit status, on small folders."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

import jsonschema
import msgspec
import pytest

from migrate.model.documents import Verification
from migrate.model.raw import Json
from migrate.resources import data
from tests.command_line import Ended, migrate
from tests.update_schemas import path_of

Document = dict[str, Json]

CLUSTER = str(data("samples") / "demo" / "cluster")
AZ_JSON = str(data("samples") / "demo" / "az.json")


def pod(name: str, ip: str, namespace: str = "shop", owner: str = "", **labels: str) -> Document:
    metadata: Document = {"name": name, "namespace": namespace, "labels": {**labels}}
    if owner:
        reference: Json = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": owner, "controller": True}
        metadata["ownerReferences"] = [reference]
    ports: Json = [{"name": "http", "containerPort": 8080}]
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {"nodeName": "n1", "containers": [{"name": "main", "ports": ports}]},
        "status": {"phase": "Running", "podIPs": [{"ip": ip}]},
    }


def node(name: str, ip: str) -> Document:
    status: Json = {"addresses": [{"type": "InternalIP", "address": ip}]}
    return {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "spec": {}, "status": status}


def policy(name: str = "db", **spec: Json) -> Document:
    whole: Document = {"podSelector": {"matchLabels": {"app": "db"}}, "policyTypes": ["Ingress"], **spec}
    metadata: Json = {"name": name, "namespace": "shop"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": whole}


def allows(*values: str, port: Json = 5432) -> Document:
    peer: Json = {"podSelector": {"matchExpressions": [{"key": "app", "operator": "In", "values": [*values]}]}}
    return policy(ingress=[{"from": [peer], "ports": [{"port": port}]}])


PODS = (
    pod("web-0", "10.0.0.1", owner="web", app="web"),
    pod("web-1", "10.0.0.2", owner="web", app="web"),
    pod("db", "10.0.0.3", app="db"),
    pod("test", "10.0.0.4", "lab", app="web"),
    node("n1", "10.1.0.1"),
    node("n2", "10.1.0.2"),
)


def folder(place: Path, *objects: Document) -> Path:
    place.mkdir(parents=True)
    for number, item in enumerate(objects):
        (place / f"{number}.json").write_text(json.dumps(item), encoding="utf-8")
    return place


@cache
def _schema() -> Document:
    schema: Document = json.loads(path_of("verification").read_text(encoding="utf-8"))
    return schema


def read(done: Ended) -> Verification:
    """The document that was printed, which fits its schema."""
    jsonschema.validate(json.loads(done.stdout), _schema())
    return msgspec.json.decode(done.stdout, type=Verification)


def compare(place: Path, before: tuple[Document, ...], after: tuple[Document, ...], *more: str) -> Ended:
    first, second = folder(place / "before", *before), folder(place / "after", *after)
    return migrate(place, "verify", "--before", first, "--after", second, *more)


def verified(
    place: Path, before: tuple[Document, ...], after: tuple[Document, ...], *more: str
) -> tuple[int, Verification]:
    done = compare(place, before, after, "-o", "json", *more)
    assert done.stderr == ""
    return done.status, read(done)


def test_the_same_in_other_words_is_equivalent_for_any_pods(tmp_path: Path) -> None:
    status, found = verified(tmp_path, (*PODS, allows("web", "api")), (allows("api"), policy("web", **_spec("web"))))
    assert (status, found.result, found.proof, found.complete) == (0, "equivalent", "witness", True)
    assert found.witness is not None
    assert (found.witness.result, found.witness.causes, found.causes) == ("equivalent", (), ())
    assert found.witness.pods == len(("web", "api", "db", "none of them"))


def _spec(*values: str) -> Document:
    spec = allows(*values)["spec"]
    assert isinstance(spec, dict)
    return {"ingress": spec["ingress"]}


def test_what_only_tomorrow_s_pods_would_see_is_shown_and_is_no_difference_today(tmp_path: Path) -> None:
    status, found = verified(tmp_path, (*PODS, allows("web")), (allows("web", "api"),))
    assert (status, found.result, found.proof) == (0, "equivalent", "snapshot")
    assert found.witness is not None
    (cause,) = found.witness.causes
    assert (cause.change, cause.counterexample.source_traits) == ("newly_allowed", ("app=api",))


def test_asked_for_any_pods_it_is_a_difference(tmp_path: Path) -> None:
    status, found = verified(tmp_path, (*PODS, allows("web")), (allows("web", "api"),), "--proof", "witness")
    assert (status, found.result, found.proof, found.causes) == (1, "different", "witness", ())


def test_asked_for_the_snapshot_nobody_is_made_up(tmp_path: Path) -> None:
    status, found = verified(tmp_path, (*PODS, allows("web")), (allows("web"),), "--proof", "snapshot")
    assert (status, found.result, found.proof, found.witness) == (0, "equivalent", "snapshot", None)


def test_a_difference_names_the_flow_both_rules_and_who_is_touched(tmp_path: Path) -> None:
    status, found = verified(tmp_path, (*PODS, allows("web")), (allows("web", port=5433),))
    assert (status, found.result) == (1, "different")
    denied, allowed = sorted(found.causes, key=lambda cause: cause.change, reverse=True)
    assert (denied.change, denied.side, denied.pod_pairs) == ("newly_denied", "ingress", 2)
    assert (denied.before.object, denied.before.rule) == ("NetworkPolicy shop/db", "spec.ingress[0]")
    assert denied.before.at == f"{tmp_path / 'before' / '6.json'}:1"
    assert "no rule matches" in denied.after.reason
    example = denied.counterexample
    assert (example.source, example.destination) == ("pod shop/web-0", "pod shop/db")
    assert (example.protocol, example.port) == ("TCP", 5432)
    assert (denied.sources.pods, denied.sources.workloads, denied.sources.namespaces) == (2, 1, ("shop",))
    assert (denied.destinations.pods, denied.destinations.workloads) == (1, 1)
    assert not denied.sources.nodes
    assert not denied.sources.outside
    assert (allowed.change, allowed.counterexample.port, allowed.after.object) == (
        "newly_allowed",
        5433,
        "NetworkPolicy shop/db",
    )


def test_a_policy_that_goes_opens_its_pods_to_everybody(tmp_path: Path) -> None:
    _, found = verified(tmp_path, (*PODS, allows("web")), (policy("other", podSelector={"matchLabels": {"app": "x"}}),))
    (cause,) = found.causes
    assert (cause.change, cause.after.reason) == ("newly_allowed", "nothing polices this end in this direction")
    assert cause.sources.nodes
    assert cause.sources.outside
    assert cause.sources.namespaces == ("lab", "shop")
    assert cause.pod_pairs == 3


def test_replicas_of_one_workload_are_compared_with_each_other(tmp_path: Path) -> None:
    same: Json = {"podSelector": {"matchLabels": {"app": "web"}}}
    before = policy(podSelector={"matchLabels": {"app": "web"}}, ingress=[{"from": [same]}])
    status, found = verified(tmp_path, (*PODS[:2], before), (policy(podSelector={"matchLabels": {"app": "web"}}),))
    assert status == 1
    (cause,) = found.causes
    assert {cause.counterexample.source, cause.counterexample.destination} == {"pod shop/web-0", "pod shop/web-1"}
    assert cause.pod_pairs == 2


@pytest.mark.parametrize(
    ("before", "after", "status", "result"),
    [
        pytest.param(allows("web"), allows("web"), 0, "equivalent", id="the same"),
        pytest.param(allows("web"), allows("api"), 1, "different", id="another selector"),
        pytest.param(
            policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/30"}}]}]),
            policy(ingress=[{"from": [{"ipBlock": {"cidr": "10.0.0.0/31"}}, {"ipBlock": {"cidr": "10.0.0.2/31"}}]}]),
            0,
            "equivalent",
            id="a block in two halves",
        ),
        pytest.param(
            policy(ingress=[{"from": [{"ipBlock": {"cidr": "2001:db8::/64"}}]}]),
            policy(ingress=[{"from": [{"ipBlock": {"cidr": "2001:db8::/65"}}]}]),
            1,
            "different",
            id="half a block of IPv6",
        ),
        pytest.param(allows("web", port="http"), allows("web", port=8080), 1, "different", id="a name is no number"),
    ],
)
def test_policies_without_a_single_pod_are_compared_over_made_up_ones(
    before: Document, after: Document, status: int, result: str, tmp_path: Path
) -> None:
    found_status, found = verified(tmp_path, (before,), (after,))
    assert (found_status, found.result, found.proof, found.classes) == (status, result, "witness", 0)


def test_no_pods_prove_nothing_when_only_the_snapshot_may_be_asked(tmp_path: Path) -> None:
    status, found = verified(tmp_path, (allows("web"),), (allows("web"),), "--proof", "snapshot")
    assert (status, found.result, found.proof, found.complete) == (4, "undecided", "none", False)
    assert "no pods" in found.left_out[0]


def test_too_many_combinations_leave_the_proof_to_the_snapshot_and_say_so(tmp_path: Path) -> None:
    many = [allows(*(f"{key}-{number}" for number in range(9))) for key in "ab"]
    keys = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k", "l", "m", "n", "o"]
    peers: Json = [{"podSelector": {"matchLabels": {key: "x"}}} for key in keys]
    before = policy("many", ingress=[{"from": [peer]} for peer in peers])  # type: ignore[union-attr]
    status, found = verified(tmp_path / "pods", (*PODS, before, *many[:1]), (before, *many[:1]))
    assert (status, found.proof) == (0, "snapshot")
    assert found.witness is not None
    assert found.witness.reason == "more than 250 combinations of labels"
    status, found = verified(tmp_path / "none", (before,), (before,))
    assert (status, found.result, found.complete) == (4, "undecided", False)


def test_what_is_not_modelled_is_listed_and_never_equivalent(tmp_path: Path) -> None:
    odd = allows("web")
    odd["spec"] = {**_whole(odd), "ingress": [{"from": [{"podSelector": {}, "surprise": 1}]}]}
    status, found = verified(tmp_path, (*PODS, odd), (odd,))
    assert (status, found.result, found.proof, found.complete) == (4, "undecided", "none", False)
    assert "surprise" in found.left_out[0]


def _whole(item: Document) -> Document:
    spec = item["spec"]
    assert isinstance(spec, dict)
    return spec


def _calico(kind: str, name: str, action: str, **metadata: str) -> Document:
    spec: Json = {"order": 100, "selector": "app == 'db'", "types": ["Ingress"], "ingress": [{"action": action}]}
    return {"apiVersion": "projectcalico.org/v3", "kind": kind, "metadata": {"name": name, **metadata}, "spec": spec}


@pytest.mark.parametrize(
    ("action", "status"), [("Deny", 4), ("Allow", 0)], ids=["the first one decides", "both say the same"]
)
def test_an_order_that_depends_on_the_release_is_not_decided(action: str, status: int, tmp_path: Path) -> None:
    tied = _calico("NetworkPolicy", "a", "Allow", namespace="shop"), _calico("GlobalNetworkPolicy", "z", action)
    engines = ("--before-engine", "calico", "--after-engine", "calico")
    found_status, found = verified(tmp_path, (*PODS, *tied), tied, *engines)
    assert found_status == status
    assert any("how the release orders policies" in text for text in found.left_out) is (status == 4)


def test_a_difference_goes_before_what_is_not_known(tmp_path: Path) -> None:
    nobody: Json = {"matchLabels": {"app": "nobody"}}
    odd = policy("odd", podSelector=nobody, ingress=[{"from": [{"podSelector": {}, "surprise": 1}]}])
    status, found = verified(tmp_path, (*PODS, allows("web"), odd), (allows("api"), odd))
    assert (status, found.result, found.complete) == (1, "different", False)


@pytest.mark.parametrize("by", ["namespace", "workload"])
def test_the_matrix_says_who_reaches_whom(by: str, tmp_path: Path) -> None:
    _, found = verified(tmp_path, (*PODS, allows("web")), (policy("closed", ingress=[]),), "--matrix", by)
    matrix = found.matrix
    assert matrix is not None
    shop = {"namespace": "shop", "workload": "shop/Pod/db"}[by]
    web = {"namespace": "shop", "workload": "shop/StatefulSet/web"}[by]
    lab = {"namespace": "lab", "workload": "lab/Pod/test"}[by]
    cell = {
        (source, destination): (before, after)
        for source, befores, afters in zip(matrix.names, matrix.before, matrix.after, strict=True)
        for destination, before, after in zip(matrix.names, befores, afters, strict=True)
    }
    assert cell[web, shop] == {"namespace": ("s", "s"), "workload": ("s", "-")}[by]
    assert cell[lab, shop] == {"namespace": ("s", "s"), "workload": ("-", "-")}[by]
    assert cell[shop, lab] == ("a", "a")
    assert cell[lab, lab] == (" ", " ")
    assert cell["outside", lab] == ("a", "a")
    assert cell["nodes", "outside"] == (" ", " ")
    assert matrix.names[-2:] == ("nodes", "outside")


def test_the_table_fits_80_columns_and_says_it_all(tmp_path: Path) -> None:
    done = compare(tmp_path, (*PODS, allows("web")), (allows("web", port=5433),), "--matrix", "namespace")
    assert done.status == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("different: kubernetes")
    assert "1. newly allowed at ingress: pod shop/web-0 to pod shop/db TCP/5433" in lines
    assert any("touches 2 pods of 1 workload in shop to 1 pod of 1 workload in shop" in line for line in lines)
    assert all(len(line) <= 80 for line in lines if str(tmp_path) not in line)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param(["--before", "before"], "--before and --after go together", id="half a pair"),
        pytest.param(["--before", "before", "--after", "typo"], "typo: no such file or folder", id="a typo"),
        pytest.param(["--before", "before", "--after", "empty"], "empty: a folder without manifests", id="empty"),
        pytest.param(["--before", "before", "--after", "before", "--intent"], "--intent is about", id="two questions"),
        pytest.param(
            ["--before", "before", "--after", "before", "--incremental"], "--incremental is about", id="nothing kept"
        ),
        pytest.param(["--before", "before", "--after", "before", "--target", "cilium-9"], "cilium-9", id="target"),
        pytest.param(["--dir", "nowhere"], "nowhere: no such folder; run migrate scan first", id="no working folder"),
        pytest.param(["--dir", "empty"], "make a new one with migrate scan", id="nothing scanned"),
        pytest.param(["--dir", "scanned"], "run migrate translate first", id="nothing translated"),
    ],
)
def test_bad_input_says_what_to_do(arguments: list[str], message: str, tmp_path: Path) -> None:
    folder(tmp_path / "before", *PODS, allows("web"))
    folder(tmp_path / "empty")
    assert migrate(tmp_path, "scan", "-f", tmp_path / "before", "--output-dir", tmp_path / "scanned").status == 0
    done = migrate(tmp_path, "verify", *arguments)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr


@pytest.mark.parametrize(
    ("engine", "status"), [("none", 1), ("npm", 0), ("kubernetes", 0)], ids=["nothing", "Azure NPM", "the text"]
)
def test_the_engine_of_each_folder_may_be_named(engine: str, status: int, tmp_path: Path) -> None:
    found, _ = verified(tmp_path, (*PODS, allows("web")), (allows("web"),), "--after-engine", engine)
    assert found == status


# A working folder.


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample cluster, scanned and translated."""
    place = tmp_path_factory.mktemp("verify") / "work"
    assert migrate(place.parent, "demo", "--output-dir", place).status == 0
    return place


def test_the_translation_of_the_sample_is_compared_with_npm(demo: Path) -> None:
    done = migrate(demo, "verify", "--dir", demo, "-o", "json")
    found = read(done)
    assert (done.status, found.before, found.after) == (1, "enforced today by npm", "cilium on aks-1.34")
    assert found.inputs
    assert (demo / "verification.json").read_bytes().strip() == done.stdout.encode().strip()
    lost = {cause.after.reason for cause in found.causes if cause.change == "newly_denied"}
    assert lost == {"SCTP is switched off"}


def test_without_compat_the_sample_loses_what_npm_lets_through(demo: Path, tmp_path: Path) -> None:
    place = _copy(demo, tmp_path / "work")
    (place / "compat").rename(tmp_path / "away")
    found = read(migrate(tmp_path, "verify", "--dir", place, "-o", "json"))
    keep_tests_out = [cause for cause in found.causes if cause.before.object == "NetworkPolicy shop/keep-tests-out"]
    assert [cause.change for cause in keep_tests_out] == ["newly_denied"]


def test_the_text_of_the_sample_is_compared_with_npm(demo: Path) -> None:
    found = read(migrate(demo, "verify", "--dir", demo, "--intent", "--before-engine", "kubernetes", "-o", "json"))
    assert (found.before, found.after) == ("the policies' text, as kubernetes means it", "enforced today by npm")
    assert "NetworkPolicy shop/keep-tests-out" in {cause.after.object for cause in found.causes}
    assert (demo / "verification-intent.json").exists()


def test_an_object_of_the_translation_that_is_gone_is_an_error(demo: Path, tmp_path: Path) -> None:
    place = _copy(demo, tmp_path / "work")
    (place / "cilium/shop").rename(tmp_path / "away")
    done = migrate(tmp_path, "verify", "--dir", place)
    assert done.status == 2
    assert "translation.json names it and it is not there; run migrate translate again" in done.stderr


def _copy(source: Path, place: Path) -> Path:
    for file in (path for path in source.rglob("*") if path.is_file() and not path.name.startswith("verification")):
        copy = place / file.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    return place


# Again, with what did not change.

_SAID_AGAIN = "nothing changed since the last verification, which is shown again\n"


@pytest.mark.parametrize(
    ("change", "reused"),
    [
        pytest.param("nothing", True, id="nothing changed"),
        pytest.param("document", False, id="the last result is no document any more"),
        pytest.param("policy", False, id="a translated policy changed"),
        pytest.param("new", False, id="a file came"),
        pytest.param("snapshot", False, id="the snapshot changed"),
        pytest.param("option", False, id="another question"),
    ],
)
def test_a_result_is_used_again_only_if_nothing_changed(change: str, reused: bool, demo: Path, tmp_path: Path) -> None:
    place = _copy(demo, tmp_path / "work")
    first = migrate(tmp_path, "verify", "--dir", place, "--incremental", "-o", "json")
    assert first.stderr == ""
    _change(place, change)
    more = ("--matrix", "namespace") if change == "option" else ()
    again = migrate(tmp_path, "verify", "--dir", place, "--incremental", "-o", "json", *more)
    assert (again.stderr == _SAID_AGAIN) is reused
    whole = migrate(tmp_path, "verify", "--dir", place, "-o", "json", *more)
    assert (again.status, again.stdout) == (whole.status, whole.stdout)


def _change(place: Path, change: str) -> None:
    (file, *_) = sorted((place / "cilium").rglob("*.yaml"))
    if change == "document":
        (place / "verification.json").write_text("{}", encoding="utf-8")
    if change == "policy":
        file.write_text(file.read_text(encoding="utf-8") + "# looked at\n", encoding="utf-8")
    if change == "new":
        file.with_name("new.yaml").write_text(file.read_text().replace("name: ", "name: new-"), encoding="utf-8")
    if change == "snapshot":
        assert migrate(place, "scan", "-f", CLUSTER, "--output-dir", place, "-n", "shop").status in (0, 4)
