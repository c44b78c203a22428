"""What isolated pods will reach, and who will reach them: by the engine over translated policies."""

from __future__ import annotations

import pytest

from migrate.model.finding import Effect
from tests.readiness.scenes import Scene, policy

CLOSED = policy("closed", "{podSelector: {matchLabels: {app: web}}, policyTypes: [Egress], egress: []}")
_TO_DNS = "to: [{namespaceSelector: {}, podSelector: {matchLabels: {k8s-app: kube-dns}}}]"
BOTH_PROTOCOLS = "ports: [{port: 53, protocol: UDP}, {port: 53, protocol: TCP}]"
DNS = policy("dns", f"{{podSelector: {{}}, policyTypes: [Egress], egress: [{{{_TO_DNS}, {BOTH_PROTOCOLS}}}]}}")
UDP_ONLY = policy(
    "dns",
    f"{{podSelector: {{}}, policyTypes: [Egress], egress: [{{{_TO_DNS}, ports: [{{port: 53, protocol: UDP}}]}}]}}",
)
TO_EVERYBODY = policy("open", "{podSelector: {}, policyTypes: [Egress], egress: [{}]}")
BY_CLUSTER_IP = policy(
    "dns", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 10.0.0.10/32}}]}]}"
)
LOCAL_DNS = "\n---\n".join(
    f"apiVersion: v1\nkind: Node\nmetadata: {{name: n{number}, labels: {{kubernetes.azure.com/cluster: MC_shop, "
    f"kubernetes.azure.com/localdns-state: enabled}}}}\n"
    f"spec: {{podCIDR: 10.244.{number}.0/24}}\n"
    f"status: {{addresses: [{{type: InternalIP, address: 10.224.0.{number}}}], nodeInfo: {{kubeletVersion: v1.34.2}}}}"
    for number in (1, 2)
)
NODE_CACHE = (
    "apiVersion: apps/v1\nkind: DaemonSet\nmetadata: {name: node-local-dns, namespace: kube-system}\n"
    "spec: {template: {spec: {hostNetwork: true, containers: [{name: node-cache, image: 'node-cache:1.23.1'}]}}}\n"
    "status: {desiredNumberScheduled: 2, numberReady: 2}"
)


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        pytest.param(CLOSED, "kube-system/kube-dns (UDP 53), kube-system/kube-dns (TCP 53)", id="nothing is open"),
        pytest.param(UDP_ONLY, "cannot reach kube-system/kube-dns (TCP 53)", id="long answers come over TCP"),
        pytest.param(BY_CLUSTER_IP, "UDP 53", id="policies never see the service's own address"),
        pytest.param(DNS, "", id="by the labels of its pods"),
        pytest.param(TO_EVERYBODY, "", id="everything is open"),
        pytest.param(f"{CLOSED}\n---\n{DNS}", "", id="another policy opens it"),
        pytest.param("", "", id="nobody is isolated"),
    ],
)
def test_dns(policies: str, words: str, scene: Scene) -> None:
    answer = scene.scan("npm", policies).translate().ask("POL-DNS-MISSING")
    assert answer.lacks == ()
    assert (words in answer.details) is bool(words) or not answer.findings
    assert bool(answer.findings) is bool(words)


def test_dns_that_nobody_reaches_today_is_no_change(scene: Scene) -> None:
    (finding,) = scene.scan("npm", CLOSED).translate().ask("POL-DNS-MISSING").findings
    assert finding.effect is Effect.NONE
    assert str(finding.subject) == "NetworkPolicy shop/closed"


def test_a_cache_on_the_own_node_is_cut_off_by_cilium(scene: Scene) -> None:
    """NPM does not look at what a pod sends to its own node; compat/ keeps that, so it has to be taken away first."""
    made = scene.scan("npm", f"{DNS}\n---\n{NODE_CACHE}").translate()
    assert made.ask("POL-DNS-MISSING").findings == ()
    for file in (scene.folder / "compat").rglob("*.yaml"):
        file.unlink()
    (finding,) = made.ask("POL-DNS-MISSING").findings
    assert "node-local-dns at 169.254.20.10 on the own node" in finding.detail
    assert "kube-dns" not in finding.detail
    assert finding.effect is Effect.NARROWS


def test_pods_with_local_dns_do_not_ask_kube_dns(scene: Scene) -> None:
    made = scene.scan("npm", f"{CLOSED}\n---\n{LOCAL_DNS}", without=["kind: Node\n"]).translate()
    answer = made.ask("POL-DNS-MISSING")
    assert answer.lacks == ()
    assert "kube-dns" not in answer.details


def test_dns_that_is_not_in_the_snapshot_is_not_checked(scene: Scene) -> None:
    answer = scene.scan("npm", CLOSED, without=["kube-dns"]).translate().ask("POL-DNS-MISSING")
    assert answer.findings == ()
    assert "where DNS is" in answer.lacks[0] or "Service" in answer.lacks[0]


def test_without_a_translation_it_is_not_known(scene: Scene) -> None:
    assert "migrate translate" in scene.scan("npm", CLOSED).ask("POL-DNS-MISSING").lacks[0]


ROBOT_CLOSED = policy("robot", "{podSelector: {matchLabels: {app: robot}}, policyTypes: [Egress], egress: []}")
ROBOT_TO_SERVICE = policy(
    "robot",
    "{podSelector: {matchLabels: {app: robot}}, policyTypes: [Egress], "
    "egress: [{to: [{ipBlock: {cidr: 10.0.0.1/32}}]}]}",
)
ROBOT_TO_SERVER = policy(
    "robot",
    "{podSelector: {matchLabels: {app: robot}}, policyTypes: [Egress], "
    "egress: [{to: [{ipBlock: {cidr: 203.0.113.99/32}}]}]}",
)


@pytest.mark.parametrize(
    ("policies", "found"),
    [
        pytest.param(ROBOT_CLOSED, True, id="a pod with a service account, and nothing is open"),
        pytest.param(ROBOT_TO_SERVICE, True, id="the service's own address is no way"),
        pytest.param(ROBOT_TO_SERVER, False, id="the address behind the service"),
        pytest.param(CLOSED, False, id="a pod that has no reason to ask the API"),
    ],
)
def test_api_server(policies: str, found: bool, scene: Scene) -> None:
    answer = scene.scan("npm", policies).translate().ask("POL-APISERVER-EGRESS")
    assert (bool(answer.findings), answer.lacks) == (found, ())


def test_a_pod_that_was_seen_to_use_the_api_server(scene: Scene) -> None:
    made = scene.scan("npm", CLOSED).translate()
    recording = scene.recording()
    recording.flow(recording.veth("shop/web-0"), "from", "10.244.0.10", "203.0.113.99", "TCP/443")
    recording.close()
    (finding,) = made.judge().ask("POL-APISERVER-EGRESS").findings
    assert "were seen to use it" in finding.detail


def test_an_api_server_of_unknown_address_is_not_checked(scene: Scene) -> None:
    answer = scene.scan("npm", ROBOT_CLOSED, without=["EndpointSlice"]).translate().ask("POL-APISERVER-EGRESS")
    assert (answer.findings, "EndpointSlice" in answer.lacks[0]) == ((), True)


WORLD = policy("world", "{podSelector: {}, policyTypes: [Egress], egress: [{to: [{ipBlock: {cidr: 0.0.0.0/0}}]}]}")


@pytest.mark.parametrize(
    ("policies", "words"),
    [
        pytest.param(WORLD, "can reach Azure's platform", id="a wide block opens the platform's address"),
        pytest.param(CLOSED, "", id="closed, then as today"),
        pytest.param("", "", id="not isolated"),
    ],
)
def test_metadata(policies: str, words: str, scene: Scene) -> None:
    answer = scene.scan("npm", policies).translate().ask("POL-METADATA-EGRESS")
    assert bool(answer.findings) is bool(words)
    assert words in answer.details


def test_metadata_that_is_in_use(scene: Scene) -> None:
    made = scene.scan("npm", CLOSED).translate()
    recording = scene.recording()
    recording.flow(recording.veth("shop/web-0"), "from", "10.244.0.10", "169.254.169.254", "TCP/80")
    recording.close()
    answer = made.judge().ask("POL-METADATA-EGRESS")
    assert "which will be denied" in answer.details


INGRESS = "{podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress], ingress: [%s]}"


@pytest.mark.parametrize(
    ("policies", "without", "found"),
    [
        pytest.param(policy("in", INGRESS % ""), [], True, id="isolated, with an agent on another node"),
        pytest.param(policy("in", INGRESS % "{}"), [], False, id="everybody gets in"),
        pytest.param(
            policy("in", INGRESS % "{from: [{ipBlock: {cidr: 10.224.0.0/16}}]}"), [], False, id="nodes get in"
        ),
        pytest.param(policy("in", INGRESS % ""), ["exporter-0"], False, id="nobody is on the host's network"),
        pytest.param("", [], False, id="not isolated"),
    ],
)
def test_ingress_from_other_nodes(policies: str, without: list[str], found: bool, scene: Scene) -> None:
    answer = scene.scan("npm", policies, without=without).translate().ask("POL-INGRESS-FROM-NODE")
    assert (bool(answer.findings), answer.lacks) == (found, ())
    assert all(finding.effect is Effect.NONE for finding in answer.findings)
