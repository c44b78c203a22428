"""Rules about Services. Expectations: Calico's reference of `services`, and Felix's index of EndpointSlices."""

import pytest

from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.verify.simulation import simulate_case
from tests.policy_engines import PolicyEngine
from tests.unit.calico_case import Object, case, everywhere, simulate, within, words


def _slice(name: str, addresses: list[Json], ports: list[Json], service: str = "db") -> Object:
    labels: Object = {"kubernetes.io/service-name": service}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "namespace": "shop", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]} for address in addresses],
        "ports": ports,
    }


SQL: Object = {"name": "sql", "port": 5432, "protocol": "TCP"}
DNS: Object = {"name": "dns", "port": 53, "protocol": "UDP"}
BEHIND_DB: Object = {"name": "db", "namespace": "shop"}
TO_DB = within(
    "to-db", {"selector": "app == 'web'", "egress": [{"action": "Allow", "destination": {"services": BEHIND_DB}}]}
)
FROM_DB = within(
    "from-db", {"selector": "app == 'web'", "ingress": [{"action": "Allow", "source": {"services": BEHIND_DB}}]}
)
ANY_UDP_TO_DB: Object = {
    "action": "Allow",
    "protocol": "UDP",
    "destination": {"services": BEHIND_DB},
}
NO_NAMESPACE = within("p", {"egress": [{"action": "Allow", "destination": {"services": {"name": "db"}}}]})
CASES = [
    pytest.param([TO_DB, _slice("a", ["10.0.0.2"], [SQL])], "shop/web > shop/db TCP/5432", "allow", id="its port"),
    pytest.param([TO_DB, _slice("a", ["10.0.0.2"], [SQL])], "shop/web > shop/db TCP/80", "deny", id="another port"),
    pytest.param([TO_DB, _slice("a", ["10.0.0.2"], [SQL])], "shop/web > shop/db UDP/5432", "deny", id="its protocol"),
    pytest.param([TO_DB, _slice("a", ["8.8.8.8"], [SQL])], "shop/web > 8.8.8.8 TCP/5432", "allow", id="an outsider"),
    pytest.param(
        [TO_DB, _slice("a", ["10.0.0.2"], [SQL]), _slice("b", ["8.8.8.8"], [DNS])],
        "shop/web > shop/db UDP/53",
        "deny",
        id="addresses and ports of two slices are not mixed",
    ),
    pytest.param(
        [TO_DB, _slice("a", ["10.0.0.2"], [{"name": "any"}])], "shop/web > shop/db TCP/80", "deny", id="no number"
    ),
    pytest.param([TO_DB, _slice("a", ["10.0.0.2"], [SQL], "x")], "shop/web > shop/db TCP/5432", "deny", id="others'"),
    pytest.param(
        [NO_NAMESPACE, _slice("a", ["10.0.0.2"], [SQL])],
        "shop/web > shop/db TCP/5432",
        "deny",
        id="without a namespace it is no Service, whatever the reference says",
    ),
    pytest.param(
        [everywhere("p", {"egress": [ANY_UDP_TO_DB]}), _slice("a", ["10.0.0.2"], [SQL, DNS])],
        "shop/web > shop/db TCP/5432",
        "deny",
        id="the rule's protocol counts too",
    ),
    pytest.param(
        [everywhere("p", {"egress": [ANY_UDP_TO_DB]}), _slice("a", ["10.0.0.2"], [SQL, DNS])],
        "shop/web > shop/db UDP/53",
        "allow",
        id="where both say the same",
    ),
]


@pytest.mark.parametrize(("objects", "asked", "egress"), CASES)
def test_services_of_an_egress_rule(
    objects: list[Object], asked: str, egress: str, calico_engine: PolicyEngine
) -> None:
    done = simulate(objects, [asked])
    assert done.left_out == ()
    assert done.flows[0].egress == egress
    assert calico_engine(case(objects, [asked]))["flows"][0]["egress"] == egress


@pytest.mark.parametrize(
    ("asked", "ingress"),
    [
        pytest.param("shop/db > shop/web TCP/80", "allow", id="any port"),
        pytest.param("8.8.8.8 > shop/web TCP/5432", "deny", id="another source"),
    ],
)
def test_services_of_an_ingress_rule(asked: str, ingress: str, calico_engine: PolicyEngine) -> None:
    objects = [FROM_DB, _slice("a", ["10.0.0.2"], [SQL])]
    assert simulate(objects, [asked]).flows[0].ingress == ingress
    assert calico_engine(case(objects, [asked]))["flows"][0]["ingress"] == ingress


def test_the_rule_that_decided_is_the_one_that_names_the_service() -> None:
    done = simulate([TO_DB, _slice("a", ["10.0.0.2"], [SQL])], ["shop/web > shop/db TCP/5432"])
    assert done.flows[0].decided_by["egress"].rule == "spec.egress[0]"


def test_without_any_endpoint_slice_the_answer_is_unknown() -> None:
    done = simulate([TO_DB], ["shop/web > shop/db TCP/5432"])
    assert done.left_out == ("NetworkPolicy shop/to-db spec.egress[0].destination.services (case.yaml)",)
    assert words(done.flows[0]) == ("unknown", "unknown")


def test_what_is_not_about_services_needs_no_endpoint_slice() -> None:
    done = simulate([within("p", {"selector": "app == 'db'", "ingress": []})], ["shop/web > shop/db TCP/5432"])
    assert words(done.flows[0]) == ("unenforced", "deny")


def test_endpoint_slices_may_stand_among_the_services_of_a_case() -> None:
    document = case([TO_DB], ["shop/web > shop/db TCP/5432"])
    document["services"] = [_slice("a", ["10.0.0.2"], [SQL])]
    done = simulate_case(read_case(RawObject(document)), "calico", 20)
    assert words(done.flows[0]) == ("allow", "unenforced")
