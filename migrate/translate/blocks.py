"""CIDRs in Cilium's words: there a CIDR never matches a pod and, by default, no node.

So what a CIDR covered inside the cluster is added by selectors and entities, for the addresses of the snapshot.
Facts: identity before address, measured on Cilium 1.18.8 and 1.20.2 (default policy-cidr-match-mode).
"""

from __future__ import annotations

from collections.abc import Sequence

from migrate.model.addresses import Address, AddressSet
from migrate.model.cluster import Pod
from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.selectors import Conjunction
from migrate.translate.context import Context
from migrate.translate.notes import Notes
from migrate.translate.objects import ANYONE, Block, Peers
from migrate.translate.separate import select_exactly

_ALL = AddressSet.everything()
_NODES = ("host", "remote-node")


def split_blocks(blocks: Sequence[Block], addresses: AddressSet, place: str, context: Context, notes: Notes) -> Peers:
    """Peers that cover exactly `addresses`, which the blocks of one rule mean together; gaps become findings."""
    cluster = context.cluster
    known = bool(cluster.pods or cluster.nodes)
    if _covers_everything(addresses, context, known):
        if not known and not addresses.v6:
            notes.assume("the cluster has IPv4 addresses only")
        elif cluster.ip_families == {4} and not addresses.v6:
            notes.assume("the cluster has IPv4 addresses only, as in the snapshot")
        return ANYONE
    peers = Peers(blocks=tuple(blocks))
    if not known:
        _say_unknown(blocks, place, notes)
        return peers
    _note_services(addresses, place, context, notes)
    peers |= _covered_pods(addresses, place, context, notes)
    return peers | _covered_nodes(addresses, place, context, notes)


def _covers_everything(addresses: AddressSet, context: Context, known: bool) -> bool:
    families = context.cluster.ip_families if known else frozenset({4})
    v4, v6 = _ALL.v4 <= addresses.v4, _ALL.v6 <= addresses.v6
    return (v4 and v6) or (v4 and families == {4}) or (v6 and families == {6})


def _say_unknown(blocks: Sequence[Block], place: str, notes: Notes) -> None:
    texts = ", ".join(str(block) for block in blocks)
    notes.assume(f"no pod and no node has an address in {texts}")
    notes.find(
        "POL-CIDR-UNKNOWN",
        f"{texts}: no pods or nodes were given, so what it covers inside the cluster is not known",
        place=place,
        effect=Effect.UNKNOWN,
        on_intent=Effect.UNKNOWN,
    )


def _split(owners: Sequence[tuple[Address, ...]], addresses: AddressSet) -> tuple[list[int], list[int]]:
    """Indexes of owners whose addresses are all inside, and of those with some inside and some not."""
    whole: list[int] = []
    part: list[int] = []
    for index, owned in enumerate(owners):
        inside = sum(address in addresses for address in owned)
        if inside == len(owned):
            whole.append(index)
        elif inside:
            part.append(index)
    return whole, part


def _covered_pods(addresses: AddressSet, place: str, context: Context, notes: Notes) -> Peers:
    whole, part = _split([pod.addresses for pod in context.pods], addresses)
    endpoints, lost = select_exactly([context.pods[index] for index in whole], context) if whole else ((), ())
    if endpoints:
        _note_selected(endpoints, len(whole) - len(lost), place, context, notes)
    missed = [*lost, *(context.pods[index] for index in part)]
    if missed:
        _note_missed(missed, place, context, notes, one_family=bool(part))
    return Peers(endpoints=endpoints)


def _note_selected(endpoints: tuple[Conjunction, ...], count: int, place: str, context: Context, notes: Notes) -> None:
    notes.find(
        "POL-IPBLOCK-PODS",
        f"the CIDR covers {count} of {len(context.pods)} pods; Cilium matches pods by label only, so "
        f"{len(endpoints)} selector{'s' if len(endpoints) > 1 else ''} for today's pods were added",
        place=place,
    )
    notes.assume("pods keep their labels and no other pod gets an address that the CIDR covers")


def _note_missed(missed: Sequence[Pod], place: str, context: Context, notes: Notes, *, one_family: bool) -> None:
    reason = "only addresses of one IP family are covered" if one_family else "no labels tell them from other pods"
    names = ", ".join(str(pod) for pod in missed[:3]) + (" ..." if len(missed) > 3 else "")
    notes.find(
        "POL-IPBLOCK-PODS",
        f"the CIDR covers {len(missed)} pod{'s' if len(missed) > 1 else ''} ({names}) that Cilium cannot be told "
        f"to allow without allowing more: {reason}; these flows are denied after the move",
        place=place,
        effect=context.changes(Effect.NARROWS),
        on_intent=Effect.NARROWS,
        result=Result.CHANGED,
    )


def _covered_nodes(addresses: AddressSet, place: str, context: Context, notes: Notes) -> Peers:
    nodes = [node for node in context.cluster.nodes if node.addresses]
    whole, part = _split([node.addresses for node in nodes], addresses)
    api_server = [address for address in context.cluster.api_server if address in addresses]
    entities: tuple[str, ...] = ()
    if whole and len(whole) == len(nodes):
        entities = _NODES
        notes.find(
            "POL-IPBLOCK-NODES",
            f"the CIDR covers all {len(nodes)} nodes; in Cilium it does not, so the entities host and remote-node "
            "were added",
            place=place,
        )
        notes.assume("every node has its addresses inside the CIDR")
    elif whole or part:
        names = ", ".join(nodes[index].name for index in sorted({*whole, *part})[:3])
        notes.find(
            "POL-IPBLOCK-NODES",
            f"the CIDR covers {len(whole) + len(part)} of {len(nodes)} nodes ({names}) in whole or in part; Cilium "
            "knows own node and other nodes only, so flows with them are denied after the move",
            place=place,
            effect=context.changes(Effect.NARROWS),
            on_intent=Effect.NARROWS,
            result=Result.CHANGED,
        )
    if api_server and not entities and _inside_cluster(api_server, context):
        entities = ("kube-apiserver",)
        notes.find("POL-IPBLOCK-APISERVER", f"the CIDR covers the API server at {api_server[0]}", place=place)
    return Peers(entities=entities)


def _inside_cluster(addresses: Sequence[Address], context: Context) -> bool:
    """Whether all addresses of the API server are covered and one of them is a node's."""
    on_nodes = {address for node in context.cluster.nodes for address in node.addresses}
    return set(addresses) == set(context.cluster.api_server) and any(address in on_nodes for address in addresses)


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
