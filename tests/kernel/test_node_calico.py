"""What Calico's own agent writes on a node, in the kernel: no drift; and each fault in it is the one that is told."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random

import pytest

from migrate.model.finding import Finding
from migrate.model.node_documents import RuleHits
from migrate.model.node_state import Backend
from migrate.nodes.calico.examiner import examine_calico
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import read_dump
from tests.calico_nft import as_nft
from tests.calico_nodes import NODE, RandomCluster, Rendered, random_cluster
from tests.kernel.lab import Namespace
from tests.prerequisites import require

pytestmark = pytest.mark.kernel


@pytest.fixture(autouse=True)
def _needs_the_programs() -> None:
    for program in ("ipset", "iptables-nft-restore", "iptables-legacy-restore", "nft"):
        require(shutil.which(program) is not None, program)


class Loaded(Namespace):
    """A namespace that rules and sets are loaded into."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.folder = folder / NODE
        self.folder.mkdir()

    def load(self, rendered: Rendered, backend: Backend = Backend.NFT) -> Loaded:
        """Restore everything, and save it again as a dump."""
        self.do("ipset", "restore", text=rendered["ipset"])
        for program, text in (("iptables", rendered["iptables"]), ("ip6tables", rendered["ip6tables"])):
            self.do(f"{program}-{backend.value}-restore", text=text)
            saved = self.do(f"{program}-{backend.value}-save", "-c")
            (self.folder / f"{program}-{backend.value}-save.txt").write_bytes(saved)
        (self.folder / "ipset-save.txt").write_bytes(self.do("ipset", "save"))
        return self

    def load_nft(self, rendered: Rendered) -> Loaded:
        """The same in Calico's nftables mode."""
        self.do("nft", "-f", "-", text=as_nft(rendered))
        (self.folder / "nft.json").write_bytes(self.do("nft", "-j", "list", "ruleset"))
        return self


@pytest.fixture
def loaded(tmp_path: Path) -> Iterator[Loaded]:
    """An empty namespace that ends with the test."""
    made = Loaded(tmp_path)
    yield made
    made.remove()


def findings(loaded: Loaded, view: ClusterView) -> list[Finding]:
    """What the examiner finds in the dump."""
    return [said for said in examine_calico(read_dump(loaded.folder), view) if isinstance(said, Finding)]


@pytest.mark.parametrize("seed", range(12))
def test_what_felix_writes_is_what_its_objects_ask_for(
    loaded: Loaded, tmp_path: Path, calico_renderer: Path, seed: int
) -> None:
    options = ({}, {"filterDenyAction": "REJECT"}, {"interfacePrefix": "azv"}, {"logPrefix": "odd prefix"})[seed % 4]
    cluster = random_cluster(seed)
    view = cluster.view(tmp_path)
    assert view.runs("calico")
    assert all(policy.readable for policy in view.calico.policies)
    rendered = cluster.rendered(calico_renderer, **options)
    assert all(policy.get("ok") for policy in rendered["policies"])
    loaded.load(rendered, (Backend.NFT, Backend.LEGACY)[seed % 2])
    assert findings(loaded, view) == []


@pytest.mark.parametrize("seed", range(20, 26))
def test_nftables_mode_is_what_its_objects_ask_for(
    loaded: Loaded, tmp_path: Path, calico_renderer: Path, seed: int
) -> None:
    cluster = random_cluster(seed)
    loaded.load_nft(cluster.rendered(calico_renderer))
    said = list(examine_calico(read_dump(loaded.folder), cluster.view(tmp_path)))
    assert [one for one in said if isinstance(one, Finding)] == []
    assert len([one for one in said if isinstance(one, RuleHits)]) > 10


Fault = Callable[[Rendered, Random], tuple[Rendered, str]]
"""A change to what Felix writes, and a word that the one finding about it must say."""


def _policy_gone(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    name = random.choice(_chains(rendered, "cali-pi-"))
    return _without(rendered, lambda line: line.startswith(f":{name} ") or f" {name}" in line), f"no chain {name}"


def _rule_gone(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    lines = [line for line in rendered["iptables"].splitlines() if re.match(r"-A cali-p[io]-.*(MARK|DROP|LOG)", line)]
    gone = random.choice([line for line in lines if "--set-mark 0x10000" in line or "DROP" in line])
    return _without(rendered, lambda line: line == gone), f"chain {gone.split()[1]} of"


def _pod_gone(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    name = random.choice(_chains(rendered, "cali-tw-"))
    return _without(rendered, lambda line: line.startswith(f":{name} ") or f" {name}" in line), f"no chain {name}"


def _dispatch_gone(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    lines = rendered["iptables"].splitlines()
    gone = random.choice([line for line in lines if "-A cali-to-wl-dispatch" in line and "--goto cali-tw-" in line])
    return _without(rendered, lambda line: line == gone), "cali-to-wl-dispatch does not lead"


def _member_gone(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    lines = [line for line in rendered["ipset"].splitlines() if line.startswith("add cali40")]
    with_nets = {line.split()[1] for line in lines if "/" in line and not line.endswith("/32")}
    gone = random.choice([line for line in lines if line.split()[1] not in with_nets])
    return _with_sets(
        rendered, rendered["ipset"].replace(gone + "\n", "")
    ), f"lacks {gone.split()[2].removesuffix('/32')}"


def _member_too_many(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    name = random.choice(re.findall(r"create (cali40s:\S+)", rendered["ipset"]))
    return _with_sets(rendered, rendered["ipset"] + f"add {name} 203.0.113.9\n"), "holds 203.0.113.9 too much"


def _strange_set(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    name = "cali40s:" + "x" * 23
    return _with_sets(rendered, rendered["ipset"] + f"create {name} hash:net\n"), name


def _hook_gone(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    return _without(rendered, lambda line: line.endswith("--jump cali-FORWARD")), "no jump to cali-FORWARD"


def _hook_late(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    return _before(rendered, "-A FORWARD ", "-A FORWARD -s 10.0.0.0/8 -j ACCEPT"), "only in line"


def _between(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    return _before(rendered, '-A FORWARD -m comment --comment "kube', "-A FORWARD -p tcp -j DROP"), "(DROP)"


def _policy_left(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    chain = ":cali-pi-default.gone - [0:0]"
    return _before(rendered, ":cali-FORWARD ", chain), "no policy of the snapshot has the chain cali-pi-default.gone"


def _strange_chain(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    return _before(rendered, ":cali-FORWARD ", ":cali-whatever - [0:0]"), "cali-whatever"


def _pod_left(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    return _before(rendered, ":cali-FORWARD ", ":cali-tw-cali00000000000 - [0:0]"), "cali-tw-cali00000000000"


def _strange_rule(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    return _before(rendered, "-A cali-FORWARD ", "-A cali-FORWARD -p udp -j ACCEPT"), "chain cali-FORWARD"


def _drop_gone(rendered: Rendered, random: Random) -> tuple[Rendered, str]:
    lines = rendered["iptables"].splitlines()
    gone = random.choice([line for line in lines if "-A cali-tw-" in line and "if no policies passed" in line])
    return _without(rendered, lambda line: line == gone), "drops what no policy passed"


def _chains(rendered: Rendered, prefix: str) -> list[str]:
    return re.findall(rf"^:({prefix}\S+) ", rendered["iptables"], re.MULTILINE)


def _without(rendered: Rendered, gone: Callable[[str], bool]) -> Rendered:
    kept = (line for line in rendered["iptables"].splitlines() if not gone(line))
    return {**rendered, "iptables": "\n".join(kept) + "\n"}


def _before(rendered: Rendered, begins: str, line: str) -> Rendered:
    """A line more, before the first of the filter table that begins so."""
    others, _, table = rendered["iptables"].partition("*filter")
    place = table.index("\n" + begins) + 1
    return {**rendered, "iptables": f"{others}*filter{table[:place]}{line}\n{table[place:]}"}


def _with_sets(rendered: Rendered, sets: str) -> Rendered:
    return {**rendered, "ipset": sets}


FAULTS: list[tuple[Fault, str]] = [
    (_policy_gone, "NODE-CALICO-POLICY-MISSING"),
    (_rule_gone, "NODE-CALICO-RULES"),
    (_drop_gone, "NODE-CALICO-RULES"),
    (_strange_rule, "NODE-CALICO-RULES"),
    (_pod_gone, "NODE-CALICO-POD"),
    (_pod_left, "NODE-CALICO-POD"),
    (_dispatch_gone, "NODE-CALICO-POD"),
    (_member_gone, "NODE-CALICO-SET"),
    (_member_too_many, "NODE-CALICO-SET"),
    (_strange_set, "NODE-CALICO-SET"),
    (_hook_gone, "NODE-CALICO-HOOK"),
    (_hook_late, "NODE-CALICO-HOOK"),
    (_between, "NODE-CALICO-OTHER-RULES"),
    (_policy_left, "NODE-CALICO-POLICY-STALE"),
    (_strange_chain, "NODE-CALICO-POLICY-STALE"),
]


@pytest.mark.parametrize(("fault", "rule"), FAULTS, ids=[fault.__name__.strip("_") for fault, _ in FAULTS])
@pytest.mark.parametrize("seed", [100, 101])
def test_a_fault_is_told_and_nothing_else(
    loaded: Loaded, tmp_path: Path, calico_renderer: Path, fault: Fault, rule: str, seed: int
) -> None:
    cluster: RandomCluster = random_cluster(seed)
    rendered, word = fault(cluster.rendered(calico_renderer), Random(seed))
    found = findings(loaded.load(rendered), cluster.view(tmp_path))
    assert [finding.id for finding in found] == [rule]
    assert word in found[0].detail
    assert f"node {NODE}" in found[0].detail


@pytest.mark.parametrize("seed", [100])
def test_a_fault_in_nftables_mode_is_told(loaded: Loaded, tmp_path: Path, calico_renderer: Path, seed: int) -> None:
    cluster = random_cluster(seed)
    rendered, word = _policy_gone(cluster.rendered(calico_renderer), Random(seed))
    (found,) = findings(loaded.load_nft(rendered), cluster.view(tmp_path))
    assert found.id == "NODE-CALICO-POLICY-MISSING"
    assert word in found.detail
