"""Two states compared, over a cluster's own pods and over made-up ones, as the document of `migrate verify`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import migrate
from migrate.model.cluster import Cluster
from migrate.model.documents import Cause, Verification, WitnessProof
from migrate.verify.causes import DisagreementError, find_changes
from migrate.verify.compare import Comparison
from migrate.verify.engines import Built
from migrate.verify.matrix import make_matrix
from migrate.verify.witness import MOST_ASKED, MOST_UNASKED, make_witnesses, traits
from migrate.verify.witness_labels import TooManyError

__all__ = ["DisagreementError", "State", "Wanted", "verify"]

Proof: TypeAlias = Literal["witness", "snapshot"]
MatrixBy: TypeAlias = Literal["namespace", "workload"]


@dataclass(frozen=True, slots=True)
class State:
    """A policy state: what people call it, its engine, and how to make the same one for another cluster.

    `whole_cluster` says why an answer may depend on other pods than its two ends, if it may; then witnesses prove
    nothing. If not, the engine of a cluster without pods is that of every cluster.
    """

    name: str
    built: Built
    build: Callable[[Cluster], Built]
    whole_cluster: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to find out. Without `proof` the snapshot is compared, then witnesses if there are not too many."""

    proof: Proof | None = None
    matrix: MatrixBy | None = None


_UNASKED = Wanted()


def verify(
    before: State,
    after: State,
    cluster: Cluster,
    *,
    unread: tuple[str, ...] = (),
    wanted: Wanted = _UNASKED,
    inputs: str = "",
) -> Verification:
    """Compare two states over the whole flow space; `unread` names what of either could not be read.

    `inputs` is a digest of what they were read from. Raises DisagreementError when a counterexample does not hold up.
    """
    left_out = sorted({*unread, *_not_modelled(before, cluster), *_not_modelled(after, cluster)})
    comparison = Comparison(before.built.engine, after.built.engine, cluster)
    changes, classes = find_changes(comparison), len(comparison.space.pod_classes)
    if not classes and wanted.proof == "snapshot":
        left_out.append("there are no pods with addresses, so that nothing was compared")
    result = _result(changes.causes, tuple(left_out))
    asked = wanted.proof == "witness" or (not classes and wanted.proof is None)
    witness = None
    if asked or (wanted.proof is None and result == "equivalent"):
        witness = _witness(before, after, cluster, 0 if asked else classes, tuple(left_out))
    decided = witness if asked else None
    return Verification(
        tool_version=migrate.__version__,
        before=before.name,
        after=after.name,
        result=result if decided is None else decided.result,
        proof=_proof(result, decided, witness),
        complete=not left_out and (decided is None or decided.result != "undecided"),
        classes=classes,
        ends=len(comparison.space.ends),
        packets=len(comparison.packets.atoms),
        causes=changes.causes,
        newly_denied_pairs=changes.newly_denied,
        newly_allowed_pairs=changes.newly_allowed,
        left_out=tuple(left_out),
        witness=witness,
        matrix=None if wanted.matrix is None else make_matrix(comparison, wanted.matrix),
        inputs=inputs,
    )


def _not_modelled(state: State, cluster: Cluster) -> Iterator[str]:
    """What an answer may rest on that is not known: objects, and the release where releases differ."""
    built = state.built
    for place in (*built.left_out, *built.engine.unknown):
        yield str(place).strip()
    if built.alternative is not None and any(Comparison(built.engine, built.alternative(), cluster).changes()):
        yield f"{state.name}: what it does {built.differs}"


_Result: TypeAlias = Literal["equivalent", "different", "undecided"]


def _result(causes: tuple[Cause, ...], left_out: tuple[str, ...]) -> _Result:
    if causes:
        return "different"
    return "undecided" if left_out else "equivalent"


def _proof(
    snapshot: _Result, decided: WitnessProof | None, witness: WitnessProof | None
) -> Literal["none", "witness", "snapshot"]:
    """What the result rests on; an equivalence of the snapshot that witnesses confirm rests on them."""
    if decided is not None:
        return "none" if decided.result == "undecided" else "witness"
    if snapshot == "undecided":
        return "none"
    return "witness" if witness is not None and witness.result == "equivalent" else "snapshot"


def _not_of_two_ends(state: State) -> str:
    """Why made-up pods would prove nothing about a state; empty when they do."""
    built = state.built
    return state.whole_cluster or ("" if built.alternative is None else f"{state.name} {built.differs}")


def _witness(before: State, after: State, cluster: Cluster, classes: int, left_out: tuple[str, ...]) -> WitnessProof:
    """The comparison over made-up pods. Unasked (`classes` of the snapshot are given) it is for small inputs only."""
    cap = MOST_UNASKED if classes else MOST_ASKED
    reason = _not_of_two_ends(before) or _not_of_two_ends(after)
    if not reason and classes > cap:
        reason = (
            f"not tried, for the snapshot alone has {classes} kinds of pods, more than {cap}; ask with --proof witness"
        )
    if reason:
        return WitnessProof(result="undecided", reason=reason)
    empty = replace(cluster, pods=())
    engines = before.build(empty).engine, after.build(empty).engine
    try:
        made = make_witnesses(engines, cluster, cap)
    except TooManyError as error:
        return WitnessProof(result="undecided", reason=str(error))
    found: dict[tuple[str, ...], Cause] = {}
    for world in made.worlds:
        for cause in find_changes(Comparison(*engines, world), traits).causes:
            found.setdefault((cause.change, cause.side, str(cause.before), str(cause.after)), cause)
    causes = tuple(found[key] for key in sorted(found))
    result = _result(causes, left_out)
    reason = "not everything was read or is modelled" if result == "undecided" else ""
    return WitnessProof(result=result, reason=reason, pods=made.pods, assumptions=made.assumptions, causes=causes)
