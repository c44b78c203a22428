"""What depends on the release's tie-break, and staged policies as if they were enforced."""

from typing import cast

import pytest

from migrate.errors import InputError
from migrate.model.raw import Json, RawObject
from migrate.sources.cases import read_case
from migrate.verify.simulation import simulate_case
from tests.policy_engines import PolicyEngine
from tests.simulate.languages import calico_case
from tests.unit.calico_case import Object, calico, everywhere, simulate, within

ALLOW: Object = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": [{"action": "Allow"}]}
DENY: Object = {"selector": "app == 'db'", "types": ["Ingress"], "ingress": [{"action": "Deny"}]}
ASKED = ["shop/web > shop/db TCP/80"]
NOTE = "depends on how the release orders policies of equal order"


@pytest.mark.parametrize(
    ("tie_break", "word"),
    [
        pytest.param("legacy", "allow", id="up to v3.28 the tier's name stands before a global name, so it is first"),
        pytest.param("current", "deny", id="since then the names alone are compared"),
    ],
)
def test_the_answer_goes_by_the_tie_break_and_says_so(tie_break: str, word: str) -> None:
    side = simulate([everywhere("z", ALLOW), within("a", DENY)], ASKED, {"tieBreak": tie_break}).flows[0]
    assert side.ingress == word
    assert side.decided_by["ingress"].reason.endswith(NOTE)
    assert NOTE not in side.decided_by["egress"].reason


@pytest.mark.parametrize(
    "policies",
    [
        pytest.param([everywhere("z", ALLOW), everywhere("a", DENY)], id="one kind is sorted by name in all releases"),
        pytest.param([everywhere("z", ALLOW | {"order": 1}), within("a", DENY)], id="their orders differ"),
        pytest.param([everywhere("z", DENY), within("a", DENY)], id="both say the same"),
    ],
)
def test_nothing_is_said_where_releases_agree(policies: list[Object]) -> None:
    assert NOTE not in simulate(policies, ASKED).flows[0].decided_by["ingress"].reason


def test_calico_itself_names_the_same_flows(calico_engine: PolicyEngine) -> None:
    """Flows whose verdict depends on the tie-break, over random clusters."""
    differing = 0
    for number in range(10):
        case = calico_case(f"ties-{number}")
        case.options.pop("staged", None)
        document = cast("dict[str, Json]", case.document())
        said = calico_engine(document)["flows"]
        options = cast("Object", {**case.options, "tieBreak": _other(case.options["tieBreak"])})
        other: Object = {**document, "options": options}
        first, second = (simulate_case(read_case(RawObject(d)), "calico", 20) for d in (document, other))
        for flow, swapped, real in zip(first.flows, second.flows, said, strict=True):
            depends = flow.verdict != swapped.verdict
            assert depends is bool(cast("dict[str, object]", real).get("tieSensitive", False)), flow.flow
            noted = any(by.reason.endswith(NOTE) for by in flow.decided_by.values())
            assert noted or not depends, flow.flow
            differing += depends
    assert differing > 0


def _other(tie_break: object) -> str:
    return "current" if tie_break == "legacy" else "legacy"


def _staged(kind: str, spec: Object, action: str, name: str = "p") -> Object:
    namespace = "" if "Global" in kind else "shop"
    return calico(f"Staged{kind}", name, spec | ({"stagedAction": action} if action else {}), namespace)


KUBERNETES: Object = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "p", "namespace": "shop"},
    "spec": {"podSelector": {}},
}


@pytest.mark.parametrize(
    ("policies", "today", "staged"),
    [
        pytest.param([_staged("NetworkPolicy", DENY, "Set")], "unenforced", "deny", id="a new policy"),
        pytest.param([_staged("GlobalNetworkPolicy", DENY, "")], "unenforced", "deny", id="Set is the default"),
        pytest.param([within("p", DENY), _staged("NetworkPolicy", ALLOW, "Set")], "deny", "allow", id="another text"),
        pytest.param(
            [
                calico("NetworkPolicy", "default.p", DENY, "shop", "crd.projectcalico.org/v1"),
                _staged("NetworkPolicy", ALLOW, "Set"),
            ],
            "deny",
            "allow",
            id="for a policy by its stored name",
        ),
        pytest.param([within("p", DENY), _staged("NetworkPolicy", {}, "Delete")], "deny", "unenforced", id="an end"),
        pytest.param([everywhere("p", DENY), _staged("NetworkPolicy", {}, "Delete")], "deny", "deny", id="not of it"),
        pytest.param([_staged("NetworkPolicy", DENY, "Learn")], "unenforced", "unenforced", id="Learn"),
        pytest.param([_staged("NetworkPolicy", DENY, "Ignore")], "unenforced", "unenforced", id="Ignore"),
        pytest.param(
            [_staged("KubernetesNetworkPolicy", {"podSelector": {}}, "Set")], "unenforced", "deny", id="Kubernetes"
        ),
        pytest.param(
            [KUBERNETES, _staged("KubernetesNetworkPolicy", {"podSelector": {}, "ingress": [{}]}, "Set")],
            "deny",
            "allow",
            id="in place of a NetworkPolicy",
        ),
    ],
)
def test_staged_policies_are_enforced_only_when_asked(policies: list[Object], today: str, staged: str) -> None:
    assert simulate(policies, ASKED).flows[0].ingress == today
    assert simulate(policies, ASKED, {"staged": True}).flows[0].ingress == staged


@pytest.mark.parametrize("value", ["yes", 1, None])
def test_staged_is_true_or_false(value: Json) -> None:
    with pytest.raises(InputError, match="option staged"):
        simulate([], ASKED, {"staged": value})


def test_a_tier_that_cannot_be_read_is_told() -> None:
    done = simulate([calico("Tier", "t", {"defaultAction": "Allow", "weight": 1})], ASKED)
    assert done.left_out == ("Tier t spec.defaultAction (case.yaml)", "Tier t spec.weight (case.yaml)")
