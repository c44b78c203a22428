"""Reading fields one by one: wrong types are named, nothing that nobody asked for goes unnoticed."""

from collections.abc import Callable

import pytest

from migrate.model.raw import FieldPath, Json, RawObject
from migrate.sources.fields import Fields, ProblemKind, Reading, dotted


def _fields(data: dict[str, Json]) -> tuple[Fields, Reading]:
    reading = Reading(RawObject(data, "policy.yaml", {(): 1, ("spec",): 4, ("spec", "port"): 6}))
    return reading.root(), reading


@pytest.mark.parametrize(
    ("read", "value", "expected"),
    [
        pytest.param(lambda f: f.text("x"), "a", "a", id="a string is a string"),
        pytest.param(lambda f: f.text("x", "d"), None, "d", id="a null string counts as missing"),
        pytest.param(lambda f: f.integer("x"), 0, 0, id="zero is a number and not missing"),
        pytest.param(lambda f: f.integer("x"), None, None, id="a null number counts as missing"),
        pytest.param(lambda f: f.number("x"), 1.5, 1.5, id="a number may have a fraction"),
        pytest.param(lambda f: f.flag("x"), True, True, id="true is true"),
        pytest.param(lambda f: f.flag("x"), None, False, id="a null flag is false"),
        pytest.param(lambda f: f.scalar("x"), "http", "http", id="a port may be a name"),
        pytest.param(lambda f: f.scalar("x"), 80, 80, id="a port may be a number"),
        pytest.param(lambda f: f.texts("x"), ["a", "b"], ("a", "b"), id="a list of strings keeps its order"),
        pytest.param(lambda f: f.texts("x"), None, (), id="a null list of strings is empty"),
        pytest.param(lambda f: f.children("x"), [], (), id="an empty list is there"),
        pytest.param(lambda f: f.children("x"), None, None, id="a null list is missing and not empty"),
        pytest.param(lambda f: f.string_map("x"), {"a": ""}, {"a": ""}, id="a label may have an empty value"),
        pytest.param(lambda f: f.string_map("x"), None, {}, id="null labels are no labels"),
    ],
)
def test_a_value_of_the_right_type_is_read_without_a_problem(
    read: Callable[[Fields], object], value: Json, expected: object
) -> None:
    fields, reading = _fields({"x": value})
    assert read(fields) == expected
    fields.close()
    assert reading.problems == []


@pytest.mark.parametrize(
    ("read", "value", "place"),
    [
        pytest.param(lambda f: f.text("x"), 1, "x", id="a number where a string should be"),
        pytest.param(lambda f: f.text("x"), {}, "x", id="a mapping where a string should be"),
        pytest.param(lambda f: f.integer("x"), "1", "x", id="digits in quotes are no number"),
        pytest.param(lambda f: f.integer("x"), True, "x", id="true is no number"),
        pytest.param(lambda f: f.integer("x"), 1.0, "x", id="a fraction is no whole number"),
        pytest.param(lambda f: f.number("x"), "1", "x", id="a string where a number should be"),
        pytest.param(lambda f: f.number("x"), False, "x", id="false is no number with a fraction"),
        pytest.param(lambda f: f.number("x"), 10**400, "x", id="a number that is too large to compare with fractions"),
        pytest.param(lambda f: f.flag("x"), "true", "x", id="the word true in quotes is no boolean"),
        pytest.param(lambda f: f.scalar("x"), True, "x", id="true is no port"),
        pytest.param(lambda f: f.scalar("x"), 1.5, "x", id="a fraction is no port"),
        pytest.param(lambda f: f.child("x"), [], "x", id="a list where a mapping should be"),
        pytest.param(lambda f: f.children("x"), {}, "x", id="a mapping where a list should be"),
        pytest.param(lambda f: f.children("x"), [{}, "a"], "x[1]", id="a string among mappings"),
        pytest.param(lambda f: f.children("x"), [None], "x[0]", id="a null among mappings"),
        pytest.param(lambda f: f.texts("x"), ["a", 1], "x[1]", id="a number among strings"),
        pytest.param(lambda f: f.string_map("x"), {"version": 1}, "x.version", id="a label whose value is a number"),
    ],
)
def test_a_value_of_the_wrong_type_is_a_problem_at_its_place(
    read: Callable[[Fields], object], value: Json, place: str
) -> None:
    fields, reading = _fields({"x": value})
    read(fields)
    assert [(p.kind, p.field) for p in reading.problems] == [(ProblemKind.INVALID, place)]


def test_a_field_that_nobody_asked_for_is_unknown() -> None:
    fields, reading = _fields({"known": "a", "ignored": 1, "typo": "b"})
    fields.text("known")
    fields.ignore("ignored")
    fields.close()
    assert [(p.kind, p.field) for p in reading.problems] == [(ProblemKind.UNKNOWN, "typo")]


def test_an_unknown_field_that_is_null_is_not_there() -> None:
    fields, reading = _fields({"typo": None})
    fields.close()
    assert reading.problems == []


def test_a_problem_names_the_line_of_the_nearest_known_field() -> None:
    fields, reading = _fields({"spec": {"port": "x", "other": 1}})
    spec = fields.child("spec")
    assert spec is not None
    spec.integer("port")
    spec.text("other")
    assert [str(p.at) for p in reading.problems] == ["policy.yaml:6", "policy.yaml:4"]


@pytest.mark.parametrize(
    ("path", "text"),
    [
        pytest.param((), "", id="the object itself has no path"),
        pytest.param(("spec",), "spec", id="one field"),
        pytest.param(
            ("spec", "ingress", 0, "from", 1, "ipBlock"), "spec.ingress[0].from[1].ipBlock", id="with indexes"
        ),
    ],
)
def test_paths_are_written_as_people_write_them(path: FieldPath, text: str) -> None:
    assert dotted(path) == text
