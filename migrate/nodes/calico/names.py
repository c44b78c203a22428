"""Names that Felix gives to chains, interfaces and IP sets on a node.

Facts: projectcalico/calico felix/rules/rule_defs.go and dispatch.go (prefixes), felix/hashutils (names that are too
long), felix/ipsets/ipset_defs.go and felix/nftables/ipsets.go (sets), libcalico-go/lib/backend/k8s/conversion
(interfaces); Azure's, Amazon's and Google's plugins hash the same text under prefixes of their own.
"""

from __future__ import annotations

from base64 import urlsafe_b64encode
from hashlib import sha1, sha256

from migrate.model.flow import Direction

LONGEST_CHAIN = 28
LONGEST_SET = 31
PREFIX = "cali-"
POLICY = {Direction.INGRESS: "cali-pi-", Direction.EGRESS: "cali-po-"}
GROUP = {Direction.INGRESS: "cali-gi-", Direction.EGRESS: "cali-go-"}
PROFILE = {Direction.INGRESS: "cali-pri-", Direction.EGRESS: "cali-pro-"}
POD = {Direction.INGRESS: "cali-tw-", Direction.EGRESS: "cali-fw-"}
DISPATCH = {Direction.INGRESS: "cali-to-wl-dispatch", Direction.EGRESS: "cali-from-wl-dispatch"}
HOST = ("cali-th-", "cali-fh-", "cali-thfw-", "cali-fhfw-")
INTERFACES = ("cali", "azv", "eni", "gke")
"""What interfaces of pods begin with: Calico's own, Azure CNI's, the Amazon VPC plugin's and GKE's."""
RULE_HASH = "cali:"
"""What the comment begins with that Felix puts on each of its rules."""
_FIXED = frozenset(
    {
        *("INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING", "untracked-flows", "untracked-policy"),
        *("failsafe-in", "failsafe-out", "nat-outgoing", "fip-dnat", "fip-snat", "cidr-block", "wl-to-host"),
        *("from-wl-dispatch", "to-wl-dispatch", "to-host-endpoint", "from-host-endpoint", "to-hep-forward"),
        *("from-hep-forward", "set-endpoint-mark", "from-endpoint-mark", "forward-check", "forward-endpoint-mark"),
        *("wireguard-incoming-mark", "rpf-skip", "rpf", "qos-policy"),
    }
)
_BEGINNINGS = (
    *POLICY.values(),
    *GROUP.values(),
    *PROFILE.values(),
    *POD.values(),
    *(f"{name}-" for name in DISPATCH.values()),
    *HOST,
    *("cali-sm-", "cali-to-host-endpoint-", "cali-from-host-endpoint-", "cali-to-hep-forward-"),
    *("cali-from-hep-forward-", "cali-set-endpoint-mark-", "cali-from-endpoint-mark-"),
)


def chain_name(prefix: str, rest: str) -> str:
    """A chain's name; what is too long for the kernel is a hash behind an underscore."""
    length = len(prefix) + len(rest.encode())
    if length > LONGEST_CHAIN or (length == LONGEST_CHAIN and rest.startswith("_")):
        digest = urlsafe_b64encode(sha256(rest.encode()).digest()).decode()
        return f"{prefix}_{digest[: LONGEST_CHAIN - 1 - len(prefix)]}"
    return prefix + rest


def is_known(chain: str) -> bool:
    """Whether Felix has chains of that name or beginning."""
    return chain.removeprefix(PREFIX) in _FIXED or chain.startswith(_BEGINNINGS)


def interface_of(namespace: str, pod: str, prefix: str = "cali") -> str:
    """The node's end of a pod's veth."""
    digest = sha1(f"{namespace}.{pod}".encode(), usedforsecurity=False).hexdigest()
    return f"{prefix}{digest[:11]}"


def set_name(set_id: str, family: int, *, nft: bool = False) -> str:
    """An IP set's name in the kernel."""
    name = f"cali{family}0{set_id}"[:LONGEST_SET]
    return name.replace(":", "-") if nft else name
