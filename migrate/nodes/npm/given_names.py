"""Names of sets as NPM itself tells them: by its debug endpoint, else by its metrics."""

from __future__ import annotations

import re

import msgspec

from migrate.nodes.dump import NodeDump
from migrate.nodes.files import NPM_CLUSTER_METRICS, NPM_MANAGER, NPM_NODE_METRICS
from migrate.nodes.npm.names import SET_PREFIX

_COUNT = re.compile(r'npm_ipset_counts\{(?=[^}\n]*set_hash="([^"\n]+)")[^}\n]*set_name="((?:[^"\\\n]|\\.)*)"')


class _Manager(msgspec.Struct, frozen=True):
    sets: dict[str, str] = msgspec.field(default_factory=dict, name="SetMap")


def given_names(dump: NodeDump) -> dict[str, str]:
    """NPM's name of each set by the kernel's; empty where the dump has neither file, or neither can be read."""
    try:
        found = msgspec.json.decode(dump.text(NPM_MANAGER) or "{}", type=_Manager).sets
    except (msgspec.DecodeError, RecursionError):
        found = {}
    if not found:
        metrics = "\n".join(filter(None, (dump.text(NPM_CLUSTER_METRICS), dump.text(NPM_NODE_METRICS))))
        found = {match[1]: re.sub(r"\\(.)", r"\1", match[2]) for match in _COUNT.finditer(metrics)}
    return {kernel: name for kernel, name in found.items() if kernel.startswith(SET_PREFIX) and name.isprintable()}
