"""The entry point: registers the commands and maps every way to end to an exit status.

An uncaught exception would exit with 1 and look like "findings", so each kind is mapped here and nowhere else.
"""

import errno
import os
import sys
import traceback
from collections.abc import Callable
from typing import Annotated, NoReturn

import typer
from typer.exceptions import TyperException

import migrate
from migrate.cli.audit import audit_app
from migrate.cli.demo import demo
from migrate.cli.explain import explain
from migrate.cli.explain_rule import explain_rule
from migrate.cli.lint import lint
from migrate.cli.plan import plan
from migrate.cli.redact import redact
from migrate.cli.report import report
from migrate.cli.rules import rules
from migrate.cli.scan import scan_app
from migrate.cli.simulate import simulate
from migrate.cli.translate import translate
from migrate.cli.values import values
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


app.add_typer(scan_app, name="scan")
app.command()(translate)
app.command()(verify)
app.command()(simulate)
app.command()(explain)
app.command()(lint)
app.add_typer(audit_app, name="audit")
app.command()(plan)
app.command()(report)
app.command()(values)
app.command()(redact)
app.command()(rules)
app.command()(demo)
app.command("explain-rule")(explain_rule)


def main() -> NoReturn:
    """Run the command line and end the process with the exit status of docs/architecture.md."""
    if sys.stdout is None:
        typer.echo("error: standard output is closed; redirect it to a file or to /dev/null", err=True)
        sys.exit(ExitStatus.INPUT)
    sys.exit(_run())


def _run() -> int:
    """Every way to end, as an exit status. Typer's own mapping would make a closed pipe 1, which means findings."""
    try:
        status = app(standalone_mode=False)
        sys.stdout.flush()
    except TyperException as error:
        show: Callable[[], None] | None = getattr(error, "show", None)
        if show is not None:
            show()
        return ExitStatus.INPUT
    except SystemExit as error:
        # Only Typer and rich end like this, and with 1 only when a pipe closes under the text of --help.
        return ExitStatus.CLOSED_PIPE if error.code == 1 else ExitStatus.INPUT
    except MigrateError as error:
        typer.echo(f"error: {error}", err=True)
        return error.exit_code
    except (KeyboardInterrupt, typer.Abort):
        typer.echo("interrupted; nothing was left half-written", err=True)
        return ExitStatus.INTERRUPTED
    except OSError as error:
        return _broken_output(error)
    except Exception:  # noqa: BLE001 - the one place where a bug of ours gets its own exit status
        return _bug()
    return status if isinstance(status, int) else ExitStatus.FINE


def _broken_output(error: OSError) -> int:
    """Text that Typer itself wrote (help, version) and that nobody could take; anything else is a bug."""
    if error.errno not in (errno.EPIPE, errno.ENOSPC):
        return _bug()
    # Python flushes stdout once more as it ends, which must not fail again.
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    if error.errno == errno.EPIPE:
        return ExitStatus.CLOSED_PIPE
    typer.echo("error: standard output: no space left; free space or choose another place", err=True)
    return ExitStatus.INPUT


def _bug() -> int:
    traceback.print_exc()
    typer.echo("error: this is a bug in migrate, please report it with the lines above", err=True)
    return ExitStatus.BUG
