"""Policies of other engines to Cilium's, with a result and findings for every source object."""

from migrate.translate.engine import Outcome, OutputFile, translate

__all__ = ["Outcome", "OutputFile", "translate"]
