"""`migrate explain`, and `migrate simulate` of a snapshot: what they answer, how it reads, and what they refuse."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import jsonschema
import msgspec
import pytest

from migrate.model.documents import ExplainedFlow, ExplainedSide, Explanation, Simulation
from migrate.scan.cases import read_cases
from migrate.truths import MOST_TRANSLATED_NOW
from migrate.verify.engines import build_engine
from migrate.verify.explain import Explainer, Truth
from migrate.verify.question_flows import MOST_WAYS
from tests.command_line import Ended, migrate
from tests.update_schemas import path_of

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/cases/vectors"
TOWN = ROOT / "tests/cases/explain/town.yaml"
TIERS = ROOT / "tests/cases/explain/tiers.yaml"
HOSTS = ROOT / "tests/cases/explain/hosts.yaml"


BEFORE = ("--before-engine", "npm")


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The working folder of the sample cluster, translated."""
    place = tmp_path_factory.mktemp("demo")
    assert migrate(place, "demo", "--output-dir", "migration", "-q").status == 0
    return place


@pytest.fixture(scope="module")
def strict(demo: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same folder without what keeps today's openings."""
    place = tmp_path_factory.mktemp("strict")
    shutil.copytree(demo / "migration", place / "migration")
    shutil.rmtree(place / "migration/compat")
    return place


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cluster with pods of every sort, scanned and not translated."""
    return _scanned(tmp_path_factory.mktemp("town"), TOWN)


@pytest.fixture(scope="module")
def tiers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cluster with Calico tiers, scanned and not translated."""
    return _scanned(tmp_path_factory.mktemp("tiers"), TIERS)


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small cluster with a node that Calico protects, scanned and not translated."""
    return _scanned(tmp_path_factory.mktemp("hosts"), HOSTS)


def _scanned(place: Path, manifests: Path) -> Path:
    assert migrate(place, "scan", "-f", manifests, "--output-dir", "migration", "-q").status == 0
    return place


def explained(place: Path, *question: str, status: int) -> Explanation:
    """The document that is printed, which fits its schema."""
    done = migrate(place, "explain", *question, "-o", "json")
    assert (done.status, done.stderr) == (status, "")
    jsonschema.validate(json.loads(done.stdout), json.loads(path_of("explanation").read_text(encoding="utf-8")))
    return msgspec.json.decode(done.stdout, type=Explanation)


def words(flow: ExplainedFlow) -> dict[str, tuple[str, str, str]]:
    return {truth.truth: (truth.egress.word, truth.ingress.word, truth.verdict) for truth in flow.truths}


def flat(done: Ended) -> str:
    """What was printed, as one line: where it is wrapped does not matter."""
    return " ".join(done.stdout.split())


# The sample cluster.


def test_a_flow_that_the_cutover_cuts_off(strict: Path) -> None:
    (flow,) = explained(strict, "staging/load-test", "shop/frontend", "TCP/8080", status=1).flows
    assert flow.change == "newly_denied"
    told = words(flow)
    assert told["intent"] == ("unenforced", "deny", "deny")
    assert told["enforced"] == ("unenforced", "allow", "allow")
    assert told["future"][1:] == ("deny", "deny")
    assert len(flow.same) == 1, "both pods of the front end are reached in the same way"
    assert [text.partition(":")[0] for text in flow.findings] == ["POL-NS-NOTIN-MULTI"]


def test_a_flow_that_an_object_of_its_own_keeps(demo: Path) -> None:
    (flow,) = explained(demo, "staging/load-test", "shop/frontend", "TCP/8080", status=0).flows
    assert (flow.change, words(flow)["future"][1:]) == ("none", ("allow", "allow"))


def test_the_first_line_says_that_it_changes_and_by_what(strict: Path) -> None:
    done = migrate(strict, "explain", "staging/load-test", "shop/frontend", "8080")
    assert done.status == 1
    first = "CHANGES AT CUTOVER: newly denied by the default deny of CiliumNetworkPolicy shop/keep-tests-out (ingress)"
    assert flat(done).startswith(first)
    assert "today is not what the policies say: by their text it is denied" in flat(done)


def test_a_flow_that_the_cutover_lets_in_beside_one_that_stays_free(demo: Path) -> None:
    allowed, free = explained(demo, "demo/other", "data/postgres", "sql", status=1).flows
    assert (allowed.change, allowed.flow.destination) == ("newly_allowed", "pod data/postgres-0")
    assert (free.change, free.flow.destination) == ("none", "pod data/postgres-1")
    assert "denied by the default deny of NetworkPolicy data/primary-only (ingress)" in allowed.headline
    (left_out,) = allowed.truths[2].ingress.policies
    assert (left_out.object, left_out.ignored) == ("NetworkPolicy data/primary-only", True)
    assert left_out.outcome == "not translated (POL-LABEL-FILTERED)"


def test_a_flow_that_stays_as_it_is(demo: Path) -> None:
    (flow,) = explained(demo, "demo/client", "demo/server", "80", status=0).flows
    assert flow.change == "none"
    assert {verdict for _, _, verdict in words(flow).values()} == {"allow"}


def test_each_truth_names_its_rule_with_the_line_where_it_stands(demo: Path) -> None:
    (flow,) = explained(demo, "shop/checkout", "203.0.113.7", "443", status=0).flows
    enforced, future = (truth.egress.decided_by for truth in flow.truths[1:])
    assert (enforced.object, enforced.rule) == ("NetworkPolicy shop/checkout-egress", "spec.egress[1]")
    assert (future.object or "").startswith("Cilium")
    for decided, text in ((enforced, "- to:"), (future, "- to")):
        path, _, line = (decided.at or "").rpartition(":")
        assert Path(demo, path).read_text(encoding="utf-8").splitlines()[int(line) - 1].strip().startswith(text)


def test_a_service_is_translated_to_its_backends(demo: Path) -> None:
    done = explained(demo, "shop/frontend", "svc/shop/checkout", "http", status=0)
    (flow,) = done.flows
    assert (flow.flow.port, len(flow.same)) == (8080, 3)
    sends = "Service shop/checkout (10.0.60.21) sends TCP/80 to TCP/8080 of 2 backends"
    assert any(note.startswith(sends) for note in done.notes)
    assert explained(demo, "shop/frontend", "10.0.60.21", "80", status=0).flows == done.flows


def test_the_port_of_a_service_asked_of_its_pods_gets_a_hint(demo: Path) -> None:
    notes = explained(demo, "shop/frontend", "shop/checkout", "80", status=0).notes
    assert any("port 8080, ask for svc/shop/checkout" in note for note in notes)
    notes = explained(demo, "shop/frontend", "shop/checkout", "8080", status=0).notes
    assert not any("svc/" in note for note in notes)


def test_what_is_left_over_of_calico_is_nobodys_intent(demo: Path) -> None:
    (flow,) = explained(demo, "demo/client", "198.51.100.1", "443", status=0).flows
    assert set(words(flow).values()) == {("unenforced", "unenforced", "allow")}
    left = [
        (policy.object, policy.ignored, policy.outcome.partition(":")[0]) for policy in flow.truths[0].egress.policies
    ]
    assert left == [("GlobalNetworkPolicy default.block-instance-metadata", True, "left over")]
    (flow,) = explained(demo, "demo/client", "198.51.100.1", "443", "--before-engine", "calico", status=0).flows
    assert flow.truths[0].reading == "the text of Kubernetes and Calico policies"
    assert words(flow)["intent"] == ("allow", "unenforced", "allow")


def test_verify_has_the_same_intent(demo: Path) -> None:
    said = [
        flat(migrate(demo, "verify", "--intent", "--after-engine", engine)).partition(" | ")[0]
        for engine in ("npm", "calico")
    ]
    assert [text.rpartition(", as ")[2] for text in said] == ["kubernetes means it", "calico means it"]


def test_from_outside_through_a_service_the_answer_is_known_where_all_nodes_lead_to_the_same(strict: Path) -> None:
    done = explained(strict, "198.51.100.1", "svc/shop/frontend", "80", status=1)
    (flow,) = done.flows
    told = words(flow)
    assert flow.change == "newly_denied"
    assert told["enforced"] == ("unenforced", "unknown", "allow"), "one node marks it past NPM, the other one does not"
    assert told["future"] == ("unenforced", "deny", "deny")
    assert told["intent"][2] == "unknown", "by the text the pod's own node may always come in"
    assert "the verdict is the same" in flow.truths[1].ingress.reason
    assert "aks-nodepool1-12345678-vmss000000" in flow.truths[0].ingress.reason
    assert any(note.startswith("externalTrafficPolicy is Cluster") for note in done.notes)


FRONT = """
{apiVersion: v1, kind: Namespace, metadata: {name: far}}
---
{apiVersion: v1, kind: Service, metadata: {name: front, namespace: far},
 spec: {type: NodePort, clusterIP: 10.2.0.1, selector: {app: front}, ports: [{port: 80, nodePort: 30080}]}}
"""


@pytest.mark.parametrize(
    ("nodes", "status", "flows", "said"),
    [
        pytest.param(0, 4, 2, "the snapshot has no nodes to ask for", id="no nodes"),
        pytest.param(2, 0, 2, "asked for each node and both addresses", id="a few nodes"),
        pytest.param(MOST_WAYS // 2 + 1, 0, 1, "of 2 flows the first 1 were asked about", id="thousands of nodes"),
    ],
)
def test_nodes_that_a_connection_may_come_in_at(nodes: int, status: int, flows: int, said: str, tmp_path: Path) -> None:
    objects = [
        f"{{apiVersion: v1, kind: Node, metadata: {{name: n{number}}}, status: {{addresses: "
        f"[{{type: InternalIP, address: 10.1.{number >> 8}.{number & 255}}}]}}}}"
        for number in range(nodes)
    ] + [
        f"{{apiVersion: v1, kind: Pod, metadata: {{name: front-{number}, namespace: far, labels: {{app: front}}}}, "
        f"spec: {{nodeName: n0, containers: []}}, status: {{phase: Running, podIP: 10.0.0.{number}}}}}"
        for number in (1, 2)
    ]
    (tmp_path / "front.yaml").write_text("\n---\n".join([FRONT, *objects]), encoding="utf-8")
    _scanned(tmp_path, tmp_path / "front.yaml")
    done = explained(tmp_path, "8.8.8.8", "svc/far/front", "80", *BEFORE, status=status)
    assert sum(1 + len(flow.same) for flow in done.flows) == flows
    assert any(said in text for text in (*done.notes, *done.doubts))


@pytest.mark.parametrize(
    ("port", "status"),
    [
        pytest.param("31080", 2, id="the node port of a Service leads to pods"),
        pytest.param("UDP/31080", 0, id="of another protocol it is a port of the node"),
        pytest.param("10250", 0, id="another port of the node"),
    ],
)
def test_ports_of_nodes(port: str, status: int, demo: Path) -> None:
    done = migrate(demo, "explain", "demo/client", "node/aks-nodepool1-12345678-vmss000000", port)
    assert done.status == status
    assert ("ask for svc/shop/frontend TCP/80" in done.stderr) is (status == 2)


def test_many_pods_on_their_hosts_network_are_one_note(demo: Path) -> None:
    notes = explained(demo, "kube-system/kube-proxy", "shop/checkout", "8080", status=0).notes
    assert [note for note in notes if "hosts' network" in note] == [
        "2 pods of kube-system/kube-proxy are on their hosts' network: for every policy they are their nodes"
    ]


def test_the_text_fits_a_ticket(demo: Path) -> None:
    done = migrate(demo, "explain", "shop/checkout", "data/postgres", "5432")
    assert max(map(len, done.stdout.splitlines())) <= 80
    assert all(line == line.rstrip() for line in done.stdout.splitlines())
    assert "\x1b" not in done.stdout
    rows = [line.split() for line in done.stdout.splitlines() if line.startswith("  verdict")]
    assert rows == [["verdict", "ALLOW", "ALLOW", "ALLOW"]] * 2


def test_yaml_says_the_same_as_json(demo: Path) -> None:
    question = ("demo/other", "data/postgres-0", "5432")
    document = explained(demo, *question, status=1)
    done = migrate(demo, "explain", *question, "-o", "yaml")
    assert msgspec.yaml.decode(done.stdout, type=Explanation) == document


def test_without_a_translation_the_future_is_made_on_the_way(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo / "migration", tmp_path / "migration")
    shutil.rmtree(tmp_path / "migration/cilium")
    shutil.rmtree(tmp_path / "migration/compat")
    (tmp_path / "migration/translation.json").unlink()
    before = sorted(tmp_path.rglob("*"))
    question = ("staging/load-test", "shop/frontend", "8080")
    here, there = explained(tmp_path, *question, status=0), explained(demo, *question, status=0)
    assert [words(flow) for flow in here.flows] == [words(flow) for flow in there.flows]
    assert here.notes[-1].startswith("not translated yet (migration/translation.json is not there)")
    assert (here.flows[0].truths[2].ingress.decided_by.at or "").startswith("compat/shop/keep-tests-out-not-in.yaml:")
    assert sorted(tmp_path.rglob("*")) == before, "nothing is written"


QUESTIONS = [
    ("shop/web-0", "shop/db-0", "5432"),
    ("shop/agent", "shop/db-0", "5432"),
    ("shop/both", "shop/other", "5432"),
    ("203.0.113.7", "shop/db-0", "80"),
]


def test_an_answer_before_the_translation_is_the_one_after_it(town: Path, tmp_path: Path) -> None:
    shutil.copytree(town / "migration", tmp_path / "migration")
    assert migrate(tmp_path, "translate", "-q", "--fail-on", "never").status == 0
    for question in QUESTIONS:
        before, after = (migrate(place, "explain", *question, *BEFORE, "-o", "json") for place in (town, tmp_path))
        flows = [msgspec.json.decode(done.stdout, type=Explanation).flows for done in (before, after)]
        assert [words(flow) for flow in flows[0]] == [words(flow) for flow in flows[1]]
        assert [flow.findings for flow in flows[0]] == [flow.findings for flow in flows[1]]


@pytest.mark.parametrize(
    ("namespace", "future", "status"),
    [
        pytest.param("far", "deny", 0, id="of other pods are left aside"),
        pytest.param("shop", "unknown", 4, id="of the pod itself have to be translated first"),
    ],
)
def test_hundreds_of_policies_without_a_translation(namespace: str, future: str, status: int, tmp_path: Path) -> None:
    spec = "{podSelector: {}, policyTypes: [Ingress]}"
    policies = [
        f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{name: p{number}, namespace: "
        f"{namespace}}}, spec: {spec}}}"
        for number in range(MOST_TRANSLATED_NOW + 1)
    ]
    text = "\n---\n".join([TOWN.read_text(encoding="utf-8"), *policies])
    (tmp_path / "town.yaml").write_text(text, encoding="utf-8")
    _scanned(tmp_path, tmp_path / "town.yaml")
    (flow,) = explained(tmp_path, "203.0.113.7", "shop/db-0", "80", *BEFORE, status=status).flows
    assert words(flow)["enforced"] == ("unenforced", "deny", "deny")
    assert words(flow)["future"][1:] == (future, future)
    assert ("migrate translate first" in flow.truths[2].ingress.reason) is (future == "unknown")


def test_a_policy_that_the_translation_does_not_know_makes_the_future_doubtful(demo: Path, tmp_path: Path) -> None:
    shutil.copytree(demo / "migration", tmp_path / "migration")
    path = tmp_path / "migration/translation.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    document["results"] = [r for r in document["results"] if r["source"]["name"] != "demo-policy"]
    path.write_text(json.dumps(document), encoding="utf-8")
    done = explained(tmp_path, "demo/client", "shop/checkout", "8080", status=4)
    assert "demo/demo-policy" in done.doubts[0]
    assert "migrate translate" in done.doubts[0]


def test_the_profile_can_be_another_one(demo: Path) -> None:
    done = explained(demo, "demo/client", "demo/server", "80", "--target", "cilium-1.20", status=0)
    assert done.flows[0].truths[2].reading == "Cilium 1.20 (cilium-1.20) over the translation"
    assert any("was made for aks-1.34" in note for note in done.notes)


def test_nothing_enforces_policies_where_the_user_says_so(demo: Path) -> None:
    question = ("demo/other", "demo/server", "80", "--before-engine", "none")
    (flow,) = explained(demo, *question, status=1).flows
    assert words(flow)["enforced"] == ("unenforced", "unenforced", "allow")
    assert flow.change == "newly_denied"


# Pods of every sort.


def test_a_dual_stack_pair_is_asked_about_in_both_families(town: Path) -> None:
    done = explained(town, "shop/both", "shop/other", "5432", *BEFORE, status=1)
    by_family = {":" in flow.flow.source_address: words(flow)["enforced"] for flow in done.flows}
    assert by_family == {False: ("unenforced", "deny", "deny"), True: ("unenforced", "unenforced", "allow")}
    assert any("both families were asked about" in note for note in done.notes)
    six = next(flow for flow in done.flows if ":" in flow.flow.source_address)
    assert six.truths[1].ingress.reason == "Azure NPM checks IPv4 only, and this is IPv6"


@pytest.mark.parametrize(
    ("source", "destination", "port", "enforced"),
    [
        pytest.param("shop/web-0", "shop/db-0", "5432", ("unenforced", "allow", "allow"), id="an allowed pod"),
        pytest.param("shop/web-0", "shop/db-0", "sql", ("unenforced", "allow", "allow"), id="a port by its name"),
        pytest.param("shop/web-0", "shop/db-0", "TCP/sql", ("unenforced", "allow", "allow"), id="with its protocol"),
        pytest.param("shop/web-0", "shop/db-0", "80", ("unenforced", "deny", "deny"), id="another port"),
        pytest.param("shop/web-0", "shop/db-0", "5432/udp", ("unenforced", "deny", "deny"), id="another protocol"),
        pytest.param("shop/web-0", "shop/db-0", "ICMP", ("unenforced", "deny", "deny"), id="ping"),
        pytest.param("node/n1", "shop/db-0", "5432", ("unenforced", "unenforced", "allow"), id="its own node"),
        pytest.param("node/n2", "shop/db-0", "5432", ("unenforced", "deny", "deny"), id="another node"),
        pytest.param("shop/agent", "shop/db-0", "5432", ("unenforced", "deny", "deny"), id="a pod on another node"),
        pytest.param("203.0.113.7", "shop/db-0", "5432", ("unenforced", "deny", "deny"), id="an address outside"),
        pytest.param("10.0.0.10", "shop/db-0", "5432", ("unenforced", "allow", "allow"), id="the address of a pod"),
        pytest.param("shop/db-0", "shop/db-0", "80", ("unenforced", "unenforced", "allow"), id="a pod to itself"),
        pytest.param("sts/shop/web", "pod/shop/db-0", "5432", ("unenforced", "allow", "allow"), id="names with kinds"),
        pytest.param("shop/web-0", "svc/shop/db", "15432", ("unenforced", "allow", "allow"), id="a Service's port"),
        pytest.param("shop/web-0", "svc/shop/db", "sql", ("unenforced", "allow", "allow"), id="a Service's port name"),
        pytest.param("shop/web-0", "svc/shop/bare", "5432", ("unenforced", "allow", "allow"), id="a headless Service"),
        pytest.param("shop/web-0", "svc/shop/bare", "80", ("unenforced", "deny", "deny"), id="headless, another port"),
        pytest.param("fd00::10", "shop/both", "ICMPv6/128", ("unenforced", "unenforced", "allow"), id="IPv6"),
    ],
)
def test_who_may_talk_to_whom_in_the_town(
    source: str, destination: str, port: str, enforced: tuple[str, str, str], town: Path
) -> None:
    done = migrate(town, "explain", source, destination, port, *BEFORE, "-o", "json")
    assert done.status in (0, 1)
    document = msgspec.json.decode(done.stdout, type=Explanation)
    assert {words(flow)["enforced"] for flow in document.flows} == {enforced}


@pytest.mark.parametrize(
    ("source", "destination", "port", "note"),
    [
        pytest.param("shop/agent", "shop/db-0", "5432", "for every policy it is node n2", id="a pod on the host"),
        pytest.param("shop/web", "shop/db-0", "5432", "shop/web is a StatefulSet; its pod is web-0", id="a workload"),
        pytest.param("10.0.0.10", "shop/db-0", "5432", "10.0.0.10 is pod shop/web-0", id="an address of a pod"),
        pytest.param("shop/web-0", "svc/shop/bare", "5432", "shop/bare is headless", id="a headless Service"),
        pytest.param("shop/web-0", "svc/shop/slow", "80", "1 more behind it are not ready", id="an unready backend"),
        pytest.param("shop/web-0", "svc/shop/db", "sql", "has no EndpointSlice of it", id="backends by selector"),
        pytest.param("shop/web-0", "shop/db-0", "5432", "not translated yet", id="no translation"),
    ],
)
def test_what_is_worth_knowing_is_noted(source: str, destination: str, port: str, note: str, town: Path) -> None:
    done = migrate(town, "explain", source, destination, port, *BEFORE)
    assert done.status in (0, 1)
    assert note in flat(done)


@pytest.mark.parametrize(
    ("source", "destination", "port", "message"),
    [
        pytest.param("shop/web-0", "shop/db-1", "80", "did you mean shop/db-0", id="a name that is nearly right"),
        pytest.param("shop/web-0", "shpo/db-0", "80", "no namespace shpo", id="a namespace that is nearly right"),
        pytest.param("shop/web-0", "shop/db", "80", "did you mean svc/shop/db?", id="a Service without svc/"),
        pytest.param("shop/web-0", "svc/shop/dbs", "80", "did you mean shop/db", id="a Service that is not there"),
        pytest.param("node/n", "shop/db-0", "80", "did you mean n1 or n2", id="a node that is not there"),
        pytest.param("shop/twin", "shop/db-0", "80", "deploy/shop/twin or sts/shop/twin", id="two workloads"),
        pytest.param("shop/late", "shop/db-0", "80", "has no address", id="a pod that does not run yet"),
        pytest.param("shop/done", "shop/db-0", "80", "it has ended", id="a pod that ended"),
        pytest.param("web-0", "shop/db-0", "80", "write NAMESPACE/web-0", id="a name without its namespace"),
        pytest.param("shop/web-0", "github.com", "80", "give one of its addresses", id="a host name"),
        pytest.param("shop/web-0", "pod/shop/db-1", "80", "no pod of that name", id="a pod that is not there"),
        pytest.param("deploy/shop/wbe", "shop/db-0", "80", "no Deployment with pods", id="a kind with another name"),
        pytest.param("svc/shop/db", "shop/db-0", "80", "a Service opens no connections", id="from a Service"),
        pytest.param("shop/web-0", "svc/db", "80", "write svc/NAMESPACE/db", id="a kind without its namespace"),
        pytest.param("cm/shop/db", "shop/db-0", "80", "cm is no kind", id="a kind without flows"),
        pytest.param("shop/web-0", "10.0.0.0/24", "80", "a block is many addresses", id="a block"),
        pytest.param(
            "shop/web-0", "10.0.0.200", "80", "no pod of the snapshot has it", id="an address without its pod"
        ),
        pytest.param("shop/web-0", "fd00::20", "80", "no addresses of one IP family", id="two IP families"),
        pytest.param("shop/web-0", "203.0.113.7", "ICMPv6", "write ICMP", id="ICMP of the other family"),
        pytest.param("shop/web-0", "shop/db-0", "70000", "from 1 to 65535", id="port 70000"),
        pytest.param("shop/web-0", "shop/db-0", "TCP/0", "from 1 to 65535", id="port 0"),
        pytest.param("shop/web-0", "shop/db-0", "TCP", "a protocol without its port", id="only a protocol"),
        pytest.param("shop/web-0", "shop/db-0", "ICMP/300", "from 0 to 255", id="an ICMP type above 255"),
        pytest.param("shop/web-0", "shop/db-0", "tcp:80", "no port; give", id="another notation"),
        pytest.param("shop/web-0", "shop/db-0", "http", "it has sql (TCP/5432)", id="a port name that is not there"),
        pytest.param("shop/web-0", "node/n1", "TCP/http", "names none of its ports", id="a port name of a node"),
        pytest.param("shop/web-0", "203.0.113.7", "http", "names none of its ports", id="a port name outside"),
        pytest.param("shop/web-0", "shop/both", "dns", "TCP/dns or UDP/dns", id="a port name of two protocols"),
        pytest.param("shop/web-0", "svc/shop/db", "5432", "pods' port behind sql (TCP/15432)", id="the pods' port"),
        pytest.param("shop/web-0", "svc/shop/db", "ICMP", "a Service passes ports on", id="ping of a Service"),
        pytest.param("shop/web-0", "svc/shop/away", "80", "another name for a host outside", id="an ExternalName"),
        pytest.param("shop/web-0", "svc/shop/empty", "80", "nothing stands behind", id="a Service without pods"),
        pytest.param("shop/db-0", "svc/shop/db", "15432", "only the pod itself is there", id="a pod by its Service"),
    ],
)
def test_a_question_that_has_no_answer(source: str, destination: str, port: str, message: str, town: Path) -> None:
    done = migrate(town, "explain", source, destination, port, *BEFORE)
    assert (done.status, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())


def test_an_engine_that_the_snapshot_does_not_show_has_to_be_said(town: Path) -> None:
    done = migrate(town, "explain", "shop/web-0", "shop/db-0", "80")
    assert (done.status, done.stdout) == (2, "")
    assert "--before-engine" in done.stderr


@pytest.mark.parametrize("content", [None, b"no snapshot", b""], ids=["missing", "broken", "empty"])
@pytest.mark.parametrize("command", ["explain", "simulate"])
def test_a_snapshot_that_cannot_be_read(command: str, content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "snapshot.jsonl.gz"
    if content is not None:
        path.write_bytes(content)
    question = ["a/b", "a/c", "80"]
    if command == "simulate":
        question = ["--engine", "npm", "--from", "a/b", "--to", "a/c", "--port", "80"]
    done = migrate(tmp_path, command, *question, "--snapshot", path)
    assert (done.status, done.stdout) == (2, "")
    assert "make a new one with migrate scan" in done.stderr


def test_a_policy_that_cannot_be_read_makes_its_own_namespace_unknown(town: Path, tmp_path: Path) -> None:
    odd = TOWN.read_text(encoding="utf-8") + (
        "---\n{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: odd, namespace: shop},\n"
        " spec: {podSelector: {matchExpressions: [{key: a, operator: Like, values: [b]}]}}}\n"
    )
    (tmp_path / "town.yaml").write_text(odd, encoding="utf-8")
    _scanned(tmp_path, tmp_path / "town.yaml")
    (flow,) = explained(tmp_path, "far/away", "shop/web-0", "80", *BEFORE, status=4).flows
    assert words(flow)["enforced"] == ("unenforced", "unknown", "unknown")
    assert "NetworkPolicy shop/odd" in flow.truths[1].ingress.reason
    (flow,) = explained(tmp_path, "far/away", "far/off", "80", *BEFORE, status=0).flows
    assert words(flow)["enforced"] == ("unenforced", "unenforced", "allow")


# Calico's tiers.


def _ingress(flow: ExplainedFlow) -> ExplainedSide:
    return flow.truths[1].ingress


@pytest.mark.parametrize(
    ("source", "word", "stage", "decided", "passed"),
    [
        pytest.param(
            "app/bad", "deny", "tier security", "GlobalNetworkPolicy security.gate", (), id="denied in the first tier"
        ),
        pytest.param(
            "app/web",
            "allow",
            "tier default",
            "NetworkPolicy app/db",
            ("tier security: passed on to the next tier by GlobalNetworkPolicy security.gate, spec.ingress[1]",),
            id="passed on, then allowed",
        ),
        pytest.param(
            "app/other",
            "deny",
            "tier default",
            None,
            ("tier security: passed on to the next tier by GlobalNetworkPolicy security.gate, spec.ingress[1]",),
            id="passed on, then nothing matches",
        ),
    ],
)
def test_tiers(source: str, word: str, stage: str, decided: str | None, passed: tuple[str, ...], tiers: Path) -> None:
    done = migrate(tiers, "explain", source, "app/db", "5432", "--before-engine", "calico", "-o", "json")
    (flow,) = msgspec.json.decode(done.stdout, type=Explanation).flows
    side = _ingress(flow)
    assert (side.word, side.stage, side.decided_by.object, side.passed) == (word, stage, decided, passed)


def test_the_default_deny_of_several_policies_names_them_with_what_came_nearest(tiers: Path) -> None:
    done = migrate(tiers, "explain", "app/other", "app/db", "5432", "--before-engine", "calico", "-o", "json")
    side = _ingress(msgspec.json.decode(done.stdout, type=Explanation).flows[0])
    assert side.reason == "2 policies select app/db for ingress; none allows TCP/5432 from app/other: default deny"
    assert {policy.object: policy.outcome for policy in side.policies} == {
        "NetworkPolicy app/db": "spec.ingress[0] has TCP/5432, but not for this source",
        "NetworkPolicy app/metrics": "spec.ingress[0] has this source, but only TCP/9187",
    }


def test_an_order_that_depends_on_the_release_is_said(tiers: Path) -> None:
    done = migrate(tiers, "explain", "app/web", "app/tied", "80", "--before-engine", "calico", "-o", "json")
    (flow,) = msgspec.json.decode(done.stdout, type=Explanation).flows
    ties = "; this depends on how the release orders policies of equal order"
    assert [truth.ingress.reason.endswith(ties) for truth in flow.truths] == [True, True, False]


# Calico's host endpoints.

CALICO = ("--before-engine", "calico")


@pytest.mark.parametrize(
    ("source", "destination", "port", "enforced", "reason"),
    [
        pytest.param(
            "8.8.8.8", "node/n2", "80", "deny", "nothing allows TCP/80: default deny", id="the node is closed"
        ),
        pytest.param("8.8.8.8", "app/agent", "80", "deny", "default deny", id="and so is a pod on its network"),
        pytest.param("8.8.8.8", "node/n2", "22", "allow", "a failsafe port", id="but for failsafe ports"),
        pytest.param("8.8.8.8", "node/n2", "443", "allow", "spec.ingress[1]", id="and for what a policy allows"),
        pytest.param("8.8.8.8", "node/n1", "80", "unenforced", "no host endpoint protects", id="another node is free"),
        pytest.param("app/db", "node/n2", "80", "unenforced", "and its own pods", id="so are its own pods"),
        pytest.param("203.0.113.7", "app/db", "443", "deny", "which protects the node", id="what it passes on"),
        pytest.param("203.0.113.7", "app/web", "443", "unenforced", "no policy selects", id="what others pass on"),
    ],
)
def test_nodes(source: str, destination: str, port: str, enforced: str, reason: str, hosts: Path) -> None:
    done = migrate(hosts, "explain", source, destination, port, *CALICO, "-o", "json")
    document = msgspec.json.decode(done.stdout, type=Explanation)
    (flow,) = document.flows
    assert words(flow)["enforced"][1] == enforced
    assert reason in _ingress(flow).reason
    assert flow.change == ("newly_allowed" if enforced == "deny" else "none")
    question = ("--from", source, "--to", destination, "--port", port)
    snapshot = ("--snapshot", hosts / "migration/snapshot.jsonl.gz")
    said = msgspec.json.decode(
        migrate(hosts, "simulate", "--engine", "calico", *snapshot, *question, "-o", "json").stdout, type=Simulation
    )
    assert isinstance(said.flows, tuple)
    assert [flow.ingress for flow in said.flows] == [enforced]


@pytest.mark.parametrize(
    ("policy", "node", "pod"),
    [
        pytest.param(
            "{kind: HostEndpoint, metadata: {name: odd}, spec: {node: n1, interfaceName: eth0, profiles: [mine]}}",
            "unknown",
            "unknown",
            id="a host endpoint",
        ),
        pytest.param(
            "{kind: GlobalNetworkPolicy, metadata: {name: odd}, spec: {selector: all(, types: [Ingress]}}",
            "unknown",
            "unknown",
            id="a policy for everything",
        ),
        pytest.param(
            "{kind: NetworkPolicy, metadata: {name: odd, namespace: app}, spec: {selector: all(}}",
            "deny",
            "unknown",
            id="a policy for pods only",
        ),
    ],
)
def test_what_cannot_be_read_is_not_taken_for_free(policy: str, node: str, pod: str, tmp_path: Path) -> None:
    odd = f"---\n{{apiVersion: projectcalico.org/v3, {policy[1:]}\n"
    (tmp_path / "hosts.yaml").write_text(HOSTS.read_text(encoding="utf-8") + odd, encoding="utf-8")
    _scanned(tmp_path, tmp_path / "hosts.yaml")
    for destination, word in (("node/n2", node), ("app/db", pod)):
        done = migrate(tmp_path, "explain", "8.8.8.8", destination, "80", *CALICO, "-o", "json")
        (flow,) = msgspec.json.decode(done.stdout, type=Explanation).flows
        assert words(flow)["enforced"][1] == word
        assert ("odd" in _ingress(flow).reason) is (word == "unknown")


def test_explain_has_the_words_of_calicos_own_engine_for_nodes() -> None:
    for path in sorted((ROOT / "tests/cases/simulate").glob("calico-*.json")):
        (case,), _ = read_cases([path])
        explainer = Explainer(
            Truth("enforced", "Calico", "Calico", build_engine("calico", case.policies, case.cluster, case.options)),
            case.cluster,
        )
        said = json.loads(path.read_text(encoding="utf-8"))["flows"]
        for flow, words_of_calico in zip(case.flows, said, strict=True):
            told = explainer.explain(flow)
            expected = tuple(words_of_calico[key] for key in ("egress", "ingress", "verdict"))
            assert (told.egress.word, told.ingress.word, told.verdict) == expected, f"{path.name}: {flow}"


# The words are those of simulate.


@pytest.mark.parametrize("engine", ["kubernetes", "calico", "cilium"])
def test_explain_has_the_words_of_the_vectors_and_a_reason_for_each(engine: str) -> None:
    for path in sorted((VECTORS / engine).glob("*.json"))[:5]:
        (case,), _ = read_cases([path])
        built = build_engine(engine, case.policies, case.cluster, case.options)
        explainer = Explainer(Truth("enforced", engine, engine, built), case.cluster)
        for flow, said in zip(case.flows, json.loads(path.read_text(encoding="utf-8"))["flows"], strict=True):
            told = explainer.explain(flow)
            assert (told.egress.word, told.ingress.word, told.verdict) == (
                said["egress"],
                said["ingress"],
                said["verdict"],
            )
            for side in (told.egress, told.ingress):
                assert side.reason
                assert side.word == "unenforced" or side.decided_by.object or side.decided_by.reason


# simulate --snapshot.


def test_simulate_of_a_snapshot_agrees_with_explain(demo: Path) -> None:
    question = ("--from", "demo/other", "--to", "svc/data/postgres", "--port", "5432")
    snapshot = ("--snapshot", demo / "migration/snapshot.jsonl.gz")
    done = migrate(demo, "simulate", "--engine", "npm", *snapshot, *question, "-o", "json")
    assert (done.status, done.stderr) == (0, "")
    document = msgspec.json.decode(done.stdout, type=Simulation)
    assert isinstance(document.flows, tuple)
    assert sorted(flow.verdict for flow in document.flows) == ["allow", "deny"]
    jsonschema.validate(json.loads(done.stdout), json.loads(path_of("simulation").read_text(encoding="utf-8")))


def test_simulate_names_the_node_on_which_it_depends(demo: Path) -> None:
    question = ("--from", "198.51.100.1", "--to", "svc/shop/frontend", "--port", "80")
    snapshot = ("--snapshot", demo / "migration/snapshot.jsonl.gz")
    done = migrate(demo, "simulate", "--engine", "kubernetes", *snapshot, *question)
    assert done.status == 4
    assert "the entry node's address" in flat(done)
    done = migrate(demo, "simulate", "--engine", "npm", *snapshot, *question)
    assert (done.status, "nothing polices" in done.stdout) == (0, False)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param(("-f", "case.json", "--snapshot", "s"), "--from and --to and --port: missing", id="policies only"),
        pytest.param(("-f", "case.json", "--port", "80"), "give one or the other", id="cases and a port"),
        pytest.param(("--snapshot", "s", "--from", "a/b"), "--to and --port: missing", id="half a question"),
        pytest.param((), "no flows; give cases with -f, or --snapshot", id="nothing"),
    ],
)
def test_simulate_takes_cases_or_a_snapshot(given: tuple[str, ...], message: str, tmp_path: Path) -> None:
    done = migrate(tmp_path, "simulate", "--engine", "npm", *given)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr
