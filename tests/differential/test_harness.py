"""The harness sees what it is there to see: policies handed to Cilium as they are, with the differences known."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
import pytest

from tests.differential.flows import VXLAN
from tests.differential.generate import DIALECTS, Dialect, generate
from tests.differential.harness import (
    Claim,
    Difference,
    Engines,
    Excuse,
    Object,
    Translated,
    compare,
    key_of,
    smallest,
    unchanged,
)
from tests.reference.cases import ApiServer, Case, End, Flow, NamedPort, Namespace, Node, Pod

pytestmark = pytest.mark.engine

BOTH = ("cilium-1.18", "cilium-1.20")
OLD = ("cilium-1.18",)
NEITHER: tuple[str, ...] = ()

CLIENT, SERVER, OTHER = End(pod="a/client"), End(pod="a/server"), End(pod="b/server")
OUTSIDE = End(ip="203.0.113.9")


def _case(spec: Mapping[str, object], flow: Flow) -> Case:
    return Case(
        name="known",
        namespaces=tuple(Namespace(name, {"kubernetes.io/metadata.name": name}) for name in ("a", "b")),
        pods=(
            Pod("a", "client", {"app": "client"}, ("10.244.0.2",), node="one"),
            Pod("a", "server", {"app": "db", "pod-template-hash": "x"}, ("10.244.1.2",), _sql(5432), node="two"),
            Pod("b", "server", {"app": "db"}, ("10.244.1.3",), _sql(3306), node="two"),
        ),
        nodes=(Node("one", ("10.10.0.1",)), Node("two", ("10.10.0.2",))),
        policies=(_policy(spec),),
        flows=(flow,),
    )


def _sql(port: int) -> tuple[NamedPort, ...]:
    return (NamedPort("sql", "TCP", port),)


def _policy(spec: Mapping[str, object]) -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "policy", "namespace": "a"},
        "spec": {"podSelector": {}, **spec},
    }


def _ingress(*peers: Object) -> Object:
    return {"policyTypes": ["Ingress"], "ingress": [{"from": list(peers)}]}


_NOT_B: Object = {
    "namespaceSelector": {
        "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "NotIn", "values": ["b"]}]
    }
}
_HASH: Object = {"podSelector": {"matchLabels": {"pod-template-hash": "x"}}}
_SQL_OUT: Object = {"policyTypes": ["Egress"], "egress": [{"ports": [{"port": "sql"}]}]}


@pytest.mark.parametrize(
    ("spec", "flow", "targets"),
    [
        pytest.param(
            _ingress({"podSelector": {}}), Flow(CLIENT, SERVER, "TCP", 1), NEITHER, id="pods by label mean the same"
        ),
        pytest.param(
            _ingress({"ipBlock": {"cidr": "203.0.113.0/24"}}),
            Flow(OUTSIDE, SERVER, "TCP", 1),
            NEITHER,
            id="a block of the outside means the same",
        ),
        pytest.param(
            _ingress({"ipBlock": {"cidr": "10.244.0.0/16"}}),
            Flow(CLIENT, SERVER, "TCP", 1),
            BOTH,
            id="a block never covers pods in Cilium",
        ),
        pytest.param(
            _ingress({"ipBlock": {"cidr": "0.0.0.0/0"}}),
            Flow(End(node="one"), SERVER, "TCP", 1),
            BOTH,
            id="nor nodes",
        ),
        pytest.param(
            {"policyTypes": ["Egress"], "egress": [{}], "ingress": [{"from": [{"podSelector": {}}]}]},
            Flow(OTHER, SERVER, "TCP", 1),
            BOTH,
            id="rules that policyTypes leave out isolate in Cilium",
        ),
        pytest.param(
            _ingress(_HASH), Flow(SERVER, CLIENT, "TCP", 1), BOTH, id="labels without identity select nobody in Cilium"
        ),
        pytest.param(
            _ingress(_NOT_B), Flow(OUTSIDE, SERVER, "TCP", 1), OLD, id="1.18 lets the outside through a negation"
        ),
        pytest.param(
            _SQL_OUT, Flow(CLIENT, OTHER, "TCP", 3306), OLD, id="1.18 knows no port name with two numbers on egress"
        ),
    ],
)
def test_known_differences_of_cilium_are_found(
    engines: Engines, spec: Object, flow: Flow, targets: tuple[str, ...]
) -> None:
    case = _case(spec, flow)
    found = {target: compare(case, target, unchanged, engines) for target in BOTH}
    assert tuple(target for target in BOTH if found[target].differences) == targets
    assert all(comparison.equal + len(comparison.differences) == 1 for comparison in found.values())


def test_a_node_by_name_has_the_address_that_its_peer_can_use(engines: Engines) -> None:
    """The API server has the node's IPv4 address, and the pod reaches the node by IPv6 only."""
    policy = _case(_ingress({"ipBlock": {"cidr": "10.10.0.1/32"}}), Flow(End(node="one"), SERVER, "TCP", 1))
    case = msgspec.structs.replace(
        policy,
        pods=(Pod("a", "server", {}, ("fd00:244::2",), node="two"),),
        nodes=(Node("one", ("10.10.0.1", "fd10::1")), Node("two", ("fd10::2",))),
        api_server=ApiServer(("10.10.0.1",)),
    )

    def admits_the_api_server(case: Case, target: str) -> Translated:
        spec = {"endpointSelector": {}, "ingress": [{"fromEntities": ["kube-apiserver"]}]}
        metadata = {"name": "policy", "namespace": "a"}
        emitted: Object = {
            "apiVersion": "cilium.io/v2",
            "kind": "CiliumNetworkPolicy",
            "metadata": metadata,
            "spec": spec,
        }
        return Translated((emitted,), {key_of(item): Claim("exact") for item in case.policies})

    assert compare(case, "cilium-1.20", admits_the_api_server, engines).equal == 1


def test_a_pod_to_its_own_node_is_a_known_difference(engines: Engines) -> None:
    spec: Object = {"policyTypes": ["Egress"]}
    own = compare(_case(spec, Flow(CLIENT, End(node="one"), "TCP", 1)), "cilium-1.20", unchanged, engines)
    other = compare(_case(spec, Flow(CLIENT, End(node="two"), "TCP", 1)), "cilium-1.20", unchanged, engines)
    assert (own.excluded, other.excluded, other.equal) == (1, 0, 1)


def _gives_up(case: Case, target: str) -> Translated:
    """Nothing is emitted, and said so."""
    return Translated((), {key_of(item): Claim("unsupported", frozenset({Excuse("widens")})) for item in case.policies})


def test_a_declaration_covers_the_pods_that_the_policy_selects_in_its_direction(engines: Engines) -> None:
    spec = _ingress({"podSelector": {}})
    into = compare(_case(spec, Flow(OTHER, SERVER, "TCP", 1)), "cilium-1.20", _gives_up, engines)
    out_of = compare(_case(spec, Flow(SERVER, OTHER, "TCP", 1)), "cilium-1.20", _gives_up, engines)
    assert (into.declared_different, into.equal, into.share_declared) == (1, 0, 1.0)
    assert (out_of.declared_different, out_of.equal) == (0, 1)


def test_a_difference_of_the_other_kind_is_not_declared(engines: Engines) -> None:
    def claims_to_narrow(case: Case, target: str) -> Translated:
        return Translated(
            (), {key_of(item): Claim("changed", frozenset({Excuse("narrows")})) for item in case.policies}
        )

    case = _case(_ingress({"podSelector": {}}), Flow(OTHER, SERVER, "TCP", 1))
    assert len(compare(case, "cilium-1.20", claims_to_narrow, engines).differences) == 1


def _loses_everything(case: Case, target: str) -> Translated:
    """Nothing is emitted, and that is said to be exact."""
    return Translated((), {key_of(item): Claim("exact") for item in case.policies})


def _emits_nonsense(case: Case, target: str) -> Translated:
    nonsense: Object = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "x"},
        "spec": {},
    }
    return Translated((nonsense,), {key_of(item): Claim("exact") for item in case.policies})


def test_what_the_target_refuses_is_not_passed_over(engines: Engines) -> None:
    case = _case(_ingress({"podSelector": {}}), Flow(CLIENT, SERVER, "TCP", 1))
    found = compare(case, "cilium-1.20", _emits_nonsense, engines)
    assert not found.holds
    assert "CiliumNetworkPolicy" in found.refused[0]


def test_a_calico_policy_that_calico_refuses_is_an_error(engines: Engines) -> None:
    bad: Object = {
        "apiVersion": "projectcalico.org/v3",
        "kind": "NetworkPolicy",
        "metadata": {"name": "bad", "namespace": "a"},
        "spec": {"selector": "app =="},
    }
    case = Case(name="bad", engine="calico", namespaces=(Namespace("a"),), policies=(bad,))
    with pytest.raises(ValueError, match="Calico refuses"):
        compare(case, "cilium-1.20", _loses_everything, engines)


def _is_of_one_side(difference: Difference) -> bool:
    """Whether one policy can be all that it takes."""
    return "unenforced" in (difference.before.egress, difference.before.ingress)


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_translation_that_loses_policies_is_caught_and_shrunk(engines: Engines, dialect: Dialect) -> None:
    cases = (generate(dialect, str(seed)) for seed in range(20))
    case, difference = next(
        (case, difference)
        for case in cases
        for difference in compare(case, "cilium-1.20", _loses_everything, engines).differences
        if difference.flow.port != VXLAN and _is_of_one_side(difference)
    )
    small = smallest(case, difference, "cilium-1.20", _loses_everything, engines)
    again = compare(small, "cilium-1.20", _loses_everything, engines)
    assert [str(left) for left in again.differences] == [str(difference)]
    assert len(small.policies) == 1
    assert len(small.pods) <= 2
