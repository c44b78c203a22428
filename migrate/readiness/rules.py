"""What each finding means and what to do about it: one file per id in rules/findings/."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from datetime import date
from functools import cache
from types import MappingProxyType
from typing import Literal

import msgspec

from migrate.errors import InputError
from migrate.model.finding import Effect, Finding, Severity
from migrate.resources import data, read_yaml, yaml_files


class Scope(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The engines that a rule is about, and the targets on which it matters; "any" stands for all."""

    source: tuple[str, ...]
    target: tuple[str, ...]


class Source(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Where a statement comes from, and what it says there.

    `repo` is "owner/name" with a `path` in it, or `thread` is "owner/name#number"; `measured` says how it was tried.
    """

    says: str
    repo: str = ""
    path: str = ""
    thread: str = ""
    measured: str = ""

    def __str__(self) -> str:
        place = self.thread or self.measured or f"{self.repo} {self.path}".strip()
        return f"{place}: {self.says}"


class Rule(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The knowledge behind a finding id.

    `effect` is the usual effect of the future against what is enforced today; each finding carries its own.
    `inputs` say what has to be read to find it; `evidence` how sure the statement is, as of a date.
    """

    id: str
    title: str
    severity: Severity
    applies_to: Scope
    effect: Effect
    inputs: tuple[str, ...]
    evidence: Literal["measured", "code", "doc", "report", "derived"]
    as_of: date
    why: str
    do: str
    sources: tuple[Source, ...]
    example: Mapping[str, str] | None = None


@cache
def load_rules() -> Mapping[str, Rule]:
    """All rules by id, in the order of their ids."""
    rules = [read_yaml(file, Rule) for file in yaml_files(data("rules") / "findings")]
    return MappingProxyType({rule.id: rule for rule in sorted(rules, key=lambda rule: rule.id)})


def find_rule(rule_id: str) -> Rule:
    """The rule of an id, in any case of letters. Raises InputError naming ids that look like it."""
    rules = load_rules()
    wanted = rule_id.strip().upper()
    if wanted in rules:
        return rules[wanted]
    near = difflib.get_close_matches(wanted, rules, n=3, cutoff=0.5)
    hint = f"near it: {', '.join(near)}" if near else "`migrate rules` lists all of them"
    raise InputError(f"{rule_id}: no finding has this id; {hint}")


def severity_of(finding: Finding, rules: Mapping[str, Rule] | None = None) -> Severity:
    """How much a finding stands in the way, by the shipped rules or those given.

    Whatever opens something that is closed today is a blocker, and so is what this version knows nothing about.
    """
    rule = (load_rules() if rules is None else rules).get(finding.id)
    if rule is None or finding.effect is Effect.WIDENS:
        return Severity.BLOCKER
    return rule.severity
