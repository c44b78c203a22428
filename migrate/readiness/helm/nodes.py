"""What runs on a node beside the pods' network: services, host ports, host policies, other CNI plugins, staging."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.documents import Fact
from migrate.model.raw import RawObject
from migrate.readiness.helm.data import calico_settings
from migrate.readiness.helm.routing import uses_ebpf
from migrate.readiness.helm.said import Said, Stage, Value, about, shown
from migrate.readiness.helm.source import DataPlane, installed, spec_of
from migrate.scan.inventory.look import dig, evidence, items, text, texts
from migrate.scan.inventory.programs import programs

NODE_LABEL = "cilium-migrate/moved"
"""The label that hands a node over to Cilium."""


def said_of_staging(plane: DataPlane) -> Iterator[Said]:
    """What keeps Cilium from touching a node before its turn, and what ends that."""
    why = "no node changes its network before its turn"
    yield Value(key="cni.customConf", value=True, because=why)
    yield Value(key="cni.uninstall", value=False, because=why)
    yield Value(key="operator.unmanagedPodWatcher.restart", value=False, because="pods of other nodes stay as they are")
    yield Value(key="policyEnforcementMode", value="never", because="pods that have not moved have no identity yet")
    yield Value(key="bpf.hostLegacyRouting", value=True, because="packets have to pass between the two networks")
    final, done = Stage.FINAL, "all nodes have moved"
    yield Value(key="cni.customConf", value=False, because=done, stage=final)
    yield Value(key="operator.unmanagedPodWatcher.restart", value=True, because=done, stage=final)
    yield Value(key="policyEnforcementMode", value="default", because=done, stage=final)
    yield {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNodeConfig",
        "metadata": {"name": "moved", "namespace": "kube-system"},
        "spec": {
            "nodeSelector": {"matchLabels": {NODE_LABEL: "true"}},
            "defaults": {
                "write-cni-conf-when-ready": "/host/etc/cni/net.d/05-cilium.conflist",
                "custom-cni-conf": "false",
                "cni-chaining-mode": "portmap" if _needs_portmap(plane) else "none",
                "cni-exclusive": "false" if _chained(plane) else "true",
            },
        },
    }
    yield about("VAL-DUAL-OVERLAY", "no policy is enforced on a pod from its node's turn until the last node has moved")


def said_of_services(plane: DataPlane) -> Iterator[Said]:
    """kube-proxy stays as it is; where there is none, Cilium takes its place from the start."""
    ebpf, absent = uses_ebpf(plane), _no_kube_proxy(plane)
    if ebpf is not None:
        detail = f"Calico's data plane is {ebpf[0]}; two networks side by side need one that uses the kernel's routing"
        raw = plane.felix if ebpf[1].field == "spec.bpfEnabled" else plane.installation
        yield about("VAL-CALICO-EBPF", detail, raw, ebpf[1].field)
    exceptions = plane.masquerade() is not None or any(pool.disabled for pool in plane.pools)
    fact = _kube_proxy(plane)
    seen = () if fact is None else fact.evidence
    because = "no kube-proxy runs" if absent else "kube-proxy serves the pods that have not moved"
    yield Value(key="kubeProxyReplacement", value="true" if absent else "false", because=because, evidence=seen)
    if exceptions and not absent:
        because = "masquerading by eBPF, and so ipMasqAgent, rests on it"
        yield Value(key="kubeProxyReplacement", value="true", because=because, stage=Stage.FINAL)
    if absent or exceptions:
        yield from _api_server(plane, Stage.MIGRATION if absent else Stage.FINAL)
        yield from _node_ports(plane, Stage.MIGRATION if absent else Stage.FINAL)


def _kube_proxy(plane: DataPlane) -> Fact | None:
    header = plane.documents.header
    return next((fact for fact in (header.facts if header else ()) if fact.topic == "kube-proxy-mode"), None)


def _no_kube_proxy(plane: DataPlane) -> bool:
    fact = _kube_proxy(plane)
    return fact is not None and fact.state == "absent"


def _api_server(plane: DataPlane, stage: Stage) -> Iterator[Said]:
    found = plane.api_server()
    if found is None:
        yield about("VAL-API-SERVER", "no ConfigMap says where nodes reach the API server: give k8sServiceHost")
        return
    host, port, seen = found
    because = "without kube-proxy no service leads to the API server"
    yield Value(key="k8sServiceHost", value=host, because=because, evidence=(seen,), stage=stage)
    yield Value(key="k8sServicePort", value=port, because=because, evidence=(seen,), stage=stage)


def _node_ports(plane: DataPlane, stage: Stage) -> Iterator[Said]:
    ranges = () if plane.felix is None else texts(plane.felix, "spec", "kubeNodePortRanges")
    if plane.felix is not None and len(ranges) == 1 and ranges[0] not in ("30000:32767", "30000-32767"):
        value = ranges[0].replace(":", ",").replace("-", ",")
        seen = evidence(plane.felix, "spec", "kubeNodePortRanges")
        yield Value(
            key="nodePort.range", value=value, because="the ports of NodePort services", evidence=(seen,), stage=stage
        )


def said_of_host_ports(plane: DataPlane) -> Iterator[Said]:
    """hostPort of pods: by the plugin portmap as long as kube-proxy stays."""
    pods = [raw for raw in plane.documents.by_kind.get("Pod", ()) if _has_host_port(raw)]
    if not _needs_portmap(plane):
        return
    because = "hostPort works by this plugin where kube-proxy is not replaced"
    seen = (evidence(plane.installation, "spec", "calicoNetwork", "hostPorts"),) if plane.installation else ()
    yield Value(key="cni.chainingMode", value="portmap", because=because, evidence=seen)
    detail = f"{len(pods)} pods have a hostPort: {shown(f'{p.ref.namespace}/{p.ref.name}' for p in pods)}"
    yield about("VAL-HOST-PORTS", detail)


def _needs_portmap(plane: DataPlane) -> bool:
    if _no_kube_proxy(plane) or installed(plane, "hostPorts") == "Disabled":
        return False
    return any(_has_host_port(raw) for raw in plane.documents.by_kind.get("Pod", ()))


def _has_host_port(raw: RawObject) -> bool:
    if dig(raw.data, "spec", "hostNetwork") is True:
        return False
    containers = items(dig(raw.data, "spec", "containers"))
    return any(dig(port, "hostPort") for container in containers for port in items(dig(container, "ports")))


def said_of_hosts(plane: DataPlane) -> Iterator[Said]:
    """Policies on nodes themselves."""
    for raw in plane.calico("KubeControllersConfiguration"):
        if text(raw, "spec", "controllers", "node", "hostEndpoint", "autoCreate") == "Enabled":
            seen = evidence(raw, "spec", "controllers", "node", "hostEndpoint", "autoCreate")
            yield from _host_firewall(raw, seen.field, f"{raw.ref} makes a HostEndpoint for every node")
            return
    ends = plane.calico("HostEndpoint")
    if ends:
        yield from _host_firewall(ends[0], "spec", f"the cluster has {len(ends)} HostEndpoints")


def _host_firewall(raw: RawObject, field: str, detail: str) -> Iterator[Said]:
    because = "Calico polices nodes by HostEndpoints"
    seen = (evidence(raw, *field.split(".")),)
    yield Value(key="hostFirewall.enabled", value=True, because=because, evidence=seen, stage=Stage.FINAL)
    yield about("VAL-HOST-FIREWALL", detail, raw, field)


def said_of_plugins(plane: DataPlane) -> Iterator[Said]:
    """Other CNI plugins, which Cilium must not push aside."""
    names = _chained(plane)
    if not names:
        return
    because = f"{shown(names)} has its own CNI configuration"
    yield Value(key="cni.exclusive", value=False, because=because)
    yield about("VAL-CHAINED-PLUGINS", f"{shown(names)} adds itself to the node's CNI configuration")


def _chained(plane: DataPlane) -> tuple[str, ...]:
    """Programs that put themselves into the CNI configuration of others."""
    daemons = plane.documents.by_kind.get("DaemonSet", ())
    known = [program for program in programs() if "chained-cni" in program.roles]
    found = {p.title for p in known for raw in daemons if any(w.matches(raw) for w in p.workloads)}
    if installed(plane, "multiInterfaceMode") == "Multus":
        found.add("Multus")
    return tuple(sorted(found))


def said_of_meshes(plane: DataPlane) -> Iterator[Said]:
    """Sidecars see a connection before services are looked up in it, and SCTP has to be turned on."""
    for fact in plane.documents.facts("service-mesh"):
        because = f"{fact.value} has to see the address of the service"
        yield Value(key="socketLB.hostNamespaceOnly", value=True, because=because, evidence=fact.evidence)
        break
    for raw in plane.documents.by_kind.get("Service", ()):
        for index, port in enumerate(items(dig(raw.data, "spec", "ports"))):
            if dig(port, "protocol") == "SCTP":
                seen = evidence(raw, "spec", "ports", index, "protocol")
                yield Value(key="sctp.enabled", value=True, because="services use SCTP", evidence=(seen,))
                return


def said_of_the_rest(plane: DataPlane) -> Iterator[Said]:
    """Settings that Cilium has nothing for, and settings that this version does not know."""
    for kind, known in sorted(calico_settings().items()):
        path = ("spec", "calicoNetwork") if kind == "Installation" else ("spec",)
        found = [plane.installation] if kind == "Installation" else plane.calico(kind)
        for raw in found:
            for key in () if raw is None else sorted(spec_of(raw, *path)):
                if raw is None or dig(raw.data, *path, key) in (None, "", [], False):
                    continue
                field = ".".join((*path, key))
                if key in known.none:
                    yield about("VAL-NO-COUNTERPART", f"{key}: {known.none[key]}", raw, field)
                elif not known.knows(key):
                    yield about(
                        "VAL-SETTING-UNKNOWN", f"{key} is a setting that this version does not know", raw, field
                    )
