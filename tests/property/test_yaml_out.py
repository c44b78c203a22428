"""What is written as YAML reads back as the same value, whatever the strings hold."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from migrate.model.raw import Json
from migrate.yaml_out import _emitted, dump

_TEXTS = st.one_of(
    st.sampled_from(["", "1e3", "0o17", "y", "null", "k8s:io.cilium/x", "a: b", " #", "- a", "? b", "<<"]),
    st.sampled_from(["NetworkPolicy shop/web", "a:b", "Yes", "On", "TRUE", "None", "a :b", "NaN", "v1.e3"]),
    st.text("ab1: #-?{}[]&*!|>'\"%@`\n\t~=é\u2028\x7f", max_size=130),
)
_VALUES: st.SearchStrategy[Json] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), _TEXTS),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(_TEXTS, inner, max_size=3)),
    max_leaves=8,
)


@given(st.dictionaries(_TEXTS, _VALUES, max_size=3))
def test_what_is_written_reads_back_as_the_same_value(value: dict[str, Json]) -> None:
    assert yaml.safe_load(dump(value)) == value


@given(st.text("aAbzN019._-/: ", min_size=1, max_size=20))
def test_plain_words_are_written_as_the_emitter_writes_them(text: str) -> None:
    for value in ({"k": text}, {text: 0}):
        assert dump(value) == _emitted(value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param({}, "{}\n", id="nothing is an empty mapping"),
        pytest.param({"a": [{"b": "1", "c": []}, {}]}, 'a:\n  - b: "1"\n    c: []\n  - {}\n', id="lists are indented"),
        pytest.param({"a": "x\ny"}, "a: 'x\n\n  y'\n", id="a text of several lines is quoted"),
        pytest.param({"a": ({"b": ("c",)},)}, "a:\n  - b:\n      - c\n", id="a tuple is a list"),
        pytest.param({"a": [["b", "c"]]}, "a:\n  - - b\n    - c\n", id="a list in a list begins on its line"),
    ],
)
def test_the_form_of_what_is_written(value: dict[str, object], text: str) -> None:
    assert dump(value) == text
