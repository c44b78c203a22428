"""The published schema says exactly what the program writes."""

from __future__ import annotations

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
from tests.report.schema import report_schema
from tests.report.whole import whole_folder

PUBLISHED = json.loads(data("reports").joinpath("schemas", "report.schema.json").read_text())


def test_published_schema_is_the_one_of_the_code() -> None:
    assert json.loads(json.dumps(report_schema())) == PUBLISHED


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


def test_report_with_every_document_fits_the_published_schema(tmp_path: Path) -> None:
    made = make_report(whole_folder(tmp_path), load_rules(), datetime(2026, 11, 21, tzinfo=UTC))
    assert made.report.audit is not None
    assert made.report.verification is not None
    jsonschema.Draft202012Validator(PUBLISHED).validate(json.loads(made.json()))
