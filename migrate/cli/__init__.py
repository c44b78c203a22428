"""The command line: one file per command, thin: options, one call, render."""

from migrate.cli.app import main

__all__ = ["main"]
