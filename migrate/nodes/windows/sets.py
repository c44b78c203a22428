"""The SetPolicies of a node: which set an id stands for, and whether its members are those of the cluster."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from migrate.model.finding import Effect, Finding
from migrate.model.hns import HnsState, SetId, SetPolicy
from migrate.model.refs import Location, ObjectRef
from migrate.nodes.windows import names
from migrate.nodes.windows.catalog import Catalog
from migrate.nodes.windows.ports import Network
from migrate.nodes.windows.rules import network_text
from migrate.nodes.windows.words import DRIFT, listed


@dataclass(frozen=True, eq=False)
class NodeSets:
    """The sets on a node's network. Without a network nothing is known of them but what an id stands for."""

    node: ObjectRef
    network: Network | None
    catalog: Catalog

    @cached_property
    def _by_id(self) -> Mapping[str, tuple[tuple[HnsState, SetPolicy], ...]]:
        found: dict[str, tuple[tuple[HnsState, SetPolicy], ...]] = {}
        for state, given in self.network.sets if self.network is not None else ():
            found[given.id] = (*found.get(given.id, ()), (state, given))
        return found

    def name(self, set_id: str) -> str:
        """The name of the set that an id stands for; the id itself when nothing tells.

        Ids are hashes of names, so that the name that HNS shows is only asked where two names have one hash or none
        of the cluster's has it.
        """
        possible = self.catalog.by_id.get(set_id, ())
        shown = [self.catalog.name(given.name) for _, given in self._by_id.get(set_id, ()) if given.name]
        agreed = [name for name in shown if name in possible] if possible else shown
        return next(iter((*agreed, *possible)), set_id)

    def pod_members(self) -> frozenset[str]:
        """The addresses in sets of pods."""
        sets = (given for _, given in self.network.sets if self._is_of_pods(given)) if self.network is not None else ()
        members = (member for given in sets for member in given.members)
        return frozenset(str(member.network_address) for member in members if not isinstance(member, SetId))

    def _is_of_pods(self, given: SetPolicy) -> bool:
        return self.name(given.id).startswith(("ns-", "podlabel-"))

    def findings(self, needed: Iterable[str], complete: bool) -> Iterator[Finding]:
        """What is wrong with the sets; `needed` are names that ACLs use, `complete` whether the cluster is known."""
        if self.network is None or not self.network.whole:
            return
        there = {self.name(set_id) for set_id in self._by_id}
        inner = {name for _, given in self.network.sets for name in self._names(given)}
        absent = sorted(({*needed} | (inner & self.catalog.contents.keys())) - there - {names.EMPTY})
        if absent and there <= {names.EMPTY}:
            detail = f"network {self.network.name} has no set, although ACLs need {listed(absent)}"
            yield self._finding(detail, self.network.at)
            return
        for name in absent:
            yield self._finding(f"set {name} is missing, although ACLs or other sets name it", self.network.at)
        for set_id, several in sorted(self._by_id.items()):
            yield from self._set(set_id, several, complete)

    def _set(self, set_id: str, several: tuple[tuple[HnsState, SetPolicy], ...], complete: bool) -> Iterator[Finding]:
        """What is wrong with one set, as one finding. Files that differ are believed where they agree."""
        state, first = several[0]
        name = self.name(set_id)
        wanted = self.catalog.expected(name)
        if any(given.unread for _, given in several):
            return
        wrong = [f"is called {first.name}"] if self.catalog.name(first.name) != name else []
        if set_id not in self.catalog.by_id and name in self.catalog.contents:
            wrong.append(f"has the id {set_id}, which is not made of its name, so that no ACL means it")
        if wanted is not None:
            versions = [self._members(given) - {names.EMPTY} for _, given in several]
            should = (wanted.networks | wanted.sets) - {names.EMPTY}
            lacks = sorted(should.difference(*versions))
            besides = sorted(frozenset.intersection(*versions) - should) if complete else []
            wrong += [f"lacks {listed(lacks)}"] if lacks else []
            wrong += [f"has {listed(besides)} besides, which the cluster does not put there"] if besides else []
        if wrong:
            yield self._finding(f"set {name} {' and '.join(wrong)}", state.at(first))

    def _members(self, given: SetPolicy) -> frozenset[str]:
        return frozenset(self.name(m.text) if isinstance(m, SetId) else network_text(m) for m in given.members)

    def _names(self, given: SetPolicy) -> Iterator[str]:
        for member in given.members:
            if isinstance(member, SetId):
                yield self.name(member.text)

    def _finding(self, detail: str, at: Location) -> Finding:
        text = f"node {self.node.name}: {detail}"
        return Finding(id=DRIFT, detail=text, effect=Effect.UNKNOWN, subject=self.node, at=at)
