"""The entry point: registers the commands and maps every way to end to an exit status.

An uncaught exception would exit with 1 and look like "findings", so each kind is mapped here and nowhere else.
"""

import os
import sys
import traceback
from typing import Annotated, NoReturn

import typer

import migrate
from migrate.cli.demo import demo
from migrate.cli.explain_rule import explain_rule
from migrate.cli.report import report
from migrate.cli.rules import rules
from migrate.cli.scan import scan
from migrate.cli.simulate import simulate
from migrate.cli.translate import translate
from migrate.cli.verify import verify
from migrate.errors import ExitStatus, MigrateError

app = typer.Typer(
    name="migrate",
    help=migrate.__doc__,
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"migrate {migrate.__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Take a Kubernetes cluster from Azure NPM, Calico or kubenet to Cilium without a surprise at cutover."""


app.command()(scan)
app.command()(translate)
app.command()(verify)
app.command()(simulate)
app.command()(report)
app.command()(rules)
app.command()(demo)
app.command("explain-rule")(explain_rule)


def main() -> NoReturn:
    """Run the command line and end the process with the exit status of docs/architecture.md."""
    try:
        status = app(standalone_mode=True)
    except MigrateError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(error.exit_code)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(ExitStatus.CLOSED_PIPE)
    except KeyboardInterrupt:
        typer.echo("interrupted; nothing was left half-written", err=True)
        sys.exit(ExitStatus.INTERRUPTED)
    except Exception:  # noqa: BLE001 - the one place where a bug of ours gets its own exit status
        traceback.print_exc()
        typer.echo("error: this is a bug in migrate, please report it with the lines above", err=True)
        sys.exit(ExitStatus.BUG)
    sys.exit(status)
