"""Asking an API server whether it would take an object. Nothing is stored."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote

import msgspec

from migrate.model.raw import Json, RawObject
from migrate.model.refs import ObjectRef
from migrate.scan.connection import Connection, RequestError

_REFUSALS = (400, 403, 404, 413, 415, 422)
_EXISTS = 409
_NO_PAGE = "Not Found"
_UNKNOWN_KIND = "it does not know this kind; install Cilium first, whose operator brings the definitions"
_NO_RIGHT = re.compile(r"cannot create resource")


def refusals(connection: Connection, objects: Iterable[dict[str, Json]]) -> dict[ObjectRef, str]:
    """The server's own words on each object that it would not create, by a strict dry run.

    An object that exists is fine: the server looks at its fields first. Raises RequestError when the server does not
    answer or the user has no right to ask.
    """
    found: dict[ObjectRef, str] = {}
    for data in objects:
        ref = RawObject(data).ref
        try:
            connection.dry_run(_path(ref), msgspec.json.encode(data))
        except RequestError as error:
            if error.status == _EXISTS:
                continue
            if error.status not in _REFUSALS or _NO_RIGHT.search(str(error)):
                raise
            found[ref] = _UNKNOWN_KIND if error.reason == _NO_PAGE else error.reason
    return found


def _path(ref: ObjectRef) -> str:
    kind = ref.kind.lower()
    plural = f"{kind[:-1]}ies" if kind.endswith("y") else f"{kind}s"
    namespace = f"/namespaces/{quote(ref.namespace, safe='')}" if ref.namespace else ""
    return f"/apis/{ref.api_version}{namespace}/{plural}"
