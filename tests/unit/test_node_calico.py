"""Calico on a node: names, dumps that are cut or made up, leftovers, eBPF programs, settings that show in chains."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from migrate.model.documents import Fact
from migrate.model.finding import Finding
from migrate.model.flow import Direction
from migrate.model.node_documents import RuleHits
from migrate.model.raw import Json
from migrate.nodes.calico.examiner import examine_calico
from migrate.nodes.calico.names import POLICY, chain_name, interface_of, is_known, set_name
from migrate.nodes.calico.selector_text import SelectorTextError, prefixed, read_text, selector_id
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import read_dump
from migrate.nodes.examine import examine
from migrate.scan import snapshot
from tests.calico_nodes import CALICO_NODE
from tests.command_line import migrate

_CASE = Path("tests/cases/nodes/calico")
_RULES = "iptables-nft-save.txt"


def view_of(folder: Path, *objects: Mapping[str, Json], without: tuple[str, ...] = ()) -> ClusterView:
    """The case's cluster as `migrate scan` keeps it, with more objects and without those of a kind."""
    items = [*json.loads((_CASE / "objects.json").read_text())["items"], *objects]
    kept = [item for item in items if item["kind"] not in without]
    place = folder / "objects.json"
    place.write_text(json.dumps({"apiVersion": "v1", "kind": "List", "items": kept}))
    assert migrate(folder, "scan", "--output-dir", folder, "-q", "-f", place).status in (0, 4)
    taken = snapshot.read(folder / "snapshot.jsonl.gz")
    return ClusterView(taken.header, tuple(taken.objects))


class Scene:
    """A dump in a folder of its own, compared with one cluster."""

    def __init__(self, folder: Path, view: ClusterView | None) -> None:
        self.dump = folder / "dumps" / "n1"
        self.view = view
        shutil.copytree(_CASE / "n1", self.dump)

    def edit(self, change: Callable[[str], str], name: str = _RULES) -> Scene:
        """Change a file of the dump."""
        path = self.dump / name
        path.write_text(change(path.read_text()))
        return self

    def write(self, name: str, body: str) -> Scene:
        """A file more."""
        (self.dump / name).write_text(body)
        return self

    def said(self) -> list[Finding | Fact | RuleHits]:
        """Everything that is said of it."""
        return list(examine_calico(read_dump(self.dump), self.view))

    def findings(self) -> list[Finding]:
        """What is found in it."""
        return [one for one in self.said() if isinstance(one, Finding)]

    def unread(self) -> list[Finding]:
        """What all examiners together say of files that cannot be read."""
        (node,) = examine((read_dump(self.dump),), self.view, None).nodes
        return [finding for finding in node.findings if finding.id == "NODE-DUMP-UNREAD"]

    def facts(self, topic: str) -> list[Fact]:
        """The facts of a topic."""
        return [one for one in self.said() if isinstance(one, Fact) and one.topic == topic]


@pytest.fixture(scope="module")
def with_calico(tmp_path_factory: pytest.TempPathFactory) -> ClusterView:
    """The cluster while Calico runs."""
    return view_of(tmp_path_factory.mktemp("with"), CALICO_NODE)


@pytest.fixture(scope="module")
def without_calico(tmp_path_factory: pytest.TempPathFactory) -> ClusterView:
    """The cluster after Calico was taken away."""
    return view_of(tmp_path_factory.mktemp("without"), _CILIUM)


@pytest.fixture
def running(tmp_path: Path, with_calico: ClusterView) -> Scene:
    """The dump of a node on which Calico runs."""
    return Scene(tmp_path, with_calico)


@pytest.fixture
def gone(tmp_path: Path, without_calico: ClusterView) -> Scene:
    """The dump of a node on which Calico does not run."""
    return Scene(tmp_path, without_calico)


def test_a_node_in_step_has_no_finding(running: Scene) -> None:
    assert running.findings() == []


@pytest.mark.parametrize(
    ("written", "spelt"),
    [
        pytest.param("", "all()", id="an empty selector is all"),
        pytest.param("a=='b'", 'a == "b"', id="blanks and quotes"),
        pytest.param("""a == 'x"y'""", """a == 'x"y'""", id="a quote inside"),
        pytest.param("a in {'b', 'a','b',}", 'a in {"a", "b"}', id="values are sorted, once each"),
        pytest.param("a notin {}", "a not in {}", id="no value at all"),
        pytest.param("a && b||c", None, id="a label alone is nothing"),
        pytest.param("has(a) && has(b) || has(c)", "((has(a) && has(b)) || has(c))", id="and binds tighter"),
        pytest.param("!!!has( a )", "!has(a)", id="signs are collapsed"),
        pytest.param("((has(a)))", "has(a)", id="needless parentheses go"),
        pytest.param("a startswith 'b'", 'a starts with "b"', id="two words as one"),
        pytest.param("has(a) junk", None, id="something left over"),
        pytest.param("a == 'b", None, id="an open quote"),
        pytest.param("(" * 5000 + "has(a)" + ")" * 5000, None, id="nested beyond sense"),
    ],
)
def test_a_selector_has_one_spelling(written: str, spelt: str | None) -> None:
    if spelt is None:
        with pytest.raises(SelectorTextError):
            read_text(written)
    else:
        assert read_text(written).written() == spelt


def test_ids_and_names_are_those_of_calico() -> None:
    """Set names from the comments of Calico's felix/ipsets; ids are compared with its code elsewhere."""
    assert selector_id(read_text("")) == selector_id(read_text(" all( ) "))
    assert set_name("s:qMt7iLlGDhvLnCjM0l9nzxbabcd", 6) == "cali60s:qMt7iLlGDhvLnCjM0l9nzxb"
    assert set_name("s:qMt7iLlGDhvLnCjM0l9nzxbabcd", 4, nft=True) == "cali40s-qMt7iLlGDhvLnCjM0l9nzxb"
    assert prefixed("a == 'b' || all()", "pcns.") == '(pcns.a == "b" || all())'
    assert chain_name("cali-pi-", "x" * 20) == "cali-pi-" + "x" * 20
    assert len(chain_name("cali-pi-", "x" * 21)) == 28
    assert chain_name("cali-pi-", "_" + "x" * 19).startswith("cali-pi-_")
    assert interface_of("default", "web", "azv").startswith("azv")
    assert len(interface_of("default", "web")) == 15


@pytest.mark.parametrize("name", ["cali-FORWARD", "cali-tw-cali1", "cali-from-wl-dispatch-a", "cali-gi-x"])
def test_calicos_chains_are_known(name: str) -> None:
    assert is_known(name)


@pytest.mark.parametrize("name", ["cali-forward", "cali-", "cali-xx-1"])
def test_other_chains_are_not(name: str) -> None:
    assert not is_known(name)


def test_newer_releases_name_chains_by_kind(running: Scene, with_calico: ClusterView) -> None:
    """Main of 2026: knp/<namespace>/<name>, np/..., gnp/<name>; comments name the kind."""

    def renamed(text: str) -> str:
        for policy in with_calico.calico.policies:
            for direction in Direction:
                kinds = sorted(name for name in policy.names if name.split("/")[0] in ("knp", "np", "gnp"))
                new = chain_name(POLICY[direction], kinds[0])
                for name in policy.names - set(kinds):
                    old = chain_name(POLICY[direction], name)
                    text = re.sub(rf"(?<=[ :]){re.escape(old)}(?=[ \n])", new, text)
        return text

    before = (running.dump / _RULES).read_text()
    assert running.edit(renamed).findings() == []
    assert (running.dump / _RULES).read_text() != before


@pytest.mark.parametrize("name", [_RULES, "ip6tables-nft-save.txt", "ipset-save.txt"])
@pytest.mark.parametrize("share", [0.06, 0.2, 0.35, 0.5, 0.65, 0.8, 0.95, 0.999])
def test_a_cut_dump_is_no_drift(running: Scene, name: str, share: float) -> None:
    running.edit(lambda text: text[: int(len(text) * share)], name)
    assert read_dump(running.dump).problems
    assert running.findings() == []


def test_a_file_that_is_not_there_is_no_drift(running: Scene) -> None:
    for name in (_RULES, "ipset-save.txt", "ip6tables-nft-save.txt"):
        (running.dump / name).unlink()
        assert running.findings() == []


def test_a_node_without_calico_is_told(running: Scene) -> None:
    (running.dump / "ip6tables-nft-save.txt").unlink()
    running.edit(lambda text: "\n".join(line for line in text.splitlines() if "cali" not in line) + "\n")
    (found,) = running.findings()
    assert found.id == "NODE-CALICO-HOOK"
    assert "nothing of Calico" in found.detail


def test_a_dump_of_another_node_is_told_once(running: Scene) -> None:
    running.dump = running.dump.rename(running.dump.with_name("n2"))
    (found,) = running.findings()
    assert found.id == "NODE-CALICO-POD"
    assert "interfaces of node n1's pods" in found.detail


def test_interfaces_of_unknown_names_are_told_once(running: Scene) -> None:
    for name in (_RULES, "ip6tables-nft-save.txt"):
        running.edit(lambda text: re.sub(r"(?<=cali-[tf]w-)cali", "veth", text), name)
    found = running.findings()
    assert [finding.id for finding in found] == ["NODE-CALICO-POD"]
    assert "nothing was compared" in found[0].detail


def test_what_the_kubelet_puts_first_is_no_misplaced_hook(running: Scene) -> None:
    running.edit(lambda text: text.replace("[0:0] -A INPUT", "[0:0] -A INPUT -j KUBE-NODEPORTS\n[0:0] -A INPUT", 1))
    assert running.findings() == []
    running.edit(lambda text: text.replace("[0:0] -A INPUT", "[0:0] -A INPUT -j ACCEPT\n[0:0] -A INPUT", 1))
    assert [finding.id for finding in running.findings()] == ["NODE-CALICO-HOOK"]


def test_the_way_from_forward_to_the_chains_of_pods_has_to_be_there(running: Scene) -> None:
    way = re.compile(r"^.*-A cali-FORWARD .*-j cali-(from|to)-wl-dispatch\n", re.MULTILINE)
    running.edit(lambda text: way.sub("", text))
    assert [finding.id for finding in running.findings()] == ["NODE-CALICO-HOOK"] * 2


def test_a_pod_that_is_younger_than_the_dump_is_not_missed(tmp_path: Path) -> None:
    made: dict[str, Json] = {
        "name": "late",
        "namespace": "shop",
        "creationTimestamp": "2026-11-21T12:00:00Z",
        "labels": {"app": "web"},
    }
    late: dict[str, Json] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": made,
        "spec": {"nodeName": "n1", "containers": [{"name": "c"}]},
        "status": {"phase": "Running", "podIP": "10.65.1.77", "podIPs": [{"ip": "10.65.1.77"}]},
    }
    scene = Scene(tmp_path, view_of(tmp_path, CALICO_NODE, late))
    assert scene.findings() != []
    manifest = '{"toolVersion": "0.1.0", "name": "n1", "system": "linux", "way": "files", "taken": "%s"}'
    scene.write("node.json", manifest % "2026-11-21T11:00:00Z")
    (node,) = examine((read_dump(scene.dump),), scene.view, None).nodes
    assert [one for one in node.findings if one.id.startswith("NODE-CALICO")] == []


def test_a_dump_of_a_node_that_nobody_knows_is_not_compared(running: Scene) -> None:
    running.dump = running.dump.rename(running.dump.with_name("n77"))
    assert running.findings() == []
    (fact,) = running.facts("calico-drift")
    assert fact.state == "unknown"
    assert "no node n77" in fact.detail


def test_a_set_that_is_missing_is_told(running: Scene) -> None:
    text = (running.dump / "ipset-save.txt").read_text()
    name = next(line.split()[1] for line in text.splitlines() if line.startswith("create cali40s:"))
    running.edit(lambda text: "".join(f"{line}\n" for line in text.splitlines() if name not in line), "ipset-save.txt")
    (found,) = running.findings()
    assert found.id == "NODE-CALICO-SET"
    assert f"there is no set {name}" in found.detail


def test_chains_of_the_other_backend_are_leftovers(running: Scene) -> None:
    stale = "# Generated by iptables-save v1.8.9 on x\n*filter\n:INPUT ACCEPT [0:0]\n:cali-INPUT - [0:0]\nCOMMIT\n"
    (found,) = running.write("iptables-legacy-save.txt", stale).findings()
    assert found.id == "NODE-CALICO-LEFT"
    assert "iptables-legacy-restore" in found.detail


def test_hostile_text_is_no_drift_and_no_crash(running: Scene) -> None:
    chain = ":cali-pi-$(reboot);`x` - [0:0]\n:cali-\x1b[31m - [0:0]\n"
    comment = '-A INPUT -m comment --comment "cali:0123 \\" -j cali-FORWARD" -j DROP\n'
    running.edit(
        lambda text: text.replace("*filter\n", "*filter\n" + chain).replace("-A INPUT", comment + "-A INPUT", 1)
    )
    ids = [finding.id for finding in running.findings()]
    assert set(ids) <= {"NODE-CALICO-POLICY-STALE", "NODE-CALICO-HOOK", "NODE-CALICO-OTHER-RULES"}
    assert "NODE-CALICO-POLICY-STALE" in ids


@pytest.mark.parametrize("body", ["{", "[]", '{"nftables": 5}', '{"nftables":' + "[" * 3000, "\0\0"])
def test_unreadable_nftables_are_said_and_the_rest_is_used(running: Scene, body: str) -> None:
    running.write("nft.json", body)
    assert running.findings() == []
    (found,) = running.unread()
    assert "n1/nft.json" in found.detail


@pytest.mark.parametrize("name", ["bpf.json", "bpf-cgroup.json"])
@pytest.mark.parametrize("body", ["{", "[" * 3000])
def test_unreadable_programs_are_said(running: Scene, name: str, body: str) -> None:
    running.write(name, body)
    (found,) = running.unread()
    assert f"n1/{name}" in found.detail


def test_without_a_snapshot_only_facts_and_counters_are_said(tmp_path: Path) -> None:
    scene = Scene(tmp_path, None)
    assert scene.findings() == []
    assert {fact.value for fact in scene.facts("calico-mode")} == {"iptables"}
    assert any(isinstance(one, RuleHits) and one.subject is None for one in scene.said())


def test_counters_name_the_policy_and_the_pod(running: Scene) -> None:
    def count(text: str) -> str:
        lines = text.splitlines(keepends=True)
        for number, line in enumerate(lines):
            if "cali-tw-" in line and "if no policies passed packet" in line:
                lines[number] = line.replace("[0:0]", "[7:420]")
                break
        for number, line in enumerate(lines):
            if "-A cali-pi-" in line and "MARK --set-xmark 0x10000/0x10000" in line:
                lines[number] = line.replace("[0:0]", "[3:180]")
                break
        return "".join(lines)

    hits = [one for one in running.edit(count).said() if isinstance(one, RuleHits) and one.packets]
    denied, allowed = sorted(hits, key=lambda hit: hit.verdict, reverse=True)
    assert (denied.verdict, denied.packets, denied.bytes) == ("denied", 7, 420)
    assert denied.of.startswith("pod ")
    assert (allowed.verdict, allowed.packets) == ("allowed", 3)
    assert allowed.subject is not None
    assert allowed.subject.kind.endswith("NetworkPolicy")


def test_settings_that_show_in_the_chains_are_facts(running: Scene) -> None:
    ports = running.facts("calico-failsafe")
    assert [fact.value for fact in ports] == ["in IPv4", "out IPv4", "in IPv6", "out IPv6"]
    assert ports[0].detail.startswith("tcp 22, udp 68, tcp 179")
    assert {fact.value for fact in running.facts("calico-allow-action")} == {"accept"}


def test_log_rules_are_facts_with_their_prefix(running: Scene) -> None:
    assert {fact.value for fact in running.facts("calico-log")} == {"calico-packet: "}


def test_rules_before_calico_are_told_as_others_when_it_appends(tmp_path: Path) -> None:
    settings: dict[str, Json] = {
        "apiVersion": "crd.projectcalico.org/v1",
        "kind": "FelixConfiguration",
        "metadata": {"name": "default"},
        "spec": {"chainInsertMode": "Append"},
    }
    (tmp_path / "view").mkdir()
    scene = Scene(tmp_path, view_of(tmp_path / "view", CALICO_NODE, settings))
    scene.edit(
        lambda text: text.replace("[0:0] -A FORWARD", "[0:0] -A FORWARD -i docker0 -j DOCKER\n[0:0] -A FORWARD", 1)
    )
    scene.edit(lambda text: text.replace("*filter\n", "*filter\n:DOCKER - [0:0]\n"))
    (found,) = scene.findings()
    assert found.id == "NODE-CALICO-OTHER-RULES"
    assert "before cali-FORWARD" in found.detail
    assert "(DOCKER)" in found.detail


def test_everything_of_calico_is_left_when_it_does_not_run(gone: Scene) -> None:
    links = [{"ifname": name} for name in ("eth0", "vxlan.calico", "cali0123456789a", "calibration0", "bpfin.cali")]
    gone.write("links.json", json.dumps(links))
    gone.write("paths.txt", "/etc/cni/net.d/10-calico.conflist\n/var/lib/calico\n/opt/cni/bin/bridge\n")
    gone.write("bpf.json", json.dumps([{"tc": [_program("eth0", "clsact/ingress", "cali_tc_preambl")]}]))
    gone.write("bpf-cgroup.json", json.dumps(_CGROUPS))
    gone.write("pinned.txt", "/sys/fs/bpf/tc/globals/cali_v4_ct3\n/sys/fs/bpf/tc/globals/cilium_ct4_global\n")
    gone.write("nft.json", json.dumps({"nftables": [{"table": {"family": "ip", "name": "calico"}}]}))
    found = gone.findings()
    assert {finding.id for finding in found} == {"NODE-CALICO-LEFT"}
    text = "\n".join(finding.detail for finding in found)
    for command in (
        "iptables-nft-save -c | grep -v 'cali[-:]' | iptables-nft-restore -c",
        "ip6tables-nft-restore",
        "ipset destroy",
        "`ip link delete vxlan.calico`, `ip link delete cali0123456789a`, `ip link delete bpfin.cali`",
        "`rm -r /etc/cni/net.d/10-calico.conflist`, `rm -r /var/lib/calico`",
        "`bpftool cgroup detach /sys/fs/cgroup cgroup_inet4_connect id 7`",
        "`rm -r /sys/fs/bpf/tc/globals/cali*`",
        "`nft delete table ip calico`",
    ):
        assert command in text
    assert "calibration0" not in text


def test_names_in_commands_are_quoted(gone: Scene) -> None:
    gone.write("bpf.json", json.dumps([{"tc": [_program("x; reboot", "tcx/ingress", "cali_tc_main")]}]))
    assert any("dev 'x; reboot'`" in finding.detail for finding in gone.findings())


def test_a_clean_node_has_no_leftovers(gone: Scene) -> None:
    for path in gone.dump.iterdir():
        path.unlink()
    gone.write(_RULES, "*filter\n:INPUT ACCEPT [0:0]\nCOMMIT\n").write("links.json", '[{"ifname": "eth0"}]')
    assert gone.findings() == []


def test_programs_must_go_before_the_cutover(running: Scene) -> None:
    """In the eBPF data plane there are no chains of pods, and that is no drift."""
    for name in (_RULES, "ip6tables-nft-save.txt", "ipset-save.txt"):
        (running.dump / name).unlink()
    running.write("bpf.json", json.dumps([{"tc": [_program("cali1", "tcx/ingress", "cali_tc_preambl")]}]))
    running.write("bpf-cgroup.json", json.dumps(_CGROUPS))
    running.write(_RULES, "*filter\n:INPUT ACCEPT [0:0]\n:FORWARD ACCEPT [0:0]\n:cali-FORWARD - [0:0]\nCOMMIT\n")
    (found,) = running.findings()
    assert found.id == "NODE-CALICO-BPF"
    assert "cgroup_inet4_connect" in found.detail
    assert [fact.value for fact in running.facts("calico-programs")] == ["interfaces", "connect-time"]


def test_programs_of_others_are_nobodys_business(running: Scene) -> None:
    running.write("bpf.json", json.dumps([{"tc": [_program("eth0", "tcx/ingress", "cil_from_netdev")]}]))
    assert running.findings() == []


def test_a_policy_that_cannot_be_read_is_not_compared(tmp_path: Path) -> None:
    (tmp_path / "view").mkdir()
    strange: dict[str, Json] = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "GlobalNetworkPolicy",
        "metadata": {"name": "strange"},
        "spec": {"selector": "((((", "ingress": [{"action": "Allow"}]},
    }
    scene = Scene(tmp_path, view_of(tmp_path / "view", CALICO_NODE, strange))
    assert scene.findings() == []


def test_chains_of_policies_that_are_gone_are_stale(tmp_path: Path) -> None:
    (tmp_path / "view").mkdir()
    scene = Scene(tmp_path, view_of(tmp_path / "view", CALICO_NODE, without=("GlobalNetworkPolicy",)))
    ids = {finding.id for finding in scene.findings()}
    assert "NODE-CALICO-POLICY-STALE" in ids
    assert "NODE-CALICO-POLICY-MISSING" not in ids


def _program(device: str, hook: str, name: str) -> dict[str, Json]:
    return {"devname": device, "ifindex": 2, "kind": hook, "name": name, "id": 5}


_CILIUM: Mapping[str, Json] = {
    **CALICO_NODE,
    "metadata": {"name": "cilium", "namespace": "kube-system", "labels": {"k8s-app": "cilium"}},
    "spec": {
        "template": {"spec": {"containers": [{"name": "cilium-agent", "image": "quay.io/cilium/cilium:v1.18.2"}]}}
    },
}
_CGROUPS: Json = [
    {
        "cgroup": "/sys/fs/cgroup",
        "programs": [{"id": 7, "attach_type": "cgroup_inet4_connect", "name": "calico_connect_"}],
    }
]
