"""A connection that may also make and delete pods."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from migrate.scan.connection import Connection

_GRACE_SECONDS = 5
_PROXY_SECONDS = 30.0
_REVIEWS = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"


class _ReviewStatus(msgspec.Struct, frozen=True):
    allowed: bool = False


class _Review(msgspec.Struct, frozen=True):
    status: _ReviewStatus = _ReviewStatus()


class PodConnection(Connection):
    """What `migrate scan --nodes` asks of an API server beside reading: pods of its own, and their logs."""

    def create(self, path: str, body: bytes) -> None:
        """Make an object; unknown fields are refused. Raises RequestError."""
        self._post(f"{path}?fieldValidation=Strict", body)

    def delete(self, path: str, *, at_once: bool = False) -> None:
        """Ask for an object to go. Without `at_once` the node's kubelet ends the pod first. Raises RequestError."""
        grace = 0 if at_once else _GRACE_SECONDS
        query = f"gracePeriodSeconds={grace}&propagationPolicy=Background"
        self._ask("DELETE", f"{path}?{query}", self._headers("application/json"), None)

    def may(self, verb: str, resource: str, namespace: str) -> bool:
        """Whether the API server lets this user do something; "pods/log" is a resource. Raises RequestError."""
        kind, _, part = resource.partition("/")
        wanted = {"verb": verb, "group": "", "resource": kind, "subresource": part, "namespace": namespace}
        asked = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": wanted},
        }
        return msgspec.json.decode(self._post(_REVIEWS, msgspec.json.encode(asked)), type=_Review).status.allowed

    def log(self, pod_path: str, container: str, silence: float) -> Iterator[bytes]:
        """The lines of a container's log, until it ends. Raises RequestError, also after `silence` seconds of it."""
        return self.lines(f"{pod_path}/log?container={container}&follow=true", silence)

    def proxied(self, path: str) -> bytes:
        """What a program in a pod answers through the API server. Raises RequestError, also where it takes long."""
        return self._ask("GET", path, self._headers("*/*"), None, _PROXY_SECONDS)

    def _post(self, path: str, body: bytes) -> bytes:
        headers = self._headers("application/json")
        headers["Content-Type"] = "application/json"
        return self._ask("POST", path, headers, body)
