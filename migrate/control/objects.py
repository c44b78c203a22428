"""The objects of runs in a cluster: looked at, made, and deleted only where they are known to be of the run."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import msgspec

from migrate.collect.pod_connection import PodConnection
from migrate.control.manifests import KINDS, LEASE_KIND, NAMESPACE_KIND, ObjectKind
from migrate.model.agent_documents import DAEMON_SET, RUN_LABEL
from migrate.scan.connection import RequestError

Decoded = TypeVar("Decoded")
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


@dataclass(frozen=True, slots=True)
class Right:
    """Something that this user has to be allowed. No `namespace`: in the whole cluster. No `name`: of any name."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""

    def __str__(self) -> str:
        name = f" {self.name}" if self.name else ""
        where = f" in namespace {self.namespace}" if self.namespace else ""
        return f"{self.verb} {self.resource}{name}{where}"


class _ObjectMeta(msgspec.Struct, frozen=True, rename="camel"):
    name: str = ""
    uid: str = ""
    labels: dict[str, str] = {}
    creation_timestamp: str = ""
    deletion_timestamp: str | None = None


class _PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    priority_class_name: str = ""


class _Template(msgspec.Struct, frozen=True):
    spec: _PodSpec = _PodSpec()


class _ObjectSpec(msgspec.Struct, frozen=True):
    """Of a DaemonSet."""

    template: _Template = _Template()


class _Object(msgspec.Struct, frozen=True):
    metadata: _ObjectMeta = _ObjectMeta()
    spec: _ObjectSpec = _ObjectSpec()


class _Objects(msgspec.Struct, frozen=True):
    items: tuple[_Object, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """An object that has one of the names of a run's. `run` is empty for one that is nobody's run.

    `goes`: it is being deleted. `priority_class` is that of a DaemonSet's pods.
    """

    kind: ObjectKind
    path: str
    name: str
    uid: str
    run: str
    made: str
    goes: bool
    priority_class: str = ""

    def __str__(self) -> str:
        return f"{self.kind.kind} {self.name}"


class _ReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


class ObjectConnection(PodConnection):
    """What deploying agents asks of an API server: objects of theirs, made and deleted one by one."""

    def allows(self, right: Right) -> bool:
        """Whether the API server lets this user do something. Raises RequestError."""
        resource, _, part = right.resource.partition("/")
        wanted = {
            "verb": right.verb,
            "group": right.group,
            "resource": resource,
            "subresource": part,
            "namespace": right.namespace,
            "name": right.name,
        }
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        return msgspec.json.decode(self._post(_REVIEWS, msgspec.json.encode(asked)), type=_Review).status.allowed

    def delete_this(self, found: Found) -> None:
        """Ask for just this object to go, not for another one that has its name since. Raises RequestError."""
        headers = self._headers("application/json")
        headers["Content-Type"] = "application/json"
        options = {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Background",
            "preconditions": {"uid": found.uid},
        }
        self._ask("DELETE", found.path, headers, msgspec.json.encode(options))

    def find(self, kind: ObjectKind, namespace: str) -> Found | None:
        """The object of a kind that has the name of a run's. Raises RequestError."""
        name = namespace if kind is NAMESPACE_KIND else DAEMON_SET
        path = f"{kind.collection(namespace)}/{name}"
        try:
            there = decoded(self.get(path), _Object, path)
        except RequestError as error:
            if error.status == 404:
                return None
            raise
        meta = there.metadata
        return Found(
            kind=kind,
            path=path,
            name=name,
            uid=meta.uid,
            run=meta.labels.get(RUN_LABEL, ""),
            made=meta.creation_timestamp,
            goes=meta.deletion_timestamp is not None,
            priority_class=there.spec.template.spec.priority_class_name,
        )

    def names(self, kind: ObjectKind, namespace: str) -> tuple[str, ...]:
        """The names of all objects of a kind in a namespace. Raises RequestError."""
        path = kind.collection(namespace)
        return tuple(sorted(one.metadata.name for one in decoded(self.get(path), _Objects, path).items))


ALL_KINDS = (*KINDS, LEASE_KIND)
"""What can be there of a run."""


def decoded(body: bytes, type_: type[Decoded], path: str) -> Decoded:
    """An answer of the API server as a typed value. Raises RequestError for what is none."""
    try:
        return msgspec.json.decode(body, type=type_)
    except msgspec.DecodeError as error:
        raise RequestError(f"{path}: an answer that cannot be read ({error}); try again", temporary=True) from error
