"""Setting up a cluster for a test: objects, definitions of kinds, rights. All of it goes through the real API."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import yaml
from kubernetes.client.rest import RESTClientObject

from migrate.scan.kinds import Kind
from migrate.scan.kubeconfig import log_in

Object: TypeAlias = "dict[str, object]"

RBAC = Path(__file__).parents[2] / "docs" / "rbac.yaml"
RBAC_API = "rbac.authorization.k8s.io/v1"
_PATIENCE_SECONDS = 60


class Client:
    """One user of an API server; with `user` an administrator acts as somebody else."""

    def __init__(self, kubeconfig: Path, user: str | None = None) -> None:
        configuration = log_in(str(kubeconfig), None).configuration
        self._host = configuration.host
        self._headers = {"Authorization": str(configuration.get_api_key_with_prefix("BearerToken"))}
        if user is not None:
            self._headers["Impersonate-User"] = user
        self._pool = RESTClientObject(configuration).pool_manager

    def call(self, method: str, path: str, body: object = None) -> tuple[int, Object]:
        """Status and answer of a request."""
        headers = self._headers | {"Content-Type": "application/json"}
        data = None if body is None else json.dumps(body).encode()
        answer = self._pool.request(method, self._host + path, headers=headers, body=data)
        try:
            return answer.status, json.loads(answer.data)
        except ValueError:
            return answer.status, {"message": answer.data.decode(errors="replace")}

    def must(self, method: str, path: str, body: object = None) -> Object:
        """The answer of a request that has to succeed."""
        status, answer = self.call(method, path, body)
        assert status < 300, f"{method} {path}: {status} {answer.get('message')}"
        return answer

    def warnings(self, method: str, path: str, body: object) -> list[str]:
        """What the server warns of when it takes a request."""
        headers = self._headers | {"Content-Type": "application/json"}
        answer = self._pool.request(method, self._host + path, headers=headers, body=json.dumps(body).encode())
        assert answer.status < 300, answer.data
        said = [warning.partition('"')[2].removesuffix('"') for warning in answer.headers.getlist("Warning")]
        return [warning.replace('\\"', '"') for warning in said]

    def create(self, made: Object, *, query: str = "") -> Object:
        """Create an object; unknown fields are an error."""
        return self.must("POST", f"{_collection(made)}?fieldValidation=Strict{query}", made)

    def install(self, definitions: Iterable[Object]) -> None:
        """Create CustomResourceDefinitions and wait until they are served."""
        pending = {str(_metadata(self.create(definition))["name"]) for definition in definitions}
        root = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for name in pending:
            wait_until(lambda name=name: _established(self.must("GET", f"{root}/{name}")))  # type: ignore[misc]

    def bind_shipped_rights(self, user: str) -> None:
        """Give a user the roles of docs/rbac.yaml, and nothing else."""
        cluster_role, role = yaml.safe_load_all(RBAC.read_text(encoding="utf-8"))
        subjects = [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}]
        for made in (cluster_role, role):
            self.create(made)
            metadata = made["metadata"]
            reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": made["kind"], "name": metadata["name"]}
            binding = {"apiVersion": RBAC_API, "kind": f"{made['kind']}Binding", "metadata": metadata}
            self.create(binding | {"roleRef": reference, "subjects": subjects})

    def may(self, verb: str, group: str, resource: str, *, name: str = "", namespace: str = "") -> bool:
        """Whether this user has a right, in one namespace or in all."""
        wanted = {"verb": verb, "group": group, "resource": resource, "name": name, "namespace": namespace}
        body = {"spec": {"resourceAttributes": wanted}}
        answer = self.must("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body)
        status = answer["status"]
        assert isinstance(status, dict)
        return bool(status["allowed"])


def wait_until(condition: Callable[[], bool], seconds: float = _PATIENCE_SECONDS) -> None:
    """Wait for something that the server does by itself."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the API server did not get there"
        time.sleep(0.05)


def definition(kind: Kind, api_version: str) -> Object:
    """A CustomResourceDefinition that takes any object of the kind."""
    group, version = api_version.split("/")
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{kind.plural}.{group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "names": {"kind": kind.kind, "plural": kind.plural, "singular": kind.kind.lower()},
            "versions": [{"name": version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}],
        },
    }


def shipped_definitions(*places: str) -> list[Object]:
    """The CustomResourceDefinitions in files and folders of rules/crds."""
    root = Path(__file__).parents[2] / "rules" / "crds"
    files = sorted({path for place in places for path in [root / place, *(root / place).rglob("*.yaml")]})
    assert files, f"no definitions in {root}"
    found = [made for path in files if path.is_file() for made in yaml.safe_load_all(path.read_text(encoding="utf-8"))]
    return [made for made in found if made and made["kind"] == "CustomResourceDefinition"]


def _collection(made: Object) -> str:
    api_version, kind = str(made["apiVersion"]), str(made["kind"])
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    root = f"/apis/{api_version}" if "/" in api_version else f"/api/{api_version}"
    namespace = _metadata(made).get("namespace")
    return f"{root}/namespaces/{quote(str(namespace))}/{plural.lower()}" if namespace else f"{root}/{plural.lower()}"


def _metadata(made: Object) -> Object:
    metadata = made["metadata"]
    assert isinstance(metadata, dict)
    return metadata


def _established(made: Object) -> bool:
    status = made.get("status")
    conditions = status.get("conditions") if isinstance(status, dict) else None
    return any(c["type"] == "Established" and c["status"] == "True" for c in conditions or [])
