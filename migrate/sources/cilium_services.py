"""toServices and toFQDNs, as Cilium turns them into endpoints and addresses.

Facts: pkg/policy/k8s/service.go and pkg/fqdn/matchpattern of v1.18.8 and v1.20.2, measured on their policy engines.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from migrate.model.addresses import Address, AddressSet
from migrate.model.cluster import Cluster, Service
from migrate.model.labels import Labels
from migrate.model.selectors import And, Operator, Requirement, Selector, requirements
from migrate.sources.cilium import CidrRule, CiliumPolicy, CiliumRule, CiliumSpec, DomainName, Peers, ServicePeer
from migrate.sources.cilium_settings import CiliumSettings
from migrate.sources.cilium_tiers import ClusterNetworkPolicy
from migrate.sources.endpoints import Backend
from migrate.sources.kubernetes import NetworkPolicy

_LABEL = "[-a-zA-Z0-9_]"
_NAMESPACE = "io.kubernetes.pod.namespace"


def resolve_services(policy: CiliumPolicy, cluster: Cluster, settings: CiliumSettings) -> CiliumPolicy:
    """The policy with the pods and addresses behind the services that its allows of egress name.

    egressDeny.toServices is never resolved. Where nothing is found, the rule is left without any peer.
    """
    specs = tuple(_resolve_spec(spec, cluster, settings) for spec in policy.specs)
    return replace(policy, specs=specs)


def _resolve_spec(spec: CiliumSpec, cluster: Cluster, settings: CiliumSettings) -> CiliumSpec:
    return replace(spec, rules=tuple(_resolve(rule, cluster, settings) for rule in spec.rules))


def _resolve(rule: CiliumRule, cluster: Cluster, settings: CiliumSettings) -> CiliumRule:
    if not rule.peers.services or rule.deny:
        return rule
    peers = rule.peers
    for wanted in peers.services:
        for service in cluster.services:
            if _means(wanted, service):
                peers = _with_service(peers, service, settings)
    return replace(rule, peers=peers)


def with_endpoints(cluster: Cluster, backends: Sequence[Backend]) -> Cluster:
    """The cluster with what stands behind the services of which EndpointSlices were read."""
    behind: dict[tuple[str, str], list[Address]] = {}
    for backend in backends:
        behind.setdefault((backend.namespace, backend.service), []).append(backend.address)
    services = tuple(
        replace(service, endpoints=tuple(behind[service.namespace, service.name]))
        if service.endpoints is None and (service.namespace, service.name) in behind
        else service
        for service in cluster.services
    )
    return replace(cluster, services=services)


def without_endpoints(rule: CiliumRule, cluster: Cluster) -> bool:
    """Whether the rule names a service without a selector of which the endpoints are not known."""
    wanted = () if rule.deny else rule.peers.services
    return any(
        not service.selector and service.endpoints is None and _means(peer, service)
        for peer in wanted
        for service in cluster.services
    )


def _means(wanted: ServicePeer, service: Service) -> bool:
    if wanted.namespace not in ("", service.namespace):
        return False
    if wanted.selector is None:
        return wanted.name == service.name
    return all(requirement.matches(service.labels) for requirement in requirements(wanted.selector))


def _with_service(peers: Peers, service: Service, settings: CiliumSettings) -> Peers:
    if service.selector:
        return replace(peers, endpoints=(*peers.endpoints, _pods(service, service.selector, settings)))
    found = tuple(CidrRule(ipaddress.ip_network(address)) for address in service.endpoints or ())
    return replace(peers, cidrs=(*peers.cidrs, *found))


def _pods(service: Service, selector: Labels, settings: CiliumSettings) -> Selector:
    """The pods of a service's selector; 1.18 takes what is before a dot for a label's source."""
    prefix = "k8s:" if settings.release >= 19 else ""
    terms = [Requirement(f"k8s:{_NAMESPACE}", Operator.IN, (service.namespace,))]
    for key, value in selector.pairs:
        source, dot, rest = key.partition(".") if settings.release < 19 else ("", "", "")
        terms.append(Requirement(f"{source}:{rest}" if dot else f"{prefix}{key}", Operator.IN, (value,)))
    return And(tuple(terms))


def addresses_of(wanted: DomainName, cluster: Cluster, settings: CiliumSettings) -> Iterator[Address]:
    """The addresses that the names in the cluster's DNS have, as far as a toFQDNs entry means them."""
    pattern = _expression(wanted, settings)
    for name, addresses in cluster.names or ():
        if pattern.fullmatch(_absolute(name)):
            yield from addresses


def named_domains(
    policies: Iterable[CiliumPolicy | NetworkPolicy | ClusterNetworkPolicy], cluster: Cluster, settings: CiliumSettings
) -> AddressSet:
    """The addresses that an identity is made for because a policy means one of their names."""
    domains = (domain for policy in policies for domain in _domains(policy))
    return AddressSet.of_addresses(a for domain in domains for a in addresses_of(domain, cluster, settings))


def _domains(policy: CiliumPolicy | NetworkPolicy | ClusterNetworkPolicy) -> Iterator[DomainName]:
    if isinstance(policy, CiliumPolicy):
        for rule in (rule for spec in policy.specs for rule in spec.rules):
            yield from rule.peers.domains
    elif isinstance(policy, ClusterNetworkPolicy):
        for peer in (peer for tier_rule in policy.rules for peer in tier_rule.peers or ()):
            yield from peer.domains or ()


def _absolute(name: str) -> str:
    return f"{name.strip().lower().removesuffix('.')}."


def _expression(wanted: DomainName, settings: CiliumSettings) -> re.Pattern[str]:
    """One star is part of one label; since 1.19 two stars before the first dot are any number of labels."""
    if not wanted.is_pattern:
        return re.compile(re.escape(_absolute(wanted.text)))
    several = settings.release >= 19
    if re.fullmatch(r"\*+\.?" if several else r"\*", wanted.text.strip()):
        return re.compile(rf"({_LABEL}+\.)+|\.")
    text = _absolute(wanted.text)
    head, stars, rest = "", re.match(r"\*\*+\.", text), text
    if several and stars:
        head, rest = rf"{_LABEL}+(\.{_LABEL}+)*\.", text[stars.end() :]
    return re.compile(head + re.sub(r"(\\\*)+", f"{_LABEL}*", re.escape(rest)))
