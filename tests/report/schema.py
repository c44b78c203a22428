"""The schema of the report as it follows from the types."""

from __future__ import annotations

import inspect

import msgspec

from migrate.report.document import Report


def report_schema() -> dict[str, object]:
    """Every field is written and so required, but for those that are left out where they have nothing to say."""
    (reference,), parts = msgspec.json.schema_components([Report])
    for part in parts.values():
        if "properties" in part:
            always = part.get("required", ())
            fields = part["properties"].items()
            part["required"] = [name for name, field in fields if name in always or "default" in field]
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Report of cilium-migrate"}
    return {**head, **reference, "$defs": parts}
