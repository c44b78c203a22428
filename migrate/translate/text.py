"""The text of an output file: a comment with its source, then the object."""

from __future__ import annotations

from migrate import yaml_out
from migrate.model.words import one_line
from migrate.translate.notes import Notes
from migrate.translate.render import JsonMap


def to_text(data: JsonMap, notes: Notes, target: str, description: str) -> str:
    """YAML of one object under a header comment; no name can end the comment."""
    place = f", {notes.at}" if notes.at is not None else ""
    lines = [
        f"From {notes.subject} ({notes.subject.api_version}){place}",
        f"Target {target}; result {notes.result.value}: {description}",
        *(f"Holds while {assumption}" for assumption in notes.assumptions),
    ]
    header = "".join(f"# {one_line(line)}\n" for line in lines)
    return header + yaml_out.dump(data)
