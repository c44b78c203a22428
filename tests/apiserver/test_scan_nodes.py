"""Reading the nodes of a cluster: a real API server, and kubelets that run what the pods say."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import cast

import pytest
import yaml

from migrate.collect.bundle import bundle_text
from migrate.model.node_documents import NodeFile, NodeManifest
from migrate.model.node_state import Backend
from migrate.nodes.dump import read_dump
from migrate.sources.node.iptables_save import read_iptables_save
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object, wait_until
from tests.apiserver.container import in_namespace
from tests.apiserver.kubelet import Kubelet, Script, waiting
from tests.apiserver.node_scans import PODS, SAMPLE, node_of, pods_left, print_line, reasons, scan
from tests.kernel.lab import run
from tests.prerequisites import require

pytestmark = pytest.mark.apiserver


def test_each_node_is_read_and_no_pod_stays(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    for number in range(10):
        nodes.add_node(f"node-{number}")
    done = scan(nodes_server, tmp_path, "--yes", "--node-parallel", "3")
    assert done.status == 0, done.stderr
    states = json.loads(done.stdout)["nodeStates"]
    assert [node["name"] for node in states["nodes"]] == [f"node-{number}" for number in range(10)]
    assert {node["way"] for node in states["nodes"]} == {"pod"}
    assert json.loads((tmp_path / "migration/nodes.json").read_text()) == states
    for name, source in (("iptables-nft-save.txt", "iptables-save.txt"), ("ipset-save.txt", "ipset-save.txt")):
        assert (tmp_path / "migration/nodes/node-7" / name).read_bytes() == (SAMPLE / source).read_bytes()
    assert pods_left(nodes_server) == []
    wait_until(lambda: nodes.running() == 0)
    assert "pods created in namespace cilium-migrate: 10, 3 at a time" in done.stderr


@pytest.mark.parametrize(
    ("script", "expected"),
    [
        pytest.param(
            Script(states=(waiting("ErrImagePull", "no such manifest"),), runs=False),
            "ErrImagePull: no such manifest",
            id="the image is not there",
        ),
        pytest.param(
            Script(states=(waiting("CreateContainerError", "no space left"),), runs=False),
            "CreateContainerError: no space left",
            id="the runtime cannot make the container",
        ),
        pytest.param(
            Script(states=({"phase": "Failed", "reason": "OutOfpods", "message": "Node has no room"},), runs=False),
            "OutOfpods: Node has no room",
            id="the kubelet does not admit the pod",
        ),
        pytest.param(
            Script(
                command=lambda pod: ["sh", "-c", "echo it is going down >&2"],
                ending={"phase": "Failed", "reason": "Evicted", "message": "The node was low on memory."},
            ),
            "Evicted: The node was low on memory.",
            id="the pod is evicted",
        ),
        pytest.param(
            Script(command=lambda pod: ["sh", "-c", "echo no iptables here >&2; exit 3"]),
            "the collector ended with status 3 (Error); it said: no iptables here",
            id="the collector fails, and its last words are told",
        ),
        pytest.param(
            Script(command=lambda pod: ["sh", "-c", "echo hello"]),
            'the log holds no dump; the last line is "hello"',
            id="the image has another program",
        ),
        pytest.param(
            Script(command=lambda pod: ["sh", "-c", f"{print_line(pod)} | head -n 3"]),
            "the log is cut: 2 of",
            id="the dump is cut off in the middle",
        ),
        pytest.param(
            Script(rotated=2000),
            "the log begins with line 1 of the dump: the kubelet had rotated it",
            id="the log was rotated before it was read",
        ),
    ],
)
def test_a_node_that_cannot_be_read_says_why_and_the_others_are_read(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, script: Script, expected: str
) -> None:
    nodes.add_node("good")
    nodes.add_node("bad", script)
    done = scan(nodes_server, tmp_path, "--yes")
    [reason] = reasons(done)
    assert reason.startswith(f"node bad was not read: {expected}")
    assert [node["name"] for node in json.loads(done.stdout)["nodeStates"]["nodes"]] == ["good"]
    assert pods_left(nodes_server) == []
    wait_until(lambda: nodes.running() == 0)


def test_a_log_that_breaks_off_is_read_again(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    nodes.add_node("node", Script(cuts=2, cut_at=9000))
    done = scan(nodes_server, tmp_path, "--yes")
    assert done.status == 0, done.stdout
    assert len(nodes.asked_for_logs) == 3
    assert pods_left(nodes_server) == []


def test_a_pod_that_is_deleted_by_somebody_else_is_told(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path
) -> None:
    admin = Client(nodes_server.admin)

    def delete(pod: Object) -> list[str]:
        name = cast("dict[str, str]", pod["metadata"])["name"]
        admin.must("DELETE", f"{PODS}/{name}?gracePeriodSeconds=0")
        return ["sleep", "1000"]

    nodes.add_node("node", Script(command=delete))
    [reason] = reasons(scan(nodes_server, tmp_path, "--yes"))
    assert (
        reason == "node node was not read: somebody else deleted the pod before the node was read, or the node is gone"
    )


@pytest.mark.parametrize("waits", ["mute", "hangs"])
def test_a_node_has_its_time_and_no_more(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, waits: str) -> None:
    script = Script(mute=True) if waits == "mute" else Script(command=lambda pod: ["sleep", "1000"])
    nodes.add_node("slow", script)
    [reason] = reasons(scan(nodes_server, tmp_path, "--yes", "--node-timeout", "3s"))
    assert "within 3 s" in reason
    assert pods_left(nodes_server) == []
    wait_until(lambda: nodes.running() == 0)


def test_nodes_that_no_pod_can_read_are_told_before_and_get_none(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path
) -> None:
    nodes.add_node("good")
    nodes.add_node("away", ready="Unknown")
    nodes.add_node("virtual", labels={"type": "virtual-kubelet"})
    nodes.add_node("windows", system="windows")
    done = scan(nodes_server, tmp_path, "--yes")
    assert reasons(done) == [
        "node away was not read: it is not ready (Kubelet stopped posting node status.)",
        "node virtual was not read: it is a virtual node: no machine of the cluster is behind it, and no pod can look "
        "at its rules",
        "node windows was not read: it is a Windows node, and no image for its pod was given; give one with "
        "--windows-image",
    ]
    assert [node_of(pod) for pod in nodes.seen] == ["good"]
    assert "- not read: away: it is not ready" in done.stderr


def test_only_the_named_nodes_are_read(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    for name in ("one", "two"):
        nodes.add_node(name)
    done = scan(nodes_server, tmp_path, "--yes", "--node", "two")
    assert [node_of(pod) for pod in nodes.seen] == ["two"]
    assert reasons(done) == ["node one was not read"]
    wrong = scan(nodes_server, tmp_path, "--yes", "--node", "tow")
    assert (wrong.status, wrong.stderr) == (2, "error: --node tow: the cluster has no such node; did you mean two?\n")


@pytest.fixture
def node_with_rules() -> Iterator[str]:
    """A network namespace with the rules and sets of the sample, and a table of the older iptables."""
    require(os.geteuid() == 0, "root")
    for program in ("ip", "ipset", "iptables-nft-restore", "iptables-legacy", "setpriv"):
        require(shutil.which(program) is not None, program)
    name = f"mig{secrets.token_hex(4)}"
    run("ip", "netns", "add", name)
    try:
        run("ip", "-n", name, "link", "add", "eth0", "type", "veth", "peer", "name", "pod0")
        enter = ("ip", "netns", "exec", name)
        for program, dump in (("ipset", "ipset-save.txt"), ("iptables-nft-restore", "iptables-save.txt")):
            arguments = ["restore"] if program == "ipset" else []
            subprocess.run([*enter, program, *arguments], input=(SAMPLE / dump).read_bytes(), check=True)
        run(*enter, "iptables-legacy", "-A", "FORWARD", "-j", "ACCEPT")
        yield name
    finally:
        run("ip", "netns", "delete", name)


@pytest.mark.kernel
def test_the_rights_of_the_pod_are_enough_to_read_real_rules(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, node_with_rules: str
) -> None:
    (tmp_path / "work").mkdir()
    nodes.add_node("node", Script(command=in_namespace(node_with_rules, tmp_path / "work")))
    done = scan(nodes_server, tmp_path, "--yes")
    assert done.status == 0, done.stdout
    dump = read_dump(tmp_path / "migration/nodes/node")
    assert (dump.manifest.name, dump.manifest.way, dump.problems) == ("node", "pod", ())
    assert {file.name for file in dump.manifest.files if file.status == "failed"} == set()
    sample = read_iptables_save((SAMPLE / "iptables-save.txt").read_bytes(), "sample")
    [read] = [table for ruleset, table in dump.tables("filter") if table.backend is Backend.NFT]
    [wanted] = [table for table in sample.tables if table.name == "filter"]
    assert {name for name in read.by_name() if name.startswith("AZURE")} == {
        name for name in wanted.by_name() if name.startswith("AZURE")
    }
    assert [t.backend for _, t in dump.tables("filter") if t.backend is Backend.LEGACY] == [Backend.LEGACY]
    assert dump.sets is not None
    assert len(dump.sets.sets) == (SAMPLE / "ipset-save.txt").read_text().count("create ")


@pytest.mark.kernel
@pytest.mark.parametrize("right", ["NET_ADMIN", "NET_RAW"])
def test_each_right_of_the_pod_is_needed(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path, node_with_rules: str, right: str
) -> None:
    (tmp_path / "work").mkdir()
    whole = in_namespace(node_with_rules, tmp_path / "work")

    def less(pod: Object) -> Sequence[str]:
        cut = json.loads(json.dumps(pod))
        cut["spec"]["containers"][0]["securityContext"]["capabilities"]["add"].remove(right)
        return whole(cut)

    nodes.add_node("node", Script(command=less))
    [reason] = reasons(scan(nodes_server, tmp_path, "--yes"))
    assert f"lacks CAP_{right}" in reason


def test_the_manifest_is_what_would_be_created_and_nothing_is(
    nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path
) -> None:
    for name in ("one", "two"):
        nodes.add_node(name)
    windows = ("--windows-image", "registry.example/base:1")
    nodes.add_node("windows", system="windows")
    done = scan(nodes_server, tmp_path, "--nodes-manifest", *windows)
    made = list(yaml.safe_load_all(done.stdout))
    assert [pod["spec"]["nodeName"] for pod in made] == ["one", "two", "windows"]
    admin = Client(nodes_server.admin)
    for pod in made:
        admin.must("POST", f"{PODS}?dryRun=All&fieldValidation=Strict", pod)
    assert (done.status, nodes.seen, pods_left(nodes_server)) == (0, [], [])
    assert not (tmp_path / "migration").exists()


def test_a_windows_node_is_read_by_a_host_process(nodes_server: ApiServer, nodes: Kubelet, tmp_path: Path) -> None:
    body = (SAMPLE.parents[1] / "windows-hns/get-hnsendpoint.json").read_bytes()
    listed = (NodeFile(name="hns-endpoints.json", command="x"),)
    manifest = NodeManifest(tool_version="1", name="w", system="windows", way="pod", files=listed)
    log = tmp_path / "log"
    log.write_text(bundle_text(manifest, {"hns-endpoints.json": body}).replace("\n", "\r\n"), newline="")
    nodes.add_node("windows", Script(command=lambda pod: ["cat", str(log)]), system="windows")
    done = scan(nodes_server, tmp_path, "--yes", "--windows-image", "registry.example/base:1")
    assert [node["system"] for node in json.loads(done.stdout)["nodeStates"]["nodes"]] == ["windows"]
    dump = read_dump(tmp_path / "migration/nodes/windows")
    assert dump.problems == ()
    assert dump.hns[0].endpoints
    [pod] = nodes.seen
    assert cast("Object", pod["spec"])["hostNetwork"] is True
