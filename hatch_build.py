"""Compiles the probe into the wheel, with clang or else PyPI's ziglang; a checkout compiles at the first use."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class ProbeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Fails when an object cannot be made: a wheel never goes out without the probe."""

    def dependencies(self) -> list[str]:
        """What a build in isolation installs first."""
        return [] if shutil.which("clang") else ["ziglang>=0.13"]

    def initialize(self, version: str, build_data: dict[str, object]) -> None:
        """Compile into bpf/, from where everything goes into the wheel."""
        if version == "editable":
            return
        sys.path.insert(0, self.root)
        from migrate.audit.compile import build_objects

        build_objects(Path(self.root) / "bpf")
