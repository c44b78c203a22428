"""A question answered on all truths, as the document that `migrate explain` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import migrate
from migrate.model.cluster import Cluster
from migrate.model.documents import ExplainedFlow, ExplainedSide, ExplainedTruth, Explanation
from migrate.model.flow import Flow
from migrate.verify.examples import example
from migrate.verify.explain import Explainer, Truth
from migrate.verify.question_flows import Question

SideName = Literal["egress", "ingress"]
Change = Literal["none", "newly_denied", "newly_allowed", "unknown"]
_DONE = {"allow": "allowed", "deny": "denied", "unknown": "not known"}


def explain_flows(
    question: Question,
    truths: Sequence[Truth],
    cluster: Cluster,
    findings: Mapping[str, Sequence[str]],
    *,
    doubts: Sequence[str] = (),
    complete: bool = True,
) -> Explanation:
    """The flows of a question on the truths (intent, enforced, future), those together that the same rules decide.

    `findings` are what the translation said of each object, `doubts` what of the truths is not known; `complete`: all
    of the cluster was read.
    """
    explainers = [Explainer(truth, cluster) for truth in truths]
    groups: dict[object, list[tuple[Flow, tuple[ExplainedTruth, ...]]]] = {}
    for flow in question.flows:
        told = tuple(explainer.explain(flow) for explainer in explainers)
        groups.setdefault(tuple(_key(truth) for truth in told), []).append((flow, told))
    certain = not question.doubts
    explained = tuple(_flow(members, truths, findings, certain=certain) for members in groups.values())
    known = all(truth.verdict != "unknown" for flow in explained for truth in flow.truths)
    return Explanation(
        tool_version=migrate.__version__,
        source=question.source,
        destination=question.destination,
        port=question.port,
        complete=complete and known and certain and not doubts,
        flows=tuple(sorted(explained, key=lambda flow: flow.change == "none")),
        notes=question.notes,
        doubts=(*question.doubts, *doubts),
    )


def _key(truth: ExplainedTruth) -> object:
    """What flows of one group have in common: the words, and what decided."""
    return tuple(
        (side.word, side.decided_by, side.stage, side.passed, tuple(policy.object for policy in side.policies))
        for side in (truth.egress, truth.ingress)
    )


def _flow(
    members: Sequence[tuple[Flow, tuple[ExplainedTruth, ...]]],
    truths: Sequence[Truth],
    findings: Mapping[str, Sequence[str]],
    *,
    certain: bool,
) -> ExplainedFlow:
    (first, told), *others = members
    change = _change(told[1], told[2]) if certain else "unknown"
    return ExplainedFlow(
        flow=example(first),
        change=change,
        headline=_headline(change, told, truths),
        truths=told,
        because=tuple(_because(change, told, truths)),
        findings=tuple(dict.fromkeys(text for name in _differing(told) for text in findings.get(name, ()))),
        same=tuple(str(flow) for flow, _ in others),
    )


def _change(enforced: ExplainedTruth, future: ExplainedTruth) -> Change:
    if "unknown" in (enforced.verdict, future.verdict):
        return "unknown"
    if enforced.verdict == future.verdict:
        return "none"
    return "newly_denied" if future.verdict == "deny" else "newly_allowed"


def _headline(change: Change, told: Sequence[ExplainedTruth], truths: Sequence[Truth]) -> str:
    _, enforced, future = told
    today, after = truths[1].who, truths[2].who
    lines = {
        "newly_denied": f"CHANGES AT CUTOVER: newly denied by {_culprit(future)}",
        "newly_allowed": f"CHANGES AT CUTOVER: newly allowed; today it is denied by {_culprit(enforced)}",
        "none": f"No change at cutover: {_DONE[enforced.verdict]} by {today} today, and by {after} after it",
        "unknown": f"Not known whether it changes at cutover: today {_DONE[enforced.verdict]}, after it "
        f"{truths[2].unknown or f'{_DONE[future.verdict]}, as far as can be told'}",
    }
    return lines[change]


def _culprit(truth: ExplainedTruth) -> str:
    """What denies a flow, in a few words: that of the destination where both ends deny it."""
    found = ""
    for name, side in _denying(truth):
        names = [policy.object for policy in side.policies if not policy.ignored]
        if side.decided_by.object is not None:
            found = f"{side.decided_by.object} ({name})"
        elif not names:
            found = f"{name}: {side.reason}"
        else:
            more = f" and {len(names) - 1} more" if len(names) > 1 else ""
            found = f"the default deny of {names[0]}{more} ({name})"
    return found


def _because(change: Change, told: Sequence[ExplainedTruth], truths: Sequence[Truth]) -> Iterator[str]:
    """What makes the difference between today and the cutover, and between today and the policies' text."""
    intent, enforced, future = told
    today, after = truths[1].who, truths[2].who
    if change == "newly_denied":
        yield f"{today} allows it today"
        yield from (f"{after} denies it at {name}: {side.reason}" for name, side in _denying(future))
    if change == "newly_allowed":
        yield from (f"{today} denies it today at {name}: {side.reason}" for name, side in _denying(enforced))
        for name, _ in _denying(enforced):
            side = future.egress if name == "egress" else future.ingress
            yield f"{after} does not deny it there: {side.reason}"
    if intent.verdict != enforced.verdict and "unknown" not in (intent.verdict, enforced.verdict):
        yield f"today is not what the policies say: by their text it is {_DONE[intent.verdict]}"


def _denying(truth: ExplainedTruth) -> list[tuple[SideName, ExplainedSide]]:
    sides: list[tuple[SideName, ExplainedSide]] = [("egress", truth.egress), ("ingress", truth.ingress)]
    return [(name, side) for name, side in sides if side.word == "deny"]


def _differing(told: Sequence[ExplainedTruth]) -> Iterator[str]:
    """The objects that have a say in a side on which the truths do not agree whether the flow may pass."""
    for sides in ([truth.egress for truth in told], [truth.ingress for truth in told]):
        if len({side.word == "deny" for side in sides}) > 1:
            for side in sides:
                yield from (side.decided_by.object or "", *(policy.object for policy in side.policies))
