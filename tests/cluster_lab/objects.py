"""Parts of objects of the API, and what every controller of the lab does with them."""

from __future__ import annotations

from typing import cast

from tests.apiserver.admin import Client, Object


def part(made: Object, *names: str) -> Object:
    """What is under these names, empty where there is nothing."""
    for name in names:
        made = cast("Object", made.get(name) or {})
    return made


def listed(made: Object, name: str) -> list[Object]:
    """A list in an object, empty where there is none."""
    return cast("list[Object]", made.get(name) or [])


def name_of(made: Object) -> str:
    """Its name."""
    return str(part(made, "metadata")["name"])


def uid_of(made: Object) -> str:
    """Its uid."""
    return str(part(made, "metadata")["uid"])


def is_going(made: Object) -> bool:
    """Whether it is being deleted."""
    return bool(part(made, "metadata").get("deletionTimestamp"))


def pod_path(pod: Object) -> str:
    """Where a pod is."""
    metadata = part(pod, "metadata")
    return f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"


def items(admin: Client, path: str) -> list[Object] | None:
    """A list; None while the API server does not answer."""
    status, answer = admin.call("GET", path)
    return listed(answer, "items") if status == 200 else None


def report(admin: Client, pod: Object, status: Object) -> None:
    """Set a pod's status; a pod that has gone meanwhile is no matter."""
    code, current = admin.call("GET", pod_path(pod))
    if code == 200 and uid_of(current) == uid_of(pod):
        admin.call("PUT", f"{pod_path(pod)}/status", current | {"status": part(current, "status") | status})
