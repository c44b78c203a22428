"""Pages that are made from the program itself when the site is built: its commands, its findings, its deadlines.

mkdocs calls the functions with an `on_` name (see "hooks" in mkdocs.yml).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.core import TyperCommand, TyperGroup, TyperOption

from migrate.cli.app import app
from migrate.model.finding import Severity
from migrate.readiness.deadlines import load_deadlines
from migrate.readiness.rules import Rule, load_rules

_ROOT = Path(__file__).parents[1]
_OUTSIDE = re.compile(r"\]\((?:\.\./)+((?!\.\.)[\w./-]+?)(#[\w-]+)?\)")
_STYLES = re.compile(r"\x1b\[[0-9;]*m")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the files of the checkout that pages link to."""
    for path, text in made_pages():
        files.append(File.generated(config, path, content=text))
    outside = {name for page in files.documentation_pages() for name in _outside_files(page.content_string)}
    for name in sorted(outside):
        files.append(File.generated(config, f"files/{name}", content=(_ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Links to files outside docs/ go to their copies in the site."""
    up = "../" * (len(PurePosixPath(page.file.src_uri).parts) - 1)
    return _OUTSIDE.sub(lambda link: f"]({up}files/{link[1]})" if (_ROOT / link[1]).is_file() else link[0], markdown)


def _outside_files(markdown: str) -> Iterator[str]:
    for link in _OUTSIDE.finditer(markdown):
        if (_ROOT / link[1]).is_file() and not (_ROOT / "docs" / link[1]).is_file():
            yield link[1]


def made_pages() -> Iterator[tuple[str, str]]:
    """Path and text of every page that is made."""
    rules = load_rules()
    yield "commands.md", "\n".join(_commands()) + "\n"
    yield "deadlines.md", "\n".join(_deadlines()) + "\n"
    yield "rules/index.md", "\n".join(_rule_list(list(rules.values()))) + "\n"
    yield from ((f"rules/{rule.id}.md", "\n".join(_rule(rule)) + "\n") for rule in rules.values())


def _commands() -> Iterator[str]:
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    yield "# All commands and options"
    yield ""
    yield "Made from the program, as `--help` shows it."
    for name, command in _leaves(group, "migrate"):
        yield from _command(name, command)


def _leaves(group: TyperGroup, path: str) -> Iterator[tuple[str, TyperCommand | TyperGroup]]:
    """Every command with its whole name; a group that does something itself is one too."""
    for name, command in group.commands.items():
        whole = f"{path} {name}"
        if isinstance(command, TyperGroup):
            if command.invoke_without_command:
                yield whole, command
            yield from _leaves(command, whole)
        elif isinstance(command, TyperCommand):
            yield whole, command


def _command(name: str, command: TyperCommand | TyperGroup) -> Iterator[str]:
    context = typer.Context(command, info_name=name)
    yield from ("", f"## {name}", "", _plain(command.help or ""), "")
    yield from ("```", f"{name} {' '.join(command.collect_usage_pieces(context))}", "```", "")
    options = [each for each in command.get_params(context) if isinstance(each, TyperOption) and not each.hidden]
    yield from ("| option | |", "|---|---|")
    for option in options:
        names = ", ".join(f"`{one}`" for one in (*option.opts, *option.secondary_opts))
        yield f"| {names} | {_cell(_plain(option.help or ''))} |"


def _plain(text: str) -> str:
    return _STYLES.sub("", text).strip()


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")


def _deadlines() -> Iterator[str]:
    yield from (
        "# Deadlines",
        "",
        "What ends when, and who says so. `migrate report` counts the days for a cluster.",
        "",
    )
    yield from ("| what | first day without support | node images gone | source, of |", "|---|---|---|---|")
    for each in load_deadlines():
        gone = each.images_removed.isoformat() if each.images_removed else ""
        yield f"| {_cell(each.title)} | {each.date} | {gone} | {_cell(each.source)}, {each.source_date} |"
    for each in load_deadlines():
        for old in each.superseded:
            yield from (
                "",
                f"**{each.title}: not {old.date}**, as {old.source} said on {old.source_date}. {old.reason}",
            )


def _rule_list(rules: list[Rule]) -> Iterator[str]:
    yield from ("# Findings", "", "Everything that migrate can find. `migrate explain-rule ID` says the same.", "")
    yield from ("| id | severity | |", "|---|---|---|")
    for rule in rules:
        yield f"| [{rule.id}]({rule.id}.md) | {rule.severity.value} | {_cell(rule.title)} |"


def _rule(rule: Rule) -> Iterator[str]:
    yield from (f"# {rule.id}", "", f"**{rule.title}**", "")
    opened = "" if rule.severity is Severity.BLOCKER else "; a blocker where the finding widens what is open today"
    yield f"{rule.severity.value}{opened}. Usual effect on what is enforced: {rule.effect.value}."
    yield f"From {', '.join(rule.applies_to.source)} to {', '.join(rule.applies_to.target)}."
    yield from ("", "## Why", "", rule.why.strip(), "", "## What to do", "", rule.do.strip(), "")
    yield from ("## Read from", "", *(f"- `{one}`" for one in rule.inputs), "")
    yield from (
        f"## Sources ({rule.evidence}, as of {rule.as_of})",
        "",
        *(f"- {_cell(str(one))}" for one in rule.sources),
    )
