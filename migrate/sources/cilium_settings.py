"""What of Cilium's release and of the agent's flags changes a verdict.

Facts: the flags and the identity label filter (pkg/labelsfilter) of v1.18.8 and v1.20.2, measured on their policy
engines.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cache

from migrate.errors import InputError
from migrate.model.raw import Json

_TOPOLOGY = r"!topology\.kubernetes\.io"
LABEL_PATTERNS = (
    r"io\.kubernetes\.pod\.namespace",
    r"io\.cilium\.k8s\.namespace\.labels",
    r"app\.kubernetes\.io",
    r"io\.cilium\.k8s\.policy\.cluster",
    r"io\.cilium\.k8s\.policy\.serviceaccount",
    r"!io\.kubernetes",
    r"!kubernetes\.io",
    r"!statefulset\.kubernetes\.io/pod-name",
    r"!apps\.kubernetes\.io/pod-index",
    r"!batch\.kubernetes\.io/job-completion-index",
    r"!batch\.kubernetes\.io/controller-uid",
    r"!.*beta\.kubernetes\.io",
    r"!k8s\.io",
    r"!pod-template-generation",
    r"!pod-template-hash",
    r"!controller-revision-hash",
    r"!controller-uid",
    r"!annotation.*",
    r"!etcd_node",
    _TOPOLOGY,
)
"""The default filter: what labels of pods are part of their identity. A leading ! leaves labels out."""


@dataclass(frozen=True, slots=True)
class CiliumSettings:
    """The defaults are those of 1.20. `families` are the IP versions that are switched on.

    `cidr_match_modes` may hold "nodes" and "pods"; `extra_labels` are the agent's --labels, added to
    `label_patterns`.
    """

    release: int = 20
    local_cluster: bool = True
    named_ports_per_identity: bool = True
    range_from_zero_is_all: bool = True
    nodes_match_everything: bool = False
    outside_is_one: bool = False
    host_needs_a_rule: bool = True
    group_labels_add_up: bool = True
    label_patterns: tuple[str, ...] = LABEL_PATTERNS
    extra_labels: tuple[str, ...] = ()
    sctp: bool = True
    icmp_rules: bool = True
    l7_proxy: bool = True
    default_deny_can_be_off: bool = True
    extended_protocols: bool = False
    node_labels: bool = False
    host_firewall: bool = False
    cluster_network_policy: bool = False
    admits_own_node: bool = True
    cidr_match_modes: frozenset[str] = frozenset()
    enforcement: str = "default"
    cluster_name: str = "default"
    families: frozenset[int] = frozenset({4, 6})

    @classmethod
    def of_release(cls, minor: int) -> CiliumSettings:
        """The defaults of release 1.<minor>. 1.18 and 1.20 were measured; the others follow their nearer neighbour."""
        return cls(
            release=minor,
            local_cluster=minor >= 19,
            named_ports_per_identity=minor >= 20,
            range_from_zero_is_all=minor >= 19,
            nodes_match_everything=minor <= 18,
            outside_is_one=minor in (17, 18),
            host_needs_a_rule=minor >= 19,
            group_labels_add_up=minor >= 19,
            label_patterns=tuple(p for p in LABEL_PATTERNS if minor >= 18 or p != _TOPOLOGY),
        )

    def with_flags(self, flags: Mapping[str, Json]) -> CiliumSettings:
        """The same with flags of the agent by Cilium's own names. Raises InputError for what is not modelled."""
        settings = self
        for name, value in flags.items():
            settings = settings._with_flag(name, value)
        return settings

    def _with_flag(self, name: str, value: Json) -> CiliumSettings:
        if name == "enable-k8s-cluster-network-policy" and isinstance(value, bool) and self.release >= 20:
            return replace(self, cluster_network_policy=value)
        if name in _SWITCHES and isinstance(value, bool):
            return _SWITCHES[name](self, value)
        if name in ("enable-ipv4", "enable-ipv6") and isinstance(value, bool):
            family = frozenset({int(name[-1])})
            return replace(self, families=self.families | family if value else self.families - family)
        if name == "cluster-name" and isinstance(value, str):
            return replace(self, cluster_name=value)
        if name == "enable-policy" and value in ("default", "always", "never"):
            return replace(self, enforcement=str(value))
        if name == "allow-localhost" and value in ("auto", "always", "policy"):
            return replace(self, admits_own_node=value != "policy")
        if name == "labels" and isinstance(value, str | list):
            return replace(self, extra_labels=_words(value))
        if name == "policy-cidr-match-mode" and isinstance(value, str | list):
            modes = frozenset(_words(value))
            if modes <= ({"nodes", "pods"} if self.release >= 20 else {"nodes"}):
                return replace(self, cidr_match_modes=modes)
        raise InputError(f"option {name}: {value!r} is not modelled for Cilium 1.{self.release}")

    def is_identity_label(self, key: str) -> bool:
        """Whether a label of a pod, by its key in identities, is part of the pod's identity."""
        return _is_kept(key, self.label_patterns, self.extra_labels)


_SWITCHES: dict[str, Callable[[CiliumSettings, bool], CiliumSettings]] = {
    "enable-extended-ip-protocols": lambda settings, on: replace(settings, extended_protocols=on),
    "enable-host-firewall": lambda settings, on: replace(settings, host_firewall=on),
    "enable-icmp-rules": lambda settings, on: replace(settings, icmp_rules=on),
    "enable-l7-proxy": lambda settings, on: replace(settings, l7_proxy=on),
    "enable-node-selector-labels": lambda settings, on: replace(settings, node_labels=on),
    "enable-non-default-deny-policies": lambda settings, on: replace(settings, default_deny_can_be_off=on),
    "enable-sctp": lambda settings, on: replace(settings, sctp=on),
    "policy-default-local-cluster": lambda settings, on: replace(settings, local_cluster=on),
}


def _words(value: Json) -> tuple[str, ...]:
    """A list of texts, or a text with commas or blanks between."""
    texts = value if isinstance(value, list) else str(value).replace(",", " ").split()
    return tuple(str(text) for text in texts)


@cache
def _is_kept(key: str, patterns: tuple[str, ...], extra: tuple[str, ...]) -> bool:
    """The longest match of a pattern that keeps against the shortest of one that leaves out.

    As soon as one of the user's own patterns keeps something, nothing else is kept by default.
    """
    kept = left_out = 0
    only_listed = False
    for pattern, is_extra in [*((p, False) for p in patterns), *((p, True) for p in extra)]:
        before, colon, after = pattern.partition(":")
        source, text = (before, after) if colon else ("", before)
        leaves_out = text.startswith("!")
        only_listed = only_listed or (is_extra and not leaves_out)
        found = re.search(text.removeprefix("!"), key)
        if source not in ("", "k8s") or found is None or found.start() > 0:
            continue
        if leaves_out:
            left_out = min(left_out or found.end(), found.end())
        else:
            kept = max(kept, found.end())
    return kept > left_out or (not only_listed and left_out == 0)
