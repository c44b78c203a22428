"""Suggested policies: selectors that mean one workload, real ports, nothing where nothing can help."""

from ipaddress import ip_address

import pytest

from migrate.audit.narrow import Workloads, workload_of
from migrate.audit.suggest import Needed, Seen, Suggestions, suggest
from migrate.model.cluster import Cluster, Node, Pod
from migrate.model.flow import Direction, End, EndKind, Packet
from migrate.model.labels import Labels
from migrate.model.refs import ObjectRef
from migrate.sources.cilium_settings import CiliumSettings
from migrate.translate.profiles import load_profile
from migrate.translate.render import render_policy, render_selector
from migrate.translate.schema import violations

PROFILE = load_profile("cilium-1.20")
SEEN = Seen(12, 1_000, 9_000)


def pod(name: str, workload: str, labels: dict[str, str], *, namespace: str = "shop", account: str = "default") -> Pod:
    return Pod(
        namespace,
        name,
        Labels.of(labels),
        Labels.of({"kubernetes.io/metadata.name": namespace}),
        service_account=account,
        service_account_labels=Labels.of({"kubernetes.io/metadata.name": account}),
        workload=workload,
        node="n1",
    )


WEB = [
    pod(f"web-{n}", "Deployment/web", {"app": "web", "tier": "front", "pod-template-hash": "7d9f"}) for n in range(2)
]
DB = pod("db-0", "StatefulSet/db", {"app": "db", "tier": "back", "statefulset.kubernetes.io/pod-name": "db-0"})
CACHE = pod("cache-0", "StatefulSet/cache", {"app": "db", "tier": "back", "role": "cache"})
REPORT = pod("reports-0", "StatefulSet/reports", {"app": "reports"}, namespace="billing")
NODES = (Node("n1", addresses=(ip_address("10.1.0.4"),)), Node("n2", addresses=(ip_address("10.1.0.5"),)))
CLUSTER = Cluster(pods=(*WEB, DB, CACHE, REPORT), nodes=NODES, complete=True)


def end(of: Pod) -> End:
    return End(EndKind.POD, ip_address("10.0.0.1"), of)


def outside(address: str) -> End:
    return End(EndKind.OUTSIDE, ip_address(address))


def selector_of(cluster: Cluster, of: Pod) -> tuple[object, list[str]]:
    found = Workloads(cluster, CiliumSettings().is_identity_label).narrow(of)
    assert found is not None
    return render_selector(found.selector), [str(other) for other in found.others]


@pytest.mark.parametrize(
    ("of", "selector"),
    [
        pytest.param(WEB[0], {"matchLabels": {"app": "web"}}, id="one label that nobody else has"),
        pytest.param(CACHE, {"matchLabels": {"role": "cache"}}, id="the label that tells two of one app apart"),
        pytest.param(REPORT, {"matchLabels": {"app": "reports"}}, id="other namespaces do not count"),
    ],
)
def test_the_fewest_labels_that_select_just_the_workload(of: Pod, selector: object) -> None:
    assert selector_of(CLUSTER, of) == (selector, [])


def test_without_a_label_of_its_own_the_others_are_named() -> None:
    selector, others = selector_of(CLUSTER, DB)
    assert selector == {"matchLabels": {"app": "db", "tier": "back"}}
    assert others == ["shop/cache-0"]


def test_the_service_account_where_no_label_helps() -> None:
    lone = [
        pod(f"{name}-0", f"StatefulSet/{name}", {"app": "x"}, account=name if name == "a" else "default")
        for name in "ab"
    ]
    selector, others = selector_of(Cluster(pods=tuple(lone)), lone[0])
    assert selector == {"matchLabels": {"k8s:io.cilium.k8s.policy.serviceaccount": "a"}}
    assert others == []


def test_runs_of_a_cronjob_are_one_workload() -> None:
    runs = [
        pod(f"bill-2893000{n}-x", f"Job/bill-2893000{n}", {"job-name": f"bill-2893000{n}", "app": "bill"})
        for n in range(2)
    ]
    assert {workload_of(run) for run in runs} == {"CronJob/bill"}
    assert selector_of(Cluster(pods=tuple(runs)), runs[0]) == ({"matchLabels": {"app": "bill"}}, [])


def made(*needed: Needed) -> Suggestions:
    return suggest(needed, CLUSTER, PROFILE, [ObjectRef("cilium.io/v2", "CiliumNetworkPolicy", "shop", "taken")])


def rendered(found: Suggestions) -> list[dict[str, object]]:
    assert not found.not_made
    objects = [render_policy(suggestion.policy) for suggestion in found.made]
    for one in objects:
        assert violations(one, PROFILE) == ()
    return [dict(one) for one in objects]


def test_a_dropped_ingress_gives_one_rule_at_the_destination() -> None:
    (policy,) = rendered(made(Needed(Direction.INGRESS, end(CACHE), end(WEB[0]), Packet(6, 6379), SEEN)))
    assert policy["metadata"]["namespace"] == "shop"  # type: ignore[index]
    assert policy["spec"] == {
        "endpointSelector": {"matchLabels": {"role": "cache"}},
        "enableDefaultDeny": {"ingress": False, "egress": False},
        "ingress": [
            {
                "toPorts": [{"ports": [{"port": "6379", "protocol": "TCP"}]}],
                "fromEndpoints": [{"matchLabels": {"app": "web", "k8s:io.kubernetes.pod.namespace": "shop"}}],
            }
        ],
    }


def test_flows_of_one_workload_share_a_policy_and_peers_with_the_same_ports_a_rule() -> None:
    (policy,) = rendered(
        made(
            Needed(Direction.EGRESS, end(WEB[0]), outside("203.0.113.7"), Packet(6, 443), SEEN),
            Needed(Direction.EGRESS, end(WEB[1]), outside("203.0.113.9"), Packet(6, 443), SEEN),
            Needed(Direction.EGRESS, end(WEB[1]), end(REPORT), Packet(17, 514), SEEN),
        )
    )
    rules = policy["spec"]["egress"]  # type: ignore[index]
    assert {"toCIDRSet": next(rule["toCIDRSet"] for rule in rules if "toCIDRSet" in rule)} == {
        "toCIDRSet": [{"cidr": "203.0.113.7/32"}, {"cidr": "203.0.113.9/32"}]
    }
    assert len(rules) == 2


@pytest.mark.parametrize(
    ("peer", "entity"),
    [
        pytest.param(End(EndKind.NODE, ip_address("10.1.0.4"), node=NODES[0]), "host", id="the pod's own node"),
        pytest.param(End(EndKind.NODE, ip_address("10.1.0.5"), node=NODES[1]), "remote-node", id="another node"),
        pytest.param(
            End(EndKind.OUTSIDE, ip_address("203.0.113.1"), api_server=True), "kube-apiserver", id="the API server"
        ),
    ],
)
def test_what_is_no_pod_is_named_by_its_entity(peer: End, entity: str) -> None:
    (policy,) = rendered(made(Needed(Direction.EGRESS, end(WEB[0]), peer, Packet(6, 9100), SEEN)))
    assert [rule["toEntities"] for rule in policy["spec"]["egress"]] == [[entity]]  # type: ignore[index]


def test_ping_gives_its_icmp_type() -> None:
    (policy,) = rendered(made(Needed(Direction.INGRESS, end(WEB[0]), end(DB), Packet(1, 8), SEEN)))
    assert policy["spec"]["ingress"][0]["icmps"] == [{"fields": [{"family": "IPv4", "type": 8}]}]  # type: ignore[index]


@pytest.mark.parametrize(
    ("needed", "reason"),
    [
        pytest.param(
            Needed(Direction.EGRESS, end(WEB[0]), end(DB), Packet(6, 80), SEEN, "CiliumNetworkPolicy shop/no"),
            "a deny wins over every allow",
            id="a deny rule",
        ),
        pytest.param(
            Needed(Direction.EGRESS, end(WEB[0]), end(DB), Packet(6, 0), SEEN, inexact="the source was cut"),
            "the source was cut",
            id="a coarse record",
        ),
        pytest.param(
            Needed(Direction.EGRESS, end(WEB[0]), end(DB), Packet(47), SEEN), "every protocol", id="a protocol like GRE"
        ),
        pytest.param(
            Needed(Direction.EGRESS, end(WEB[0]), end(DB), Packet(6, 0), SEEN), "all ports", id="port 0 of TCP"
        ),
        pytest.param(
            Needed(Direction.EGRESS, end(WEB[0]), end(DB), Packet(1, 0), SEEN), "all of ICMP", id="an echo reply"
        ),
        pytest.param(
            Needed(Direction.INGRESS, end(pod("x", "Pod/x", {})), end(DB), Packet(6, 80), SEEN),
            "give its pods one",
            id="a pod without labels",
        ),
    ],
)
def test_what_no_added_policy_can_help_says_why(needed: Needed, reason: str) -> None:
    found = made(needed)
    assert not found.made
    ((flow, text),) = found.not_made
    assert flow == str(needed)
    assert reason in text


def test_counts_of_one_flow_add_up() -> None:
    flows = [
        Needed(Direction.EGRESS, end(web), end(DB), Packet(6, 5432), Seen(2, at, at + 5))
        for web, at in ((WEB[0], 7), (WEB[1], 3))
    ]
    (suggestion,) = made(*flows).made
    assert suggestion.reasons == (("shop Deployment/web → shop StatefulSet/db TCP/5432 (egress)", Seen(4, 3, 12)),)
    assert suggestion.wider == ("the labels of shop StatefulSet/db also select StatefulSet/cache",)


def test_a_name_that_is_taken_is_not_given_again() -> None:
    taken = [ObjectRef("cilium.io/v2", "CiliumNetworkPolicy", "shop", "audited-web")]
    flow = Needed(Direction.EGRESS, end(WEB[0]), outside("203.0.113.7"), Packet(6, 443), SEEN)
    (suggestion,) = suggest([flow], CLUSTER, PROFILE, taken).made
    assert suggestion.policy.name == "audited-web-deployment"
