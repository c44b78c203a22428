"""The published schema says exactly what the program writes."""

from __future__ import annotations

import inspect
import json
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import msgspec
import pytest

from migrate.readiness.rules import load_rules
from migrate.report.document import Report
from migrate.report.made import make_report
from migrate.resources import data
from tests.report import sample
from tests.report.sample import Folder

PUBLISHED = json.loads(data("reports").joinpath("schemas", "report.schema.json").read_text())


def schema_of_code() -> dict[str, object]:
    """The schema that follows from the types; every field is written, so every field is required."""
    (reference,), parts = msgspec.json.schema_components([Report])
    for part in parts.values():
        if "properties" in part:
            part["required"] = list(part["properties"])
        if "description" in part:
            part["description"] = inspect.cleandoc(part["description"])
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "Report of cilium-migrate"}
    return {**head, **reference, "$defs": parts}


def test_published_schema_is_the_one_of_the_code() -> None:
    assert json.loads(json.dumps(schema_of_code())) == PUBLISHED


@pytest.mark.parametrize(
    "folder",
    [
        pytest.param(sample.REALISTIC, id="everything"),
        pytest.param(sample.without(sample.REALISTIC, translation=True), id="only a snapshot"),
        pytest.param(sample.without(sample.REALISTIC, snapshot=True), id="only a translation"),
    ],
)
def test_report_fits_the_published_schema(folder: Folder, tmp_path: Path) -> None:
    made = make_report(folder.write(tmp_path), load_rules(), datetime(2026, 11, 21, tzinfo=UTC))
    jsonschema.Draft202012Validator(PUBLISHED).validate(json.loads(made.json()))


def test_an_unknown_field_does_not_fit(tmp_path: Path) -> None:
    made = make_report(sample.REALISTIC.write(tmp_path), load_rules(), datetime(2026, 11, 21, tzinfo=UTC))
    document = json.loads(made.json()) | {"ready": True}
    with pytest.raises(jsonschema.ValidationError, match="ready"):
        jsonschema.Draft202012Validator(PUBLISHED).validate(document)


def test_report_is_read_back_as_it_was(tmp_path: Path) -> None:
    made = make_report(sample.REALISTIC.write(tmp_path), load_rules(), datetime(2026, 11, 21, tzinfo=UTC))
    assert msgspec.json.decode(made.json(), type=Report) == made.report
