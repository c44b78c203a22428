"""CIDRs in Cilium's words: there a CIDR never matches a pod and, by default, no node.

So what a CIDR covered inside the cluster is added by selectors and entities, for the addresses of the snapshot.
Facts: identity before address, measured on Cilium 1.18.8 and 1.20.2 (default policy-cidr-match-mode).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from migrate.model.addresses import Address, AddressSet, parse_network
from migrate.model.cluster import Pod
from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.selectors import Conjunction
from migrate.translate.context import Context
from migrate.translate.match_mode import alternative
from migrate.translate.notes import Notes
from migrate.translate.objects import ANYONE, Block, Peers
from migrate.translate.selectors import ANY_NAMESPACE
from migrate.translate.separate import look_alikes, select_exactly

_ALL = AddressSet.everything()
_NODES = ("host", "remote-node")
# Private, shared, link-local and unique local ranges (RFC 1918, 6598, 3927, 4193): what clusters number pods from.
_PRIVATE = AddressSet.of(
    parse_network(text)
    for text in (
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",
        "169.254.0.0/16",
        "fc00::/7",
        "fe80::/10",
    )
)


def split_blocks(blocks: Sequence[Block], addresses: AddressSet, place: str, context: Context, notes: Notes) -> Peers:
    """Peers that cover exactly `addresses`, which the blocks of one rule mean together; gaps become findings."""
    families = context.cluster.ip_families
    if covers_everything(addresses, families or frozenset({4})):
        if not (addresses.v4 and addresses.v6):
            notes.assume(f"the cluster has IPv{4 if addresses.v4 else 6} addresses only")
        if not families and not addresses.v6:
            notes.find(
                "POL-CIDR-UNKNOWN",
                "all IPv4 addresses: without pods and nodes it is not known whether the cluster has IPv6 too, which "
                "the entity all would also admit",
                place=place,
                effect=Effect.UNKNOWN,
                on_intent=Effect.UNKNOWN,
            )
        return ANYONE
    peers = Peers(blocks=tuple(blocks))
    _note_services(addresses, place, context, notes)
    peers |= _covered_pods(blocks, addresses, place, context, notes)
    return peers | _covered_nodes(blocks, addresses, place, context, notes)


def covers_everything(addresses: AddressSet, families: Collection[int]) -> bool:
    """Whether addresses are all that there are of some IP versions."""
    v4, v6 = _ALL.v4 <= addresses.v4, _ALL.v6 <= addresses.v6
    return (v4 or 4 not in families) and (v6 or 6 not in families)


def _say_unknown(blocks: Sequence[Block], what: str, place: str, notes: Notes) -> None:
    texts = ", ".join(str(block) for block in blocks)
    notes.assume(f"no {what} has an address in {texts}")
    notes.find(
        "POL-CIDR-UNKNOWN",
        f"{texts}: not all {what}s of the cluster were given, so what it covers inside the cluster is not known",
        place=place,
        effect=Effect.UNKNOWN,
        on_intent=Effect.UNKNOWN,
    )


def _may_be_inside(addresses: AddressSet) -> bool:
    """Whether some of the addresses are of the kind that clusters use: not only public ones."""
    return bool(addresses & _PRIVATE)


def _covered_pods(blocks: Sequence[Block], addresses: AddressSet, place: str, context: Context, notes: Notes) -> Peers:
    networks = context.cluster.pod_networks
    everywhere = bool(networks) and networks <= addresses
    if _may_be_inside(addresses) and not (context.pods and context.cluster.complete):
        _say_unknown(blocks, "pod", place, notes)
    elif addresses & networks or _may_be_inside(addresses):
        notes.assume("the pods whose addresses the CIDRs cover are those of the snapshot, and keep their labels")
    whole, part = context.pod_addresses.split(addresses)
    wanted = [context.pods[index] for index in whole]
    endpoints, lost = select_exactly(wanted, context, cluster_wide=everywhere) if wanted else ((), ())
    if everywhere and not context.pods:
        endpoints = ((ANY_NAMESPACE,),)
    if endpoints:
        _note_selected(endpoints, len(whole) - len(lost), place, context, notes)
    missed = [*lost, *(context.pods[index] for index in part)]
    if missed and context.widen:
        _note_widened(missed, place, context, notes)
        endpoints += look_alikes(missed, context)
    elif missed:
        _note_missed(missed, place, context, notes, one_family=bool(part))
    return Peers(endpoints=endpoints)


def _note_selected(endpoints: tuple[Conjunction, ...], count: int, place: str, context: Context, notes: Notes) -> None:
    notes.find(
        "POL-IPBLOCK-PODS",
        f"the CIDR covers {count} of {len(context.pods)} pods; Cilium matches pods by label only, so "
        + ("a selector for today's pods was added" if len(endpoints) == 1 else f"{len(endpoints)} selectors were added")
        + alternative("pods", context.profile),
        place=place,
    )


def _note_missed(missed: Sequence[Pod], place: str, context: Context, notes: Notes, *, one_family: bool) -> None:
    reason = "only addresses of one IP family are covered" if one_family else "no labels tell them from other pods"
    names = ", ".join(str(pod) for pod in missed[:3]) + (" ..." if len(missed) > 3 else "")
    notes.find(
        "POL-IPBLOCK-PODS",
        f"the CIDR covers {len(missed)} pod{'s' if len(missed) > 1 else ''} ({names}) that Cilium cannot be told "
        f"to allow without allowing more: {reason}; these flows are denied after the move"
        + alternative("pods", context.profile),
        place=place,
        effect=context.changes(Effect.NARROWS),
        on_intent=Effect.NARROWS,
        result=Result.CHANGED,
    )


def _note_widened(missed: Sequence[Pod], place: str, context: Context, notes: Notes) -> None:
    names = ", ".join(str(pod) for pod in missed[:3]) + (" ..." if len(missed) > 3 else "")
    notes.find(
        "POL-IPBLOCK-PODS",
        f"the CIDR covers {len(missed)} pod{'s' if len(missed) > 1 else ''} ({names}) that Cilium cannot be told to "
        "allow alone: all pods with their labels, at any address, are allowed after the move",
        place=place,
        effect=context.changes(Effect.WIDENS),
        on_intent=Effect.WIDENS,
        result=Result.CHANGED,
    )


def _covered_nodes(blocks: Sequence[Block], addresses: AddressSet, place: str, context: Context, notes: Notes) -> Peers:
    nodes = context.nodes
    if not nodes and _may_be_inside(addresses):
        _say_unknown(blocks, "node", place, notes)
    elif _may_be_inside(addresses):
        notes.assume("the nodes whose addresses the CIDRs cover are those of the snapshot")
    whole, part = context.node_addresses.split(addresses)
    api_server = _covered_api_server(addresses, context)
    entities: tuple[str, ...] = ()
    if whole and len(whole) == len(nodes):
        entities = _NODES
        notes.find(
            "POL-IPBLOCK-NODES",
            f"the CIDR covers every node ({len(nodes)}); in Cilium it does not, so the entities host and remote-node "
            "were added",
            place=place,
        )
        notes.assume("every node has its addresses inside the CIDR")
    elif any(set(_inside(nodes[index].addresses, addresses)) - set(api_server) for index in (*whole, *part)):
        names = ", ".join(nodes[index].name for index in sorted({*whole, *part})[:3])
        entities = _NODES if context.widen else ()
        change = Effect.WIDENS if context.widen else Effect.NARROWS
        outcome = "flows with all nodes are allowed" if context.widen else "flows with them are denied"
        notes.find(
            "POL-IPBLOCK-NODES",
            f"the CIDR covers {len(whole) + len(part)} of {len(nodes)} nodes ({names}) in whole or in part; Cilium "
            f"knows own node and other nodes only, so {outcome} after the move" + alternative("nodes", context.profile),
            place=place,
            effect=context.changes(change),
            on_intent=change,
            result=Result.CHANGED,
        )
    if api_server and not entities:
        entities = ("kube-apiserver",)
        notes.find("POL-IPBLOCK-APISERVER", f"the CIDR covers the API server at {api_server[0]}", place=place)
        notes.assume("the API server keeps its addresses")
    return Peers(entities=entities)


def _inside(owned: Sequence[Address], addresses: AddressSet) -> list[Address]:
    return [address for address in owned if address in addresses]


def _covered_api_server(addresses: AddressSet, context: Context) -> tuple[Address, ...]:
    """The API server's addresses, when all are covered and one is a node's; outside the cluster the CIDR holds it."""
    found = context.cluster.api_server
    on_a_node = any(context.node_addresses.split(AddressSet.of_addresses([address])) != ([], []) for address in found)
    covered = on_a_node and all(address in addresses for address in found)
    return found if covered else ()


def _note_services(addresses: AddressSet, place: str, context: Context, notes: Notes) -> None:
    """ClusterIPs are never seen by policy, before or after: rules for them had no effect."""
    if _ALL.v4 <= addresses.v4 or _ALL.v6 <= addresses.v6:
        return
    named = [
        service for service in context.cluster.services if any(address in addresses for address in service.addresses)
    ]
    if named:
        notes.find(
            "POL-IPBLOCK-SERVICES",
            f"the CIDR covers addresses of {len(named)} Services such as {named[0].namespace}/{named[0].name}; policy "
            "is judged after service translation, so it acts on the backends only, today and in Cilium",
            place=place,
        )
