"""Services whose outside clients skip today's policy where they come in, and meet it in Cilium.

Fact: with externalTrafficPolicy Cluster kube-proxy accepts the packets before NPM's chain sees them, on the node where
they come in; a backend on another node is checked (measured with packets). Calico checks on both, and on the other node
it sees the address of the entry node, by which the packets were masqueraded.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from migrate.model.addresses import AddressSet, parse_network
from migrate.model.cluster import Pod, Service, ServicePort
from migrate.model.finding import Effect, Finding
from migrate.model.flow import Direction
from migrate.model.labels import Scope
from migrate.model.refs import ObjectRef
from migrate.model.selectors import Conjunction, Operator, Requirement, matches
from migrate.sources.calico import CalicoPolicy
from migrate.sources.kubernetes import BlockPeer, NetworkPolicy, PodPeer, PortMatch, Rule
from migrate.translate.context import Context
from migrate.translate.npm_peers import opening

_IPV4 = AddressSet.of([parse_network("0.0.0.0/0")])


@dataclass(frozen=True, slots=True)
class Exposed:
    """A Service that is open to the outside with isolated backends, and its ports that no policy opens to everybody.

    `unseen` are those of them that the outside reaches today only past NPM, not by the way NPM reads a rule.
    """

    service: Service
    ports: tuple[ServicePort, ...]
    unseen: tuple[ServicePort, ...]

    @property
    def ref(self) -> ObjectRef:
        """The Service."""
        return ObjectRef("v1", "Service", self.service.namespace, self.service.name)

    @property
    def backends(self) -> Conjunction:
        """The pods behind it, in its namespace."""
        labels = self.service.selector.items() if self.service.selector is not None else ()
        return tuple(Requirement(key, Operator.IN, (value,), Scope.POD) for key, value in sorted(labels))


def exposed_services(policies: Sequence[NetworkPolicy], context: Context) -> list[Exposed]:
    """All of them, under the policies that are enforced today."""
    isolating: dict[str, list[NetworkPolicy]] = {}
    for policy in policies:
        if Direction.INGRESS in policy.directions:
            isolating.setdefault(policy.ref.namespace or "default", []).append(policy)
    found: list[Exposed] = []
    for service in context.cluster.services:
        if _masquerades(service):
            exposed = _exposed(service, isolating.get(service.namespace, ()), context)
            found += [exposed] if exposed.ports else []
    return found


def finding(exposed: Exposed, context: Context) -> Finding:
    """What is told about one."""
    npm = any(engine in context.engines for engine in ("npm-linux", "npm-windows"))
    if npm:
        text = (
            "outside clients reach them today where the entry node runs the backend, and are judged by Cilium after "
            "the move"
        )
    else:
        text = (
            "an outside client who comes in by a node without the backend has the address of that node today; Cilium "
            "takes him for another node or for the outside, by its routing, and rules for ranges of clients or of "
            "nodes need not admit him"
        )
    return Finding(
        id="SVC-ETP-CLUSTER",
        detail=f"{exposed.service.type} with externalTrafficPolicy Cluster: its backends are isolated; {text}",
        effect=Effect.NARROWS if npm else Effect.UNKNOWN,
        subject=exposed.ref,
        field="spec.externalTrafficPolicy",
    )


def services_behind_calico(policies: Iterable[CalicoPolicy], context: Context) -> list[Exposed]:
    """The same under Calico's own policies: Services with a backend whose clients one of their rules tells apart."""
    judging = [policy for policy in policies if _tells_clients_apart(policy)]
    found: list[Exposed] = []
    for service in filter(_masquerades, context.cluster.services):
        pods = _backends(service, context)
        if any(_selects(policy, pod) for policy in judging for pod in pods):
            found.append(Exposed(service, service.ports, ()))
    return found


def _tells_clients_apart(policy: CalicoPolicy) -> bool:
    """Whether it is in force for pods and does not just admit everybody to them."""
    for_pods = not (policy.staged or policy.do_not_track or policy.pre_dnat or policy.problems)
    rules = policy.rules(Direction.INGRESS)
    first = rules[0] if rules else None
    admits_all = (
        first is not None
        and first.action == "Allow"
        and not (first.source.used() or first.destination.used())
        and (first.protocol, first.not_protocol, first.ip_version) == (None, None, None)
    )
    return for_pods and Direction.INGRESS in policy.directions and not admits_all


def _selects(policy: CalicoPolicy, pod: Pod) -> bool:
    asked = (policy.selector, policy.namespace_selector, policy.account_selector)
    inside = policy.namespace is None or policy.namespace == pod.namespace
    return inside and all(selector is None or matches(selector, pod) for selector in asked)


def _masquerades(service: Service) -> bool:
    """Whether outside clients may come in by a node without a backend."""
    return service.type in ("NodePort", "LoadBalancer") and service.external_traffic_policy != "Local"


def _exposed(service: Service, policies: Sequence[NetworkPolicy], context: Context) -> Exposed:
    """A Service with its ports that are closed on one backend at least."""
    closed: set[ServicePort] = set()
    unseen: set[ServicePort] = set()
    for pod in _backends(service, context):
        rules = [policy.ingress for policy in policies if matches(policy.subject, pod)]
        if rules:
            listed = [rule for part in rules for rule in part]
            here = _without(service.ports, [rule for rule in listed if _admits_all(rule)])
            closed.update(here)
            unseen.update(_without(here, [rule for rule in listed if _npm_admits_outside(rule)]))
    ports = tuple(port for port in service.ports if port in closed)
    return Exposed(service, ports, tuple(port for port in ports if port in unseen))


def _backends(service: Service, context: Context) -> list[Pod]:
    """Pods behind the Service, one for each set of labels."""
    if not service.selector:
        return []
    pods = context.pods_by_namespace.get(service.namespace, ())
    found = {pod.labels: pod for pod in pods if service.selector.items() <= pod.labels.items()}
    return list(found.values())


def _without(ports: Sequence[ServicePort], rules: Sequence[Rule]) -> tuple[ServicePort, ...]:
    """The ports that none of the rules is about."""
    matches_of = [match for rule in rules for match in (rule.ports or (None,))]
    return tuple(port for port in ports if not any(_covers(match, port) for match in matches_of))


def _admits_all(rule: Rule) -> bool:
    return rule.peers is None or any(isinstance(p, BlockPeer) and p.addresses() >= _IPV4 for p in rule.peers)


def _npm_admits_outside(rule: Rule) -> bool:
    found = [opening(peer) for peer in rule.peers or () if isinstance(peer, PodPeer)]
    return any(item is not None and item.outside for item in found)


def _covers(match: PortMatch | None, port: ServicePort) -> bool:
    if match is None:
        return True
    target = port.target or port.port
    if match.protocol != port.protocol:
        return False
    if isinstance(match.port, int) and isinstance(target, int):
        return match.port <= target <= (match.end or match.port)
    return match.port is None or match.port == target
