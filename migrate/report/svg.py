"""Pictures laid out in Python, so that the same report gives the same picture.

Colours are classes of the style sheet; each shape also has a plain attribute for readers that block styles.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from markupsafe import Markup

from migrate.report.comparison import ChangedPair
from migrate.report.document import Deadline, Standing
from migrate.report.words import CHANGE_TITLES, STANDING_TITLES

_WIDTH = 960
_MARGIN = 12
_BAR_HEIGHT = 20
_GAP = 2
_LEAST = 6
_AXIS = 40
_ROW = 26
_LABEL_LENGTH = 70
_FILLS: Mapping[Standing, str] = {
    "kept": "#7d9440",
    "exact": "#2a7462",
    "exact_here": "#5b7fb0",
    "changed": "#c98a1b",
    "unsupported": "#b3261e",
    "not_translated": "#8b95a3",
}
_SEGMENT = Markup(
    '<rect class="{}" x="{:.1f}" y="0" width="{:.1f}" height="{}" rx="2" fill="{}"><title>{}</title></rect>'
)
_LINE = Markup('<line class="{}" x1="{:.1f}" y1="{}" x2="{:.1f}" y2="{}" stroke="{}"/>')
_TEXT = Markup('<text class="{}" x="{:.1f}" y="{}" text-anchor="{}">{}</text>')
_MOST_PAIRS = 40
_SIDE = 260
_NAME_LENGTH = 36
_SIGN_AT = 0.06
_SIGN_APART = 0.055
_CHANGE_STROKES: Mapping[str, str] = {"lost": "#b3261e", "new": "#0b5cab", "both": "#8a5300"}
_WAY = Markup(
    '<line class="way {}" x1="{}" y1="{}" x2="{}" y2="{}" stroke="{}" stroke-width="2"><title>{}</title></line>'
)
_SIGN = Markup(
    '<g class="mark {0}"><circle cx="{1:.1f}" cy="{2:.1f}" r="9" fill="#fff" stroke="{3}"/>'
    '<text x="{1:.1f}" y="{4:.1f}" text-anchor="middle">{5}</text></g>'
)
_DOT = Markup('<circle class="{}" cx="{:.1f}" cy="{}" r="5" fill="{}"><title>{}</title></circle>')


def results_bar(standings: Mapping[Standing, int]) -> Markup:
    """One bar, cut by what became of the policies. Empty without policies."""
    there = [(standing, count) for standing, count in standings.items() if count]
    total = sum(count for _, count in there)
    if not total:
        return Markup()
    parts = []
    left = 0.0
    room = _WIDTH - (_GAP + _LEAST) * len(there) + _GAP
    for standing, count in there:
        width = _LEAST + room * count / total
        label = f"{STANDING_TITLES[standing]}: {count}"
        parts.append(_SEGMENT.format(standing, left, width, _BAR_HEIGHT, _FILLS[standing], label))
        left += width + _GAP
    words = ", ".join(f"{count} {STANDING_TITLES[standing].lower()}" for standing, count in there)
    return _svg("bar", _BAR_HEIGHT, "Results of the translation", f"{total} policies: {words}.", parts)


@dataclass(frozen=True, slots=True)
class _Scale:
    """Where a day stands between the first and the last one."""

    first: date
    last: date

    def __call__(self, day: date) -> float:
        span = max((self.last - self.first).days, 1)
        return _MARGIN + (_WIDTH - 2 * _MARGIN) * (day - self.first).days / span


def timeline(deadlines: Sequence[Deadline], today: date) -> Markup:
    """Today and the deadlines on one line of time. Empty without deadlines."""
    if not deadlines:
        return Markup()
    days = sorted([today, *(date.fromisoformat(deadline.date) for deadline in deadlines)])
    scale = _Scale(days[0], days[-1])
    height = _AXIS + _ROW * len(deadlines) + 12
    parts = [*_axis(scale), _LINE.format("today", scale(today), 18, scale(today), height, "#1b232e")]
    parts.append(_TEXT.format("", scale(today), 12, _anchor(scale(today)), f"today, {today}"))
    marks = [
        tuple(_mark(deadline, scale(date.fromisoformat(deadline.date)), _AXIS + _ROW * (row + 1)))
        for row, deadline in enumerate(deadlines)
    ]
    parts += [lines for lines, *_ in marks]
    parts += [part for _, *others in marks for part in others]
    words = "; ".join(f"{deadline.date} {deadline.title}" for deadline in deadlines)
    return _svg("timeline", height, "Deadlines", f"Today is {today}. {words}.", parts)


def _axis(scale: _Scale) -> Iterable[Markup]:
    yield _LINE.format("axis", _MARGIN, _AXIS, _WIDTH - _MARGIN, _AXIS, "#b6bfcb")
    for year in range(scale.first.year + 1, scale.last.year + 1):
        left = scale(date(year, 1, 1))
        yield _LINE.format("axis", left, _AXIS - 5, left, _AXIS, "#b6bfcb")
        yield _TEXT.format("faint", left, _AXIS - 9, "middle", year)


def _mark(deadline: Deadline, left: float, top: int) -> Iterable[Markup]:
    """A line, a dot and a label; all lines lie below all labels."""
    name, fill = ("past", "#b3261e") if deadline.days <= 0 else ("ahead", "#8a5300")
    title = deadline.title
    label = f"{deadline.date}  {title if len(title) <= _LABEL_LENGTH else title[: _LABEL_LENGTH - 1] + '…'}"
    side = 11 if _anchor(left) == "start" else -11
    yield _LINE.format(name, left, _AXIS, left, top, fill)
    yield _DOT.format(name, left, top, fill, f"{deadline.date} {title}")
    yield _TEXT.format("", left + side, top + 4, _anchor(left), label)


def changed_connections(pairs: Sequence[ChangedPair]) -> Markup:
    """Who loses or gains a way to whom: only what changed, from the left to the right. Empty without changes."""
    drawn = pairs[:_MOST_PAIRS]
    if not drawn:
        return Markup()
    sources, destinations = _rows(pair.source for pair in drawn), _rows(pair.destination for pair in drawn)
    height = _ROW * max(len(sources), len(destinations)) + 44
    parts = [
        _TEXT.format("faint", _SIDE, 16, "end", "from"),
        _TEXT.format("faint", _WIDTH - _SIDE, 16, "start", "to"),
    ]
    parts += [_TEXT.format("", _SIDE - 10, top + 4, "end", _short(name)) for name, top in sources.items()]
    parts += [
        _TEXT.format("", _WIDTH - _SIDE + 10, top + 4, "start", _short(name)) for name, top in destinations.items()
    ]
    for pair, share in zip(drawn, _shares(drawn), strict=True):
        parts += _connection(pair, sources[pair.source], destinations[pair.destination], share)
    words = "; ".join(f"{pair.source} to {pair.destination}: {CHANGE_TITLES[pair.change]}" for pair in drawn)
    return _svg("ways", height, "Changed connections", f"{words}.", parts)


def _rows(names: Iterable[str]) -> dict[str, int]:
    """Where each name stands, from top to bottom."""
    return {name: 40 + _ROW * row for row, name in enumerate(sorted(set(names)))}


def _connection(pair: ChangedPair, top: int, bottom: int, share: float) -> Iterable[Markup]:
    """A line with its sign a share of the way."""
    left, right = _SIDE, _WIDTH - _SIDE
    sign_left, sign_top = left + (right - left) * share, top + (bottom - top) * share
    label = f"{pair.source} to {pair.destination}: {CHANGE_TITLES[pair.change]}"
    yield _WAY.format(pair.change, left, top, right, bottom, _CHANGE_STROKES[pair.change], label)
    yield _SIGN.format(pair.change, sign_left, sign_top, _CHANGE_STROKES[pair.change], sign_top + 5, pair.sign)


def _shares(pairs: Sequence[ChangedPair]) -> list[float]:
    """Where signs stand on their lines: at the end where fewer lines meet, the next ones further in."""
    leaving, arriving = Counter(pair.source for pair in pairs), Counter(pair.destination for pair in pairs)
    there = Counter[tuple[str, str]]()
    shares = []
    for pair in pairs:
        at_source = leaving[pair.source] <= arriving[pair.destination]
        end = ("from", pair.source) if at_source else ("to", pair.destination)
        share = min(_SIGN_AT + _SIGN_APART * there[end], 0.5)
        there[end] += 1
        shares.append(share if at_source else 1 - share)
    return shares


def _short(name: str) -> str:
    return name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…"


def _anchor(left: float) -> str:
    """Labels grow towards the middle of the picture."""
    return "start" if left < _WIDTH / 2 else "end"


def _svg(name: str, height: int, title: str, description: str, parts: Iterable[Markup]) -> Markup:
    """A picture with a name and a description for those who do not see it."""
    return Markup(
        '<svg class="{2}" viewBox="0 0 {0} {1}" width="{0}" height="{1}" preserveAspectRatio="none" '
        'role="img" aria-labelledby="{2}-title {2}-text">'
        '<title id="{2}-title">{3}</title><desc id="{2}-text">{4}</desc>{5}</svg>'
    ).format(_WIDTH, height, name, title, description, Markup("").join(parts))
