"""The quick reader of YAML gives what the full reader gives, or nothing."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.scan import yaml_blocks
from migrate.scan.yaml_reader import Chunk, read_events

_WORDS = ("a", "b: c", "b:", "y", "no", "null", "~", "0o17", "08", "1e3", "1_000", ".5", "-1", "--x", "-", "x:y", "a b")
_ODD = ("<<", "a #b", "a# b", "# c", "{}", "[]", "[a]", "{a: b}", "&a b", "*a", "!!str 1", "|", ">-", "@a", "%a", "? a")
_QUOTED = ('"a"', "'a'", '""', "''", '"a\\n"', "'it''s'", '"a" b', '"a": b', "'a': b", '"a":b', '"y": "no"', "'#'", '"')
_KEYS = ("a", "b", "a.b/c-d", "y", "8080", "1.5", "null", "<<", '"a"', '"y"', "'b'", "a b", "---", "-a", "?")
_texts = st.sampled_from((*_WORDS, *_ODD, *_QUOTED))
_indents = st.sampled_from(("", "", "  ", "  ", "    ", "      ", " ", "\t"))
_dashes = st.sampled_from(("", "", "", "- ", "-   ", "- - ", "-"))
_keys = st.sampled_from(_KEYS).flatmap(lambda key: st.sampled_from((f"{key}: ", f"{key}:", f"{key}:", f"{key} : ")))
_ends = st.sampled_from(("", "", "", "", " ", " # c", "#c", "\r", "\x85", "é", "\x07"))
_plain_line = st.tuples(_indents, _dashes, _keys, st.sampled_from(("", "", "v", "7")))
_any_line = st.tuples(_indents, _dashes, st.one_of(st.just(""), _keys), st.one_of(st.just(""), _texts), _ends)
_lines = st.one_of(_plain_line, _plain_line, _any_line).map("".join)
_texts_of_lines = st.lists(st.one_of(_lines, _lines, _lines, st.sampled_from(("---", "...", "", "# c"))), max_size=9)


@given(_texts_of_lines.map("\n".join), st.sampled_from(("", "\n")))
def test_what_it_reads_is_what_the_full_reader_reads(text: str, end: str) -> None:
    quick = yaml_blocks.read(text + end, 5)
    if quick is None:
        return
    full = read_events(Chunk((text + end).encode(), 5))
    assert full is not None
    assert repr(quick.value) == repr(full.value)
    assert quick.line == full.line
    assert quick.lines(quick.value, quick.line) == full.lines(full.value, full.line)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("---\na: 1\nb:\n- c\n- d: x\n  e: []\n", id="a list in the column of its key, as kubectl writes"),
        pytest.param("a:\n    - b: {}\n      c: # d\n\n    - e\n", id="a deeper list, an empty line, a comment"),
        pytest.param('"a":\n  -\n    "b": "c"\n', id="keys in quotes, a dash on a line of its own"),
        pytest.param("a: 1.2.3.4/8\nb: 2024-01-01T00:00:00Z\nc: x y, z\n", id="words with colons and spaces"),
    ],
)
def test_what_programs_write_needs_no_full_reader(text: str) -> None:
    assert yaml_blocks.read(text, 1) is not None
