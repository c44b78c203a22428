"""The reasons for which Cilium drops packets, as they are told by name, number and text."""

from __future__ import annotations

import pytest

from migrate.cutover.drops import find_reason, is_by_policy, reasons


def test_each_reason_is_there_once() -> None:
    names = [reason.name for reason in reasons()]
    numbers = [reason.number for reason in reasons()]
    texts = [text for reason in reasons() for text in reason.texts]

    assert len(set(names)) == len(names)
    assert len(set(numbers)) == len(numbers)
    assert len(set(texts)) == len(texts)
    assert all(text == text.lower() for text in texts)


@pytest.mark.parametrize(
    ("told", "name", "by_policy"),
    [
        pytest.param("POLICY_DENIED", "POLICY_DENIED", True, id="by its name"),
        pytest.param("133", "POLICY_DENIED", True, id="by its number"),
        pytest.param("Policy denied", "POLICY_DENIED", True, id="by the monitor's text"),
        pytest.param("Policy denied by denylist", "POLICY_DENY", True, id="a deny rule"),
        pytest.param("CT: Map insertion failed", "CT_MAP_INSERTION_FAILED", False, id="a full table"),
        pytest.param("Stale or unroutable IP", "STALE_OR_UNROUTABLE_IP", False, id="an address that is gone"),
        pytest.param("Authentication required", "AUTH_REQUIRED", False, id="a handshake that is missing"),
        pytest.param("Unsupported L3 protocol", "UNSUPPORTED_L3_PROTOCOL", False, id="a protocol"),
    ],
)
def test_a_reason_is_found_as_it_is_told(told: str, name: str, by_policy: bool) -> None:
    found = find_reason(told)

    assert found is not None
    assert found.name == name
    assert is_by_policy(told) is by_policy


def test_what_is_not_known_is_no_policy_and_what_is_not_told_is() -> None:
    assert find_reason("IN_2030") is None
    assert not is_by_policy("IN_2030")
    assert is_by_policy("")
