"""Both parts of a translation against what the engine of today enforces: cilium/ alone, and with compat/."""

from __future__ import annotations

from collections.abc import Sequence

from migrate.compared import counts, state
from migrate.futures import ENGINES, remaining
from migrate.model.cluster import Cluster
from migrate.model.documents import AgainstToday
from migrate.model.raw import RawObject
from migrate.proved.served import ServedPorts
from migrate.proved.states import Sides, read_back, with_sctp
from migrate.translate.engine import Outcome
from migrate.translate.profiles import Profile
from migrate.verify.causes import find_changes
from migrate.verify.verification import State


def against_today(outcome: Outcome, objects: Sequence[RawObject], sides: Sides) -> AgainstToday | None:
    """The flows of the snapshot that change; None where it is not known which engine enforces, or none does.

    SCTP that the target drops is told for the cluster, and not once more here.
    """
    running = [ENGINES[name] for name in outcome.translation.engines if name in ENGINES]
    if len(running) != 1:
        return None
    (engine,) = running
    cluster, profile = sides.cluster, sides.profile
    policies = [raw for raw in objects if counts(raw)]
    today = state(f"enforced today by {engine}", engine, policies, cluster, profile)
    alone = [*sides.written, *remaining(outcome.translation, policies)]
    compat = read_back(outcome, "compat/")
    changes = [
        find_changes(ServedPorts(today.built.engine, _future(future, cluster, profile).built.engine, cluster)).causes
        for future in ([alone, [*alone, *compat]] if compat else [alone])
    ]
    return AgainstToday(engine=engine, cilium=changes[0], with_compat=changes[-1])


def _future(objects: Sequence[RawObject], cluster: Cluster, profile: Profile) -> State:
    return state("Cilium with the written objects", "cilium", objects, cluster, with_sctp(profile))
