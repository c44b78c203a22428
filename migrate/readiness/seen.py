"""What rules ask of a snapshot before anything else: which engine runs, which cloud it is, which Cilium will come."""

from __future__ import annotations

from collections.abc import Iterator

from migrate.model.flow import Direction
from migrate.readiness.documents import Documents
from migrate.sources.kubernetes import NetworkPolicy, Peer
from migrate.translate.profiles import Profile, load_profile, profile_for


def runs(documents: Documents, *engines: str) -> bool:
    """Whether one of these policy engines runs."""
    return any(fact.value in engines for fact in documents.facts("engine"))


def may_run(documents: Documents, *engines: str) -> bool:
    """Whether one of these engines runs, or nobody knows which one does."""
    known = [fact for fact in documents.header.facts if fact.topic == "engine"] if documents.header else []
    doubtful = any(fact.state == "unknown" for fact in known) and not any(fact.state == "active" for fact in known)
    return not known or doubtful or runs(documents, *engines)


def is_on(documents: Documents, cloud: str) -> bool:
    """Whether the cluster is one of that cloud."""
    return any(fact.value == cloud for fact in documents.facts("cloud"))


def target(documents: Documents) -> Profile:
    """The target that was translated for, or the one that suits the snapshot."""
    if documents.translation is not None:
        return load_profile(documents.translation.target)
    return load_profile(profile_for(documents.header.facts if documents.header else ())[0])


def for_aks(documents: Documents) -> bool:
    """Whether the target is the Cilium that AKS manages."""
    return target(documents).managed


def minor(version: str | None) -> tuple[int, int] | None:
    """The first two numbers of a version such as v1.33.4; None when it has none."""
    parts = (version or "").lstrip("v").split(".")
    return (int(parts[0]), int(parts[1])) if len(parts) > 1 and parts[0].isdecimal() and parts[1].isdecimal() else None


def peers(policy: NetworkPolicy) -> Iterator[tuple[Direction, Peer]]:
    """All peers of a policy's rules."""
    for direction in Direction:
        for rule in policy.rules(direction):
            yield from ((direction, peer) for peer in rule.peers or ())
