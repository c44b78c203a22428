"""YAML files read as Kubernetes' own decoder reads them."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from migrate import yaml_out
from migrate.model.raw import Json
from migrate.scan.tree import Document, UnreadableError
from migrate.scan.yaml_reader import Chunk, read, split

WORDS = json.loads((Path(__file__).parents[1] / "cases/files/words.json").read_text(encoding="utf-8"))


def document(text: str) -> Document:
    found = read(Chunk(text.encode(), 1))
    assert found is not None
    return found


def value(text: str) -> Json:
    return document(text).value


@pytest.mark.parametrize("word", WORDS["values"])
def test_a_word_without_quotes_means_what_kubernetes_makes_of_it(word: str) -> None:
    found = value(f"a: {word}\n")
    assert isinstance(found, dict)
    assert (found["a"], type(found["a"])) == (WORDS["values"][word], type(WORDS["values"][word]))


@pytest.mark.parametrize("word", WORDS["keys"])
def test_a_key_becomes_the_text_that_kubernetes_makes_of_it(word: str) -> None:
    assert value(f"{word}: v\n") == {WORDS["keys"][word]: "v"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("a: '1'", {"a": "1"}, id="quotes make text of a number"),
        pytest.param('a: "yes"', {"a": "yes"}, id="quotes make text of a boolean"),
        pytest.param("a: !!str 1", {"a": "1"}, id="a tag makes text of a number"),
        pytest.param("a: ! 1", {"a": "1"}, id="the bare tag means text"),
        pytest.param("a: !!int '1'", {"a": 1}, id="a tag makes a number of text"),
        pytest.param("a: !!float 1", {"a": 1}, id="a float without a fraction is a whole number in JSON"),
        pytest.param("a: !!binary aGVsbG8=", {"a": "hello"}, id="binary is unpacked"),
        pytest.param("a: !mine {b: 1}", {"a": {"b": 1}}, id="an unknown tag of a mapping says nothing"),
        pytest.param("a: |\n  x\n  y\n", {"a": "x\ny\n"}, id="a block keeps its lines"),
        pytest.param("a:\nb: []", {"a": None, "b": []}, id="nothing is null"),
        pytest.param("<<: {b: 2, c: 3}\nb: 1", {"b": 1, "c": 3}, id="a key after a merge wins"),
        pytest.param("b: 1\n<<: {b: 2, c: 3}", {"b": 2, "c": 3}, id="a merge wins over a key before it"),
        pytest.param("<<: [{a: 1}, {a: 2, b: 2}]", {"a": 1, "b": 2}, id="of several merged mappings the first wins"),
        pytest.param("'<<': {a: 1}", {"<<": {"a": 1}}, id="a quoted merge key is a key"),
        pytest.param("a: &x 1\nb: &x 2\nc: *x", {"a": 1, "b": 2, "c": 2}, id="an alias means the anchor before it"),
        pytest.param("a: &x k\n*x : 1", {"a": "k", "k": 1}, id="an alias may be a key"),
    ],
)
def test_value(text: str, expected: Json) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        pytest.param("a: 1\nb: 2\na: 3", 3, '"a" stands here and in line 1', id="duplicate key"),
        pytest.param("1: a\n'1': b", 2, '"1" stands here and in line 1', id="duplicate key once it is text"),
        pytest.param("a:\n  b: 1\n  b: 1", 3, "in line 2", id="duplicate key further down"),
        pytest.param("a:\n\t- b", 2, "indent with spaces", id="tab before a list"),
        pytest.param("a:\n\tb: 1", 2, "indent with spaces", id="tab before a key"),
        pytest.param("a: .nan", 1, "no JSON number", id="not a number"),
        pytest.param("~: 1", 1, "null stands where a key", id="null as a key"),
        pytest.param("[a]: 1", 1, "where a key should be", id="list as a key"),
        pytest.param("a: &x {b: 1}\n*x : 1", 2, "is not text", id="mapping as a key by alias"),
        pytest.param("a: &x ~\n*x : 1", 2, "is not text", id="null as a key by alias"),
        pytest.param("a: *x", 1, "no anchor &x", id="alias without anchor"),
        pytest.param("a: &x [*x]", 1, "within its own anchor", id="alias within itself"),
        pytest.param("<<: 1", 1, "value of <<", id="merge of a number"),
        pytest.param("a: !!int x", 1, "no !!int", id="tag that does not fit"),
        pytest.param("a: 1\nb: [1", 3, "not YAML", id="list without an end"),
        pytest.param("a: 1\nb: \x07", 2, "control characters", id="control character"),
        pytest.param("a: " + "[" * 250 + "]" * 250, 1, "nested deeper than 200", id="deep nesting"),
    ],
)
def test_unreadable_text_has_its_line_and_a_reason(text: str, line: int, message: str) -> None:
    with pytest.raises(UnreadableError) as caught:
        read(Chunk(text.encode(), 1))
    assert message in str(caught.value)
    assert caught.value.line == line


def test_not_utf8_names_the_line() -> None:
    with pytest.raises(UnreadableError, match="UTF-8") as caught:
        read(Chunk(b"a: 1\nb: \xe4\n", 11))
    assert caught.value.line == 12


def nested_aliases(levels: int, width: int, leaf: str) -> str:
    rows = [f"x0: &x0 {leaf}"]
    rows += [f"x{n}: &x{n} [{', '.join([f'*x{n - 1}'] * width)}]" for n in range(1, levels)]
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(nested_aliases(9, 9, "[lol]"), "more than 100000 nodes", id="aliases that multiply"),
        pytest.param(nested_aliases(2, 200, "x" * 100_000), "more than 100000 nodes", id="long text many times over"),
        pytest.param(nested_aliases(2, 200, "{" + "x" * 900 + ": " + "y" * 99_000 + "}"), "nodes", id="long keys too"),
        pytest.param(nested_aliases(300, 1, "[x]"), "nested deeper than 200", id="aliases that nest"),
    ],
)
def test_aliases_are_bounded_before_they_are_expanded(text: str, message: str) -> None:
    with pytest.raises(UnreadableError, match=message):
        read(Chunk(text.encode(), 1))


def test_aliases_within_the_bound_are_fine() -> None:
    found = value(nested_aliases(4, 9, "[lol]"))
    assert isinstance(found, dict)
    assert json.dumps(found["x3"]).count("lol") == 9**3


def test_every_field_has_its_line() -> None:
    text = "a: 1\nb:\n  - c: 2\n  - d:\n      e: 3\n"
    found = document(text)
    assert found.lines(found.value, found.line) == {
        (): 1,
        ("a",): 1,
        ("b",): 2,
        ("b", 0): 3,
        ("b", 0, "c"): 3,
        ("b", 1): 4,
        ("b", 1, "d"): 4,
        ("b", 1, "d", "e"): 5,
    }


def test_a_merged_field_has_the_line_where_it_is_written() -> None:
    found = document("one: &x\n  a: 1\ntwo:\n  <<: *x\n  b: 2\n")
    lines = found.lines(found.value, found.line)
    assert (lines["two", "a"], lines["two", "b"]) == (2, 5)


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param("a: 1\n---\nb: 1\n", [1, 2], id="a line of dashes divides"),
        pytest.param("---\na: 1\n---\nb: 1\n---\n", [1, 3, 5], id="dashes before the first and after the last"),
        pytest.param("# c\n%YAML 1.1\n---\na: 1\n", [1], id="comments and directives belong to what follows"),
        pytest.param("--- # Source: x\na: 1\n", [1], id="a comment after the dashes"),
        pytest.param("--- {a: 1}\n--- {b: 1}\n", [1, 2], id="content after the dashes"),
        pytest.param("a: 1\r\n---\r\nb: 1\r\n", [1, 2], id="Windows line ends"),
        pytest.param("a: |\n  x\n  ---\nb: 1\n---x: 1\n", [1], id="dashes within text do not divide"),
        pytest.param("", [], id="nothing"),
    ],
)
def test_split(text: str, lines: list[int]) -> None:
    chunks = list(split(io.BufferedReader(io.BytesIO(text.encode()))))
    assert [chunk.line for chunk in chunks] == lines
    assert b"".join(chunk.text for chunk in chunks) == text.encode()


def test_empty_documents_do_not_count() -> None:
    found = read(Chunk(b"# nothing\n---\n---\na: 1\n...\n", 5))
    assert found is not None
    assert (found.value, found.line) == ({"a": 1}, 8)
    assert read(Chunk(b"---\n# nothing\n", 1)) is None


def test_a_second_document_without_dashes_is_refused() -> None:
    with pytest.raises(UnreadableError, match="document start"):
        read(Chunk(b"a: 1\n...\nb: 1\n", 1))


texts = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs", "Zl", "Zp"], exclude_characters="\ufeff"))
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | texts | st.sampled_from(sorted(WORDS["values"])),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(texts, values, min_size=1, max_size=4))
@example({"a": "1e3", "y": "n", "0o17": "08", "": "~", "<<": "<<"})
def test_what_is_written_is_read_back(data: dict[str, Json]) -> None:
    assert value(yaml_out.dump(data)) == data


@given(
    st.lists(
        st.sampled_from(["a", ": ", "- ", "\n", "\n  ", "{", "}", "[", "]", "&x ", "*x", "<<", "!!int ", "'", "\t"])
    )
)
def test_any_text_is_read_or_refused(parts: list[str]) -> None:
    try:
        found = read(Chunk("".join(parts).encode(), 1))
    except UnreadableError:
        return
    assert found is None or json.dumps(found.value)
