"""`migrate audit deploy`: agents for the cluster of a working folder's snapshot."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, replace

import migrate
from migrate.audit.fresh import policies_digest
from migrate.audit.node import IDENTIFYING, cluster_digest
from migrate.audit.store import DEFAULT_MAX_SIZE
from migrate.audited import Place, Scene, read_scene
from migrate.control.deploy import DeployPlan, prepare
from migrate.control.identity import check_identity
from migrate.control.manifests import AgentWishes, Manifest, manifests
from migrate.model.agent_documents import NAMESPACE, AgentSettings
from migrate.scan.connection import ConnectionOptions

DEFAULT_SECONDS = 24 * 3600


@dataclass(frozen=True, slots=True)
class DeployRequest:
    """What to deploy where. `began` is in nanoseconds since 1970; without `services` their addresses are left out.

    `image` and the options of pods are checked already (migrate.control.settings).
    """

    place: Place
    image: str
    began: int
    seconds: int = DEFAULT_SECONDS
    namespace: str = NAMESPACE
    max_size: int = DEFAULT_MAX_SIZE
    services: bool = True
    node_selector: tuple[tuple[str, str], ...] = ()
    priority_class: str = ""
    priority: int | None = None
    capabilities: tuple[str, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    cluster: ConnectionOptions = ConnectionOptions()


def deploy_manifests(request: DeployRequest) -> tuple[Manifest, ...]:
    """All objects of a run; no cluster is asked. Raises InputError where there is no snapshot."""
    return manifests(_wishes(request, read_scene(request.place)))


def prepare_deploy(request: DeployRequest) -> DeployPlan:
    """What deploying would do in the cluster; nothing is made.

    Raises InputError without a snapshot of this very cluster, ClusterError where the cluster cannot be asked.
    """
    scene = read_scene(request.place)
    plan = prepare(request.cluster, _wishes(request, scene))
    services = {(service.namespace, service.name): service.addresses for service in scene.cluster.services}
    check_identity(plan.connection, scene.path, {name: services[name] for name in IDENTIFYING if name in services})
    known = {node.name for node in scene.cluster.nodes}
    new = [name for name in plan.nodes.watched if name not in known]
    text = f"nodes newer than the snapshot: {', '.join(new)}; take a new one with migrate scan before the report"
    return replace(plan, doubts=(*plan.doubts, text)) if new else plan


def _wishes(request: DeployRequest, scene: Scene) -> AgentWishes:
    addresses = {str(address) for service in scene.cluster.services for address in service.addresses}
    folder = request.place.policies_folder
    settings = AgentSettings(
        tool_version=migrate.__version__,
        run=secrets.token_hex(4),
        namespace=request.namespace,
        cluster=cluster_digest(scene.cluster),
        policies=policies_digest(folder) if folder.exists() else "",
        began=request.began,
        seconds=request.seconds,
        services=tuple(sorted(addresses)) if request.services else (),
        max_size=request.max_size,
    )
    return AgentWishes(
        settings=settings,
        image=request.image,
        node_selector=request.node_selector,
        priority_class=request.priority_class,
        priority=request.priority,
        capabilities=request.capabilities,
        pull_secrets=request.pull_secrets,
    )
