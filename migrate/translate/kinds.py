"""Which objects of a snapshot are policies, and what becomes of the kinds that are not translated."""

from __future__ import annotations

from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.raw import RawObject
from migrate.model.refs import ObjectRef
from migrate.sources.calico import GROUPS
from migrate.translate.context import Context
from migrate.translate.notes import Notes

CILIUM_GROUP = "cilium.io"
NETWORK_SETS = ("NetworkSet", "GlobalNetworkSet")
CALICO_POLICIES = ("NetworkPolicy", "GlobalNetworkPolicy")
_CALICO_KINDS = (
    *CALICO_POLICIES,
    *NETWORK_SETS,
    "HostEndpoint",
    "Tier",
    "Profile",
    "StagedNetworkPolicy",
    "StagedGlobalNetworkPolicy",
    "StagedKubernetesNetworkPolicy",
)
_NOT_POLICY = ("CiliumNode", "CiliumEndpoint", "CiliumEndpointSlice", "CiliumIdentity", "CiliumNodeConfig")


def is_policy(ref: ObjectRef) -> bool:
    """Whether the object is a policy or something that policies refer to, so that it must have a result."""
    if ref.group in GROUPS:
        return ref.kind in _CALICO_KINDS
    if ref.group == CILIUM_GROUP:
        return ref.kind not in _NOT_POLICY
    if ref.group == "policy.networking.k8s.io":
        return True
    return ref.kind == "NetworkPolicy" and ref.group in ("networking.k8s.io", "extensions")


def note_other_kind(raw: RawObject, context: Context, notes: Notes) -> None:
    """The result of an object that is neither a NetworkPolicy nor an enforced Calico policy or set."""
    kind, group = raw.ref.kind, raw.ref.group
    if group == CILIUM_GROUP:
        notes.result = Result.KEPT
        active = "cilium" in context.engines
        text = "it is a Cilium object already and stays as it is"
        notes.find(
            "POL-ALREADY-CILIUM",
            text if active else f"{text}; Cilium does not run yet, so it begins to act at the cutover",
            effect=Effect.NONE if active else Effect.UNKNOWN,
        )
    elif kind == "HostEndpoint":
        text = (
            "it protects a node; Cilium's host firewall is another thing, so nothing was written and the node is open"
        )
        _unsupported("POL-HOSTENDPOINT", text, Effect.WIDENS, context, notes)
    elif kind == "Tier":
        _note_tier(raw, notes)
    elif kind == "Profile" and raw.ref.name.startswith(("kns.", "ksa.", "projectcalico-default-allow")):
        notes.find("POL-PROFILE-DEFAULT", "Calico made this profile itself; without policies Cilium allows as it does")
    else:
        text = f"{kind} of {group} is not translated; nothing was written"
        _unsupported("POL-UNSUPPORTED-KIND", text, Effect.UNKNOWN, context, notes)


def _note_tier(raw: RawObject, notes: Notes) -> None:
    if raw.ref.name == "default":
        notes.find("POL-PROFILE-DEFAULT", "Calico made this tier itself; its end is Cilium's default deny")
        return
    notes.find("POL-CALICO-TIER", "Cilium's policies have no tiers: its place is worked into the policies themselves")


def _unsupported(finding_id: str, text: str, effect: Effect, context: Context, notes: Notes) -> None:
    against_today = context.changes(effect) if effect is not Effect.NONE else Effect.NONE
    notes.find(finding_id, text, effect=against_today, on_intent=effect, result=Result.UNSUPPORTED)
