"""`migrate audit agent`: what runs in the pods of a DaemonSet, and what is run beside it there. Not for people."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from migrate.errors import ExitStatus
from migrate.model.agent_documents import BPFFS_VARIABLE, SETTINGS_FILE, STORE_FOLDER

if TYPE_CHECKING:
    from migrate.agent.settings import Places

agent_app = typer.Typer(context_settings={"help_option_names": ["-h", "--help"]})
_STUCK_SECONDS = 120
"""How long a reader of a pull may take for one piece of it."""
_PATIENCE = 120.0

Settings = Annotated[Path, typer.Option("--settings", help="The settings of the run.")]
Store = Annotated[Path, typer.Option("--store", readable=False, help="The folder of the recordings of all runs.")]
Bpffs = Annotated[
    Path, typer.Option("--bpffs", readable=False, envvar=BPFFS_VARIABLE, help="The node's bpf filesystem.")
]
Patience = Annotated[float, typer.Option("--patience", min=0, help="How many seconds the agent may take for it.")]
_SETTINGS, _STORE, _BPFFS = Path(SETTINGS_FILE), Path(STORE_FOLDER), Path("/sys/fs/bpf")


@agent_app.callback()
def agent() -> None:
    """What runs on each node of a cluster; migrate audit puts it there, asks it and takes it away."""


@agent_app.command()
def run(settings: Settings = _SETTINGS, store: Store = _STORE, bpffs: Bpffs = _BPFFS) -> None:
    """Record for the time of the run, then wait to be read. SIGTERM ends it; it keeps everything."""
    from threading import Event

    from migrate.agent.alarms import tell_troubles
    from migrate.agent.running import Life
    from migrate.agent.running import run as live
    from migrate.agent.settings import node_name
    from migrate.cli.audit_live import ended_by_signals
    from migrate.cli.emit import hint

    ended, places, node = Event(), _places(settings, store, bpffs), node_name()
    with ended_by_signals(ended.set):
        tell_troubles(places, node, ended)
        live(Life(places, node, ended, lambda text: hint(text, quiet=False)))


@agent_app.command()
def status(settings: Settings = _SETTINGS, store: Store = _STORE, bpffs: Bpffs = _BPFFS) -> None:
    """How the agent of this node does, as one line of JSON."""
    from migrate.agent.settings import node_name
    from migrate.agent.telling import agent_status

    _emit_line(agent_status(_places(settings, store, bpffs), node_name()))


@agent_app.command()
def metrics(
    folder: Annotated[
        Path | None, typer.Option("--textfile-dir", help="Write them there instead, for the node exporter.")
    ] = None,
    settings: Settings = _SETTINGS,
    store: Store = _STORE,
    bpffs: Bpffs = _BPFFS,
) -> None:
    """How the agent of this node does, as Prometheus reads it."""
    from migrate.agent.metrics import metrics_text, write_textfile
    from migrate.agent.settings import node_name
    from migrate.agent.telling import agent_status
    from migrate.cli.emit import emit

    text = metrics_text(agent_status(_places(settings, store, bpffs), node_name()))
    if folder is None:
        emit(text)
    else:
        write_textfile(folder, text)


@agent_app.command()
def pull(
    since: Annotated[int, typer.Option("--since", min=0, help="The revision that the copy has.")] = 0,
    settings: Settings = _SETTINGS,
    store: Store = _STORE,
    bpffs: Bpffs = _BPFFS,
) -> None:
    """What the recording has since a revision, in the form that migrate reads: not text."""
    from migrate.agent.files import RunFiles
    from migrate.agent.settings import read_settings
    from migrate.audit.pulling import send
    from migrate.cli.emit import close_stdout

    files = RunFiles(store, read_settings(settings).run)
    try:
        send(files.recording, since, _write)
    except BrokenPipeError:
        close_stdout()
        raise typer.Exit(ExitStatus.CLOSED_PIPE) from None
    finally:
        signal.alarm(0)


@agent_app.command()
def stop(
    patience: Patience = _PATIENCE, settings: Settings = _SETTINGS, store: Store = _STORE, bpffs: Bpffs = _BPFFS
) -> None:
    """End the recording, wait until all of it is written, and say how the agent does."""
    from migrate.agent.ending import stop as stop_agent
    from migrate.agent.settings import node_name

    _emit_line(stop_agent(_places(settings, store, bpffs), node_name(), patience))


@agent_app.command()
def clean(
    patience: Patience = _PATIENCE, settings: Settings = _SETTINGS, store: Store = _STORE, bpffs: Bpffs = _BPFFS
) -> None:
    """Take everything of this run off the node, its recording too. Exit status 4 when something is left."""
    from migrate.agent.ending import clean as clean_node
    from migrate.agent.settings import node_name

    cleaned = clean_node(_places(settings, store, bpffs), node_name(), patience)
    _emit_line(cleaned)
    raise typer.Exit(ExitStatus.INCOMPLETE if cleaned.left else ExitStatus.FINE)


def _places(settings: Path, store: Path, bpffs: Path) -> Places:
    from migrate.agent.settings import Places

    return Places(settings, store, bpffs)


def _emit_line(document: msgspec.Struct) -> None:
    from migrate.cli.emit import emit

    emit(msgspec.json.encode(document).decode() + "\n")


def _write(data: bytes) -> None:
    """A reader that is gone without a word ends the process: it keeps the recording's log from being taken in."""
    signal.alarm(_STUCK_SECONDS)
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()
    signal.alarm(0)
