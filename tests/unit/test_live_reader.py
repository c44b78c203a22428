"""Reading a cluster that misbehaves: retries, odd answers, missing rights. Only the server is scripted."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from migrate.errors import ClusterError, InputError
from migrate.model.documents import KindCount
from migrate.scan.connection import ConnectionOptions, connect
from migrate.scan.live import LiveReading, read_cluster
from migrate.scan.reader import Patience
from tests.unit.scripted_server import (
    Reply,
    ScriptedServer,
    aggregated,
    as_json,
    error,
    listing,
    scripted_server,
    write_kubeconfig,
    zipped,
)

PODS = "/api/v1/pods"


@dataclass
class Scan:
    """Scans the scripted server and notes how long it would have slept."""

    server: ScriptedServer
    kubeconfig: str
    slept: list[float] = field(default_factory=list)
    progress: list[tuple[str, int, int | None]] = field(default_factory=list)

    def run(self, *namespaces: str, as_user: str | None = None, as_groups: tuple[str, ...] = ()) -> LiveReading:
        options = ConnectionOptions(kubeconfig=self.kubeconfig, as_user=as_user, as_groups=as_groups)
        patience = Patience(sleep=self.slept.append)
        return read_cluster(
            connect(options), namespaces or None, lambda *step: self.progress.append(step), patience=patience
        )


@pytest.fixture
def scan(tmp_path: Path) -> Iterator[Scan]:
    with scripted_server() as server:
        yield Scan(server, write_kubeconfig(tmp_path / "config", server.url))


def pod(name: str = "web", namespace: str = "shop", **more: object) -> dict[str, object]:
    return {"metadata": {"name": name, "namespace": namespace}, **more}


def names(reading: LiveReading, kind: str = "Pod") -> list[str]:
    return [raw.ref.name for raw in reading.objects if raw.ref.kind == kind]


def count(reading: LiveReading, kind: str, api_version: str = "v1") -> KindCount:
    [found] = [entry for entry in reading.kinds if (entry.api_version, entry.kind) == (api_version, kind)]
    return found


def findings(reading: LiveReading) -> list[tuple[str, str]]:
    return [(finding.id, finding.detail) for finding in reading.findings]


CUT_JSON = Reply(200, b'{"items": [{"metadata": {"name": "we')


@pytest.mark.parametrize(
    ("trouble", "slept"),
    [
        pytest.param(error(429, "slow down", ("Retry-After", "3")), [3.0], id="429 waits as long as it is told"),
        pytest.param(error(503, "soon", ("Retry-After", "3600")), [30.0], id="a wait of an hour is cut to 30 seconds"),
        pytest.param(error(503, "x", ("Retry-After", "Fri, 31 Dec")), [0.5], id="a date to wait for is not understood"),
        pytest.param(error(500, "oops"), [0.5], id="500 is tried again"),
        pytest.param(error(504, "late"), [0.5], id="504 is tried again"),
        pytest.param(Reply(reset=True), [0.5], id="a reset is tried again"),
        pytest.param(Reply(200, b'{"items": []', cut=20), [0.5], id="a body shorter than announced is tried again"),
        pytest.param(CUT_JSON, [0.5], id="a body that ends in the middle of its JSON is tried again"),
        pytest.param(Reply(200, b"<html>proxy</html>"), [0.5], id="a proxy's page is no answer"),
        pytest.param(Reply(200, b'{"items": [{"metadata": {"name": "\xff"}}]}'), [0.5], id="bytes that are no UTF-8"),
        pytest.param(
            Reply(200, b"garbage", (("Content-Encoding", "gzip"),)), [0.5], id="gzip that is none is tried again"
        ),
    ],
)
def test_passing_trouble_costs_a_wait_and_nothing_else(scan: Scan, trouble: Reply, slept: list[float]) -> None:
    scan.server.script(PODS, trouble, listing(pod()))
    reading = scan.run()
    assert (names(reading), reading.findings, reading.complete) == (["web"], (), True)
    assert scan.slept == slept


def test_waits_grow_when_the_server_names_none(scan: Scan) -> None:
    scan.server.script(PODS, *[error(503)] * 4, listing(pod()))
    assert names(scan.run()) == ["web"]
    assert scan.slept == [0.5, 1.0, 2.0, 4.0]


@pytest.mark.parametrize(
    ("trouble", "tries", "said"),
    [
        pytest.param(error(503, "etcd is away"), 5, "503: etcd is away", id="an error that lasts"),
        pytest.param(Reply(reset=True), 5, "broke off", id="resets that last"),
        pytest.param(CUT_JSON, 5, "cut off", id="bodies that never end"),
        pytest.param(error(400, "bad limit"), 1, "400: bad limit", id="an error that asking again does not mend"),
        pytest.param(error(401), 1, "log in again", id="a token that ran out during the scan"),
        pytest.param(as_json([1, 2]), 5, "cut off or no JSON", id="an answer that is no list"),
        pytest.param(Reply(302, b"", (("Location", "/api/v1/secrets"),)), 1, "302", id="a redirect is not followed"),
    ],
)
def test_lasting_trouble_fails_its_kind_only(scan: Scan, trouble: Reply, tries: int, said: str) -> None:
    scan.server.script("/api/v1/namespaces", listing({"metadata": {"name": "shop"}}))
    scan.server.script(PODS, trouble)
    reading = scan.run()
    assert names(reading, "Namespace") == ["shop"]
    assert (count(reading, "Pod").status, reading.complete) == ("failed", False)
    assert said in count(reading, "Pod").detail
    [(identifier, detail)] = findings(reading)
    assert identifier == "SCAN-KIND-FAILED"
    assert detail.startswith("v1 Pod: ")
    assert said in detail
    assert scan.server.asked(PODS) == tries
    assert scan.server.asked("/api/v1/secrets") == 0


def test_pages_before_a_failure_are_kept_and_counted(scan: Scan) -> None:
    scan.server.script(f"{PODS}?limit=500", listing(pod("a"), token="next"))
    scan.server.script(f"{PODS}?limit=500&continue=next", error(403, "rights were taken away"))
    reading = scan.run()
    assert (count(reading, "Pod").status, count(reading, "Pod").count, names(reading)) == ("forbidden", 1, ["a"])
    assert "v1 Pod after the first 1: " in reading.findings[0].detail


def test_pages_are_followed_to_the_end_and_progress_is_told(scan: Scan) -> None:
    scan.server.script(f"{PODS}?limit=500", listing(pod("b"), token="x=&y", remaining=1))
    scan.server.script(f"{PODS}?limit=500&continue=x%3D%26y", listing(pod("a")))
    assert names(scan.run()) == ["a", "b"]
    assert [step for step in scan.progress if step[0] == "Pod"] == [("Pod", 1, 2), ("Pod", 2, None)]


def test_a_list_without_an_end_is_a_failure(scan: Scan) -> None:
    scan.server.script(PODS, listing(pod(), token="same"))
    reading = scan.run()
    assert count(reading, "Pod").status == "failed"
    assert scan.server.asked(PODS) == 2


def test_an_expired_list_goes_on_where_the_server_says(scan: Scan) -> None:
    scan.server.script(f"{PODS}?limit=500", listing(pod("a"), token="old"))
    scan.server.script(f"{PODS}?limit=500&continue=old", error(410, "too old", token="fresh"))
    scan.server.script(f"{PODS}?limit=500&continue=fresh", listing(pod("b")))
    reading = scan.run()
    assert (names(reading), count(reading, "Pod").status) == (["a", "b"], "read")
    [(identifier, detail)] = findings(reading)
    assert (identifier, detail.startswith("v1 Pod: ")) == ("SCAN-LIST-INCONSISTENT", True)


def test_an_expired_list_without_a_place_to_go_on_starts_over(scan: Scan) -> None:
    scan.server.script(f"{PODS}?limit=500", listing(pod("a"), token="old"), listing(pod("a"), pod("b")))
    scan.server.script(f"{PODS}?limit=500&continue=old", error(410, "too old"))
    reading = scan.run()
    assert (names(reading), reading.findings) == (["a", "b"], ())


def test_a_list_that_expires_for_ever_is_a_failure(scan: Scan) -> None:
    scan.server.script(PODS, error(410, "too old"))
    assert count(scan.run(), "Pod").status == "failed"


ODD_PODS = [
    pytest.param(pod(spec={"containers": None, "nodeName": "n1"}), {"nodeName": "n1"}, [], id="null for a list"),
    pytest.param(
        pod(spec={"containers": [None, {"name": "main", "env": [{"name": "PASSWORD"}]}]}),
        {"containers": [{"name": "main"}]},
        [],
        id="null in a list",
    ),
    pytest.param(pod(spec=None), None, [], id="null for the whole spec"),
    pytest.param(
        pod(spec={"containers": "main", "hostNetwork": True}),
        {"hostNetwork": True},
        ["v1 Pod: shop/web: spec.containers is not of the type it should be; it was left out"],
        id="text for a list",
    ),
    pytest.param(
        pod(spec={"containers": [{"name": "main", "ports": [7]}]}),
        {"containers": [{"name": "main", "ports": []}]},
        ["v1 Pod: shop/web: spec.containers[0].ports[0] is not of the type it should be; it was left out"],
        id="a number for an object in a list",
    ),
    pytest.param(pod(spec={"futureField": {"a": 1}, "nodeName": 7}), {"nodeName": 7}, [], id="fields of the future"),
]


@pytest.mark.parametrize(("odd", "spec", "said"), ODD_PODS)
def test_one_odd_object_does_not_fail_its_page(
    scan: Scan, odd: dict[str, object], spec: dict[str, object] | None, said: list[str]
) -> None:
    scan.server.script(PODS, listing(pod("before"), odd, pod("zz")))
    reading = scan.run()
    assert names(reading) == ["before", "web", "zz"]
    assert next(raw for raw in reading.objects if raw.ref.name == "web").data.get("spec") == spec
    assert findings(reading) == [("SCAN-OBJECT-UNREADABLE", detail) for detail in said]


@pytest.mark.parametrize("entry", [None, "text", 7, {}, {"metadata": None}, {"metadata": {"name": 7}}])
def test_an_entry_that_is_no_object_is_left_out_and_said(scan: Scan, entry: object) -> None:
    scan.server.script(PODS, listing(pod("a"), entry))
    reading = scan.run()
    assert (names(reading), reading.complete) == (["a"], False)
    expected = "v1 Pod: entry 1 of a page is not an object with a name; it was left out"
    assert findings(reading) == [("SCAN-OBJECT-UNREADABLE", expected)]


def test_odd_and_usual_pages_give_the_same_objects(scan: Scan) -> None:
    container = {"ports": [{"protocol": "TCP", "containerPort": 80}], "name": "main", "args": ["x"]}
    usual = pod(status={"phase": "Running"}, spec={"containers": [container], "nodeName": "n1"})
    scan.server.script(PODS, listing(usual))
    fast = scan.run().objects[0].data
    scan.server.script(PODS, listing(usual, pod("zz", spec={"containers": [None]})))
    slow = scan.run().objects[0].data
    assert json.dumps(fast) == json.dumps(slow)


@pytest.mark.parametrize("containers", [[], [7]], ids=["usual", "odd"])
def test_an_answer_with_line_breaks_gives_one_line_an_object(scan: Scan, containers: list[int]) -> None:
    labels = {"app": "web", "team": "é"}
    item = {"metadata": {"name": "web", "namespace": "shop", "labels": labels}, "spec": {"containers": containers}}
    scan.server.script(PODS, Reply(200, json.dumps({"items": [item]}, indent=2, ensure_ascii=False).encode()))
    found = scan.run().objects
    assert [line.count(b"\n") for line in found.lines] == [0]
    assert found[0].data["metadata"] == item["metadata"]


def test_a_null_list_is_an_empty_one(scan: Scan) -> None:
    scan.server.script(PODS, as_json({"kind": "PodList", "metadata": {}, "items": None}))
    assert count(scan.run(), "Pod") == KindCount("v1", "Pod", "read", 0)


def test_pods_lose_what_is_nobodys_business(scan: Scan) -> None:
    container = {
        "name": "main",
        "image": "web:1",
        "env": [{"name": "PASSWORD", "value": "hush"}],
        "args": ["--token=hush"],
        "command": ["hush"],
        "livenessProbe": {"httpGet": {"port": "http", "httpHeaders": [{"name": "X", "value": "hush"}]}},
    }
    metadata = {"name": "web", "namespace": "shop", "annotations": {"x": "hush"}, "managedFields": [{"x": "hush"}]}
    scan.server.script(PODS, listing({"metadata": metadata, "spec": {"containers": [container]}}))
    [raw] = scan.run().objects
    assert raw.data == {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {
            "containers": [{"name": "main", "image": "web:1", "livenessProbe": {"httpGet": {"port": "http"}}}],
        },
    }
    assert (raw.source, raw.at("spec")) == (None, None)


def test_of_containers_statuses_only_the_last_ending_is_kept(scan: Scan) -> None:
    statuses = [
        {"name": "a", "containerID": "hush", "lastState": {"terminated": {"reason": "OOMKilled", "exitCode": 1}}}
    ]
    scan.server.script(PODS, listing(pod("web", status={"phase": "Running", "containerStatuses": statuses})))
    [raw] = scan.run().objects
    kept = [{"lastState": {"terminated": {"reason": "OOMKilled"}}}]
    assert raw.data["status"] == {"phase": "Running", "containerStatuses": kept}


def test_of_a_services_annotations_only_those_for_the_balancer_are_kept(scan: Scan) -> None:
    ranges = {"service.beta.kubernetes.io/azure-allowed-ip-ranges": "203.0.113.0/24"}
    metadata = {"name": "web", "namespace": "shop", "annotations": {**ranges, "x": "hush"}}
    scan.server.script("/api", aggregated(("v1", "Service")))
    scan.server.script("/api/v1/services", listing({"metadata": metadata, "spec": {"type": "LoadBalancer"}}))
    [raw] = scan.run().objects
    assert raw.data["metadata"] == {"name": "web", "namespace": "shop", "annotations": ranges}


def test_only_kube_proxy_shows_its_arguments(scan: Scan) -> None:
    volumes = [{"name": "token", "secret": {"secretName": "hush"}}, {"name": "cni", "hostPath": {"path": "/etc/cni"}}]
    container = {"name": "main", "image": "web:1", "args": ["--proxy-mode=ipvs"]}
    template = {"template": {"spec": {"containers": [container], "volumes": volumes}}}
    scan.server.script("/apis", aggregated(("apps/v1", "DaemonSet")))
    proxy, agent = pod("kube-proxy-windows", "kube-system", spec=template), pod("agent", spec=template)
    scan.server.script("/apis/apps/v1/daemonsets", listing(proxy, agent))
    specs = {raw.ref.name: raw.data["spec"] for raw in scan.run().objects}
    assert specs == {
        "kube-proxy-windows": {"template": {"spec": {"containers": [container]}}},
        "agent": {
            "template": {
                "spec": {
                    "containers": [{"name": "main", "image": "web:1"}],
                    "volumes": [{}, {"hostPath": {"path": "/etc/cni"}}],
                }
            }
        },
    }


def test_policies_keep_their_text_and_their_owner(scan: Scan) -> None:
    annotations = {
        "kubectl.kubernetes.io/last-applied-configuration": "{}",
        "meta.helm.sh/release-name": "shop",
        "note": "x",
    }
    metadata = {"name": "deny", "namespace": "shop", "annotations": annotations, "managedFields": [], "uid": "1"}
    policy = {"metadata": metadata, "spec": {"podSelector": {}, "futureField": None}, "status": {"conditions": []}}
    scan.server.script("/apis", aggregated(("networking.k8s.io/v1", "NetworkPolicy")))
    scan.server.script("/apis/networking.k8s.io/v1/networkpolicies", listing(policy))
    [raw] = scan.run().objects
    assert raw.data == {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": "deny", "namespace": "shop", "annotations": {"meta.helm.sh/release-name": "shop"}},
        "spec": {"podSelector": {}, "futureField": None},
    }


def test_objects_are_in_the_order_of_their_identity(scan: Scan) -> None:
    scan.server.script("/apis", aggregated(("apps/v1", "DaemonSet")))
    scan.server.script("/apis/apps/v1/daemonsets", listing(pod("agent", "kube-system")))
    scan.server.script(PODS, listing(pod("b", "shop-eu"), pod("b", "shop"), pod("a", "shop")))
    reading = scan.run()
    assert [str(raw.ref) for raw in reading.objects] == [
        "DaemonSet kube-system/agent",
        "Pod shop/a",
        "Pod shop/b",
        "Pod shop-eu/b",
    ]
    assert [raw.ref for raw in reading.objects[1:3]] == [reading.objects[1].ref, reading.objects[2].ref]


def test_every_request_is_a_get_that_offers_gzip(scan: Scan) -> None:
    scan.server.script(PODS, zipped({"items": [pod()]}))
    assert names(scan.run(as_user="jane", as_groups=("dev", "ops"))) == ["web"]
    assert {request.partition(" ")[0] for request in scan.server.requests} == {"GET"}
    assert not [request for request in scan.server.requests if "secret" in request]
    for headers in scan.server.headers:
        assert headers["Accept-Encoding"] == ["gzip"]
        assert headers["Authorization"] == ["Bearer secret"]
        assert (headers["Impersonate-User"], headers["Impersonate-Group"]) == (["jane"], ["dev", "ops"])


def test_wrong_credentials_say_what_to_do(scan: Scan) -> None:
    scan.server.script("/version", error(401, "Unauthorized"))
    with pytest.raises(ClusterError, match=r"127\.0\.0\.1:\d+: 401: .* expired; log in again"):
        scan.run()
    assert scan.slept == []


def test_no_right_at_all_is_an_error_and_not_an_empty_cluster(scan: Scan) -> None:
    for path in ("/api/v1/namespaces", PODS):
        scan.server.script(path, error(403, 'User "jane" cannot list'))
    for name in ("azure-npm-config", "cilium-config"):
        scan.server.script(f"/api/v1/namespaces/kube-system/configmaps/{name}", error(403))
    with pytest.raises(ClusterError, match=r'nothing could be read \(.*User "jane" cannot list.*docs/rbac\.md'):
        scan.run()


def test_a_server_that_never_gets_well_is_an_error(scan: Scan) -> None:
    scan.server.script("/version", error(503, "starting"))
    with pytest.raises(ClusterError, match="503: starting"):
        scan.run()
    assert len(scan.slept) == 4


def test_nobody_listening_is_said_at_once(scan: Scan, tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    scan.kubeconfig = write_kubeconfig(tmp_path / "refused", f"http://127.0.0.1:{port}")
    with pytest.raises(ClusterError, match=rf"127\.0\.0\.1:{port}: no connection: Connection refused; .*--context"):
        scan.run()
    assert scan.slept == []


def test_a_name_that_does_not_resolve_is_said(scan: Scan, tmp_path: Path) -> None:
    scan.kubeconfig = write_kubeconfig(tmp_path / "name", "https://cluster.invalid:6443")
    with pytest.raises(ClusterError, match=r"cluster\.invalid:6443: the name does not resolve"):
        scan.run()


def test_a_server_without_tls_where_it_is_expected_is_said(scan: Scan, tmp_path: Path) -> None:
    address = scan.server.url.removeprefix("http://")
    scan.kubeconfig = write_kubeconfig(tmp_path / "tls", f"https://{address}")
    with pytest.raises(ClusterError, match=f"{address}: no trusted connection: .*certificate-authority"):
        scan.run()


def test_a_server_that_goes_away_is_not_waited_for_again_and_again(scan: Scan) -> None:
    kinds = ["DaemonSet", "Deployment", "StatefulSet"]
    scan.server.script("/apis", aggregated(*(("apps/v1", kind) for kind in kinds)))
    scan.server.script("/api/v1/namespaces", as_json({"items": []}, 200, ("Connection", "close")))
    connection = connect(ConnectionOptions(kubeconfig=scan.kubeconfig))
    reading = read_cluster(connection, None, lambda *step: scan.server.stop(), Patience(sleep=scan.slept.append))
    assert count(reading, "Namespace").status == "read"
    assert {entry.status for entry in reading.kinds if entry.kind in ("Pod", *kinds)} == {"failed"}
    assert len(scan.slept) == 4


@pytest.mark.parametrize("stop", [KeyboardInterrupt, ClusterError])
def test_the_collector_is_on_again_however_a_scan_ends(scan: Scan, stop: type[BaseException]) -> None:
    def interrupt(kind: str, read: int, total: int | None) -> None:
        assert not gc.isenabled()
        raise stop

    with pytest.raises(stop):
        read_cluster(connect(ConnectionOptions(kubeconfig=scan.kubeconfig)), None, interrupt)
    assert gc.isenabled()


def test_a_namespace_that_does_not_exist_is_an_error(scan: Scan) -> None:
    scan.server.script("/api/v1/namespaces", listing({"metadata": {"name": "payments"}}))
    with pytest.raises(InputError, match="no namespace paymnts; did you mean payments"):
        scan.run("paymnts")


@pytest.mark.parametrize("name", ["..", "kube-system/secrets?x=", "Shop", "", "a" * 64])
def test_what_cannot_be_a_namespace_is_never_asked_for(scan: Scan, name: str) -> None:
    with pytest.raises(InputError, match="cannot be a namespace"):
        scan.run(name)
    assert scan.server.requests == []


def test_given_namespaces_are_read_alone_and_once(scan: Scan) -> None:
    scan.server.script("/api/v1/namespaces", error(403, "not yours"))
    scan.server.script("/api/v1/namespaces/shop", as_json({"metadata": {"name": "shop", "labels": {"team": "a"}}}))
    scan.server.script("/api/v1/namespaces/shop/pods", listing(pod()))
    scan.server.script("/api/v1/namespaces/other/pods", error(403, "not yours"))
    reading = scan.run("shop", "other", "shop")
    assert (names(reading, "Namespace"), names(reading)) == (["shop"], ["web"])
    assert scan.server.asked(PODS) == 0
    assert scan.server.asked("/api/v1/namespaces/shop/pods") == 1
    assert [(entry.kind, entry.status, entry.count) for entry in reading.kinds if entry.status == "forbidden"] == [
        ("Namespace", "forbidden", 1),
        ("Pod", "forbidden", 1),
    ]
