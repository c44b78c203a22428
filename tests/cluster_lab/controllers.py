"""What a controller manager and a scheduler do for the lab: pods of DaemonSets, and the end of what is deleted."""

from __future__ import annotations

import copy
from datetime import UTC, datetime
from typing import cast

from tests.apiserver.admin import Client, Object
from tests.cluster_lab.objects import is_going, items, listed, name_of, part, pod_path, uid_of

_TOLERATED = (
    ("node.kubernetes.io/not-ready", "NoExecute"),
    ("node.kubernetes.io/unreachable", "NoExecute"),
    ("node.kubernetes.io/disk-pressure", "NoSchedule"),
    ("node.kubernetes.io/memory-pressure", "NoSchedule"),
    ("node.kubernetes.io/pid-pressure", "NoSchedule"),
    ("node.kubernetes.io/unschedulable", "NoSchedule"),
    ("node.kubernetes.io/network-unavailable", "NoSchedule"),
)
"""What every pod of a DaemonSet tolerates. Source: Kubernetes' documentation of DaemonSets, taints and tolerations."""
_SETS = "/apis/apps/v1/daemonsets"
_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
_KINDS = (
    "/apis/apps/v1/namespaces/{}/daemonsets",
    "/api/v1/namespaces/{}/pods",
    "/api/v1/namespaces/{}/configmaps",
    "/api/v1/namespaces/{}/serviceaccounts",
    "/apis/coordination.k8s.io/v1/namespaces/{}/leases",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/roles",
    "/apis/rbac.authorization.k8s.io/v1/namespaces/{}/rolebindings",
    "/api/v1/namespaces/{}/resourcequotas",
    "/api/v1/namespaces/{}/events",
)
_IN_BACKGROUND = {"propagationPolicy": "Background"}


class Controllers:
    """What they know of namespaces that they have furnished."""

    def __init__(self, admin: Client, authority: str) -> None:
        self._admin = admin
        self._authority = authority
        self._furnished: set[str] = set()

    def work(self) -> None:
        """One turn of all controllers. While the API server does not answer there is nothing to do."""
        _care_for_pods(self._admin)
        for namespace in items(self._admin, "/api/v1/namespaces") or []:
            if is_going(namespace):
                _finalize(self._admin, namespace)
            elif uid_of(namespace) not in self._furnished:
                self._furnish(name_of(namespace))
                self._furnished.add(uid_of(namespace))

    def _furnish(self, namespace: str) -> None:
        """What is in every namespace."""
        path, authority = f"/api/v1/namespaces/{namespace}", {"ca.crt": self._authority}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "kube-root-ca.crt"}, "data": authority}
        self._admin.call("POST", f"{path}/configmaps", made)
        account = {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}}
        self._admin.call("POST", f"{path}/serviceaccounts", account)


def _care_for_pods(admin: Client) -> None:
    sets, nodes, pods = items(admin, _SETS), items(admin, "/api/v1/nodes"), items(admin, "/api/v1/pods")
    if sets is None or nodes is None or pods is None:
        return
    for made in sets:
        _care(admin, made, nodes, _owned(made, pods))
    _collect(admin, {uid_of(made) for made in sets}, {name_of(node) for node in nodes}, pods)


def _owned(made: Object, pods: list[Object]) -> list[Object]:
    return [pod for pod in pods if uid_of(made) in _owners(pod)]


def _owners(pod: Object) -> list[str]:
    return [str(owner["uid"]) for owner in listed(part(pod, "metadata"), "ownerReferences") if owner["kind"] == _KIND]


_KIND = "DaemonSet"


def _care(admin: Client, made: Object, nodes: list[Object], pods: list[Object]) -> None:
    if is_going(made):
        for pod in pods:
            _delete(admin, pod)
        if not pods:
            _let_go(admin, made)
        return
    template = part(made, "spec", "template")
    wanted = {name_of(node) for node in nodes if _fits(template, node)}
    alive = []
    for pod in pods:
        node = str(part(pod, "spec").get("nodeName"))
        if node not in wanted or part(pod, "status").get("phase") in ("Failed", "Succeeded"):
            _delete(admin, pod)
        alive.append(node)
    for node in sorted(wanted - set(alive)):
        _create(admin, made, node)
    _tell(admin, made, wanted, pods)


def _create(admin: Client, made: Object, node: str) -> None:
    """A pod that fits one node, bound to it. A quota or an admission that refuses it is told in an event."""
    metadata, template = part(made, "metadata"), part(made, "spec", "template")
    spec = copy.deepcopy(part(template, "spec"))
    added = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED]
    spec["tolerations"] = [*listed(spec, "tolerations"), *added]
    spec["affinity"] = _affinity(spec, node)
    spec["nodeName"] = node
    if spec.get("automountServiceAccountToken") is not False:
        _mount_account(spec)
    owner = {"apiVersion": "apps/v1", "kind": _KIND, "name": metadata["name"], "uid": metadata["uid"]}
    about = {name: part(template, "metadata").get(name) or {} for name in ("labels", "annotations")}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**about, "generateName": f"{metadata['name']}-", "ownerReferences": [owner | _CONTROLS]},
        "spec": spec,
    }
    status, answer = admin.call("POST", f"/api/v1/namespaces/{metadata['namespace']}/pods", pod)
    if status >= 300:
        _say(admin, made, "FailedCreate", str(answer.get("message")))


def _affinity(spec: Object, node: str) -> Object:
    """That of the template, for one node."""
    required = part(spec, "affinity", "nodeAffinity", _REQUIRED)
    field = {"key": "metadata.name", "operator": "In", "values": [node]}
    terms = [term | {"matchFields": [field]} for term in listed(required, "nodeSelectorTerms") or [{}]]
    near = part(spec, "affinity", "nodeAffinity") | {_REQUIRED: {"nodeSelectorTerms": terms}}
    return part(spec, "affinity") | {"nodeAffinity": near}


_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_CONTROLS = {"controller": True, "blockOwnerDeletion": True}


def _mount_account(spec: Object) -> None:
    """As the admission of service accounts does, which the lab's API server has turned off."""
    sources = [
        {"serviceAccountToken": {"expirationSeconds": 3607, "path": "token"}},
        {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
    ]
    spec["volumes"] = [*listed(spec, "volumes"), {"name": "kube-api-access", "projected": {"sources": sources}}]
    for container in listed(spec, "containers"):
        mount = {"name": "kube-api-access", "mountPath": _ACCOUNT, "readOnly": True}
        container["volumeMounts"] = [*listed(container, "volumeMounts"), mount]


def _say(admin: Client, made: Object, reason: str, message: str) -> None:
    metadata = part(made, "metadata")
    about = {"apiVersion": "apps/v1", "kind": _KIND, **{key: metadata[key] for key in ("name", "namespace", "uid")}}
    event = {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{metadata['name']}.{reason.lower()}", "namespace": metadata["namespace"]},
        "involvedObject": about,
        "reason": reason,
        "message": message,
        "type": "Warning",
        "lastTimestamp": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
    }
    admin.call("POST", f"/api/v1/namespaces/{metadata['namespace']}/events", event)


def _tell(admin: Client, made: Object, wanted: set[str], pods: list[Object]) -> None:
    ready = [pod for pod in pods if _is_ready(pod)]
    status = {
        "currentNumberScheduled": len(pods),
        "desiredNumberScheduled": len(wanted),
        "numberMisscheduled": 0,
        "numberReady": len(ready),
        "numberAvailable": len(ready),
        "numberUnavailable": len(wanted) - len(ready),
        "updatedNumberScheduled": len(pods),
        "observedGeneration": part(made, "metadata")["generation"],
    }
    if any(part(made, "status").get(name, 0) != value for name, value in status.items()):
        metadata = part(made, "metadata")
        path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/daemonsets/{metadata['name']}/status"
        admin.call("PUT", path, made | {"status": status})


def _is_ready(pod: Object) -> bool:
    conditions = listed(part(pod, "status"), "conditions")
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def _fits(template: Object, node: Object) -> bool:
    """Whether a DaemonSet has a pod on a node: selector, affinity and taints."""
    spec, labels = part(template, "spec"), cast("dict[str, str]", part(node, "metadata", "labels"))
    selected = all(labels.get(key) == value for key, value in part(spec, "nodeSelector").items())
    required = part(spec, "affinity", "nodeAffinity", _REQUIRED)
    terms = listed(required, "nodeSelectorTerms")
    near = not terms or any(_matches(term, node, labels) for term in terms)
    added: list[Object] = [{"key": key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED]
    tolerations = [*listed(spec, "tolerations"), *added]
    taints = [taint for taint in listed(part(node, "spec"), "taints") if taint["effect"] != "PreferNoSchedule"]
    return selected and near and all(any(_tolerates(one, taint) for one in tolerations) for taint in taints)


def _matches(term: Object, node: Object, labels: dict[str, str]) -> bool:
    rules = listed(term, "matchExpressions")
    fields = listed(term, "matchFields")
    named = {"metadata.name": name_of(node)}
    return all(_holds(rule, labels) for rule in rules) and all(_holds(rule, named) for rule in fields)


def _holds(rule: Object, values: dict[str, str]) -> bool:
    key, wanted = str(rule["key"]), cast("list[str]", rule.get("values") or [])
    match str(rule["operator"]):
        case "In":
            return values.get(key) in wanted
        case "NotIn":
            return values.get(key) not in wanted
        case "Exists":
            return key in values
        case "DoesNotExist":
            return key not in values
    raise AssertionError(f"no test asks for node selectors with {rule['operator']}")


def _tolerates(toleration: Object, taint: Object) -> bool:
    if toleration.get("effect") not in (None, "", taint["effect"]):
        return False
    if toleration.get("operator") == "Exists":
        return toleration.get("key") in (None, "", taint["key"])
    same_value = toleration.get("value", "") == taint.get("value", "")
    return toleration.get("key") == taint["key"] and same_value


def _collect(admin: Client, sets: set[str], nodes: set[str], pods: list[Object]) -> None:
    """Pods whose owner is gone, and those of nodes that are gone, which no kubelet ends any more."""
    for pod in pods:
        owners = _owners(pod)
        if owners and not sets.intersection(owners):
            _delete(admin, pod)
        if part(pod, "spec").get("nodeName") not in nodes:
            admin.call("DELETE", f"{pod_path(pod)}?gracePeriodSeconds=0")


def _delete(admin: Client, pod: Object) -> None:
    if not is_going(pod):
        admin.call("DELETE", pod_path(pod), _IN_BACKGROUND)


def _let_go(admin: Client, made: Object) -> None:
    """Whoever deletes in the foreground waits for this."""
    metadata = part(made, "metadata")
    path = f"/apis/apps/v1/namespaces/{metadata['namespace']}/daemonsets/{metadata['name']}"
    admin.call("PUT", path, made | {"metadata": metadata | {"finalizers": []}})


def _finalize(admin: Client, namespace: Object) -> None:
    name, left = name_of(namespace), 0
    for kind in _KINDS:
        path = kind.format(name)
        for made in items(admin, path) or []:
            left += 1
            if not is_going(made):
                admin.call("DELETE", f"{path}/{name_of(made)}", _IN_BACKGROUND)
    if not left:
        admin.call("PUT", f"/api/v1/namespaces/{name}/finalize", namespace | {"spec": {"finalizers": []}})
