"""YAML that Go's Kubernetes decoder reads back as the same strings.

PyYAML follows YAML 1.1 and leaves 1e3, 08, 0o17, y and n without quotes. Kubernetes reads those as
numbers and booleans, so a selector on version=1e3 would become version=1000.
"""

import re
from collections.abc import Mapping

import yaml

from migrate.model.raw import Json

_READ_AS_OTHER_TYPE = re.compile(r"[-+.0-9].*|[yn]", re.IGNORECASE | re.DOTALL)


class _Dumper(yaml.SafeDumper):
    """Block style, no anchors, keys in the order they were given."""

    def ignore_aliases(self, data: object) -> bool:
        return True

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)


def _represent_str(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    style = '"' if _READ_AS_OTHER_TYPE.fullmatch(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _represent_str)


def dump(value: Mapping[str, Json]) -> str:
    """One object as canonical YAML: block style, keys in the given order, no line folding."""
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=4096)
