"""What goes to stdout and stderr: results, progress and hints."""

from __future__ import annotations

import io
import os
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec
import typer

from migrate import yaml_out
from migrate.cli.options import OutputFormat
from migrate.errors import ExitStatus, InputError

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.text import Text

    from migrate.model.documents import DecidedBy

_WIDTH_WITHOUT_TERMINAL = 200
_WIDTH = 80


def emit(text: str) -> None:
    """Write a result to stdout; when nobody reads it any more, end with the status for a closed pipe."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        close_stdout()
        if isinstance(error, BrokenPipeError):
            raise typer.Exit(ExitStatus.CLOSED_PIPE) from None
        raise InputError(f"standard output: writing failed: {error.strerror}; free space or choose another") from error


def close_stdout() -> None:
    """Python flushes stdout once more as it ends, which must not fail again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def document_text(document: msgspec.Struct, output: OutputFormat) -> str:
    """A document as JSON or YAML."""
    if output is OutputFormat.YAML:
        return yaml_out.dump(msgspec.to_builtins(document))
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode() + "\n"


def wrapped(text: str, indent: str = "", first: str = "") -> list[str]:
    """A text in lines of 80 columns, broken at blanks: `first` stands before it, `indent` before its further lines."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=first, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def decided_text(decided: DecidedBy) -> str:
    """What decided a side of a flow: the object with its rule and place, or why no rule did."""
    if decided.object is None:
        return decided.reason
    place = f" ({decided.at})" if decided.at else ""
    note = f", {decided.reason}" if decided.reason else ""
    return f"{decided.object} {decided.rule}{place}{note}"


def table_text(*parts: RenderableType) -> str:
    """Tables and lines as text for stdout: in colour and at its width on a terminal, plain otherwise."""
    from rich.console import Console

    terminal = sys.stdout.isatty()
    written = io.StringIO()
    width = None if terminal else _WIDTH_WITHOUT_TERMINAL
    console = Console(file=written, force_terminal=terminal or None, width=width, highlight=False)
    for part in parts:
        console.print(part)
    return "".join(f"{line.rstrip()}\n" for line in written.getvalue().splitlines())


def plain(text: str, style: str = "") -> Text:
    """Text of a cluster or file, shown as it is: no markup, and no character that steers a terminal."""
    from rich.text import Text

    return Text("".join(char if char.isprintable() else f"\\x{ord(char):02x}" for char in text), style=style)


def hint(text: str, quiet: bool) -> None:
    """A line for the person at the terminal, on stderr."""
    if not quiet:
        typer.echo(text, err=True)


@contextmanager
def reading_progress(quiet: bool) -> Iterator[Callable[[str, int, int | None], None]]:
    """Something to tell how far the reading is; it shows on stderr when that is a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    columns = (TextColumn("reading {task.description}"), BarColumn(), MofNCompleteColumn())
    console = Console(stderr=True)
    with Progress(*columns, console=console, transient=True, disable=quiet or not console.is_terminal) as progress:
        task = progress.add_task("", total=None)

        def show(kind: str, read: int, total: int | None) -> None:
            progress.update(task, description=kind, completed=read, total=total)

        yield show
