"""The plan as a runbook for people: runbook.md."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from migrate.model.plan_documents import (
    Attribute,
    Command,
    Exposure,
    Gate,
    Opened,
    Plan,
    PlanStep,
    Precondition,
    Removal,
    Restart,
    Window,
)
from migrate.readiness.planning.shell import assignments, unfilled

_MOST_REMOVALS = 100
_PHASES = {
    "prepare": "Before the change",
    "change": "The change",
    "apply": "The change",
    "clean-up": "Clean-up, a day or more later",
}
_STATES = {"met": "holds", "not_met": "**does not hold**", "check": "to be checked"}
_ENGINES = {"npm-linux": "Azure NPM", "npm-windows": "Azure NPM on Windows", "calico": "Calico", "cilium": "Cilium"}


def runbook(plan: Plan) -> str:
    """The whole runbook. The same plan gives the same text."""
    parts = [_head(plan), _doubts(plan)]
    if plan.steps:
        parts += [_variables(plan), _conditions(plan), _open_time(plan), _all_steps(plan, late=False)]
        parts += [_restarts(plan), _checks(plan), _all_steps(plan, late=True), _removals(plan), _sources(plan)]
    return "\n".join("".join(f"{line}\n" for line in part) for part in parts if part)


def _head(plan: Plan) -> list[str]:
    known = [
        ("Way", _words(plan.route.title)),
        ("Enforces today", _ENGINES.get(plan.route.engine, "nothing" if plan.steps else "not known")),
        ("Translated for", plan.target or "not translated yet"),
        ("Snapshot", plan.snapshot_taken or "made from files, whose age is not known"),
        ("Plan made", f"{plan.made} by migrate {plan.tool_version}"),
    ]
    if plan.nodes is not None:
        known.append(("Nodes", str(plan.nodes)))
    if plan.expected_minutes is not None and plan.worst_minutes is not None:
        known.append(("Expected time", _between(plan.expected_minutes, plan.worst_minutes)))
    if plan.minimum_cli is not None:
        known.append(("Azure CLI", f"{plan.minimum_cli} or newer"))
    no_return = [f"{number}. {step.title}" for number, step in _numbered(plan) if step.no_return]
    if no_return:
        known.append(("No way back after", "; ".join(f"step {text}" for text in no_return)))
    not_met = [each.title for each in plan.preconditions if each.state == "not_met"]
    lines = [f"# Cutover runbook: {_words(plan.cluster)}", "", "| | |", "|---|---|"]
    lines += [f"| {name} | {_cell(value)} |" for name, value in known]
    lines += ["", _use(plan)]
    if not_met:
        lines += ["", f"**Do not begin yet.** These conditions do not hold: {_words('; '.join(not_met))}."]
    return lines


def _use(plan: Plan) -> str:
    if plan.redacted:
        return "**Names and addresses are pseudonyms:** this is to be read, and nothing of it can be run."
    if plan.steps:
        return "People run what stands here, from top to bottom, in this folder. migrate never runs any of it."
    if plan.route.path == "already-cilium":
        return "There is nothing to switch over."
    return "**There is no plan:** what is not known has to be found out first."


def _doubts(plan: Plan) -> list[str]:
    if not (plan.incomplete or plan.route.doubts or plan.route.choices):
        return []
    lines = ["## What is not known, and what was chosen", ""]
    lines += [f"- Not known: {_words(text)}" for text in plan.incomplete]
    lines += [f"- In doubt: {_words(text)}" for text in plan.route.doubts]
    lines += [f"- Another way: {_words(text)}" for text in plan.route.choices]
    return lines


def _variables(plan: Plan) -> list[str]:
    check = unfilled(plan.variables)
    lines = ["## In every terminal, first", ""]
    lines += [] if check is None else ["Fill in what stands in angle brackets.", ""]
    lines += _fenced(assignments(plan.variables).rstrip("\n"))
    return lines + ([] if check is None else ["", *_commands([check])])


def _conditions(plan: Plan) -> list[str]:
    lines = ["## Preconditions", ""]
    for each in plan.preconditions:
        lines += _condition(each)
    return lines


def _condition(each: Precondition) -> Iterator[str]:
    box = "x" if each.state == "met" else " "
    detail = f" ({_words(each.detail)})" if each.detail else ""
    yield f"- [{box}] **{_words(each.title)}**: {_STATES[each.state]}{detail}."
    if each.otherwise and each.state != "met":
        yield f"  If not: {_words(each.otherwise)}{_rules(each.rules)}."
    if each.commands:
        yield ""
        yield from (f"  {line}" if line else "" for line in _commands(each.commands))
        yield ""


def _open_time(plan: Plan) -> list[str]:
    if not plan.windows:
        return ["## Time without enforcement", "", "Nothing enforces policy today, so nothing is opened by the change."]
    lines = ["## Time without enforcement", ""]
    titles = {step.id: f"step {number} “{step.title}”" for number, step in _numbered(plan)}
    for window in plan.windows:
        lines += _window(window, titles)
    if plan.exposure is not None:
        lines += _exposure(plan.exposure)
    return lines


def _window(window: Window, titles: dict[str, str]) -> Iterator[str]:
    yield f"### {_words(window.title)}"
    yield ""
    begins, ends = (_words(titles.get(step, step)) for step in (window.begins, window.ends))
    yield f"All of {begins}." if begins == ends else f"From the beginning of {begins} to the end of {ends}."
    yield ""
    if window.expected_minutes is not None and window.worst_minutes is not None:
        yield f"How long: {_between(window.expected_minutes, window.worst_minutes)}, and the time between operations."
        yield ""
    elif window.exposed:
        yield "How long: as long as you take for all nodes."
        yield ""
    yield _words(window.what)
    yield ""
    yield f"Guard: {_words(window.guard)}"
    yield ""


def _exposure(exposure: Exposure) -> Iterator[str]:
    yield "### Who could reach what in that time"
    yield ""
    if not exposure.known:
        yield f"Not known: {_words('; '.join(exposure.unknown))}."
        return
    if not exposure.opened:
        yield "No flow: no policy stops anything of the snapshot today." if exposure.engine else "Nothing is opened."
        return
    yield (
        f"Worked out for the pods of the snapshot: everything that {exposure.engine} stops today. "
        f"**{exposure.pod_pairs} pairs of pods** could exchange something that they cannot today."
    )
    yield ""
    yield f"| Could be reached | From (of {exposure.by}s, nodes, outside) | Among them |"
    yield "|---|---|---|"
    for end in exposure.destinations:
        more = end.sources - len(end.first)
        named = ", ".join(end.first) + (f" and {more} more" if more > 0 else "")
        newly = f", {end.newly} of them reach nothing of it today" if end.newly else ""
        yield f"| {_code(end.destination)} | {end.sources}{newly} | {_cell(_words(named))} |"
    if exposure.more_destinations:
        yield ""
        yield f"{exposure.more_destinations} more are in plan.json (`migrate plan -o json`)."
    yield ""
    yield "For example:"
    yield ""
    yield from (_opened(opened) for opened in exposure.opened[:5])
    if exposure.unknown:
        yield ""
        yield f"Not counted: {_words('; '.join(exposure.unknown))}."


def _opened(opened: Opened) -> str:
    example = opened.example
    port = f"{example.protocol} {example.port}" if example.protocol in ("TCP", "UDP", "SCTP") else example.protocol
    decided = opened.stopped_by
    why = f"{decided.object} {decided.rule or ''}".strip() if decided.object else decided.reason
    return (
        f"- {_code(example.source)} → {_code(example.destination)} on {port}, which is stopped today "
        f"({opened.side}: {_words(why)})"
    )


def _all_steps(plan: Plan, *, late: bool) -> list[str]:
    lines: list[str] = []
    heading = ""
    waiting = {gate.before: gate for gate in plan.gates}
    for number, step in _numbered(plan):
        if (step.phase == "clean-up") is not late:
            continue
        if _PHASES[step.phase] != heading:
            heading = _PHASES[step.phase]
            lines += [f"## {heading}", ""]
        if step.id in waiting:
            lines += _gate(waiting[step.id])
        lines += _step(number, step)
    return lines


def _gate(gate: Gate) -> Iterator[str]:
    yield f"### ⛔ {_words(gate.title)}"
    yield ""
    yield from (f"- [ ] {_words(question)}" for question in gate.questions)
    yield ""
    yield f"One no: {_words(gate.no)}"
    yield ""


def _step(number: int, step: PlanStep) -> Iterator[str]:
    mark = " (no way back)" if step.no_return else ""
    yield f"### {number}. {_words(step.title)}{mark}"
    yield ""
    yield f"{_words(step.why)}{_rules(step.rules)}"
    yield ""
    if step.duration is not None:
        between = _between(step.duration.expected_minutes, step.duration.worst_minutes)
        yield f"Time: {between} ({_words(step.duration.basis)})."
        yield ""
    if step.minimum_cli is not None:
        yield f"Azure CLI {step.minimum_cli} or newer."
        yield ""
    yield from _commands(step.commands)
    if step.commands:
        yield ""
    if step.terraform:
        yield from _terraform(step.terraform)
        yield ""
    yield from (f"- {_words(note)}" for note in step.notes)
    if step.notes:
        yield ""
    yield f"**Way back:** {_words(step.rollback.how)}"
    yield ""
    if step.rollback.commands:
        yield from _commands(step.rollback.commands)
        yield ""


def _terraform(found: Sequence[Attribute]) -> Iterator[str]:
    yield "In Terraform (azurerm_kubernetes_cluster):"
    yield ""
    yield "| Block | Attribute | Value | |"
    yield "|---|---|---|---|"
    for each in found:
        value = "left out" if each.value is None else _code(each.value)
        yield f"| {_code(each.block)} | {_code(each.name)} | {value} | {_cell(_words(each.note))} |"


def _restarts(plan: Plan) -> list[str]:
    lines = ["## Restarts for long-lived connections", ""]
    if plan.restarts_unknown:
        return [*lines, _words(plan.restarts_unknown)]
    lines += ["After the policies are applied, in this order: servers before those that connect to them.", ""]
    for restart in plan.restarts:
        lines += _restart(restart)
    return lines


def _restart(restart: Restart) -> Iterator[str]:
    name = f"{restart.namespace}/{restart.workload}"
    yield f"{restart.order}. {_code(name)}: {_words(restart.reason)}. {_words('; '.join(restart.connections[:5]))}"
    if restart.command is not None:
        yield ""
        yield from (f"   {line}" if line else "" for line in _commands([restart.command]))
        yield ""


def _checks(plan: Plan) -> list[str]:
    lines = ["## Checks after the change", ""]
    for each in plan.after_checks:
        lines += _condition(each)
    return lines


def _removals(plan: Plan) -> list[str]:
    if not plan.removals:
        return []
    titles = {
        "with_apply": "with the translated policies",
        "after_cutover": "a day later",
        "with_old_engine": "once the old engine is gone",
        "decide": "to be decided",
    }
    lines = ["## Old policy objects", "", "| Object | Goes | Owner | Change it in |", "|---|---|---|---|"]
    for removal in plan.removals[:_MOST_REMOVALS]:
        lines.append(
            f"| {_code(removal.object)} | {titles[removal.when]} | {_cell(_owner(removal))} "
            f"| {_cell(_words(removal.change))} |"
        )
    if len(plan.removals) > _MOST_REMOVALS:
        lines += ["", f"{len(plan.removals) - _MOST_REMOVALS} more are in `migrate plan -o json`."]
    return lines


def _owner(removal: Removal) -> str:
    returns = {"at_once": " (brings it back at once)", "at_deploy": " (brings it back with the next deployment)"}
    return _words(removal.owner) + returns.get(removal.returns, "") if removal.owner else ""


def _sources(plan: Plan) -> list[str]:
    lines = ["## Where this comes from", ""]
    lines += [f"- {_words(each.source)} ({each.as_of}): {_words(each.says)}" for each in plan.sources]
    if plan.minimum_cli is not None:
        lines.append("- Minimum versions of the Azure CLI: rules/azure/commands.yaml, each with its source")
    return lines


def _numbered(plan: Plan) -> Iterable[tuple[int, PlanStep]]:
    return enumerate(plan.steps, start=1)


def _rules(rules: Sequence[str]) -> str:
    return f" ({', '.join(rules)})" if rules else ""


def _commands(commands: Sequence[Command]) -> Iterator[str]:
    """Commands in blocks that can be pasted; what is done by hand stands between them, so that a block ends there."""
    for number, (by_hand, several) in enumerate(groupby(commands, _is_by_hand)):
        if number:
            yield ""
        if by_hand:
            yield from (f"By hand: {_words(command.text.removeprefix('# '))}." for command in several)
        else:
            yield from _fenced("\n".join(line for command in several for line in _shell_lines(command)))


def _is_by_hand(command: Command) -> bool:
    return command.text.startswith("# ")


def _shell_lines(command: Command) -> Iterator[str]:
    yield command.text
    if command.expect:
        yield "# expect: " + " ".join(_visible(command.expect).split())


def _fenced(text: str) -> Iterator[str]:
    """Text as a block of shell; the fence is longer than any run of its characters in the text."""
    longest = max((len(run) for run in re.findall("`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    yield f"{fence}bash"
    yield from text.split("\n")
    yield fence


def _between(expected: int, worst: int) -> str:
    return f"about {_hours(expected)}, at worst {_hours(worst)}"


def _hours(minutes: int) -> str:
    if minutes < 120:
        return f"{minutes} minutes"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if rest else f"{hours} h"


def _words(text: str) -> str:
    """Text in a sentence: a name cannot become markup, or begin a line of its own."""
    return re.sub(r"([<>\[\]*_|])", r"\\\1", _visible(text)) if not _quoted(text) else _outside_code(_visible(text))


def _quoted(text: str) -> bool:
    return text.count("`") % 2 == 0 and "`" in text


def _outside_code(text: str) -> str:
    pieces = text.split("`")
    return "`".join(re.sub(r"([<>\[\]*_|])", r"\\\1", p) if n % 2 == 0 else p for n, p in enumerate(pieces))


def _code(text: str) -> str:
    """A name as code, whatever it holds."""
    shown = _visible(text).replace("|", "\\|")
    longest = max((len(run) for run in re.findall("`+", shown)), default=0)
    marks = "`" * (longest + 1)
    space = " " if longest else ""
    return f"{marks}{space}{shown}{space}{marks}" if shown else ""


def _cell(text: str) -> str:
    """A table's cell: no bar that ends it."""
    return re.sub(r"(?<!\\)\|", r"\\|", text)


def _visible(text: str) -> str:
    return "".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text)
