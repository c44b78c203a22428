"""The normal form of selectors against the plain meaning of the tree."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from migrate.model.labels import Labels, Scope
from migrate.model.selectors import (
    EVERYTHING,
    NOTHING,
    And,
    Conjunction,
    Not,
    Operator,
    Or,
    Requirement,
    Selector,
    TooManyTermsError,
    disjuncts,
    matches,
    requirements,
    simplify,
)


@dataclass(frozen=True, slots=True)
class Subject:
    """Something with labels of two scopes."""

    pod: Labels
    namespace: Labels = Labels()

    def labels_of(self, scope: Scope) -> Labels:
        return self.namespace if scope is Scope.NAMESPACE else self.pod


_keys = st.sampled_from(["app", "tier"])
_values = st.sampled_from(["", "a", "ab", "b", "ba"])
_scopes = st.sampled_from([Scope.POD, Scope.NAMESPACE])
_EXISTENCE = (Operator.EXISTS, Operator.DOES_NOT_EXIST)
_labels = st.dictionaries(_keys, _values).map(Labels.of)
subjects = st.builds(Subject, _labels, _labels)
_with_values = st.builds(
    Requirement,
    _keys,
    st.sampled_from([operator for operator in Operator if operator not in _EXISTENCE]),
    st.lists(_values, max_size=3).map(tuple),
    _scopes,
)
_without_values = st.builds(Requirement, _keys, st.sampled_from(_EXISTENCE), st.just(()), _scopes)
any_requirement = st.one_of(_with_values, _without_values)
selectors: st.SearchStrategy[Selector] = st.recursive(
    any_requirement,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map(tuple).map(And),
        st.lists(inner, max_size=3).map(tuple).map(Or),
        inner.map(Not),
    ),
    max_leaves=6,
)


def _holds(conjunction: Conjunction, subject: Subject) -> bool:
    return all(requirement.matches(subject.labels_of(requirement.scope)) for requirement in conjunction)


@given(selectors, subjects)
def test_disjuncts_match_what_the_selector_matches(selector: Selector, subject: Subject) -> None:
    assert any(_holds(c, subject) for c in disjuncts(selector)) == matches(selector, subject)


@given(selectors)
def test_disjuncts_are_in_normal_form(selector: Selector) -> None:
    found = disjuncts(selector)

    assert len(set(found)) == len(found)
    for conjunction in found:
        assert simplify(conjunction) == conjunction
        assert not any(set(other) < set(conjunction) for other in found)


@given(selectors)
def test_disjuncts_read_back_as_a_selector_are_the_same_disjuncts(selector: Selector) -> None:
    found = disjuncts(selector)

    assert disjuncts(Or(tuple(And(conjunction) for conjunction in found))) == found


@given(st.lists(any_requirement, max_size=5).map(tuple), subjects)
def test_simplify_keeps_the_meaning(conjunction: Conjunction, subject: Subject) -> None:
    simple = simplify(conjunction)

    assert (simple is not None and _holds(simple, subject)) == _holds(conjunction, subject)


@given(any_requirement, _labels)
def test_negated_holds_exactly_where_the_requirement_does_not(requirement: Requirement, labels: Labels) -> None:
    assert requirement.negated().matches(labels) is not requirement.matches(labels)
    assert requirement.negated().negated() == requirement


@given(selectors, subjects)
def test_labels_that_no_requirement_reads_change_nothing(selector: Selector, subject: Subject) -> None:
    read = {(requirement.scope, requirement.key) for requirement in requirements(selector)}
    assume((Scope.POD, "app") not in read)
    without = Subject(Labels.of({k: v for k, v in subject.pod.items() if k != "app"}), subject.namespace)

    assert matches(selector, subject) == matches(selector, without)


@given(st.dictionaries(st.text(max_size=3), st.text(max_size=3)))
def test_labels_are_the_same_in_any_order(mapping: dict[str, str]) -> None:
    turned = dict(reversed(list(mapping.items())))

    assert Labels.of(mapping) == Labels.of(turned)
    assert hash(Labels.of(mapping)) == hash(Labels.of(turned))
    assert dict(Labels.of(mapping)) == mapping
    assert all(a < b for a, b in pairwise(Labels.of(mapping).pairs))


APP_A = Requirement("app", Operator.IN, ("a",))


@pytest.mark.parametrize(
    ("selector", "expected"),
    [
        pytest.param(EVERYTHING, ((),), id="no condition is one empty conjunction"),
        pytest.param(NOTHING, (), id="no alternative is no conjunction"),
        pytest.param(Not(NOTHING), ((),), id="not nothing is everything"),
        pytest.param(And((APP_A, Not(APP_A))), (), id="a contradiction is left out"),
        pytest.param(Or((APP_A, And((APP_A, Requirement("tier", Operator.EXISTS))))), ((APP_A,),), id="the wider one"),
        pytest.param(
            And((Requirement("app", Operator.IN, ("a", "b")), Requirement("app", Operator.NOT_IN, ("b",)))),
            ((APP_A,),),
            id="NotIn takes its values out of In",
        ),
        pytest.param(Requirement("app", Operator.IN), (), id="In without values matches nothing"),
        pytest.param(Requirement("app", Operator.NOT_IN), ((),), id="NotIn without values matches everything"),
    ],
)
def test_disjuncts(selector: Selector, expected: tuple[Conjunction, ...]) -> None:
    assert disjuncts(selector) == expected


def test_selector_that_grows_beyond_the_cap_is_refused() -> None:
    pairs = tuple(Or((Requirement(f"a{i}", Operator.EXISTS), Requirement(f"b{i}", Operator.EXISTS))) for i in range(9))

    assert len(disjuncts(And(pairs), cap=512)) == 512
    with pytest.raises(TooManyTermsError):
        disjuncts(And(pairs), cap=511)
