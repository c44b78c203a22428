"""NPM's rules and sets in a real kernel: what the save programs print of them has no drift, edits of them have."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from migrate.model.node_state import Backend
from migrate.nodes.cluster_view import ClusterView
from migrate.nodes.dump import NodeDump
from migrate.nodes.npm.names import Scheme
from tests.kernel.lab import Namespace
from tests.prerequisites import require
from tests.unit.npm_node import CLUSTER, LEGACY, LINUX_ONLY, POLICIES, RULES, SETS, dump_of, findings, sample, scanned

pytestmark = pytest.mark.kernel

_FILES = {Backend.NFT: RULES, Backend.LEGACY: LEGACY}
_PROGRAMS = ("ipset", "iptables-nft-restore", "iptables-legacy-restore")


@pytest.fixture(scope="module")
def view(tmp_path_factory: pytest.TempPathFactory) -> ClusterView:
    return scanned(tmp_path_factory.mktemp("snapshot"), CLUSTER, POLICIES, LINUX_ONLY)


class NpmNode(Namespace):
    """A namespace with NPM's rules and sets in it."""

    def __init__(self, scheme: Scheme, backend: Backend) -> None:
        super().__init__()
        self.backend = backend
        folder = f"hash-{scheme.value}/with-linux-only"
        sets = sample(f"{folder}.ipset-save.txt").splitlines(keepends=True)
        ordered = sorted(sets, key=lambda line: line.startswith("add"))
        self.shell("ipset restore", text=re.sub(r" (bucketsize|initval) \S+", "", "".join(ordered)))
        self.shell(f"iptables-{backend.value}-restore", text=sample(f"{folder}.iptables-save.txt"))

    def shell(self, script: str, text: str = "") -> str:
        """What a line of shell prints inside. Raises CalledProcessError."""
        return self.do("bash", "-ceu", script, text=text).decode()

    def dump(self, folder: Path) -> NodeDump:
        """What the save programs print now."""
        rules = self.shell(f"iptables-{self.backend.value}-save -c")
        return dump_of(folder, {_FILES[self.backend]: rules, SETS: self.shell("ipset save")})


@pytest.fixture(params=[(scheme, backend) for scheme in Scheme for backend in Backend], ids=str)
def node(request: pytest.FixtureRequest) -> Iterator[NpmNode]:
    for program in _PROGRAMS:
        require(shutil.which(program) is not None, program)
    made = NpmNode(*request.param)
    yield made
    made.remove()


def test_what_the_programs_print_has_no_drift(node: NpmNode, view: ClusterView, tmp_path: Path) -> None:
    assert findings(node.dump(tmp_path), view) == []


def test_what_is_changed_in_the_kernel_is_named(node: NpmNode, view: ClusterView, tmp_path: Path) -> None:
    program = f"iptables-{node.backend.value}"
    sets = next(line.split()[1] for line in node.shell("ipset save").splitlines() if "10.30.5.0/24" in line)
    node.shell(f"ipset del {sets} 10.30.5.0/24")
    node.shell(f"{program} -D AZURE-NPM-INGRESS 1")
    node.shell(f"{program} -I FORWARD 1 -j ACCEPT")
    assert [each.id for each in findings(node.dump(tmp_path), view)] == [
        "NODE-NPM-DRIFT-MEMBERS",
        "NODE-NPM-DRIFT-MISSING",
        "NODE-NPM-JUMP",
    ]


def test_the_commands_that_are_said_take_all_of_npm_away(node: NpmNode, tmp_path: Path) -> None:
    daemon = (
        "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: cilium, namespace: kube-system}\n"
        "spec: {template: {spec: {containers: [{name: cilium-agent, image: 'x/cilium:v1.18.2'}]}}}\n"
        "status: {desiredNumberScheduled: 1, numberReady: 1}\n"
    )
    on_cilium = scanned(tmp_path / "snapshot", CLUSTER, POLICIES, yaml=daemon)
    (left,) = findings(node.dump(tmp_path), on_cilium)
    assert left.id == "NODE-LEFTOVER-AFTER"
    commands = re.findall(r"`([^`]+)`", left.detail)
    assert len(commands) == 3
    for command in commands:
        node.shell(command)
    dump = node.dump(tmp_path)
    assert findings(dump, on_cilium) == []
    assert dump.sets is not None
    assert dump.sets.sets == ()
    assert "KUBE-FORWARD" in dump.rulesets[0].tables[0].by_name()
