"""What the words of the report mean, in one place for the page, its legend and its script data."""

from collections.abc import Mapping
from types import MappingProxyType

from migrate.model.finding import Severity
from migrate.readiness.verdict import State
from migrate.report.document import Level, Standing

STATE_ANSWERS: Mapping[State, str] = MappingProxyType(
    {
        "blocked": "No: blockers stand in the way of the cutover",
        "incomplete": "Unknown: a part of the picture is missing",
        "decide_first": "Not yet: warnings need a decision",
        "no_blocker_found": "No blocker was found in what was read",
    }
)

RETURN_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "at_once": "a change made past it is undone at once, so change it there",
        "at_deploy": "a change made past it is undone with the next release, so change it there",
        "never": "a change made past it stays; its own place is",
        "unknown": "whether a change made past it stays is not known; its own place is",
    }
)

ORIGINAL_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "stays": "stays: Cilium reads it as it is",
        "after_cutover": "goes after the cutover: until then the old engine needs it",
        "with_old_engine": "goes with the old engine: Cilium does not read it",
        "decided": "has to be decided about: nothing was written in its place",
    }
)

CHANGE_TITLES: Mapping[str, str] = MappingProxyType(
    {"lost": "something is lost", "new": "something new is possible", "both": "something is lost and something is new"}
)

EVIDENCE_SIGNS: Mapping[str, str] = MappingProxyType({"there": "✓", "partial": "◐", "missing": "?", "against": "✗"})

EVIDENCE_STATES: Mapping[str, str] = MappingProxyType(
    {
        "there": "looked at",
        "partial": "only a part",
        "missing": "nobody looked",
        "against": "speaks against the cutover",
    }
)

STANDING_TITLES: Mapping[Standing, str] = MappingProxyType(
    {
        "kept": "Kept",
        "exact": "Exact",
        "exact_here": "Exact here",
        "changed": "Changed",
        "unsupported": "Unsupported",
        "not_translated": "Not translated",
    }
)

STANDING_MEANINGS: Mapping[Standing, str] = MappingProxyType(
    {
        "kept": "Stays in the cluster as it is; meant to say the same under Cilium.",
        "exact": "Meant to say the same for any pods, also for those of the next rollout.",
        "exact_here": "Meant to say the same for this snapshot only; it rests on the assumptions that are named.",
        "changed": "Some flows are decided differently after the cutover.",
        "unsupported": "Nothing was written for it, so nothing of this translation stands in for it after the cutover.",
        "not_translated": "No translation in the working folder speaks of it.",
    }
)

PROOF_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "none": "not proved: claimed by the translation's rules, never compared flow by flow",
        "witness": "proved over witnesses: synthetic pods for every case that the policies can tell apart",
        "snapshot": "proved over the pods, nodes and addresses of this snapshot",
    }
)

LEVELS: Mapping[Severity, Level] = MappingProxyType(
    {Severity.BLOCKER: "blocker", Severity.WARNING: "warning", Severity.INFO: "info"}
)

LEVEL_TITLES: Mapping[Level, str] = MappingProxyType({"blocker": "Blocker", "warning": "Warning", "info": "Info"})

STATE_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "active": "in force",
        "present": "present, not in force",
        "absent": "absent",
        "unknown": "unknown",
        "read": "read",
        "forbidden": "forbidden: not read",
        "failed": "failed: not read",
    }
)

EFFECT_TITLES: Mapping[str, str] = MappingProxyType(
    {"widens": "allows more", "narrows": "allows less", "none": "no change", "unknown": "not known"}
)

EVIDENCE_TITLES: Mapping[str, str] = MappingProxyType(
    {
        "measured": "measured on a running system",
        "code": "read in the source code",
        "doc": "from the documentation",
        "report": "reported by users",
        "derived": "derived from other facts",
    }
)
