"""What the dumps of nodes say, over folders that the real scan made."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
import pytest

from migrate.errors import InputError
from migrate.files import file_digest
from migrate.model.documents import Fact
from migrate.model.node_documents import NodeStates
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import read_dumps
from migrate.nodes.examine import FILE_NAME, examine
from migrate.readiness.checks import all_checks
from migrate.readiness.documents import SNAPSHOT, read_folder
from migrate.readiness.rules import load_rules
from migrate.readiness.verdict import judge
from migrate.report.made import make_report
from migrate.scan import snapshot
from tests.readiness.folders import CASES, POLICIES, scanned
from tests.readiness.scenes import TODAY, Scene

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
WHOLE = "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:OUTPUT ACCEPT [0:0]\nCOMMIT\n"
CUT = WHOLE.removesuffix("COMMIT\n")


@pytest.fixture
def cluster(scene: Scene) -> Scene:
    """A cluster with the nodes n1 and n2."""
    return scene.scan("npm")


def nodes(scene: Scene, snapshot_digest: str | None = None, **dumps: str) -> NodeStates:
    """The state of nodes by what iptables-save printed on them, kept in the working folder."""
    for name, text in dumps.items():
        (scene.folder / "nodes" / name).mkdir(parents=True)
        (scene.folder / "nodes" / name / "iptables-nft-save.txt").write_text(text, encoding="utf-8")
    taken = snapshot.read(scene.folder / SNAPSHOT)
    view = ClusterView(taken.header, tuple(taken.objects))
    digest = snapshot_digest or file_digest(scene.folder / SNAPSHOT).hex()
    states = examine(read_dumps(scene.folder / "nodes"), view, digest)
    (scene.folder / FILE_NAME).write_bytes(msgspec.json.encode(states))
    return states


def test_every_rule_about_nodes_is_put_to_their_dumps() -> None:
    by_the_scan = {"NODE-CALICO-CRD-LEFT"}
    asked = {check.id for check in all_checks()}
    assert {identity for identity in load_rules() if identity.startswith("NODE-")} - asked == by_the_scan


def test_without_dumps_rules_about_nodes_are_not_checked(cluster: Scene) -> None:
    assert cluster.ask("NODE-MARK-OVERLAP").lacks == ("what the nodes enforce: `migrate scan --nodes`",)
    assert cluster.ask("NODE-NOT-READ").lacks == ()


def test_a_node_that_was_forgotten_is_found(cluster: Scene) -> None:
    states = nodes(cluster, n1=WHOLE)
    found = cluster.ask("NODE-NOT-READ")

    assert not states.complete
    assert "node n2 was not read" in found.details
    assert "node n1" not in found.details
    assert any("n2 was not read" in lack for lack in cluster.ask("NODE-NPM-JUMP").lacks)


def test_a_dump_that_is_cut_off_is_found_with_its_line(cluster: Scene) -> None:
    nodes(cluster, n1=CUT, n2=WHOLE)
    found = cluster.ask("NODE-DUMP-UNREAD")

    assert "n1/iptables-nft-save.txt:4" in found.details
    assert [finding.subject.name for finding in found.findings if finding.subject] == ["n1"]


def test_whole_dumps_leave_nothing_unread(cluster: Scene) -> None:
    nodes(cluster, n1=WHOLE, n2=WHOLE)

    assert cluster.ask("NODE-DUMP-UNREAD").findings == ()


def test_nodes_that_were_compared_with_another_snapshot_are_not_relied_on(cluster: Scene) -> None:
    nodes(cluster, "0" * 64, n1=WHOLE, n2=WHOLE)
    documents = read_folder(cluster.folder)
    (read,) = [document for document in documents.inputs if document.kind == "NodeStates"]

    assert not read.complete
    assert "compared with another snapshot" in "\n".join(judge(documents, load_rules(), TODAY).not_measured)


def test_the_verdict_says_how_many_nodes_were_read(cluster: Scene) -> None:
    before = judge(read_folder(cluster.folder), load_rules(), TODAY)
    nodes(cluster, n1=WHOLE)
    after = judge(read_folder(cluster.folder), load_rules(), TODAY)

    assert "no rules of a node were inspected" in before.sentence
    assert "the rules of 1 of" in after.sentence


def test_the_report_shows_what_the_rules_of_a_node_say(cluster: Scene) -> None:
    states = nodes(cluster, n1=CUT, n2=WHOLE)
    fact = Fact(topic="packet filter", value="nft", detail="a word of its own")
    read = [msgspec.structs.replace(node, facts=(fact,)) for node in states.nodes]
    (cluster.folder / FILE_NAME).write_bytes(msgspec.json.encode(msgspec.structs.replace(states, nodes=tuple(read))))
    made = make_report(cluster.folder, load_rules(), NOW)
    rows = {row.name: row for row in made.report.nodes}
    page = made.html().decode()

    assert (rows["n1"].read, rows["n1"].whole, rows["n2"].whole) == ("by hand", False, True)
    assert "a word of its own" in page
    assert "n1/iptables-nft-save.txt:4" in page


def test_a_node_with_seven_faults_has_these_and_no_others(scene: Scene) -> None:
    scanned(scene.folder, *POLICIES)
    dump = scene.folder / "nodes" / "aks-nodepool1-12345678-vmss000000"
    shutil.copytree(CASES / "azure" / "linux-npm" / "drift", dump)
    (node,) = nodes(scene).nodes
    assert Counter(finding.id for finding in node.findings) == {
        "NODE-NPM-DRIFT-MEMBERS": 2,
        "NODE-NPM-DRIFT-MISSING": 1,
        "NODE-NPM-DRIFT-RULE": 1,
        "NODE-NPM-DRIFT-STALE": 1,
        "NODE-NPM-JUMP": 1,
        "NODE-NPM-OTHER-BACKEND": 1,
    }


@pytest.mark.parametrize("names", ["hash-sha256", "hash-fnv32"])
def test_a_node_as_it_should_be_has_no_findings(scene: Scene, names: str) -> None:
    scanned(scene.folder, *POLICIES)
    dump = scene.folder / "nodes" / "aks-nodepool1-12345678-vmss000000"
    dump.mkdir(parents=True)
    for file in ("iptables-save.txt", "ipset-save.txt"):
        shutil.copy(CASES / "azure" / "linux-npm" / names / file, dump)
    (node,) = nodes(scene).nodes
    assert node.findings == ()


def test_marks_of_an_engine_that_is_gone_are_in_the_way(scene: Scene) -> None:
    scene.scan("calico")
    nodes(scene, **{"worker-1": (CASES / "azure/linux-npm/hash-sha256/iptables-save.txt").read_text(encoding="utf-8")})
    assert "Azure NPM sets 0xe00" in scene.ask("NODE-MARK-OVERLAP").details


def test_a_node_tells_its_kernel_where_the_snapshot_does_not(scene: Scene) -> None:
    scene.scan("npm", more="apiVersion: v1\nkind: Node\nmetadata: {name: n3}")
    assert any("n3" in lack for lack in scene.ask("WRK-KERNEL").lacks)
    (scene.folder / "nodes" / "n3").mkdir(parents=True)
    (scene.folder / "nodes" / "n3" / "kernel.txt").write_text("Linux 4.4.0-87-generic #110 x86_64\n")
    nodes(scene)
    assert "it has kernel 4.4.0-87-generic" in scene.ask("WRK-KERNEL").details
    assert scene.ask("WRK-KERNEL").lacks == ()


def npm_node(scene: Scene, edit: Callable[[str], str]) -> Counter[str]:
    """What is found on the sample's node after an edit of its rules."""
    scanned(scene.folder, *POLICIES)
    dump = scene.folder / "nodes" / "aks-nodepool1-12345678-vmss000000"
    shutil.copytree(CASES / "azure" / "linux-npm" / "hash-sha256", dump)
    rules = dump / "iptables-save.txt"
    rules.write_text(edit(rules.read_text(encoding="utf-8")), encoding="utf-8")
    (node,) = nodes(scene).nodes
    return Counter(finding.id for finding in node.findings)


def test_a_way_past_the_policies_is_found(scene: Scene) -> None:
    past = "-A FORWARD -j AZURE-NPM-ACCEPT\n-A FORWARD"
    assert npm_node(scene, lambda text: text.replace("-A FORWARD", past, 1))["NODE-NPM-JUMP"]


def test_a_policy_in_the_chain_of_the_other_direction_is_found(scene: Scene) -> None:
    def edit(text: str) -> str:
        (chain,) = set(re.findall(r"^:(AZURE-NPM-EGRESS-3n4k4bhyww) ", text, re.MULTILINE))
        return text.replace("-A AZURE-NPM-INGRESS ", f"-A AZURE-NPM-INGRESS -j {chain}\n-A AZURE-NPM-INGRESS ", 1)

    assert npm_node(scene, edit)["NODE-NPM-DRIFT-RULE"]


def test_chains_that_branch_without_end_are_not_followed_for_ever(cluster: Scene) -> None:
    chains = "".join(f":A{number} - [0:0]\n" for number in range(41))
    jumps = "".join(f"-A A{number} -j A{number + 1}\n" * 2 for number in range(40))
    text = f"*nat\n:POSTROUTING ACCEPT [0:0]\n{chains}-A POSTROUTING -j A0\n{jumps}COMMIT\n"
    assert nodes(cluster, n1=text).nodes[0].complete


@pytest.mark.parametrize("name", ["addresses.json", "npm-debug-manager.json", "links.json", "nft.json", "bpf.json"])
def test_a_file_as_deep_as_it_can_be_does_not_end_the_scan(cluster: Scene, name: str) -> None:
    nodes(cluster, n1=WHOLE)
    (cluster.folder / "nodes" / "n1" / name).write_text('[{"x":' + "[" * 100_000 + "]" * 100_000 + "}]")
    (node,) = nodes(cluster).nodes
    assert node.name == "n1"


def test_a_dump_without_rules_is_no_node_that_was_inspected(cluster: Scene) -> None:
    (cluster.folder / "nodes" / "n1").mkdir(parents=True)
    (cluster.folder / "nodes" / "n1" / "kernel.txt").write_text("Linux 5.15.0 #110 x86_64\n")
    states = nodes(cluster, n2=WHOLE)
    assert [node.complete for node in states.nodes] == [False, True]
    assert "the rules of 1 of 2 nodes" in judge(read_folder(cluster.folder), load_rules(), TODAY).sentence
    assert [row.rules for row in make_report(cluster.folder, load_rules(), NOW).report.nodes] == [False, True]


def test_a_document_that_is_none_is_refused(cluster: Scene) -> None:
    (cluster.folder / FILE_NAME).write_text("{}", encoding="utf-8")

    with pytest.raises(InputError, match="is no description of nodes of this version"):
        read_folder(cluster.folder)
