"""Rules about what policies say, each with a cluster that has it and one that has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from migrate.model.finding import Effect
from migrate.readiness.limits import platform
from tests.readiness.scenes import Scene, policy

RANGE = policy(
    "range", "{podSelector: {}, ingress: [{ports: [{port: 8000, endPort: 8010, protocol: TCP}, {port: 80}]}]}"
)
PLAIN = policy("plain", "{podSelector: {}, ingress: [{ports: [{port: 80, protocol: TCP}]}]}")


@pytest.mark.parametrize(
    ("policies", "target", "found"),
    [
        pytest.param(RANGE, "aks-1.31", 1, id="Cilium 1.16 of AKS"),
        pytest.param(RANGE, "aks-1.32", 0, id="Cilium 1.17 of AKS"),
        pytest.param(RANGE, "aks-1.37", 0, id="an AKS whose Cilium nobody names is newer"),
        pytest.param(PLAIN, "aks-1.31", 0, id="single ports only"),
        pytest.param(RANGE, "cilium-1.16", 0, id="the guide is about AKS"),
    ],
)
def test_end_port(policies: str, target: str, found: int, scene: Scene) -> None:
    answer = scene.scan("npm", policies).translate("--target", target).ask("POL-ENDPORT")
    assert (len(answer.findings), answer.lacks) == (found, ())


def test_policies_that_were_not_read_are_not_judged(scene: Scene) -> None:
    assert scene.scan("npm").ask("POL-ENDPORT").lacks == ("objects of kind NetworkPolicy, which were not read",)


def _blocks(number: int) -> str:
    peers = ", ".join(f"{{ipBlock: {{cidr: 192.0.2.{n}/32}}}}" for n in range(number))
    return policy("admitting", f"{{podSelector: {{}}, ingress: [{{from: [{peers}]}}]}}")


@pytest.mark.parametrize(
    ("cluster", "policies", "found"),
    [
        pytest.param("npm", _blocks(5), 1, id="five blocks"),
        pytest.param("npm", _blocks(4), 0, id="four are fine"),
        pytest.param("calico", _blocks(5), 0, id="Calico has no such trouble"),
    ],
)
def test_many_blocks(cluster: str, policies: str, found: int, scene: Scene) -> None:
    answer = scene.scan(cluster, policies).ask("POL-MANY-IPBLOCK")
    assert (len(answer.findings), answer.lacks) == (found, ())


GLOBAL = """\
apiVersion: crd.projectcalico.org/v1
kind: GlobalNetworkPolicy
metadata: {name: default.web}
spec:
  selector: app == 'web'
  types: [Ingress]
  ingress: [{action: Allow, protocol: %s, source: {selector: app == 'shop'}}]"""
TIER = "apiVersion: crd.projectcalico.org/v1\nkind: Tier\nmetadata: {name: platform}\nspec: {order: 10}"


def test_policies_of_calico_that_nobody_translated_open_what_they_close(scene: Scene) -> None:
    answer = scene.scan("calico", GLOBAL % "TCP").ask("POL-CALICO-NATIVE")
    assert [(f.effect, str(f.subject)) for f in answer.findings] == [
        (Effect.WIDENS, "GlobalNetworkPolicy default.web"),
    ]
    assert answer.lacks == ()


def test_policies_of_calico_that_are_translated_are_no_longer_in_the_way(scene: Scene) -> None:
    answer = scene.scan("calico", f"{GLOBAL % 'TCP'}\n---\n{TIER}").translate().ask("POL-CALICO-NATIVE")
    assert (answer.findings, answer.lacks) == ((), ())


def test_policies_of_calico_that_nothing_is_written_for(scene: Scene) -> None:
    made = scene.scan("calico", GLOBAL % "47").translate("--on-gap", "refuse")
    assert [finding.effect for finding in made.ask("POL-CALICO-NATIVE").findings] == [Effect.WIDENS]


@pytest.mark.parametrize(
    ("cluster", "more"),
    [
        pytest.param("calico", PLAIN, id="only policies of Kubernetes, and the tier that Calico makes itself"),
        pytest.param("npm", GLOBAL % "TCP", id="where Calico does not run they are leftovers"),
    ],
)
def test_nothing_of_calico_is_lost(cluster: str, more: str, scene: Scene) -> None:
    answer = scene.scan(cluster, more).ask("POL-CALICO-NATIVE")
    assert (answer.findings, answer.lacks) == ((), ())


def _negated(pods: str = "") -> str:
    return policy(
        "negated",
        "{podSelector: {}, ingress: [{from: [{namespaceSelector: "
        f"{{matchExpressions: [{{key: team, operator: DoesNotExist}}]}}{pods}}}]}}]}}",
    )


POSITIVE = policy(
    "positive",
    "{podSelector: {}, ingress: [{from: [{namespaceSelector: {matchExpressions: [{key: team, operator: DoesNotExist}, "
    "{key: kubernetes.io/metadata.name, operator: Exists}]}}]}]}",
)


@pytest.mark.parametrize(
    ("cluster", "policies", "target", "effects"),
    [
        pytest.param("calico", _negated(), "cilium-1.18", [Effect.WIDENS], id="1.18 lets the world in"),
        pytest.param("npm", _negated(), "aks-1.34", [Effect.NONE], id="NPM lets it in already"),
        pytest.param("calico", _negated(), "cilium-1.20", [], id="1.20 does not"),
        pytest.param("calico", POSITIVE, "cilium-1.18", [], id="a positive requirement keeps it out"),
        pytest.param(
            "calico",
            _negated(", podSelector: {matchLabels: {app: web}}"),
            "cilium-1.18",
            [],
            id="so does a label of pods",
        ),
        pytest.param("calico", PLAIN, "cilium-1.18", [], id="no negation"),
    ],
)
def test_world_by_negation(cluster: str, policies: str, target: str, effects: list[Effect], scene: Scene) -> None:
    answer = scene.scan(cluster, policies).translate("--target", target).ask("POL-NS-NEGATIVE-WORLD")
    assert [finding.effect for finding in answer.findings] == effects
    assert answer.lacks == ()


def _admitting(*cidrs: str) -> str:
    return policy("admitting", f"{{podSelector: {{}}, ingress: [{{from: [{', '.join(cidrs)}]}}]}}")


POOL_V6 = "apiVersion: crd.projectcalico.org/v1\nkind: IPPool\nmetadata: {name: v6}\nspec: {cidr: 'fd00:1::/48'}"
ALL_IPV6 = '{ipBlock: {cidr: "::/0"}}'
ALMOST_ALL = "{ipBlock: {cidr: 0.0.0.0/0, except: [8.8.8.8/32]}}"


@pytest.mark.parametrize(
    ("policies", "target", "effects"),
    [
        pytest.param(_admitting(ALMOST_ALL, ALL_IPV6), "cilium-1.18", [Effect.WIDENS], id="1.18 lets all of IPv4 in"),
        pytest.param(_admitting(ALMOST_ALL, ALL_IPV6), "aks-1.36", [Effect.WIDENS], id="which AKS runs"),
        pytest.param(_admitting(ALMOST_ALL, ALL_IPV6), "cilium-1.20", [], id="1.20 does not"),
        pytest.param(
            f"{_admitting(ALMOST_ALL, ALL_IPV6)}\n---\n{POOL_V6}",
            "cilium-1.18",
            [Effect.WIDENS],
            id="a pool that no pod uses changes nothing",
        ),
        pytest.param(_admitting(ALMOST_ALL, ALL_IPV6), "cilium-1.16", [], id="1.16 does not either"),
        pytest.param(_admitting(ALMOST_ALL), "cilium-1.18", [], id="the version that runs is taken as it is written"),
        pytest.param(
            _admitting("{ipBlock: {cidr: 0.0.0.0/0}}", ALL_IPV6), "cilium-1.18", [], id="all of IPv4 is meant"
        ),
        pytest.param(
            _admitting('{ipBlock: {cidr: "::/1"}}', '{ipBlock: {cidr: "8000::/1"}}'), "cilium-1.18", [], id="halves"
        ),
    ],
)
def test_world_by_a_prefix_of_no_bits(policies: str, target: str, effects: list[Effect], scene: Scene) -> None:
    answer = scene.scan("calico", policies).translate("--target", target).ask("POL-CIDR-ZERO-WORLD")
    assert [finding.effect for finding in answer.findings] == effects
    assert answer.lacks == ()


@pytest.mark.parametrize(
    ("protocol", "found"),
    [
        pytest.param("47", True, id="GRE"),
        pytest.param("TCP", False, id="TCP"),
    ],
)
def test_other_protocols_of_calico(protocol: str, found: bool, scene: Scene) -> None:
    answer = scene.scan("calico", GLOBAL % protocol).ask("POL-OTHER-PROTO")
    assert bool(answer.findings) is found
    assert "migrate audit" in answer.lacks[0]


@pytest.mark.parametrize(
    ("packet", "found"),
    [
        pytest.param("47/0", True, id="GRE was seen"),
        pytest.param("TCP/80", False, id="TCP was seen"),
    ],
)
def test_other_protocols_in_use(packet: str, found: bool, scene: Scene) -> None:
    made = scene.scan("npm", PLAIN).translate()
    recording = scene.recording()
    recording.flow(recording.veth("shop/web-0"), "from", "10.244.0.10", "203.0.113.9", packet)
    recording.close()
    answer = made.judge().ask("POL-OTHER-PROTO")
    assert (bool(answer.findings), answer.lacks) == (found, ())


SCTP_SERVICE = """\
apiVersion: v1
kind: Service
metadata: {name: signal, namespace: shop}
spec: {clusterIP: 10.0.0.77, selector: {app: signal}, ports: [{port: 2905, protocol: SCTP}]}"""
SCTP_POD = """\
apiVersion: v1
kind: Pod
metadata: {name: signal-0, namespace: shop, labels: {app: signal}}
spec: {nodeName: n1, containers: [{name: main, ports: [{containerPort: 2905, protocol: SCTP}]}]}
status: {phase: Running, podIP: 10.244.0.77}"""


@pytest.mark.parametrize(
    ("more", "target", "found"),
    [
        pytest.param(SCTP_SERVICE, "aks-1.34", ["Service shop/signal"], id="a Service"),
        pytest.param(SCTP_POD, "aks-1.34", ["Pod shop/signal-0"], id="a container"),
        pytest.param("", "aks-1.34", [], id="none"),
    ],
)
def test_sctp_without_any_policy(more: str, target: str, found: list[str], scene: Scene) -> None:
    given = "\n---\n".join(filter(None, (PLAIN, more)))
    answer = scene.scan("npm", given).translate("--target", target).ask("POL-SCTP")
    assert [str(finding.subject) for finding in answer.findings] == found
    assert "in use" in answer.lacks[0]


def test_sctp_in_use(scene: Scene) -> None:
    made = scene.scan("npm", PLAIN).translate()
    recording = scene.recording()
    recording.flow(recording.veth("shop/web-0"), "from", "10.244.0.10", "203.0.113.9", "SCTP/2905")
    recording.close()
    answer = made.judge().ask("POL-SCTP")
    assert (len(answer.findings), answer.lacks) == (1, ())


CILIUM = """\
apiVersion: cilium.io/v2
kind: %s
metadata: {name: hand-made%s}
spec:
  endpointSelector: {matchLabels: {app: web}}
  egress:
    - %s"""
NAMES = """toEndpoints: [{matchLabels: {"k8s:io.kubernetes.pod.namespace": kube-system, k8s-app: kube-dns}}]
      toPorts: [{ports: [{port: "53", protocol: ANY}], rules: {dns: [{matchPattern: "*.example.org"}]}}]
    - toFQDNs: [{matchName: www.example.org}]"""
HTTP = """toEndpoints: [{matchLabels: {app: db}}]
      toPorts: [{ports: [{port: "80", protocol: TCP}], rules: {http: [{method: GET}]}}]"""
PORTS = 'toPorts: [{ports: [{port: "80", protocol: TCP}]}]'
IN_SHOP = ", namespace: shop"
ISTIO = (
    "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: istiod, namespace: istio-system}\n"
    "spec: {replicas: 1, template: {spec: {containers: [{name: discovery, image: 'pilot:1.27.0'}]}}}\n"
    "status: {replicas: 1, readyReplicas: 1}"
)


@pytest.mark.parametrize(
    ("rule", "target", "words"),
    [
        pytest.param(NAMES, "aks-1.34", "refuses it without Advanced", id="plain AKS refuses it"),
        pytest.param(NAMES, "aks-1.34-acns-fqdn", "it needs toFQDNs", id="with the service it works"),
        pytest.param(NAMES, "cilium-1.20", "it needs toFQDNs", id="a Cilium of one's own"),
        pytest.param(PORTS, "aks-1.34", "", id="no names"),
    ],
)
def test_names(rule: str, target: str, words: str, scene: Scene) -> None:
    given = CILIUM % ("CiliumNetworkPolicy", IN_SHOP, rule)
    answer = scene.scan("npm", given).translate("--target", target).ask("POL-FQDN")
    assert bool(answer.findings) is bool(words)
    assert words in answer.details
    refused = "refuses" in words
    assert all(finding.effect is (Effect.NARROWS if refused else Effect.NONE) for finding in answer.findings)


@pytest.mark.parametrize(
    ("kind", "rule", "target", "more", "words"),
    [
        pytest.param("CiliumNetworkPolicy", HTTP, "aks-1.34", "", "has no L7 policies", id="plain AKS has none"),
        pytest.param("CiliumNetworkPolicy", HTTP, "aks-1.34-acns-l7", "", "it has rules of http", id="with L7"),
        pytest.param(
            "CiliumClusterwideNetworkPolicy", HTTP, "aks-1.34-acns-l7", "", "clusterwide", id="never clusterwide"
        ),
        pytest.param(
            "CiliumNetworkPolicy", HTTP, "aks-1.34-acns-l7", ISTIO, "together with those of Istio", id="beside Istio"
        ),
        pytest.param("CiliumNetworkPolicy", NAMES, "aks-1.34-acns-l7", "", "", id="DNS names are no L7 rules"),
        pytest.param("CiliumNetworkPolicy", PORTS, "aks-1.34-acns-l7", "", "", id="ports only"),
    ],
)
def test_layer_seven(kind: str, rule: str, target: str, more: str, words: str, scene: Scene) -> None:
    given = CILIUM % (kind, "" if kind.startswith("CiliumCluster") else IN_SHOP, rule)
    answer = scene.scan("npm", "\n---\n".join(filter(None, (given, more)))).translate("--target", target).ask("POL-L7")
    assert bool(answer.findings) is bool(words)
    assert words in answer.details


def test_objects_meet_the_admission_policy_of_aks(scene: Scene) -> None:
    made = scene.scan("npm", PLAIN).translate("--target", "aks-1.34-acns-fqdn")
    (finding,) = made.ask("POL-ADMISSION-VAP").findings
    assert "1 object" in finding.detail


@pytest.mark.parametrize(
    ("policies", "target"),
    [
        pytest.param("", "aks-1.34-acns-fqdn", id="nothing is written"),
        pytest.param(PLAIN, "cilium-1.20", id="no AKS"),
    ],
)
def test_no_admission_policy_to_meet(policies: str, target: str, scene: Scene) -> None:
    answer = scene.scan("npm", policies).translate("--target", target).ask("POL-ADMISSION-VAP")
    assert (answer.findings, answer.lacks) == ((), ())


def test_whether_the_admission_policy_exists_is_azures_word(scene: Scene) -> None:
    answer = scene.scan("npm", PLAIN).translate().ask("POL-ADMISSION-VAP")
    assert (answer.findings, "az aks show" in answer.lacks[0]) == ((), True)


def test_azure_says_that_there_is_no_admission_policy(scene: Scene) -> None:
    answer = scene.scan("npm", PLAIN, profile="npm-node-subnet").translate().ask("POL-ADMISSION-VAP")
    assert (answer.findings, answer.lacks) == ((), ())


@pytest.mark.parametrize(
    ("characters", "words"),
    [
        pytest.param(100, "", id="a short policy"),
        pytest.param(250_000, "kubectl apply", id="too large for kubectl's own copy"),
        pytest.param(1_500_000, "the API server stores 1572864", id="too large for the API server"),
    ],
)
def test_size(characters: int, words: str, scene: Scene) -> None:
    large = CILIUM % ("CiliumNetworkPolicy", IN_SHOP, PORTS) + f"\n  description: {'x' * characters}"
    answer = scene.scan("npm", large).translate().ask("POL-CNP-SIZE")
    assert bool(answer.findings) is bool(words)
    assert words in answer.details


def test_rules_without_a_snapshot_are_not_checked(scene: Scene) -> None:
    """A translation alone says what was written, not for what cluster."""
    scene.scan("npm", PLAIN).translate()
    Path(scene.folder / "snapshot.jsonl.gz").unlink()
    assert scene.ask("POL-MANY-IPBLOCK").lacks == ("a snapshot: `migrate scan`",)


def test_objects_that_are_gone_are_not_judged(scene: Scene) -> None:
    """Without what was written nobody would be isolated, which would look as if nothing were cut off."""
    made = scene.scan("npm", PLAIN).translate()
    for file in (scene.folder / "cilium").rglob("*.yaml"):
        file.unlink()
    assert "migrate translate" in made.ask("POL-DNS-MISSING").lacks[0]


def test_limits_of_products_have_sources() -> None:
    for source in platform().sources:
        assert source.says
        assert source.measured or (source.repo and source.path)
