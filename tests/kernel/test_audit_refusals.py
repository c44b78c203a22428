"""`migrate audit` as root where it cannot work: a clear message, the documented status, and nothing left behind."""

from __future__ import annotations

import shutil
import signal
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from migrate.audit.attach import has_tcx
from migrate.audit.reading import open_recording
from migrate.model.raw import Json
from tests.command_line import migrate
from tests.kernel.audited_lab import OTHER_POLICIES, Auditing, auditing, left_in_kernel, policy, working_folder
from tests.kernel.kube_lab import BACKEND_PORT, Answer, Lab
from tests.kernel.lab import run, unmount
from tests.prerequisites import require
from tests.unit.audited_folder import record_into

pytestmark = pytest.mark.kernel

PODS = 5
B = "10.244.1.3"
_FROM_A: dict[str, Json] = {"ingress": [{"fromEndpoints": [{"matchLabels": {"app": "a"}}]}]}
_NO_RIGHTS = ("setpriv", "--bounding-set=-all", "--inh-caps=-all")
_OLD = ("setarch", "--uname-2.6")
Prepare = Callable[[Path], None]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with Lab() as made:
        made.serve("b", BACKEND_PORT)
        yield made


@pytest.fixture
def folder(lab: Lab, tmp_path: Path) -> Path:
    """A working folder."""
    made = tmp_path / "work"
    made.mkdir()
    working_folder(made, lab, [policy("b", "b", _FROM_A)])
    return made


@pytest.fixture
def small_disk(folder: Path) -> Iterator[Path]:
    """The working folder on a disk of 4 MiB."""
    away = folder.with_name("away")
    folder.rename(away)
    folder.mkdir()
    run("mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder))
    shutil.copytree(away, folder, dirs_exist_ok=True)
    yield folder
    unmount(folder)


def _nothing(folder: Path) -> None:
    pass


def _text(folder: Path) -> None:
    (folder / "audit.db").write_text("what I had for breakfast, and when" * 100)


def _another_programs(folder: Path) -> None:
    with closing(sqlite3.connect(folder / "audit.db")) as connection:
        connection.execute("CREATE TABLE songs (name)")


def _recorded(folder: Path) -> None:
    """A recording of this folder's cluster, as an audit makes it."""
    record_into(folder, seconds=86_400, dropping=False)


def _damaged(folder: Path) -> None:
    _recorded(folder)
    path = folder / "audit.db"
    content = bytearray(path.read_bytes())
    content[2 * 4096 : 8 * 4096] = b"\xa5" * (6 * 4096)
    path.write_bytes(content)


def _of_another_cluster(folder: Path) -> None:
    record_into(folder, cluster="another", seconds=86_400)


def _full(folder: Path) -> None:
    with (folder / "ballast").open("wb", buffering=0) as stream:
        try:
            while stream.write(b"x" * 4096):
                pass
        except OSError:
            return


def _ended(lab: Lab, folder: Path, bpffs: Path, duration: str, *more: str, through: tuple[str, ...] = ()) -> str:
    """What a refused audit says, behind its status."""
    with auditing(lab, folder, bpffs, duration, *OTHER_POLICIES, *more, through=through) as audit:
        status, stdout, stderr = audit.end()
    assert stdout == ""
    assert "Traceback" not in stderr
    return f"{status} {stderr}"


@pytest.mark.parametrize(
    ("through", "duration", "prepare", "status", "says"),
    [
        pytest.param(_NO_RIGHTS, "1h", _nothing, 3, "no CAP_BPF: run it as root or give it", id="no rights"),
        pytest.param(_OLD, "1h", _nothing, 3, "is too old: the probe needs 5.10 or newer", id="an old kernel"),
        pytest.param((), "24", _nothing, 2, "write 24h for hours", id="a duration without a unit"),
        pytest.param((), "0", _nothing, 2, "such as 24h", id="no duration"),
        pytest.param((), "1h", _text, 2, "audit.db: no recording of an audit", id="a file of text"),
        pytest.param((), "1h", _another_programs, 2, "a database of another program", id="another program's database"),
        pytest.param((), "25h", _damaged, 2, "audit.db: the recording is damaged", id="a damaged recording"),
        pytest.param((), "25h", _of_another_cluster, 2, "the snapshot of another cluster", id="another cluster's"),
    ],
)
def test_what_cannot_work_is_refused_and_leaves_nothing(
    lab: Lab,
    folder: Path,
    bpffs: Path,
    through: tuple[str, ...],
    duration: str,
    prepare: Prepare,
    status: int,
    says: str,
) -> None:
    require(not through or shutil.which(through[0]) is not None, "setpriv and setarch (Debian: util-linux)")
    prepare(folder)
    before = (folder / "audit.db").read_bytes() if (folder / "audit.db").exists() else None

    said = _ended(lab, folder, bpffs, duration, through=through)

    assert said.startswith(f"{status} ")
    assert says in " ".join(said.split())
    assert left_in_kernel(lab, bpffs) == []
    assert not (folder / "audit.db-lock").exists()
    if before is not None:
        assert (folder / "audit.db").read_bytes() == before


@pytest.mark.parametrize("place", ["/proc/nowhere/audit.db", "/sys/kernel/audit.db"])
def test_a_place_that_cannot_be_written_is_refused(lab: Lab, folder: Path, bpffs: Path, place: str) -> None:
    said = _ended(lab, folder, bpffs, "1h", "--audit", place)

    assert said.startswith("2 ")
    assert "cannot be" in said
    assert left_in_kernel(lab, bpffs) == []


def test_a_disk_that_is_full_at_the_begin_is_refused(lab: Lab, small_disk: Path, bpffs: Path) -> None:
    _full(small_disk)

    said = _ended(lab, small_disk, bpffs, "1h")

    assert said.startswith("2 ")
    assert "free space or choose another place" in " ".join(said.split())
    assert left_in_kernel(lab, bpffs) == []
    (small_disk / "ballast").unlink()
    with auditing(lab, small_disk, bpffs, "1h") as audit:
        audit.wait_until_watching(PODS)
        assert _stopped(audit)[0] == 4


def _stopped(audit: Auditing) -> tuple[int, str, str]:
    audit.signal(signal.SIGTERM)
    return audit.end()


def test_a_disk_that_gets_full_meanwhile_leaves_what_was_written_and_is_told(
    lab: Lab, small_disk: Path, bpffs: Path
) -> None:
    with auditing(lab, small_disk, bpffs, "1h") as audit:
        audit.wait_until_watching(PODS)
        assert lab.connect("a", B, BACKEND_PORT) is Answer.ANSWERED
        _full(small_disk)
        status, stdout, stderr = _stopped(audit)

    assert "Traceback" not in stderr
    assert status == 4, stderr
    assert "incomplete: the disk is full: " in stdout
    assert "free space and let migrate audit go on" in " ".join(stderr.split())
    assert left_in_kernel(lab, bpffs) == []
    (small_disk / "ballast").unlink()
    with open_recording(small_disk / "audit.db") as reading:
        assert len(reading.segments()) == 1
    assert migrate(small_disk, "audit", "replay", "--dir", ".", *OTHER_POLICIES).status == 4


def test_without_a_bpf_filesystem_it_works_and_a_kill_leaves_nothing(lab: Lab, folder: Path, tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with auditing(lab, folder, missing, "1h") as audit:
        audit.wait_until_watching(PODS)
        assert lab.connect("c", B, BACKEND_PORT) is Answer.ANSWERED
        status, stdout, _ = _stopped(audit)
    assert (status, "shop/c-0 → shop/b-0 TCP/8080" in stdout) == (1, True)
    noted = migrate(folder, "audit", "status", "--dir", ".").stdout
    assert f"no bpf filesystem at {missing}" in " ".join(noted.split())
    assert left_in_kernel(lab, missing) == []
    require(has_tcx(), "a kernel with TCX links")
    with auditing(lab, folder, missing, "1h") as audit:
        audit.wait_until_watching(PODS)
        audit.signal(signal.SIGKILL)
        audit.end()
    assert left_in_kernel(lab, missing) == []
