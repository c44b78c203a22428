"""`migrate audit verify-cutover` asks the agents of a live cluster by exec, through a real API server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import cast

import msgspec
import pytest

from migrate.model.cutover_documents import CutoverCheck
from tests.api_server import ApiServer
from tests.apiserver.admin import Client, Object, wait_until
from tests.apiserver.kubelet import Kubelet, kubelet
from tests.command_line import Ended, migrate
from tests.unit.cutover_evidence import CRON, DB, ENDPOINTS, MAPS, POLICY, STATUS, WEB, cutover_folder, flow

pytestmark = pytest.mark.apiserver

CILIUM = "cilium"
_PRINT = "import sys; sys.stdout.write(open(sys.argv[1]).read()); sys.exit(int(sys.argv[2]))"


class Agents:
    """What the programs in the cilium pods print, by node and by words of the command."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.status = 0
        self._number = 0
        self._said: dict[tuple[str, str], Path] = {}

    def say(self, node: str, **answers: object) -> None:
        """JSON for each question; flows are a list of lines."""
        for question, answer in answers.items():
            lines = [json.dumps(one) + "\n" for one in answer] if isinstance(answer, list) else []
            text = "".join(lines) if question == "flows" else json.dumps(answer)
            self._number += 1
            path = self.folder / f"{self._number}.json"
            path.write_text(text)
            self._said[node, question] = path

    def command(self, pod: Object, words: Sequence[str]) -> Sequence[str]:
        """What runs in place of a command; one that nothing was said for fails."""
        node = str(cast("Mapping[str, object]", pod["spec"])["nodeName"])
        path = self._said.get((node, _question(words)))
        if path is None:
            return [sys.executable, "-c", "import sys; sys.exit('no socket of the agent')"]
        status = self.status if words[0] == "timeout" else 0
        return [sys.executable, "-c", _PRINT, str(path), str(status)]


def _question(words: Sequence[str]) -> str:
    text = " ".join(words)
    for part, question in (
        ("endpoint list", "endpoints"),
        ("bpf policy", "maps"),
        ("policy get", "policy"),
        ("status", "status"),
    ):
        if part in text:
            return question
    return "flows"


@pytest.fixture(scope="module")
def agents(own_server: ApiServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Agents]:
    """A cluster with cilium pods on node-1 and node-2."""
    said = Agents(tmp_path_factory.mktemp("said"))
    admin = Client(own_server.admin)
    admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": CILIUM}})
    account = {"name": "default", "namespace": CILIUM}
    admin.create({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": account})
    with kubelet(own_server, lambda pod: ["sleep", "1000"], said.command) as running:
        for number in (1, 2):
            _add(admin, running, number)
        wait_until(lambda: all(_phase(admin, number) == "Running" for number in (1, 2)))
        yield said
        running.remove_nodes()


def _add(admin: Client, running: Kubelet, number: int) -> None:
    running.add_node(f"node-{number}")
    metadata = {"name": f"cilium-{number}", "namespace": CILIUM, "labels": {"k8s-app": "cilium"}}
    spec = {"nodeName": f"node-{number}", "containers": [{"name": "cilium-agent", "image": "x"}]}
    admin.create({"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec})


def _phase(admin: Client, number: int) -> object:
    pod = admin.must("GET", f"/api/v1/namespaces/{CILIUM}/pods/cilium-{number}")
    return cast("Mapping[str, object]", pod["status"]).get("phase")


def check(folder: Path, server: ApiServer, *more: str) -> tuple[Ended, CutoverCheck]:
    """The command against the cluster."""
    asked = ("--kubeconfig", str(server.admin), "--cilium-namespace", CILIUM)
    ended = migrate(folder, "audit", "verify-cutover", "--dir", ".", "-o", "json", *asked, *more)
    assert ended.stdout, ended.stderr
    return ended, msgspec.json.decode(ended.stdout, type=CutoverCheck)


def test_agents_are_asked_and_what_one_does_not_say_is_named(
    agents: Agents, own_server: ApiServer, tmp_path: Path
) -> None:
    folder = cutover_folder(tmp_path)
    agents.say("node-1", endpoints=ENDPOINTS, maps=MAPS, policy=POLICY, status=STATUS)
    agents.say("node-1", flows=[flow(WEB, DB, "DROPPED"), flow(CRON, DB, "DROPPED")])
    agents.say("node-2", endpoints=[], maps=[], policy=POLICY, status=STATUS)
    ended, found = check(folder, own_server)

    assert (ended.status, found.result) == (1, "missed")
    assert [group.outcome for group in found.missed] == ["missed_drop"]
    failures = {node.name: node.failure for node in found.nodes}
    assert failures["node-1"] == ""
    assert "no socket of the agent" in failures["node-2"]
    assert not found.complete
    assert found.endpoints is not None
    assert found.endpoints.pods == 3
    missing = [str(one.subject) for one in found.findings if one.id == "CUT-POLICY-DIFFERS"]
    assert missing == ["CiliumNetworkPolicy shop/db"]


def test_watching_for_a_time_ends_with_the_status_of_timeout(
    agents: Agents, own_server: ApiServer, tmp_path: Path
) -> None:
    folder = cutover_folder(tmp_path)
    agents.status = 124
    agents.say("node-1", flows=[flow(WEB, DB), flow(CRON, DB, "DROPPED")], status=STATUS)
    agents.say("node-2", endpoints=[], maps=[], policy=POLICY, status=STATUS, flows=[flow(DB, WEB, reply=True)])
    _, found = check(folder, own_server, "--duration", "5s")
    agents.status = 0

    assert found.missed == ()
    assert (found.tally.as_predicted, found.tally.replies) == (2, 1)
    assert [node.failure for node in found.nodes] == ["", ""]


def test_a_cluster_without_cilium_says_so(own_server: ApiServer, agents: Agents, tmp_path: Path) -> None:
    folder = cutover_folder(tmp_path)
    asked = ("--kubeconfig", str(own_server.admin), "--cilium-namespace", "default")
    ended = migrate(folder, "audit", "verify-cutover", "--dir", ".", *asked)

    assert ended.status == 2
    assert "k8s-app=cilium in default" in ended.stderr
