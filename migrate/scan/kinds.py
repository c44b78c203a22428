"""Which kinds a scan reads, and which of their fields.

A kind with a shape is cut to it as it is read. A kind without one is a policy or a setting of an engine: its text is
what gets translated, so it is kept whole.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from migrate.scan.prune import KEEP, METADATA, Shape

CALICO_STORAGE = "crd.projectcalico.org/v1"
CALICO_API = "projectcalico.org/v3"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind to read; `api_versions` are the ones known to hold the same objects, the preferred one first.

    `detailed` are the few objects that have a shape of their own: how "namespace/name" begins, and that shape.
    """

    kind: str
    plural: str
    namespaced: bool
    api_versions: tuple[str, ...]
    shape: Mapping[str, Shape] | None = None
    detailed: tuple[str, Mapping[str, Shape]] | None = None

    def path(self, api_version: str, namespace: str | None = None) -> str:
        """Where the API server lists the kind, in all namespaces or in one."""
        root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
        return f"{root}/{self.plural}" if namespace is None else f"{root}/namespaces/{namespace}/{self.plural}"


_OWNERS: Shape = [{"apiVersion": KEEP, "kind": KEEP, "name": KEEP, "controller": KEEP}]
_OWNED: Mapping[str, Shape] = {"name": KEEP, "namespace": KEEP, "labels": KEEP, "ownerReferences": _OWNERS}
_PROBE: Shape = {"httpGet": {"port": KEEP}, "tcpSocket": {"port": KEEP}, "grpc": {"port": KEEP}}
_CONTAINERS: Shape = [
    {
        "name": KEEP,
        "image": KEEP,
        "restartPolicy": KEEP,
        "ports": [{"name": KEEP, "containerPort": KEEP, "hostPort": KEEP, "protocol": KEEP}],
        "livenessProbe": _PROBE,
        "readinessProbe": _PROBE,
        "startupProbe": _PROBE,
    }
]
_POD_SPEC: Mapping[str, Shape] = {
    "nodeName": KEEP,
    "nodeSelector": KEEP,
    "hostNetwork": KEEP,
    "serviceAccountName": KEEP,
    "initContainers": _CONTAINERS,
    "containers": _CONTAINERS,
}
_TEMPLATE: Shape = {"metadata": {"labels": KEEP}, "spec": _POD_SPEC}
_HOST_FOLDERS: Shape = [{"hostPath": {"path": KEEP}}]
"""Which folders of the node are mounted: CNI plugins write theirs."""

_POD: Mapping[str, Shape] = {
    "metadata": {**_OWNED, "creationTimestamp": KEEP, "deletionTimestamp": KEEP},
    "spec": _POD_SPEC,
    "status": {
        "phase": KEEP,
        "podIP": KEEP,
        "podIPs": KEEP,
        "hostIP": KEEP,
        "containerStatuses": [
            {"state": {"running": {"startedAt": KEEP}}, "lastState": {"terminated": {"reason": KEEP}}}
        ],
    },
}
_NODE: Mapping[str, Shape] = {
    "metadata": METADATA,
    "spec": {"podCIDR": KEEP, "podCIDRs": KEEP, "providerID": KEEP, "taints": KEEP, "unschedulable": KEEP},
    "status": {
        "addresses": KEEP,
        "conditions": [{"type": KEEP, "status": KEEP, "reason": KEEP}],
        "nodeInfo": {
            "architecture": KEEP,
            "containerRuntimeVersion": KEEP,
            "kernelVersion": KEEP,
            "kubeProxyVersion": KEEP,
            "kubeletVersion": KEEP,
            "operatingSystem": KEEP,
            "osImage": KEEP,
        },
    },
}
_SERVICE_ANNOTATIONS: Shape = dict.fromkeys(
    (
        "service.beta.kubernetes.io/azure-allowed-ip-ranges",
        "service.beta.kubernetes.io/azure-allowed-service-tags",
        "service.beta.kubernetes.io/azure-load-balancer-health-probe-num-of-probe",
        "service.beta.kubernetes.io/azure-load-balancer-health-probe-interval",
        "service.beta.kubernetes.io/azure-load-balancer-health-probe-protocol",
        "service.beta.kubernetes.io/azure-load-balancer-health-probe-request-path",
        "service.beta.kubernetes.io/azure-load-balancer-internal",
        "service.beta.kubernetes.io/load-balancer-source-ranges",
    ),
    KEEP,
)
"""What Azure's load balancer is told by annotations: which clients it lets in, and how it asks for health."""
_SERVICE: Mapping[str, Shape] = {
    "metadata": {"name": KEEP, "namespace": KEEP, "labels": KEEP, "annotations": _SERVICE_ANNOTATIONS},
    "spec": {
        "type": KEEP,
        "selector": KEEP,
        "clusterIP": KEEP,
        "clusterIPs": KEEP,
        "externalIPs": KEEP,
        "externalName": KEEP,
        "externalTrafficPolicy": KEEP,
        "internalTrafficPolicy": KEEP,
        "healthCheckNodePort": KEEP,
        "ipFamilies": KEEP,
        "ipFamilyPolicy": KEEP,
        "loadBalancerIP": KEEP,
        "loadBalancerSourceRanges": KEEP,
        "publishNotReadyAddresses": KEEP,
        "ports": KEEP,
    },
    "status": {"loadBalancer": {"ingress": KEEP}},
}
_ENDPOINT_SLICE: Mapping[str, Shape] = {
    "metadata": METADATA,
    "addressType": KEEP,
    "endpoints": [
        {
            "addresses": KEEP,
            "conditions": KEEP,
            "nodeName": KEEP,
            "targetRef": {"kind": KEEP, "name": KEEP, "namespace": KEEP},
        }
    ],
    "ports": KEEP,
}
_INGRESS: Mapping[str, Shape] = {
    "metadata": {
        "name": KEEP,
        "namespace": KEEP,
        "labels": KEEP,
        "annotations": {"kubernetes.io/ingress.class": KEEP},
    },
    "spec": {"ingressClassName": KEEP},
}
_DAEMON_SET_STATUS: Shape = {
    "currentNumberScheduled": KEEP,
    "desiredNumberScheduled": KEEP,
    "numberReady": KEEP,
    "updatedNumberScheduled": KEEP,
}
_AGENT: Shape = {"metadata": {"labels": KEEP}, "spec": {**_POD_SPEC, "volumes": _HOST_FOLDERS}}
_DAEMON_SET: Mapping[str, Shape] = {
    "metadata": _OWNED,
    "spec": {"selector": KEEP, "template": _AGENT},
    "status": _DAEMON_SET_STATUS,
}
_KUBE_PROXY_CONTAINERS: Shape = [{"name": KEEP, "image": KEEP, "command": KEEP, "args": KEEP}]
_KUBE_PROXY: Mapping[str, Shape] = {
    "metadata": _OWNED,
    "spec": {"selector": KEEP, "template": {"spec": {"nodeSelector": KEEP, "containers": _KUBE_PROXY_CONTAINERS}}},
    "status": _DAEMON_SET_STATUS,
}
"""Where no ConfigMap says kube-proxy's mode (AKS), its arguments do; no other object's arguments are kept."""
_DEPLOYMENT: Mapping[str, Shape] = {
    "metadata": _OWNED,
    "spec": {"replicas": KEEP, "selector": KEEP, "template": _TEMPLATE},
    "status": {"replicas": KEEP, "readyReplicas": KEEP},
}
_STATEFUL_SET: Mapping[str, Shape] = {
    "metadata": _OWNED,
    "spec": {"replicas": KEEP, "selector": KEEP, "serviceName": KEEP, "template": _TEMPLATE},
    "status": {"replicas": KEEP, "readyReplicas": KEEP},
}
_CRON_JOB: Mapping[str, Shape] = {
    "metadata": _OWNED,
    "spec": {"schedule": KEEP, "suspend": KEEP, "jobTemplate": {"spec": {"template": _TEMPLATE}}},
}
_BUDGET: Mapping[str, Shape] = {
    "metadata": METADATA,
    "spec": {"minAvailable": KEEP, "maxUnavailable": KEEP, "selector": KEEP},
    "status": {"currentHealthy": KEEP, "desiredHealthy": KEEP, "disruptionsAllowed": KEEP, "expectedPods": KEEP},
}
_INSTALLATION: Mapping[str, Shape] = {
    "metadata": METADATA,
    "spec": KEEP,
    "status": {"calicoVersion": KEEP, "computed": KEEP, "variant": KEEP},
}
_CILIUM_NODE: Mapping[str, Shape] = {
    "metadata": METADATA,
    "spec": {"addresses": KEEP, "ipam": {"podCIDRs": KEEP}},
}
_CONFIG_MAP: Mapping[str, Shape] = {"metadata": METADATA, "data": KEEP}


def _calico(kind: str, plural: str, *, namespaced: bool = False) -> Kind:
    return Kind(kind, plural, namespaced, (CALICO_STORAGE, CALICO_API))


NAMESPACE = Kind("Namespace", "namespaces", False, ("v1",), {"metadata": METADATA, "status": {"phase": KEEP}})

KINDS: tuple[Kind, ...] = (
    NAMESPACE,
    Kind("Node", "nodes", False, ("v1",), _NODE),
    Kind("Pod", "pods", True, ("v1",), _POD),
    Kind("Service", "services", True, ("v1",), _SERVICE),
    Kind("ServiceAccount", "serviceaccounts", True, ("v1",), {"metadata": METADATA}),
    Kind("DaemonSet", "daemonsets", True, ("apps/v1",), _DAEMON_SET, ("kube-system/kube-proxy", _KUBE_PROXY)),
    Kind("Deployment", "deployments", True, ("apps/v1",), _DEPLOYMENT),
    Kind("StatefulSet", "statefulsets", True, ("apps/v1",), _STATEFUL_SET),
    Kind("CronJob", "cronjobs", True, ("batch/v1",), _CRON_JOB),
    Kind("Ingress", "ingresses", True, ("networking.k8s.io/v1",), _INGRESS),
    Kind("EndpointSlice", "endpointslices", True, ("discovery.k8s.io/v1",), _ENDPOINT_SLICE),
    Kind("PodDisruptionBudget", "poddisruptionbudgets", True, ("policy/v1",), _BUDGET),
    Kind("NodePool", "nodepools", False, ("karpenter.sh/v1", "karpenter.sh/v1beta1")),
    Kind("NetworkPolicy", "networkpolicies", True, ("networking.k8s.io/v1",)),
    Kind("AdminNetworkPolicy", "adminnetworkpolicies", False, ("policy.networking.k8s.io/v1alpha1",)),
    Kind("BaselineAdminNetworkPolicy", "baselineadminnetworkpolicies", False, ("policy.networking.k8s.io/v1alpha1",)),
    Kind("ClusterNetworkPolicy", "clusternetworkpolicies", False, ("policy.networking.k8s.io/v1alpha2",)),
    _calico("NetworkPolicy", "networkpolicies", namespaced=True),
    _calico("GlobalNetworkPolicy", "globalnetworkpolicies"),
    _calico("NetworkSet", "networksets", namespaced=True),
    _calico("GlobalNetworkSet", "globalnetworksets"),
    _calico("HostEndpoint", "hostendpoints"),
    _calico("Tier", "tiers"),
    _calico("StagedNetworkPolicy", "stagednetworkpolicies", namespaced=True),
    _calico("StagedGlobalNetworkPolicy", "stagedglobalnetworkpolicies"),
    _calico("StagedKubernetesNetworkPolicy", "stagedkubernetesnetworkpolicies", namespaced=True),
    _calico("Profile", "profiles"),
    _calico("FelixConfiguration", "felixconfigurations"),
    _calico("IPPool", "ippools"),
    _calico("BGPConfiguration", "bgpconfigurations"),
    _calico("BGPPeer", "bgppeers"),
    _calico("BGPFilter", "bgpfilters"),
    _calico("IPAMConfig", "ipamconfigs"),
    _calico("IPReservation", "ipreservations"),
    _calico("KubeControllersConfiguration", "kubecontrollersconfigurations"),
    _calico("ClusterInformation", "clusterinformations"),
    Kind("Installation", "installations", False, ("operator.tigera.io/v1",), _INSTALLATION),
    Kind("CiliumNetworkPolicy", "ciliumnetworkpolicies", True, ("cilium.io/v2",)),
    Kind("CiliumClusterwideNetworkPolicy", "ciliumclusterwidenetworkpolicies", False, ("cilium.io/v2",)),
    Kind("CiliumCIDRGroup", "ciliumcidrgroups", False, ("cilium.io/v2", "cilium.io/v2alpha1")),
    Kind("CiliumNode", "ciliumnodes", False, ("cilium.io/v2",), _CILIUM_NODE),
)

CONFIG_MAP = Kind("ConfigMap", "configmaps", True, ("v1",), _CONFIG_MAP)
SETTINGS_NAMESPACE = "kube-system"
SETTINGS: tuple[str, ...] = (
    "azure-ip-masq-agent-config",
    "azure-ip-masq-agent-config-reconciled",
    "azure-npm-config",
    "calico-config",
    "cilium-config",
    "coredns",
    "coredns-custom",
    "ip-masq-agent",
    "kube-proxy",
    "kubeadm-config",
    "node-local-dns",
)
"""The ConfigMaps that say how the data plane is set up. They are asked for by name; no other is ever read."""
