"""Helm values for Cilium out of today's data plane: what each setting becomes, and what is lost is said."""

from __future__ import annotations

import ipaddress
import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from migrate.model.addresses import parse_network
from migrate.readiness.checks.values import CHECKS
from migrate.readiness.documents import Documents, read_folder
from migrate.readiness.evaluate import evaluate
from migrate.readiness.helm.data import calico_settings, chart
from migrate.readiness.helm.said import Stage, Value
from migrate.readiness.helm.text import values_text
from migrate.readiness.helm.values import HelmValues, helm_values, tree
from migrate.readiness.rules import load_rules
from tests.command_line import migrate
from tests.unit.test_deadlines import TODAY

CASES = Path(__file__).parent.parent / "cases"
RELEASES = {
    version: json.loads((CASES / "helm" / f"cilium-{version}.json").read_text()) for version in chart().versions
}
NODES = """
kind: Node
apiVersion: v1
metadata: {name: n1, labels: {kubernetes.io/os: linux, kubernetes.io/hostname: n1, rack: a}}
status: {addresses: [{type: InternalIP, address: 192.0.2.11}]}
---
kind: Node
apiVersion: v1
metadata: {name: n2, labels: {kubernetes.io/os: linux, kubernetes.io/hostname: n2, rack: b}}
status: {addresses: [{type: InternalIP, address: 192.0.2.12}]}
"""
POOL = "cidr: 10.48.0.0/16, vxlanMode: Always, natOutgoing: true"


def calico(kind: str, spec: str, name: str = "default") -> str:
    return f"kind: {kind}\napiVersion: crd.projectcalico.org/v1\nmetadata: {{name: {name}}}\nspec: {{{spec}}}\n"


def operator(network: str) -> str:
    head = "kind: Installation\napiVersion: operator.tigera.io/v1\nmetadata: {name: default}\n"
    return f"{head}spec: {{cni: {{type: Calico}}, calicoNetwork: {{{network}}}}}\n"


def config(name: str, key: str, document: str) -> str:
    data = {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name, "namespace": "kube-system"}}
    return yaml.safe_dump({**data, "data": {key: document}})


def proxy(mode: str = "iptables") -> str:
    kind = "apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\n"
    return config("kube-proxy", "config.conf", f"{kind}mode: {mode}\n")


def scanned(folder: Path, *parts: str) -> Documents:
    """The documents that `migrate scan` makes of nodes and these objects."""
    (folder / "in").mkdir()
    (folder / "in" / "all.yaml").write_text("\n---\n".join((NODES, *parts)), encoding="utf-8")
    ended = migrate(folder, "scan", "-f", folder / "in", "--output-dir", folder, "-q")
    assert ended.status in (0, 4), ended.stderr
    return read_folder(folder)


def said(folder: Path, *parts: str, pod_cidr: str = "") -> HelmValues:
    networks = [parse_network(pod_cidr)] if pod_cidr else []
    return helm_values(scanned(folder, *parts), networks)


def in_stage(values: HelmValues, stage: Stage) -> dict[str, object]:
    return {value.key: value.value for value in values.of(stage)}


def ids(values: HelmValues) -> set[str]:
    return {finding.id for finding in values.findings}


TO_BE_SET = [
    pytest.param(
        (calico("IPPool", POOL),), {"tunnelPort": 8472, "tunnelProtocol": "vxlan"}, id="not Calico's own port"
    ),
    pytest.param(
        (calico("IPPool", POOL), calico("FelixConfiguration", "vxlanPort: 8472")),
        {"tunnelPort": 8473},
        id="not Calico's port when it has Cilium's",
    ),
    pytest.param((calico("IPPool", POOL),), {"enableIPv4Masquerade": True}, id="natOutgoing"),
    pytest.param((calico("IPPool", "cidr: 10.48.0.0/16"),), {"enableIPv4Masquerade": False}, id="no natOutgoing"),
    pytest.param(
        (calico("IPPool", POOL), operator("mtu: 1400")), {"MTU": 1450}, id="the MTU below the tunnel, not the pods'"
    ),
    pytest.param(
        (calico("IPPool", "cidr: 10.48.0.0/16, ipipMode: Always"), calico("FelixConfiguration", "ipipMTU: 1480")),
        {"MTU": 1500},
        id="IP in IP takes 20 bytes",
    ),
    pytest.param(
        (calico("FelixConfiguration", "wireguardEnabled: true, wireguardMTU: 1440"),),
        {"MTU": 1500, "encryption.enabled": True, "encryption.type": "wireguard"},
        id="WireGuard takes 60 bytes",
    ),
    pytest.param(
        (calico("IPPool", POOL), config("calico-config", "veth_mtu", "1450")), {"MTU": 1500}, id="the manifests' MTU"
    ),
    pytest.param(
        (calico("FelixConfiguration", "wireguardEnabled: true, wireguardHostEncryptionEnabled: true"),),
        {"encryption.nodeEncryption": True},
        id="nodes' own packets are encrypted",
    ),
    pytest.param((proxy(),), {"kubeProxyReplacement": "false"}, id="kube-proxy stays"),
    pytest.param((operator("multiInterfaceMode: Multus"),), {"cni.exclusive": False}, id="Multus keeps its place"),
    pytest.param(
        (calico("IPPool", "cidr: 'fd00:1::/64'"), calico("IPPool", "cidr: 10.48.0.0/16", "four")),
        {"ipv4.enabled": True, "ipv6.enabled": True, "ipam.operator.clusterPoolIPv6MaskSize": 120},
        id="dual stack by the pools",
    ),
    pytest.param(
        (calico("FelixConfiguration", "iptablesNATOutgoingInterfaceFilter: eth+"),),
        {"egressMasqueradeInterfaces": "eth+"},
        id="masquerading on some interfaces",
    ),
]


@pytest.mark.parametrize(("objects", "expected"), TO_BE_SET)
def test_a_setting_becomes_a_value(tmp_path: Path, objects: tuple[str, ...], expected: dict[str, object]) -> None:
    values = said(tmp_path, *objects)
    assert expected.items() <= in_stage(values, Stage.MIGRATION).items()


FINAL = [
    pytest.param((), {"policyEnforcementMode": "default", "cni.customConf": False}, id="policies are enforced"),
    pytest.param((), {"operator.unmanagedPodWatcher.restart": True}, id="pods without a network are restarted"),
    pytest.param((calico("HostEndpoint", "node: n1", "h"),), {"hostFirewall.enabled": True}, id="policies on nodes"),
    pytest.param(
        (calico("KubeControllersConfiguration", "controllers: {node: {hostEndpoint: {autoCreate: Enabled}}}"),),
        {"hostFirewall.enabled": True},
        id="policies on all nodes",
    ),
    pytest.param(
        (proxy(), calico("IPPool", POOL), calico("IPPool", "cidr: 10.0.0.0/12, disabled: true", "lan")),
        {
            "ipMasqAgent.enabled": True,
            "ipMasqAgent.config.nonMasqueradeCIDRs": ("10.0.0.0/12",),
            "bpf.masquerade": True,
            "kubeProxyReplacement": "true",
        },
        id="a disabled pool only says whom not to masquerade",
    ),
    pytest.param(
        (config("ip-masq-agent", "config", "nonMasqueradeCIDRs: [172.16.0.0/12]\nmasqLinkLocal: true\n"),),
        {"ipMasqAgent.config.nonMasqueradeCIDRs": ("172.16.0.0/12",), "ipMasqAgent.config.masqLinkLocal": True},
        id="ip-masq-agent's exceptions",
    ),
    pytest.param(
        (calico("BGPPeer", "peerIP: 192.0.2.1, asNumber: 65000"),), {"bgpControlPlane.enabled": True}, id="BGP"
    ),
]


@pytest.mark.parametrize(("objects", "expected"), FINAL)
def test_a_setting_waits_for_the_last_node(
    tmp_path: Path, objects: tuple[str, ...], expected: dict[str, object]
) -> None:
    values = said(tmp_path, *objects)
    assert expected.items() <= in_stage(values, Stage.FINAL).items()
    assert not expected.items() & in_stage(values, Stage.MIGRATION).items()


def test_without_kube_proxy_the_api_server_is_named(tmp_path: Path) -> None:
    daemons = "kind: DaemonSet\napiVersion: apps/v1\nmetadata: {name: calico-node, namespace: calico-system}\n"
    pods = "kind: Pod\napiVersion: v1\nmetadata: {name: web, namespace: shop}\nspec: {nodeName: n1}\n"
    place = config("kubeadm-config", "ClusterConfiguration", "controlPlaneEndpoint: api.example.com:6443\n")
    found = in_stage(said(tmp_path, daemons, pods, place), Stage.MIGRATION)
    assert found["kubeProxyReplacement"] == "true"
    assert (found["k8sServiceHost"], found["k8sServicePort"]) == ("api.example.com", 6443)


@pytest.mark.parametrize("stage", Stage)
def test_the_first_values_touch_no_node(tmp_path: Path, stage: Stage) -> None:
    found = in_stage(said(tmp_path, calico("IPPool", POOL)), stage)
    assert found["ipam.mode"] == "cluster-pool"
    assert found["policyEnforcementMode"] == ("never" if stage is Stage.MIGRATION else "default")


def test_a_network_is_chosen_that_nothing_uses(tmp_path: Path) -> None:
    service = "kind: Service\napiVersion: v1\nmetadata: {name: a, namespace: b}\nspec: {clusterIP: 10.1.0.1}\n"
    pool = calico("IPPool", "cidr: 10.0.0.0/16")
    (chosen,) = (v for v in said(tmp_path, pool, service).migration if v.key.endswith("IPv4PodCIDRList"))
    assert isinstance(chosen.value, tuple)
    network = ipaddress.ip_network(chosen.value[0])
    assert network.is_private
    for used in ("10.0.0.0/16", "10.1.0.1/32", "192.0.2.11/32"):
        assert not network.overlaps(ipaddress.ip_network(used))


@pytest.mark.parametrize(
    ("pod_cidr", "expected", "not_expected"),
    [
        pytest.param("10.48.128.0/20", "VAL-POD-CIDR-OVERLAP", "VAL-POD-CIDR", id="within today's pool"),
        pytest.param("192.0.2.0/24", "VAL-POD-CIDR-OVERLAP", "VAL-POD-CIDR", id="where nodes have their addresses"),
        pytest.param("10.50.0.0/24", "VAL-POD-CIDR-SMALL", "VAL-POD-CIDR-OVERLAP", id="one block for two nodes"),
        pytest.param("", "VAL-POD-CIDR", "VAL-POD-CIDR-OVERLAP", id="nobody said which"),
        pytest.param("10.50.0.0/16", "VAL-DUAL-OVERLAY", "VAL-POD-CIDR", id="a free one was given"),
    ],
)
def test_the_new_network_is_judged(tmp_path: Path, pod_cidr: str, expected: str, not_expected: str) -> None:
    found = ids(said(tmp_path, calico("IPPool", POOL), pod_cidr=pod_cidr))
    assert expected in found
    assert not_expected not in found


PEER = "peerIP: 192.0.2.1, asNumber: 65000"
QUIET = (calico("IPPool", POOL), proxy())
SERVICE_LIST = "serviceLoadBalancerIPs: [{cidr: 203.0.113.0/24}]"
HOST_PORT = (
    "kind: Pod\napiVersion: v1\nmetadata: {name: web, namespace: shop}\n"
    "spec: {nodeName: n1, containers: [{name: a, image: b, ports: [{containerPort: 80, hostPort: 80}]}]}\n"
)
ISTIO = (
    "kind: DaemonSet\napiVersion: apps/v1\nmetadata: {name: istio-cni-node, namespace: istio-system}\n"
    "spec: {template: {spec: {containers: [{name: install-cni, image: istio/install-cni}]}}}\n"
)
FOUND = [
    ("VAL-BGP-FILTER", (calico("BGPPeer", f"{PEER}, filters: [f]"),)),
    ("VAL-BGP-IMPORT", (calico("BGPPeer", PEER),)),
    ("VAL-BGP-MESH", (calico("IPPool", "cidr: 10.40.0.0/16, ipipMode: Always", "ipip"),)),
    (
        "VAL-BGP-NODES",
        (calico("BGPPeer", f"{PEER}, nodeSelector: rack == 'a'", "a"), calico("BGPPeer", PEER, "b")),
    ),
    ("VAL-BGP-PASSWORD", (calico("BGPPeer", f"{PEER}, password: {{secretKeyRef: {{name: s, key: k}}}}"),)),
    ("VAL-BGP-REFLECTOR", (calico("BGPPeer", "peerSelector: has(reflector)"),)),
    ("VAL-BGP-SERVICES", (calico("BGPPeer", PEER), calico("BGPConfiguration", SERVICE_LIST))),
    ("VAL-BGP-SESSION", (calico("BGPPeer", PEER),)),
    ("VAL-CALICO-EBPF", (operator("linuxDataplane: BPF"),)),
    ("VAL-CALICO-EBPF", (calico("FelixConfiguration", "bpfEnabled: true"),)),
    ("VAL-CHAINED-PLUGINS", (ISTIO,)),
    ("VAL-ENCAPSULATION", (calico("IPPool", "cidr: 10.40.0.0/16", "plain"),)),
    ("VAL-ENCAPSULATION", (calico("IPPool", "cidr: 10.40.0.0/16, ipipMode: CrossSubnet", "cross"),)),
    ("VAL-HOST-FIREWALL", (calico("HostEndpoint", "node: n1", "h"),)),
    ("VAL-HOST-PORTS", (HOST_PORT,)),
    ("VAL-MASQUERADE-EXCEPTIONS", (calico("IPPool", "cidr: 10.0.0.0/12, disabled: true", "lan"),)),
    ("VAL-MASQUERADE-MIXED", (calico("IPPool", "cidr: 10.40.0.0/16, vxlanMode: Always", "plain"),)),
    ("VAL-MTU", (operator("mtu: 1400"),)),
    ("VAL-NO-COUNTERPART", (calico("FelixConfiguration", "floatingIPs: Enabled"),)),
    ("VAL-NO-COUNTERPART", (operator("containerIPForwarding: Enabled"),)),
    ("VAL-POOLS", (calico("IPPool", "cidr: 10.40.0.0/16, vxlanMode: Always, nodeSelector: gpu == 'yes'", "gpu"),)),
    ("VAL-SETTING-UNKNOWN", (calico("FelixConfiguration", "somethingNew: 3"),)),
    ("VAL-WIREGUARD", (calico("FelixConfiguration", "wireguardEnabled: true"),)),
]


@pytest.mark.parametrize(("rule_id", "objects"), FOUND)
def test_what_is_lost_is_found(tmp_path: Path, rule_id: str, objects: tuple[str, ...]) -> None:
    assert rule_id in ids(said(tmp_path, *QUIET, *objects))


def test_an_ordinary_cluster_has_only_what_every_cluster_has(tmp_path: Path) -> None:
    assert ids(said(tmp_path, *QUIET)) == {"VAL-DUAL-OVERLAY", "VAL-POD-CIDR"}


def test_settings_of_no_account_are_not_found(tmp_path: Path) -> None:
    felix = calico("FelixConfiguration", "logSeverityScreen: Info, reportingInterval: 0s, floatingIPs: ''")
    assert ids(said(tmp_path, *QUIET, felix)) == {"VAL-DUAL-OVERLAY", "VAL-POD-CIDR"}


def test_an_api_server_that_nothing_names_is_found(tmp_path: Path) -> None:
    found = ids(said(tmp_path, *QUIET, calico("IPPool", "cidr: 10.0.0.0/12, disabled: true", "lan")))
    assert "VAL-API-SERVER" in found


def test_every_check_says_what_the_values_say(tmp_path: Path) -> None:
    """Each id of the checks is found by some cluster above, and says the same as the values."""
    tried = {rule_id for rule_id, _ in FOUND} | {"VAL-DUAL-OVERLAY", "VAL-POD-CIDR", "VAL-API-SERVER"}
    assert {check.id for check in CHECKS} == tried
    documents = scanned(tmp_path, *QUIET, calico("FelixConfiguration", "wireguardEnabled: true"))
    evaluation = evaluate(documents, TODAY, CHECKS)
    assert "VAL-WIREGUARD" in {finding.id for finding in evaluation.findings}
    assert set(evaluation.findings) <= set(helm_values(documents).findings)


def test_on_aks_nobody_is_told_to_install_cilium(tmp_path: Path) -> None:
    profile = CASES / "azure" / "kubenet-calico.json"
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "all.yaml").write_text(NODES, encoding="utf-8")
    ended = migrate(tmp_path, "scan", "-f", tmp_path / "in", "--az-json", profile, "--output-dir", tmp_path, "-q")
    assert ended.status in (0, 4)
    documents = read_folder(tmp_path)
    assert evaluate(documents, TODAY, CHECKS).findings == ()
    assert "VAL-MANAGED" in ids(helm_values(documents))


EVERYTHING = (
    proxy("ipvs"),
    HOST_PORT,
    ISTIO,
    calico("IPPool", POOL),
    calico("IPPool", "cidr: 10.0.0.0/12, disabled: true", "lan"),
    calico("IPPool", "cidr: 'fd00:1::/64', natOutgoing: true", "six"),
    calico(
        "FelixConfiguration",
        "wireguardEnabled: true, wireguardHostEncryptionEnabled: true, kubeNodePortRanges: ['31000:31999'],"
        " iptablesNATOutgoingInterfaceFilter: eth0",
    ),
    operator("mtu: 1400"),
    calico("HostEndpoint", "node: n1", "h"),
    calico("BGPConfiguration", f"asNumber: 64600, listenPort: 1179, {SERVICE_LIST}"),
    calico("BGPPeer", f"{PEER}, nodeSelector: rack == 'a', maxRestartTime: 2m30s", "tor-a"),
    calico("BGPPeer", "peerIP: '[2001:db8::1]:1790', asNumber: 64600, node: n2", "tor-b"),
    config("ip-masq-agent", "config", "nonMasqueradeCIDRs: [172.16.0.0/12]\n"),
    config("kubeadm-config", "ClusterConfiguration", "controlPlaneEndpoint: 192.0.2.5:6443\n"),
    "kind: Service\napiVersion: v1\nmetadata: {name: s, namespace: b}\nspec: {ports: [{port: 1, protocol: SCTP}]}\n",
)


@pytest.mark.parametrize("version", RELEASES)
@pytest.mark.parametrize("stage", Stage)
def test_the_chart_knows_every_value(tmp_path: Path, version: str, stage: Stage) -> None:
    known, release = chart().keys(), RELEASES[version]
    names = {str: "string", bool: "boolean", int: "integer", tuple: "array"}
    for value in said(tmp_path, *EVERYTHING).of(stage):
        kind = names[type(value.value)]
        assert known[value.key].type == kind, value.key
        if known[value.key].commented:
            assert value.key in release["commented"]
        else:
            assert kind in release["values"][value.key], value.key


@pytest.mark.parametrize("version", RELEASES)
def test_the_crds_know_every_object(tmp_path: Path, version: str) -> None:
    values = said(tmp_path, *EVERYTHING)
    specs = RELEASES[version]["specs"]
    kinds = [manifest["kind"] for manifest in (*values.node_config, *values.bgp)]
    assert set(kinds) == set(specs)
    for manifest in (*values.node_config, *values.bgp):
        schema = _closed(specs[manifest["kind"]])
        assert isinstance(schema, dict)
        jsonschema.validate(manifest["spec"], schema)


def _closed(schema: object) -> object:
    """A schema that refuses fields it does not know, as the API server drops them."""
    if isinstance(schema, list):
        return [_closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {key: _closed(value) for key, value in schema.items() if key != "format"}
    if isinstance(schema.get("properties"), dict) and "additionalProperties" not in schema:
        closed["additionalProperties"] = False
    return closed


def test_one_cluster_config_selects_a_node(tmp_path: Path) -> None:
    """Two for one node are a conflict, and none of them holds."""
    peers = (
        calico("BGPPeer", PEER, "all"),
        calico("BGPPeer", "peerIP: 192.0.2.2, asNumber: 65000, nodeSelector: rack == 'a'", "rack"),
    )
    configs = [one for one in said(tmp_path, *peers).bgp if one["kind"] == "CiliumBGPClusterConfig"]
    text = yaml.safe_dump([one["spec"] for one in configs])
    assert len(configs) == 2
    assert (text.count("- n1"), text.count("- n2")) == (1, 1)
    assert text.count("peerAddress: 192.0.2.1\n") == 2
    assert text.count("peerAddress: 192.0.2.2\n") == 1


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        pytest.param("all()", None, id="all nodes"),
        pytest.param("rack == 'a'", [{"key": "rack", "operator": "In", "values": ["a"]}], id="a label"),
        pytest.param(
            "has(bgp) && rack != 'b'",
            [{"key": "bgp", "operator": "Exists"}, {"key": "rack", "operator": "NotIn", "values": ["b"]}],
            id="two conditions",
        ),
        pytest.param("rack == 'a' || rack == 'b'", "names", id="either of two is said by names"),
        pytest.param("rack starts with 'a'", "names", id="a part of a value is said by names"),
    ],
)
def test_a_node_selector(tmp_path: Path, selector: str, expected: object) -> None:
    (found,) = (
        one
        for one in said(tmp_path, calico("BGPPeer", f'{PEER}, nodeSelector: "{selector}"')).bgp
        if one["kind"] == "CiliumBGPClusterConfig"
    )
    spec = found["spec"]
    assert isinstance(spec, dict)
    chosen = spec.get("nodeSelector")
    if expected == "names":
        assert "kubernetes.io/hostname" in json.dumps(chosen)
    else:
        assert (chosen or {}) == ({"matchExpressions": expected} if expected else {})


def test_every_value_in_the_file_says_where_it_comes_from(tmp_path: Path) -> None:
    values = said(tmp_path, *EVERYTHING)
    for stage in Stage:
        text = values_text(values, stage)
        assert yaml.safe_load(text) == tree(values.of(stage))
        for value in values.of(stage):
            assert f"# {value.key}: {value.because}" in text
    assert (
        "# MTU: 1400 of today's pods and 60 bytes of WireGuard (Installation default spec.calicoNetwork.mtu = 1400)"
        in (values_text(values, Stage.MIGRATION))
    )


def test_text_of_the_cluster_stays_in_its_comment(tmp_path: Path) -> None:
    felix = yaml.safe_dump(
        {
            "kind": "FelixConfiguration",
            "apiVersion": "crd.projectcalico.org/v1",
            "metadata": {"name": "default"},
            "spec": {"iptablesNATOutgoingInterfaceFilter": "eth0\nkubeProxyReplacement: nonsense\u2028"},
        }
    )
    values = said(tmp_path, felix)
    assert yaml.safe_load(values_text(values, Stage.MIGRATION)) == tree(values.of(Stage.MIGRATION))


def test_the_command_writes_each_part(tmp_path: Path) -> None:
    scanned(tmp_path, *EVERYTHING)
    for part in ("migration", "final"):
        ended = migrate(tmp_path, "values", "-d", tmp_path, "--part", part)
        assert ended.status == 0
        assert "VAL-BGP-SESSION" in ended.stderr
        assert yaml.safe_load(ended.stdout)["ipam"]["mode"] == "cluster-pool"
    for part in ("node-config", "bgp"):
        assert list(yaml.safe_load_all(migrate(tmp_path, "values", "-d", tmp_path, "--part", part).stdout))
    out = tmp_path / "values.json"
    assert migrate(tmp_path, "values", "-d", tmp_path, "-o", "json", "--output-file", out, "-q").stderr == ""
    assert json.loads(out.read_text())["kind"] == "HelmValues"


def test_a_network_that_is_none_is_refused(tmp_path: Path) -> None:
    scanned(tmp_path)
    ended = migrate(tmp_path, "values", "-d", tmp_path, "--pod-cidr", "10.0.0.0/99")
    assert ended.status == 2
    assert "--pod-cidr" in ended.stderr


@pytest.mark.parametrize("kind", ["FelixConfiguration", "Installation", "IPPool"])
def test_every_setting_that_calico_has_is_known(kind: str) -> None:
    root = Path(__file__).parents[2] / "rules" / "crds" / "calico"
    group = "operator.tigera.io" if kind == "Installation" else "crd.projectcalico.org"
    crd = yaml.safe_load((root / group / f"{kind.lower()}s.yaml").read_text())
    spec = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]
    names = spec["calicoNetwork"]["properties"] if kind == "Installation" else spec
    assert [name for name in names if not calico_settings()[kind].knows(name)] == []


def test_a_value_that_is_lost_in_another_is_a_bug() -> None:
    one, other = (Value(key=key, value=True, because="") for key in ("a", "a.b"))
    with pytest.raises(ValueError, match=r"a\.b"):
        tree([one, other])


def test_the_rules_of_values_have_files() -> None:
    assert {rule for rule in load_rules() if rule.startswith("VAL-")} >= {check.id for check in CHECKS}
