"""Report → one HTML file that asks nothing of any network and reads well with scripts and styles blocked."""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import islice

import jinja2
from markupsafe import Markup, escape

from migrate.model.refs import ObjectRef
from migrate.readiness.traffic import coverage_text, loss_text, span_text, watch_line, where_text
from migrate.report import after_cutover, words
from migrate.report.comparison import causes_of, changed_pairs, matrix_view
from migrate.report.document import FindingGroup, Report
from migrate.report.entries import (
    NAMESPACE_COLUMNS,
    affected,
    anchor,
    group_anchor,
    namespace_cells,
    place_cells,
    policy_entry,
)
from migrate.report.nodes import node_items, use_cells
from migrate.report.policies import Levels
from migrate.report.source_view import PairReader
from migrate.report.split import Part
from migrate.report.svg import changed_connections, results_bar, timeline
from migrate.report.tables import PAGE, Shown, Words, first_page, script_data
from migrate.report.traffic_rows import DROPS, TrafficView, drop_picture, traffic_view
from migrate.resources import data

PLACES = 25
_FEW = 4
_CODE = re.compile(r"`([^`]+)`")
_SECTIONS = (
    ("verdict", "Verdict"),
    ("cutover", "After the cutover"),
    ("since", "Since the last report"),
    ("deadlines", "Deadlines"),
    ("blockers", "Blockers"),
    ("changes", "Changes"),
    ("traffic", "Live traffic"),
    ("coverage", "Coverage"),
    ("results", "Results"),
    ("namespaces", "Namespaces"),
    ("policies", "Policies"),
    ("runbook", "Runbook"),
    ("findings", "All findings"),
    ("unmeasured", "Not measured"),
    ("nodes", "Nodes"),
    ("inventory", "Inventory"),
    ("inputs", "Made from"),
)


@dataclass(frozen=True, slots=True)
class _Group:
    """All findings of one id and severity, ready to be shown. `places` is the first page of `cells`."""

    group: FindingGroup
    anchor: str
    affected: str
    cells: tuple[tuple[str, ...], ...]
    places: Shown[tuple[str, ...]]

    @property
    def first(self) -> tuple[tuple[str, ...], ...]:
        """The first few places, for the list of blockers."""
        return self.cells[:_FEW]


def render_index(report: Report, by: str, parts: Sequence[tuple[Part, Report]]) -> bytes:
    """The page that leads to the parts, which lie beside it as <file>.html."""
    css = asset("report.css")
    policy = f"default-src 'none'; style-src '{digest(css)}'"
    page = environment().get_template("index.html.j2")
    return page.render(report=report, by=by, parts=parts, css=css, content_policy=policy).encode()


def render_html(report: Report, pairs: PairReader, levels: Levels, title: str = "") -> bytes:
    """The page. The same report and folder give the same bytes. Raises InputError for a result that is unreadable.

    `title` names the part of the cluster that it is about; empty for all of it.
    """
    css, script = asset("report.css"), asset("report.js")
    page = environment().get_template("report.html.j2")
    causes, changed = causes_of(report), changed_pairs(report)
    traffic = traffic_view(report.audit) if report.audit else None
    return page.render(
        report=report,
        title=title,
        words=words,
        content_policy=_content_policy(css, script),
        css=css,
        script=script,
        sections=[pair for pair in _SECTIONS if pair[0] not in _absent(report)],
        causes=causes,
        matrix=matrix_view(report, causes),
        changed=changed,
        changes_picture=changed_connections(changed),
        change_titles=words.CHANGE_TITLES,
        traffic=traffic,
        coverage_words=coverage_text(report.audit) if report.audit else "",
        loss_words=loss_text(report.audit) if report.audit else "",
        span_words=span_text(report.audit) if report.audit else "",
        watch_words=watch_line(report.audit) if report.audit else "",
        where_words=where_text(report.audit) if report.audit else "",
        drop_picture=drop_picture,
        **_after_cutover(report),
        snapshot_age=_snapshot_age(report),
        bar=results_bar(report.summary.standings),
        timeline=timeline(report.deadlines, date.fromisoformat(report.generated[:10])),
        namespace_columns=NAMESPACE_COLUMNS,
        gaps=[_titled(gap) for gap in report.unmeasured],
        unchecked=_by_lack(report),
        proved=sum(row.proof != "none" for row in report.policies),
        nodes_read=sum(node.rules for node in report.nodes),
        nodes_compared=any(document.kind == "NodeStates" and document.complete for document in report.inputs),
        node_items=list(node_items(report.nodes)),
        rule_uses=first_page([use_cells(use) for use in report.rule_uses if use.packets], ("rule", "rules")),
        **_rows(report, pairs, levels, traffic),
    ).encode()


def _absent(report: Report) -> frozenset[str]:
    """Sections that have nothing to say."""
    return frozenset(
        name
        for name, there in (
            ("coverage", report.audit is not None),
            ("since", report.since is not None),
            ("cutover", report.cutover is not None),
            ("nodes", bool(report.nodes or report.rule_uses)),
            ("runbook", report.plan is not None),
        )
        if not there
    )


def _after_cutover(report: Report) -> dict[str, object]:
    """What the section on it shows; nothing where that was not checked."""
    check = report.cutover
    if check is None:
        return {}
    return {
        "cutover_words": after_cutover.sentence(check),
        "cutover_rows": after_cutover.rows(check),
        "cutover_classes": after_cutover.classes(check),
    }


def _by_lack(report: Report) -> list[tuple[str, list[str]]]:
    """What rules lack, each with the ids of those rules, what most of them lack first."""
    found: dict[str, list[str]] = {}
    for rule in report.unchecked:
        for lack in rule.lacks:
            found.setdefault(lack, []).append(rule.id)
    return sorted(found.items(), key=lambda entry: (-len(entry[1]), entry[0]))


def _rows(report: Report, pairs: PairReader, levels: Levels, traffic: TrafficView | None) -> dict[str, object]:
    """Everything that comes in rows: first pages for the template, the rest as data for the script."""
    entries = (policy_entry(n, row, pairs.read(row), levels) for n, row in enumerate(report.policies))
    shown = tuple(islice(entries, PAGE))
    namespaces = [namespace_cells(row) for row in report.namespaces]
    anchors = {row.source: anchor(number) for number, row in enumerate(report.policies)}
    groups = [_group(group, anchors) for group in report.findings]
    rest: dict[str, Iterable[Words]] = {g.anchor: g.cells[PLACES:] for g in groups}
    if traffic is not None:
        rest["drops"] = traffic.cells[DROPS:]
    rest |= {"namespaces": namespaces[PAGE:], "policies": (entry.words() for entry in entries)}
    return {
        "page": PAGE,
        "places_page": PLACES,
        "policies": Shown(shown, first_page(report.policies, ("policy", "policies")).status),
        "namespaces": first_page(namespaces, ("row", "rows")),
        "groups": groups,
        "blockers": [group for group in groups if group.group.severity == "blocker" and not group.group.accepted],
        "data": script_data(rest),
    }


def _group(group: FindingGroup, anchors: dict[ObjectRef, str]) -> _Group:
    cells = tuple(place_cells(finding, anchors) for finding in group.findings)
    return _Group(
        group,
        group_anchor(group.id, group.severity, accepted=group.accepted),
        affected(group),
        cells,
        first_page(cells, ("place", "places"), PLACES),
    )


def _titled(gap: str) -> tuple[str, str]:
    """A gap's subject and what is said of it."""
    title, _, text = gap.partition(": ")
    return title, text


def _snapshot_age(report: Report) -> str:
    """When the snapshot was taken, or why that is not known."""
    for document in report.inputs:
        if document.kind == "Snapshot":
            return _utc(document.made) if document.made else "from files, age unknown"
    return "none"


def _utc(moment: str) -> str:
    """An RFC 3339 time in UTC as people read it, to the minute."""
    return f"{moment[:10]} {moment[11:16]} UTC"


def _capital(text: str) -> str:
    """A sentence that begins like one."""
    return text[:1].upper() + text[1:]


def _prose(text: str) -> Markup:
    """A sentence in which `words between backticks` are code; everything is escaped first."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))


def asset(name: str) -> Markup:
    """A style sheet or script of ours. Both are trusted and stand in the page as they are."""
    return Markup(data("reports").joinpath(name).read_text(encoding="utf-8"))


def _content_policy(css: str, script: str) -> str:
    """Nothing may be loaded, and only our own style sheet and script may act."""
    return f"default-src 'none'; script-src '{digest(script)}'; style-src '{digest(css)}'"


def digest(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def environment() -> jinja2.Environment:
    """Templates from the shipped data; an unknown name is an error and every value is escaped."""
    templates = data("reports").joinpath("templates")
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(lambda name: templates.joinpath(name).read_text(encoding="utf-8")),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"prose": _prose, "utc": _utc, "capital": _capital}
    return environment
