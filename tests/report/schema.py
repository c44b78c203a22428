"""The schema of the report as it follows from the types."""

from __future__ import annotations

import inspect

import msgspec

from migrate.report.document import Report


def report_schema() -> dict[str, object]:
    """Every field is written, so every field is required."""
    (reference,), parts = msgspec.json.schema_components([Report])
    for part in parts.values():
        if "properties" in part:
            part["required"] = list(part["properties"])
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Report of cilium-migrate"}
    return {**head, **reference, "$defs": parts}
