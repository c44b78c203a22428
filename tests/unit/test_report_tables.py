"""The rows that a script adds to the page."""

import json

from hypothesis import given
from hypothesis import strategies as st

from migrate.report.tables import Words, first_page, script_data

texts = st.text(max_size=20)
rows = st.recursive(texts, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=12)


def resolve(indexes: object, strings: list[str]) -> Words:
    """What the script makes of a row."""
    if isinstance(indexes, list):
        return tuple(resolve(index, strings) for index in indexes)
    assert isinstance(indexes, int)
    return strings[indexes]


@given(st.dictionaries(texts, st.lists(rows, max_size=4).map(tuple), max_size=3))
def test_every_row_is_read_back_as_it_was(lists: dict[str, tuple[Words, ...]]) -> None:
    data = json.loads(script_data(lists))
    assert {name: resolve(found, data["strings"]) for name, found in data["lists"].items()} == lists


@given(st.lists(texts, max_size=4).map(tuple))
def test_data_can_never_end_its_script_element(row: tuple[str, ...]) -> None:
    assert "<" not in script_data({"</script><!--": (row, "<script>")})


def test_strings_stand_once_and_the_frequent_ones_first() -> None:
    data = json.loads(script_data({"rows": (("a", "b"), ("b", "c"))}))
    assert data["strings"] == ["b", "a", "c"]


def test_a_short_list_is_shown_whole() -> None:
    assert first_page(["x"], ("policy", "policies")).status == "1 policy."
    assert first_page([], ("policy", "policies")).status == "0 policies."


def test_a_long_list_says_what_is_not_shown() -> None:
    page = first_page(range(5000), ("policy", "policies"))
    assert list(page.shown) == list(range(200))
    assert page.status.startswith("The first 200 of 5,000 policies; 4,800 more need scripts")
