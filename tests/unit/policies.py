"""Small objects for tests of readers and translation."""

from collections.abc import Mapping

from migrate.model.cluster import Pod
from migrate.model.labels import Labels
from migrate.model.raw import Json


def network_policy(spec: Json, name: str = "policy", namespace: str = "shop") -> dict[str, Json]:
    """A Kubernetes NetworkPolicy."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "namespace": namespace},
        "spec": spec,
    }


def calico(
    kind: str, spec: Json, metadata: Mapping[str, Json], version: str = "projectcalico.org/v3"
) -> dict[str, Json]:
    """A Calico object; stored ones have the version crd.projectcalico.org/v1."""
    return {"apiVersion": version, "kind": kind, "metadata": dict(metadata), "spec": spec}


def pod(namespace: str, name: str, labels: Mapping[str, str]) -> Pod:
    """A pod with labels."""
    return Pod(namespace, name, Labels.of(labels))
