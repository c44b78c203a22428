"""JSON files: values, lines, and what is wrong with broken ones."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.raw import Json
from migrate.scan import json_reader
from migrate.scan.tree import Document, UnreadableError

POLICY = {
    "apiVersion": "networking.k8s.io/v1",
    "kind": "NetworkPolicy",
    "metadata": {"name": "web"},
    "spec": {"a": [1]},
}
POD = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-0"}}


def read(text: str | bytes) -> list[Document]:
    return list(json_reader.read(text if isinstance(text, bytes) else text.encode()))


@pytest.fixture
def everything_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_reader, "_READ_WITH_LINES", 0)


def test_every_field_has_its_line() -> None:
    (found,) = read('\n{\n  "a": [\n    1,\n    {"b":\n 2}\n  ],\n  "c": "x\\n\\"y\\""\n}\n')
    assert found.value == {"a": [1, {"b": 2}], "c": 'x\n"y"'}
    assert found.lines(found.value, found.line) == {
        (): 2,
        ("a",): 3,
        ("a", 0): 4,
        ("a", 1): 5,
        ("a", 1, "b"): 5,
        ("c",): 8,
    }


def test_objects_one_after_another_are_all_read() -> None:
    found = read('{"a": 1}\n{"b": 2} {"c": 3}\n\n{"d": 4}')
    assert [(part.value, part.line) for part in found] == [({"a": 1}, 1), ({"b": 2}, 2), ({"c": 3}, 2), ({"d": 4}, 4)]


@pytest.mark.usefixtures("everything_is_large")
def test_a_large_list_comes_in_pieces_and_its_policies_keep_their_lines() -> None:
    listing = {"apiVersion": "v1", "kind": "List", "items": [POD, POLICY, POD]}
    whole = json.dumps(listing, indent=1)
    found = read(whole)
    items = [part.value["items"] for part in found if isinstance(part.value, dict)]
    assert items == [[POD], [POLICY], [POD]]
    policy = found[1]
    assert isinstance(policy.value, dict)
    assert isinstance(policy.value["items"], list)
    lines = policy.lines(policy.value["items"][0], policy.line_of(policy.value["items"], 0))
    assert whole.splitlines()[lines["spec", "a", 0] - 1].strip() == "1"


@pytest.mark.usefixtures("everything_is_large")
def test_a_large_object_that_is_no_list_is_one_document() -> None:
    assert [part.value for part in read(json.dumps(POD))] == [POD]


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param('{"a": 1,\n "a": 2}', 2, '"a" stands here and in line 1', id="duplicate key"),
        pytest.param('{\n"a": 1,\n}', 3, "not JSON", id="comma too many"),
        pytest.param('{"a": 1}\n{"b"', 2, "not JSON", id="second object without an end"),
        pytest.param('{"a": NaN}', 1, "not JSON", id="not a number"),
        pytest.param(b'{"a": 1,\n"b": "\xe4"}', 2, "UTF-8", id="not UTF-8"),
        pytest.param('{"a": ' + "[" * 250 + "]" * 250 + "}", 1, "nested deeper", id="deep nesting"),
        pytest.param('{"a": ' + "[" * 100_000, None, "nested deeper", id="very deep nesting"),
    ],
)
def test_broken_json_has_its_line_and_a_reason(text: str | bytes, line: int | None, message: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read(text)
    assert message in str(caught.value)
    assert caught.value.line == line


@pytest.mark.usefixtures("everything_is_large")
def test_a_policy_in_a_large_list_may_not_have_duplicate_keys() -> None:
    text = '{"kind": "List", "items": [\n{"kind": "NetworkPolicy", "spec": 1,\n"spec": 2}]}'
    with pytest.raises(UnreadableError, match="in line 2") as caught:
        read(text)
    assert caught.value.line == 3


values: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), values), st.sampled_from([None, 0, 2]))
def test_what_is_written_is_read_back(data: dict[str, Json], indent: int | None) -> None:
    (found,) = read(json.dumps(data, indent=indent))
    assert found.value == data
    lines = found.lines(found.value, found.line)
    assert set(lines.values()) <= set(range(1, 2 + json.dumps(data, indent=indent).count("\n")))
