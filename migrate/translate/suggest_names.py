"""DNS names in place of CIDRs: what an object's egress would be with toFQDNs, and the DNS rule that these need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence

from migrate.model.addresses import AddressSet, Network, parse_network
from migrate.model.cluster import Cluster
from migrate.model.documents import EmittedObject
from migrate.model.raw import FieldPath, Json, as_list
from migrate.sources.hints import DnsServer, NamesHint
from migrate.translate.objects import CIDR_GROUP
from migrate.translate.profiles import Profile
from migrate.translate.render import NAMESPACE_KEY, JsonMap

_LOCAL_CACHE = "node-local-dns"


def with_names(spec: JsonMap, hints: Sequence[NamesHint], server: DnsServer) -> list[tuple[int, str]]:
    """Put names into one policy document; returns which hints were used, each with its rule, such as egress[0]."""
    used: list[tuple[int, str]] = []
    rules: list[Json] = []
    for index, rule in enumerate(as_list(spec.get("egress"))):
        taken = _taken(rule, hints)
        used += [(number, f"egress[{index}]") for number in taken]
        rules += _split(rule, [hints[number] for number in taken]) if taken and isinstance(rule, dict) else [rule]
    if used:
        names = {name for number, _ in used for name in hints[number].names}
        spec["egress"] = [*rules, dns_rule(sorted(names), server)]
    return used


def _taken(rule: Json, hints: Sequence[NamesHint]) -> list[int]:
    networks = [network for _, network in _blocks(rule)]
    return [number for number, hint in enumerate(hints) if hint.network in networks]


def _split(rule: JsonMap, hints: Iterable[NamesHint]) -> list[JsonMap]:
    """The rule without the CIDRs of the hints, when it has others, and one with the names."""
    gone = {hint.network for hint in hints}
    names: list[str] = sorted({name for hint in hints for name in hint.names})
    rest: list[Json] = [block for block, network in _blocks(rule) if network not in gone]
    traffic = {key: value for key, value in rule.items() if key != "toCIDRSet"}
    domains: list[Json] = [{"matchPattern" if "*" in name else "matchName": name} for name in names]
    by_name: JsonMap = {"toFQDNs": domains, **traffic}
    return [{"toCIDRSet": rest, **traffic}, by_name] if rest else [by_name]


def dns_rule(names: Sequence[str], server: DnsServer) -> JsonMap:
    """Lookups of these names, also below the search domains, seen by the DNS proxy.

    Always matchPattern, also for plain names: AKS's admission asks for one beside toFQDNs.
    """
    asked = [*names, *(f"{name}.{domain}" for name in names for domain in server.search_domains)]
    patterns: list[Json] = [{"matchPattern": name} for name in asked]
    ports: list[Json] = [{"port": str(server.port), "protocol": protocol} for protocol in ("TCP", "UDP")]
    labels: JsonMap = {**server.pod_labels, NAMESPACE_KEY: server.namespace}
    return {
        "toEndpoints": [{"matchLabels": dict(sorted(labels.items()))}],
        "toPorts": [{"ports": ports, "rules": {"dns": patterns}}],
    }


def server_problem(server: DnsServer, cluster: Cluster) -> str:
    """Why the DNS proxy would not see the pods' lookups; empty when nothing speaks against it."""
    beside = [pod for pod in cluster.pods if pod.namespace == server.namespace]
    cache = [pod for pod in beside if pod.labels.get("k8s-app") == _LOCAL_CACHE]
    if cache and not server.given:
        return (
            f"{cache[0]} answers DNS at an address of the node, where a rule to kube-dns sees no lookup; take the pods "
            "off it, or name the pods that answer them under dns in the hint file"
        )
    wanted = server.pod_labels.items()
    if beside and not any(wanted <= pod.labels.items() for pod in beside):
        return f"no pod answers DNS as {server_text(server)}; name those that do under dns in the hint file"
    return ""


def server_text(server: DnsServer) -> str:
    """The DNS server for people to read."""
    labels = ",".join(f"{key}={value}" for key, value in server.pod_labels.pairs)
    return f"{server.namespace} {labels} port {server.port}"


def names_problem(hint: NamesHint, profile: Profile) -> str:
    """Why the target does not mean what the names say; empty when it does."""
    deep = [name for name in hint.names if name.startswith("**.")]
    if deep and not profile.dns_any_depth_pattern:
        return f"{profile.title} reads ** as *, one label; write {deep[0]} as {deep[0].removeprefix('*')} and the like"
    refused = [name for name in hint.names if name in profile.refused_dns_patterns]
    return f"an admission policy of {profile.title} refuses {refused[0]}" if refused else ""


def why_unused(hint: NamesHint, written: Sequence[tuple[EmittedObject, JsonMap]]) -> str:
    """What stands in the written objects in place of an egress rule with the hint's CIDR."""
    found = list(_all_blocks(written))
    same = [
        f"it stands in CIDR group {i.name}, which names cannot replace" for i, data in written if _holds(data, hint)
    ]
    same += [_left_alone(hint, item, section) for item, section, network in found if network == hint.network]
    near = [
        f"{item.file} has {network}, which is another CIDR"
        for item, section, network in found
        if section == "egress" and _meet(network, hint.network)
    ]
    return next(iter([*same, *near]), "no egress rule of a written object has the CIDR")


def _all_blocks(written: Sequence[tuple[EmittedObject, JsonMap]]) -> Iterator[tuple[EmittedObject, str, Network]]:
    """Every CIDR of a rule with its object and the list that the rule is in."""
    for item, data in written:
        for spec in specs_of(data):
            for section in ("egress", "egressDeny", "ingress", "ingressDeny"):
                networks = [network for rule in as_list(spec.get(section)) for _, network in _blocks(rule)]
                yield from ((item, section, network) for network in networks if network is not None)


def _left_alone(hint: NamesHint, item: EmittedObject, section: str) -> str:
    """Why a rule with the hint's CIDR stays as it is."""
    if section != "egress":
        return f"it stands in {section} of {item.file}, where names cannot"
    if hint.namespaces and item.namespace not in hint.namespaces:
        return f"{item.file} has it, and the hint is for other namespaces"
    return f"{item.file} has it and does not close egress, so names in its place would close nothing"


def _holds(group: Mapping[str, Json], hint: NamesHint) -> bool:
    spec = group.get("spec")
    texts = as_list(spec.get("externalCIDRs")) if group.get("kind") == CIDR_GROUP and isinstance(spec, dict) else []
    return any(_is(text, hint.network) for text in texts if isinstance(text, str))


def _meet(one: Network, other: Network) -> bool:
    return bool(AddressSet.of([one]) & AddressSet.of([other]))


def _blocks(rule: Json) -> list[tuple[Json, Network | None]]:
    """The CIDRs of a rule; None stands for a reference to a group."""
    found: list[tuple[Json, Network | None]] = []
    for side in ("toCIDRSet", "fromCIDRSet"):
        for block in as_list(rule.get(side)) if isinstance(rule, dict) else ():
            text = block.get("cidr") if isinstance(block, dict) else None
            found.append((block, parse_network(text) if isinstance(text, str) else None))
    return found


def cidr_places(value: Json, network: Network, path: FieldPath = ()) -> list[FieldPath]:
    """Where a CIDR stands in the egress of a source object, but not as one that is taken out."""
    if isinstance(value, str):
        return [path] if "egress" in path and not {"except", "notNets"} & set(path) and _is(value, network) else []
    steps: Iterable[tuple[str | int, Json]] = ()
    if isinstance(value, dict):
        steps = value.items()
    elif isinstance(value, list):
        steps = enumerate(value)
    return [place for step, item in steps for place in cidr_places(item, network, (*path, step))]


def _is(text: str, network: Network) -> bool:
    try:
        return parse_network(text) == network
    except ValueError:
        return False


def specs_of(data: Mapping[str, Json]) -> list[JsonMap]:
    """The policy documents of one object."""
    return [spec for spec in [data.get("spec"), *as_list(data.get("specs"))] if isinstance(spec, dict)]
