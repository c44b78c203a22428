"""HostEndpoints with --host-policies: which become a host policy, for which nodes, and which are refused and why."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from migrate.model.raw import Json, RawObject
from migrate.translate.engine import Outcome, translate
from migrate.translate.profiles import load_profile
from tests.command_line import migrate

Data = dict[str, Json]
V3 = "projectcalico.org/v3"
ALLOW: Data = {"profiles": ["projectcalico-default-allow"]}
WHOLE: Data = {"node": "n1", "interfaceName": "*"}
SSH: Data = {
    "selector": "role == 'edge'",
    "types": ["Ingress"],
    "ingress": [
        {
            "action": "Allow",
            "protocol": "TCP",
            "source": {"nets": ["203.0.113.0/24"]},
            "destination": {"ports": [443]},
        }
    ],
}


def node(name: str, address: str, **labels: str) -> Data:
    marks: Data = {"kubernetes.io/hostname": name, **labels}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": marks},
        "status": {"addresses": [{"type": "InternalIP", "address": address}]},
    }


def calico(kind: str, name: str, spec: Data, **labels: str) -> Data:
    marks: Data = {**labels}
    return {"apiVersion": V3, "kind": kind, "metadata": {"name": name, "labels": marks}, "spec": spec}


def host(name: str = "n1", **spec: Json) -> Data:
    whole: Data = {"node": name, "interfaceName": "*", **spec}
    return calico("HostEndpoint", f"{name}-hep", whole, role="edge")


def policy(**fields: Json) -> Data:
    return calico("GlobalNetworkPolicy", "edge", {**SSH, **fields})


TWO = [node("n1", "10.1.0.1", role="edge"), node("n2", "10.1.0.2", role="worker")]


def translated(*objects: Data, target: str = "cilium-1.20", asked: bool = True, complete: bool = True) -> Outcome:
    raw = [RawObject(item) for item in objects]
    return translate(raw, profile=load_profile(target), engines=("calico",), host_policies=asked, complete=complete)


def host_specs(outcome: Outcome) -> list[Data]:
    found = [yaml.safe_load(file.text)["spec"] for file in outcome.files]
    return [spec for spec in found if "nodeSelector" in spec]


def of_host(outcome: Outcome, name: str = "n1-hep") -> tuple[str, dict[str, str]]:
    (result,) = (r for r in outcome.translation.results if (r.source.kind, r.source.name) == ("HostEndpoint", name))
    return result.result.value, {finding.id: finding.detail for finding in result.findings}


def test_without_the_option_nothing_is_written_for_hosts() -> None:
    outcome = translated(*TWO, host(), policy(), asked=False)
    assert host_specs(outcome) == []
    assert list(of_host(outcome)[1]) == ["POL-HOSTENDPOINT"]


def test_a_host_policy_has_failsafe_ports_the_rules_and_what_cilium_needs() -> None:
    outcome = translated(*TWO, host(), policy())
    (spec,) = host_specs(outcome)
    assert spec["nodeSelector"] == {"matchLabels": {"role": "edge"}}
    assert spec["enableDefaultDeny"] == {"ingress": True, "egress": True}
    ingress = yaml.safe_dump(spec["ingress"])
    assert [f"port: '{port}'" in ingress for port in (22, 68, 6443, 443, 8472, 4240, 53)] == [True] * 6 + [False]
    assert "port: '53'" in yaml.safe_dump(spec["egress"])
    word, findings = of_host(outcome)
    assert (word, sorted(findings)) == ("changed", ["POL-HOST-FIREWALL", "POL-HOST-NEEDS", "POL-HOST-OWN-PODS"])
    (of_policy,) = (r for r in outcome.translation.results if r.source.kind == "GlobalNetworkPolicy")
    assert "POL-HOSTENDPOINT" not in {finding.id for finding in of_policy.findings}


def test_failsafe_ports_are_those_of_felix() -> None:
    felix = calico(
        "FelixConfiguration",
        "default",
        {"failsafeInboundHostPorts": [{"protocol": "tcp", "port": 2222, "net": "203.0.113.9/32"}]},
    )
    (spec,) = host_specs(translated(*TWO, felix, host()))
    ingress = spec["ingress"]
    assert isinstance(ingress, list)
    assert ingress[0] == {
        "fromCIDRSet": [{"cidr": "203.0.113.9/32"}],
        "toPorts": [{"ports": [{"port": "2222", "protocol": "TCP"}]}],
    }
    assert "port: '22'" not in yaml.safe_dump(spec)


@pytest.mark.parametrize(
    ("profile", "policies", "isolated"),
    [
        pytest.param({}, [], {"ingress": True, "egress": True}, id="a named one without policies denies all"),
        pytest.param(ALLOW, [policy()], {"ingress": True, "egress": False}, id="an automatic one what policies police"),
        pytest.param(ALLOW, [], None, id="an automatic one without policies denies nothing"),
        pytest.param(ALLOW, [policy(selector="role == 'x'")], None, id="nor one that no policy selects"),
    ],
)
def test_what_is_denied_by_default(profile: Data, policies: list[Data], isolated: Data | None) -> None:
    outcome = translated(*TWO, calico("HostEndpoint", "n1-hep", WHOLE | profile, role="edge"), *policies)
    assert [spec["enableDefaultDeny"] for spec in host_specs(outcome)] == ([] if isolated is None else [isolated])
    assert of_host(outcome)[0] == ("exact" if isolated is None else "changed")


@pytest.mark.parametrize(
    ("objects", "selector"),
    [
        pytest.param([TWO[0], host()], {}, id="all nodes"),
        pytest.param([*TWO, host(), host("n2")], {}, id="all nodes with one policy each"),
        pytest.param([*TWO, host()], {"matchLabels": {"role": "edge"}}, id="one of two"),
    ],
)
def test_the_nodes_that_are_selected(objects: list[Data], selector: Data) -> None:
    assert [spec["nodeSelector"] for spec in host_specs(translated(*objects))] == [selector]


TWINS = [node("n1", "10.1.0.1", role="edge"), node("n2", "10.1.0.2", role="edge")]


@pytest.mark.parametrize(
    ("objects", "text"),
    [
        pytest.param([*TWO, host(interfaceName="eth0")], "a single interface", id="one interface"),
        pytest.param(
            [*TWO, host(), calico("HostEndpoint", "z", {"node": "n1", "expectedIPs": ["10.1.0.1"]})],
            "a single interface",
            id="one interface beside all",
        ),
        pytest.param([*TWO, host("n9")], "node n9 is not in the snapshot", id="no such node"),
        pytest.param([*TWINS, host()], "no label that Cilium's policies read", id="only the host name differs"),
        pytest.param([*TWO, host(), policy(preDNAT=True, applyOnForward=True)], "has preDNAT", id="preDNAT"),
        pytest.param([*TWO, host(), policy(doNotTrack=True, applyOnForward=True)], "has doNotTrack", id="doNotTrack"),
        pytest.param([*TWO, host(), policy(applyOnForward=True)], "has applyOnForward", id="applyOnForward"),
        pytest.param([*TWO, host(), policy(ingress=[{"action": "Deny"}])], "arithmetic or deny", id="a deny"),
        pytest.param([*TWO, host(), policy(tier="t"), calico("GlobalNetworkPolicy", "d", SSH)], "order", id="tiers"),
        pytest.param(
            [
                *TWO,
                host(),
                policy(ingress=[{"action": "Allow", "protocol": "TCP", "destination": {"ports": ["ssh"]}}]),
            ],
            "named ports",
            id="a named port",
        ),
        pytest.param([node("n1", "fd00::1"), host()], "IPv6", id="IPv6"),
        pytest.param([*TWO, host(profiles=["mine"])], "spec.profiles", id="a profile of one's own"),
        pytest.param(
            [*TWO, host(), calico("FelixConfiguration", "default", {"bpfEnabled": True})], "FelixConf", id="eBPF"
        ),
    ],
)
def test_what_cannot_be_said_is_refused_with_a_flow(objects: list[Data], text: str) -> None:
    outcome = translated(*objects)
    assert host_specs(outcome) == []
    name = next(r.source.name for r in outcome.translation.results if r.source.kind == "HostEndpoint")
    word, findings = of_host(outcome, name)
    assert word == "unsupported"
    assert text in findings["POL-HOSTENDPOINT"]
    assert "203.0.113.7 -> n" in findings["POL-HOSTENDPOINT"]


def test_a_snapshot_with_gaps_is_refused() -> None:
    outcome = translated(*TWO, host(), complete=False)
    assert host_specs(outcome) == []
    assert "not everything of the cluster was read" in of_host(outcome)[1]["POL-HOSTENDPOINT"]


def test_a_managed_target_has_no_host_firewall() -> None:
    outcome = translated(*TWO, host(), target="aks-1.36")
    assert host_specs(outcome) == []
    assert "cannot be switched on" in of_host(outcome)[1]["POL-HOSTENDPOINT"]


def test_pods_of_the_own_node_are_no_loss_where_calico_drops_them() -> None:
    felix = calico("FelixConfiguration", "default", {"defaultEndpointToHostAction": "Drop"})
    assert "POL-HOST-OWN-PODS" not in of_host(translated(*TWO, host(), felix))[1]


def test_the_command_writes_them_only_when_asked(tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text(yaml.safe_dump_all([*TWO, host(), policy()]))
    options = ("-f", "in.yaml", "--target", "cilium-1.20", "--before-engine", "calico", "--output-dir", "out")
    written = tmp_path / "out/cilium/_cluster/host-n1-hep.yaml"
    assert migrate(tmp_path, "translate", *options, "--fail-on", "never").status == 0
    assert not written.exists()
    assert migrate(tmp_path, "translate", *options, "--host-policies").status == 1
    assert "nodeSelector" in written.read_text()
    accepted = ("--accept", "POL-HOST-NEEDS@*")
    assert migrate(tmp_path, "translate", *options, "--host-policies", *accepted).status == 0


@pytest.mark.parametrize(
    ("options", "is_written"),
    [
        pytest.param(("--split", "per-workload"), True, id="beside policies by workload"),
        pytest.param(("--on-gap", "refuse"), False, id="not where gaps are refused"),
        pytest.param(
            ("--on-gap", "refuse", "--accept", "POL-HOST-NEEDS@*", "--accept", "POL-HOST-OWN-PODS@*"),
            True,
            id="where all of its gaps are accepted",
        ),
    ],
)
def test_the_other_forms(options: tuple[str, ...], is_written: bool, tmp_path: Path) -> None:
    (tmp_path / "in.yaml").write_text(yaml.safe_dump_all([*TWO, host(), policy()]))
    given = ("-f", "in.yaml", "--target", "cilium-1.20", "--before-engine", "calico", "--output-dir", "out")
    migrate(tmp_path, "translate", *given, "--host-policies", "--fail-on", "never", *options)
    assert (tmp_path / "out/cilium/_cluster/host-n1-hep.yaml").exists() is is_written


def test_every_member_names_the_object() -> None:
    outcome = translated(*TWO, host(), host("n2"))
    found = [result.objects for result in outcome.translation.results]
    assert [[item.name for item in objects] for objects in found] == [["host-n1-hep"], ["host-n1-hep"]]
