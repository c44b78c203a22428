"""Calico's selector language. Expectations: its documentation and grammar (libcalico-go/lib/selector)."""

import pytest

from migrate.model.selectors import matches
from migrate.sources.calico_selectors import SelectorError, parse_selector
from tests.unit.policies import pod

NONE, WEB, WEB_EMPTY = dict[str, str](), {"app": "web"}, {"app": ""}


def _holds(selector: str, labels: dict[str, str]) -> bool:
    return matches(parse_selector(selector), pod("shop", "p", labels))


@pytest.mark.parametrize(
    ("selector", "labels", "expected"),
    [
        pytest.param("", NONE, True, id="an empty selector is all()"),
        pytest.param("  \t", NONE, True, id="blanks are an empty selector"),
        pytest.param("all()", NONE, True, id="all() holds without labels"),
        pytest.param("all( )", WEB, True, id="all() may have a blank inside"),
        pytest.param("app == 'web'", WEB, True, id="equality holds for the same value"),
        pytest.param("app == 'web'", {"app": "web2"}, False, id="equality is not prefix"),
        pytest.param("app == 'web'", NONE, False, id="equality fails without the label"),
        pytest.param('app == "web"', WEB, True, id="double quotes quote too"),
        pytest.param("app == ''", WEB_EMPTY, True, id="the empty string equals the empty value"),
        pytest.param("app == ''", NONE, False, id="the empty string is not a missing label"),
        pytest.param('app == "it\'s"', {"app": "it's"}, True, id="the other quote may stand inside"),
        pytest.param("app != 'web'", WEB, False, id="difference fails for the same value"),
        pytest.param("app != 'web'", {"app": "db"}, True, id="difference holds for another value"),
        pytest.param("app != 'web'", NONE, True, id="a missing label is different from any value"),
        pytest.param("has(app)", WEB_EMPTY, True, id="an empty value still counts as present"),
        pytest.param("has(app)", NONE, False, id="has fails without the label"),
        pytest.param("has( app )", WEB, True, id="has may have blanks inside"),
        pytest.param("!has(app)", NONE, True, id="not has holds without the label"),
        pytest.param("!has(app)", WEB, False, id="not has fails with the label"),
        pytest.param("app in {'web', 'db'}", WEB, True, id="in holds for a member"),
        pytest.param("app in {'db'}", WEB, False, id="in fails for another value"),
        pytest.param("app in {'db'}", NONE, False, id="in fails without the label"),
        pytest.param("app in {'web',}", WEB, True, id="a comma may stand at the end of a set"),
        pytest.param("app in {}", WEB, False, id="nothing is in the empty set"),
        pytest.param("app in {'web'} && app in {\"web\"}", WEB, True, id="sets take both quotes"),
        pytest.param("app not in {'db'}", WEB, True, id="not in holds for another value"),
        pytest.param("app not in {'web'}", WEB, False, id="not in fails for a member"),
        pytest.param("app not in {'web'}", NONE, True, id="a missing label is in no set"),
        pytest.param("app not in {}", WEB, True, id="everything is outside the empty set"),
        pytest.param("app not  in {'db'}", WEB, True, id="not and in may be far apart"),
        pytest.param("app notin {'web'}", WEB, False, id="not and in may stand together"),
        pytest.param("app contains 'e'", WEB, True, id="contains finds text in the middle"),
        pytest.param("app contains 'x'", WEB, False, id="contains fails for other text"),
        pytest.param("app contains ''", NONE, False, id="contains fails without the label, even for no text"),
        pytest.param("app starts with 'we'", WEB, True, id="starts with holds for the beginning"),
        pytest.param("app starts with 'eb'", WEB, False, id="starts with fails for the end"),
        pytest.param("app starts with 'we'", NONE, False, id="starts with fails without the label"),
        pytest.param("app startswith 'we'", WEB, True, id="starts and with may stand together"),
        pytest.param("app endswith 'we'", WEB, False, id="ends and with may stand together"),
        pytest.param("app ends with 'eb'", WEB, True, id="ends with holds for the end"),
        pytest.param("app ends with 'we'", WEB, False, id="ends with fails for the beginning"),
        pytest.param("app ends with 'eb'", NONE, False, id="ends with fails without the label"),
        pytest.param("!(app contains 'e')", NONE, True, id="the opposite of contains holds without the label"),
        pytest.param("!app == 'web'", WEB, False, id="! binds to the whole comparison"),
        pytest.param("!!has(app)", WEB, True, id="two ! cancel out"),
        pytest.param("app == 'web' && has(tier)", WEB, False, id="&& needs both"),
        pytest.param("app == 'db' || has(app)", WEB, True, id="|| needs one"),
        pytest.param("has(app) || has(x) && has(y)", WEB, True, id="&& binds tighter than || after it"),
        pytest.param("has(y) && has(x) || has(app)", WEB, True, id="&& binds tighter than || before it"),
        pytest.param("(has(app) || has(x)) && has(y)", WEB, False, id="parentheses go first"),
        pytest.param("!(has(x) || has(y))", WEB, True, id="! turns a group around"),
        pytest.param("((app == 'web'))", WEB, True, id="parentheses may be doubled"),
        pytest.param("app=='web'&&!has(x)", WEB, True, id="blanks are not needed"),
        pytest.param("a.b/c-d_e == 'x'", {"a.b/c-d_e": "x"}, True, id="keys have dots, slashes, hyphens, underscores"),
        pytest.param("has == 'x'", {"has": "x"}, True, id="a label may be called has"),
        pytest.param("all == 'x'", {"all": "x"}, True, id="a label may be called all"),
        pytest.param("in in {'in'}", {"in": "in"}, True, id="a label may be called in"),
        pytest.param("contains contains 'n'", {"contains": "in"}, True, id="a label may be called contains"),
        pytest.param("app == 'all()'", {"app": "all()"}, True, id="a value may look like a function"),
        pytest.param("app == '&&'", {"app": "&&"}, True, id="a value may look like a sign"),
        pytest.param("9a == '1'", {"9a": "1"}, True, id="a key may begin with a digit"),
    ],
)
def test_selector(selector: str, labels: dict[str, str], expected: bool) -> None:
    assert _holds(selector, labels) is expected


@pytest.mark.parametrize(
    "selector",
    [
        pytest.param("app == 'web' junk", id="a word after the end"),
        pytest.param("app == 'web' has(x)", id="two terms without a sign between"),
        pytest.param("app ==", id="no value"),
        pytest.param("app", id="no operator"),
        pytest.param("== 'web'", id="no label"),
        pytest.param("(a == 'b'", id="an open parenthesis"),
        pytest.param("a == 'b')", id="a closing parenthesis too many"),
        pytest.param("app == web", id="a value without quotes"),
        pytest.param("app == 'web", id="a quote that is not closed"),
        pytest.param("app = 'web'", id="one equals sign"),
        pytest.param("app & has(x)", id="one ampersand"),
        pytest.param("has(a) | has(b)", id="one bar"),
        pytest.param("a == 'b' &&", id="nothing after &&"),
        pytest.param("|| a == 'b'", id="nothing before ||"),
        pytest.param("app in 'web'", id="a set without braces"),
        pytest.param("app in {'a' 'b'}", id="a set without commas"),
        pytest.param("app in {a}", id="a set of words"),
        pytest.param("app in {'a'", id="a set that is not closed"),
        pytest.param("app not {'a'}", id="not without in"),
        pytest.param("app starts 'a'", id="starts without with"),
        pytest.param("app like 'a'", id="an operator that does not exist"),
        pytest.param("has (app)", id="a blank between has and its parenthesis"),
        pytest.param("all ()", id="a blank between all and its parentheses"),
        pytest.param("app == 'a' &&\nhas(x)", id="a line break, which is no blank"),
        pytest.param("has()", id="has without a label"),
        pytest.param("has('app')", id="has with a quoted label"),
        pytest.param("'app' == 'web'", id="a quoted label"),
        pytest.param("!", id="! alone"),
        pytest.param("()", id="empty parentheses"),
        pytest.param("global()", id="global() outside a rule's namespaceSelector"),
        pytest.param("app == 'a' # note", id="a comment"),
        pytest.param("app == 'a' \N{NO-BREAK SPACE}", id="a blank that is none"),
        pytest.param("(" * 5000 + "all()" + ")" * 5000, id="nested so deep that a recursive reader would fall"),
        pytest.param("!" * 5000 + "all()", id="negated so often that a recursive reader would fall"),
    ],
)
def test_a_selector_that_is_not_fully_read_is_an_error(selector: str) -> None:
    with pytest.raises(SelectorError, match="selector"):
        parse_selector(selector)
