"""HostEndpoints and Felix settings. Expectations: Calico's documentation of host endpoints and of its resources."""

import pytest

from migrate.model.addresses import AddressSet
from migrate.model.cluster import Cluster
from migrate.model.raw import RawObject
from migrate.sources.calico_hosts import read_host_endpoint
from migrate.sources.felix import FailsafePort, read_felix
from migrate.verify.engines import build_engine
from tests.policy_engines import PolicyEngine
from tests.unit.calico_case import Object, calico, case, everywhere, host, simulate, words

ETH0: Object = {"node": "n2", "interfaceName": "eth0"}
ALL: Object = {"node": "n2", "interfaceName": "*"}
OPEN: Object = {"profiles": ["projectcalico-default-allow"]}
DENY_OUTSIDE: Object = {"action": "Deny", "source": {"nets": ["8.0.0.0/8"]}}
ALLOW: Object = {"action": "Allow"}
UDP: Object = {"action": "Allow", "protocol": "UDP"}


def _on_host(name: str, rules: list[Object], **more: bool | float | str) -> Object:
    return everywhere(name, {"selector": "has(role)", "types": ["Ingress"], "ingress": [*rules], **more})


def _felix(spec: Object, name: str = "default") -> Object:
    return calico("FelixConfiguration", name, spec)


CASES = [
    pytest.param([], "8.8.8.8 > n2 TCP/80", "unenforced", id="without a HostEndpoint nothing is policed"),
    pytest.param([host("h", ETH0)], "8.8.8.8 > n2 TCP/80", "deny", id="without a profile everything is denied"),
    pytest.param([host("h", ETH0)], "8.8.8.8 > n1 TCP/80", "unenforced", id="on the other node nothing is"),
    pytest.param([host("h", ETH0 | OPEN)], "8.8.8.8 > n2 TCP/80", "allow", id="the default profile allows"),
    pytest.param([host("h", ALL)], "8.8.8.8 > n2 TCP/80", "deny", id="all interfaces"),
    pytest.param([host("h", ETH0)], "8.8.8.8 > n2 TCP/22", "allow", id="a failsafe port"),
    pytest.param([host("h", ETH0)], "8.8.8.8 > n2 UDP/22", "deny", id="a failsafe port is of one protocol"),
    pytest.param(
        [host("h", ETH0), _felix({"failsafeInboundHostPorts": []})],
        "8.8.8.8 > n2 TCP/22",
        "deny",
        id="failsafe ports can be taken away",
    ),
    pytest.param(
        [host("h", ETH0), _felix({"failsafeInboundHostPorts": [{"protocol": "tcp", "port": 80, "net": "8.0.0.0/8"}]})],
        "9.9.9.9 > n2 TCP/80",
        "deny",
        id="a failsafe port for a network is closed to others",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN, {"role": "x"}), _on_host("p", [DENY_OUTSIDE, ALLOW])],
        "8.8.8.8 > n2 TCP/80",
        "deny",
        id="a policy that selects the HostEndpoint",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN), _on_host("p", [DENY_OUTSIDE])],
        "8.8.8.8 > n2 TCP/80",
        "allow",
        id="a policy that does not select it",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN, {"role": "x"}), _on_host("p", [DENY_OUTSIDE])],
        "8.8.8.8 > shop/db TCP/80",
        "unenforced",
        id="forwarded traffic is free without applyOnForward",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN, {"role": "x"}), _on_host("p", [UDP], applyOnForward=True)],
        "8.8.8.8 > shop/db TCP/80",
        "deny",
        id="with it the end of the tier denies",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN, {"role": "x"}), _on_host("p", [UDP], applyOnForward=True)],
        "n2 > shop/db TCP/80",
        "unenforced",
        id="but a node's own pods are not behind an interface of it",
    ),
    pytest.param(
        [host("h", ETH0, {"role": "x"}), _on_host("p", [UDP], applyOnForward=True, preDNAT=True)],
        "8.8.8.8 > n2 UDP/80",
        "allow",
        id="what preDNAT allows is not asked again",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN, {"role": "x"}), _on_host("p", [UDP], applyOnForward=True, preDNAT=True)],
        "8.8.8.8 > n2 TCP/80",
        "allow",
        id="what it does not match goes on",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN, {"role": "x"}), _on_host("p", [DENY_OUTSIDE], applyOnForward=True, doNotTrack=True)],
        "8.8.8.8 > shop/db TCP/80",
        "deny",
        id="doNotTrack holds for what comes in to be forwarded",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN, {"role": "x"}), _on_host("p", [DENY_OUTSIDE], applyOnForward=True, doNotTrack=True)],
        "8.8.8.8 > shop/db TCP/22",
        "unenforced",
        id="except to a failsafe port",
    ),
    pytest.param(
        [host("h", ALL | OPEN, {"role": "x"}), _on_host("p", [DENY_OUTSIDE], applyOnForward=True, doNotTrack=True)],
        "8.8.8.8 > n2 TCP/80",
        "allow",
        id="doNotTrack is ignored for all interfaces",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN, {"role": "x"}), _on_host("p", [DENY_OUTSIDE], applyOnForward=True, doNotTrack=True)],
        "8.8.8.8 > n2 TCP/80/6443",
        "allow",
        id="what looks like the answer of a failsafe connection passes doNotTrack by",
    ),
    pytest.param(
        [
            host("h", ETH0 | OPEN),
            everywhere("p", {"selector": "all()", "namespaceSelector": "x != 'y'", "ingress": [DENY_OUTSIDE]}),
        ],
        "8.8.8.8 > n2 TCP/80",
        "allow",
        id="all() beside a namespaceSelector is whatever has a namespace",
    ),
    pytest.param(
        [host("h", ETH0 | OPEN), everywhere("p", {"namespaceSelector": "x != 'y'", "ingress": [DENY_OUTSIDE]})],
        "8.8.8.8 > n2 TCP/80",
        "deny",
        id="a namespaceSelector alone may hold for what has no namespace",
    ),
    pytest.param([], "shop/db > n2 TCP/80", "unenforced", id="a pod reaches its own node"),
    pytest.param(
        [_felix({"defaultEndpointToHostAction": "Drop"})], "shop/db > n2 TCP/80", "deny", id="unless Felix drops that"
    ),
    pytest.param(
        [_felix({"defaultEndpointToHostAction": "Drop"})],
        "shop/db > n1 TCP/80",
        "unenforced",
        id="which is not about other nodes",
    ),
]


@pytest.mark.parametrize(("objects", "asked", "ingress"), CASES)
def test_the_ingress_of_a_node(objects: list[Object], asked: str, ingress: str) -> None:
    done = simulate(objects, [asked])
    assert done.left_out == ()
    assert done.flows[0].ingress == ingress


@pytest.mark.parametrize(("objects", "asked", "ingress"), CASES)
def test_calico_itself_says_so(objects: list[Object], asked: str, ingress: str, calico_engine: PolicyEngine) -> None:
    answer = calico_engine(case(objects, [asked]))
    assert all(policy["ok"] for policy in answer["policies"] or ())
    assert answer["flows"][0]["ingress"] == ingress


@pytest.mark.parametrize(
    ("spec", "word"),
    [
        pytest.param({}, "deny", id="dropped unless it is allowed"),
        pytest.param({"allowVXLANPacketsFromWorkloads": True}, "unenforced", id="allowed"),
        pytest.param({"vxlanPort": 8472}, "unenforced", id="another port is VXLAN's"),
    ],
)
def test_vxlan_from_pods(spec: Object, word: str) -> None:
    assert words(simulate([_felix(spec)], ["shop/web > shop/db UDP/4789"]).flows[0]) == (word, "unenforced")


@pytest.mark.parametrize(
    ("objects", "place"),
    [
        pytest.param(
            [host("a", ETH0), host("b", {"node": "n2", "interfaceName": "eth1"})],
            "HostEndpoint a spec.interfaceName",
            id="two interfaces of one node",
        ),
        pytest.param([host("h", ETH0 | {"profiles": ["mine"]})], "HostEndpoint h spec.profiles[0]", id="a profile"),
        pytest.param([host("h", {"interfaceName": "eth0"})], "HostEndpoint h spec.node", id="no node"),
        pytest.param([host("h", ETH0 | {"expectedIPs": ["x"]})], "HostEndpoint h spec.expectedIPs[0]", id="no address"),
        pytest.param(
            [
                host("h", ETH0 | {"ports": [{"name": "web", "port": 80, "protocol": "TCP"}]}),
                _on_host("p", [{"action": "Allow", "protocol": "TCP", "destination": {"ports": ["web"]}}]),
            ],
            "HostEndpoint h spec.ports",
            id="a port of a host that a rule names",
        ),
        pytest.param(
            [host("h", ETH0), _felix({"bpfEnabled": True})],
            "FelixConfiguration default spec.bpfEnabled",
            id="the eBPF data plane",
        ),
        pytest.param(
            [_felix({"chainInsertMode": "Append"})],
            "FelixConfiguration default spec.chainInsertMode",
            id="the node's own rules go first",
        ),
        pytest.param(
            [_felix({"vxlanPort": 8472}, "node.n1")],
            "FelixConfiguration node.n1 spec.vxlanPort",
            id="a setting of one node",
        ),
        pytest.param(
            [_felix({"failsafeInboundHostPorts": [{"protocol": "icmp", "port": 1}]})],
            "FelixConfiguration default spec.failsafeInboundHostPorts[0].protocol",
            id="a failsafe port of no protocol with ports",
        ),
    ],
)
def test_what_is_not_modelled_is_unknown_with_its_place(objects: list[Object], place: str) -> None:
    done = simulate(objects, ["8.8.8.8 > n2 TCP/80"])
    assert place in [entry.removesuffix(" (case.yaml)") for entry in done.left_out]
    assert words(done.flows[0]) == ("unknown", "unknown")


def test_settings_that_say_nothing_of_verdicts_are_left_alone() -> None:
    assert read_felix([RawObject(_felix({"logSeverityScreen": "Info", "bpfEnabled": True}))]).problems == ()


def test_a_failsafe_list_takes_the_place_of_the_default() -> None:
    given: Object = {"failsafeOutboundHostPorts": [{"protocol": "udp", "port": 53}]}
    settings = read_felix([RawObject(_felix(given))])
    assert settings.outbound == (FailsafePort(17, 53),)
    assert FailsafePort(6, 22) in settings.inbound


def test_labels_of_a_stored_host_endpoint_are_in_its_annotation() -> None:
    stored = calico("HostEndpoint", "h", ETH0, version="crd.projectcalico.org/v1")
    stored["metadata"] = {"name": "h", "annotations": {"projectcalico.org/metadata": '{"labels": {"role": "x"}}'}}
    assert dict(read_host_endpoint(RawObject(stored), AddressSet()).labels) == {"role": "x"}


@pytest.mark.parametrize(
    ("objects", "places"),
    [
        pytest.param([host("h", ETH0 | OPEN)], [], id="it lets everything pass"),
        pytest.param([host("h", ETH0)], ["HostEndpoint h spec"], id="it has no profile"),
        pytest.param(
            [host("h", ETH0 | OPEN, {"role": "x"}), _on_host("p", [ALLOW])],
            ["HostEndpoint h spec"],
            id="a policy on it",
        ),
        pytest.param(
            [_felix({"defaultEndpointToHostAction": "Drop"})],
            ["FelixConfiguration default spec.defaultEndpointToHostAction"],
            id="Felix drops what pods send to their node",
        ),
        pytest.param([_felix({"defaultEndpointToHostAction": "Return"})], [], id="Felix leaves it to the node"),
    ],
)
def test_what_decides_on_nodes_is_left_out_where_only_pods_are_compared(
    objects: list[Object], places: list[str]
) -> None:
    built = build_engine("calico", [RawObject(item) for item in objects], Cluster(), {})
    assert [str(place) for place in built.left_out] == places
