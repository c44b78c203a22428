"""`migrate translate` and its output folder: what it writes, replaces and removes, also when that fails."""

from __future__ import annotations

import ctypes
import json
import os
import pty
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.command_line import PATIENCE, PROGRAM, ended_process, environment
from tests.prerequisites import require
from tests.unit.policies import network_policy
from tests.unit.translate_command import CLIENT, DEMO, EGRESS, HIDDEN_LABEL, PLAIN, Command, files, given, tree

COMMAND = (*PROGRAM, "translate")


@pytest.fixture
def translate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


def test_the_folder_gets_the_objects_and_the_document_and_nothing_else(translate: Command) -> None:
    translate("-f", DEMO, "--output-dir", "out")
    written = files(translate.folder / "out")
    document = json.loads((translate.folder / "out" / "translation.json").read_text())
    named = [item["file"] for part in (document, *document["results"]) for item in part["objects"]]
    assert written == sorted([*named, "translation.json"])
    assert files(translate.folder) == [f"out/{path}" for path in written]


def test_a_second_run_writes_the_same_bytes(translate: Command) -> None:
    translate("-f", DEMO, "--output-dir", "out")
    before = tree(translate.folder)
    translate("-f", DEMO, "--output-dir", "out")
    assert tree(translate.folder) == before
    translate("-f", DEMO, "--output-dir", "other")
    assert tree(translate.folder / "other") == tree(translate.folder / "out")


def test_files_of_objects_that_are_gone_are_removed_and_no_others(translate: Command) -> None:
    translate("-f", given(translate.folder, PLAIN, EGRESS), "--output-dir", "out")
    own = {"out/notes.md": b"mine", "out/cilium/shop/own.yaml": b"kind: CiliumNetworkPolicy\n"}
    for path, content in own.items():
        (translate.folder / path).write_bytes(content)
    translate("-f", given(translate.folder, PLAIN), "--output-dir", "out")
    after = tree(translate.folder)
    assert {path for path, content in after.items() if content is not None} == {
        "in.yaml",
        "out/cilium/shop/in.yaml",
        "out/translation.json",
        *own,
    }
    assert {path: after[path] for path in own} == own


def name_in_translation(folder: Path, file: str) -> None:
    """Make a translation say that an earlier run wrote `file`."""
    path = folder / "translation.json"
    document = json.loads(path.read_text())
    document["objects"].append({"apiVersion": "v1", "kind": "K", "namespace": None, "name": "n", "file": file})
    path.write_text(json.dumps(document))


@pytest.mark.parametrize(
    "file",
    [
        pytest.param("../victim.yaml", id="above the folder"),
        pytest.param("cilium/../../victim.yaml", id="above the folder by a detour"),
        pytest.param("{folder}/victim.yaml", id="an absolute path"),
        pytest.param("cilium/link/victim.yaml", id="through a link"),
        pytest.param("cilium/victim-link.yaml", id="a link itself"),
        pytest.param("beside.yaml", id="beside cilium/"),
        pytest.param("cilium/shop/own.yaml", id="a file that the user put there"),
        pytest.param("cilium", id="cilium/ itself"),
        pytest.param("cilium/shop", id="a folder"),
        pytest.param("cilium/folder.yaml", id="a folder with the name of a file"),
        pytest.param("cilium/a\0.yaml", id="no character of a path"),
        pytest.param(f"cilium/{'a' * 300}.yaml", id="longer than a name may be"),
        pytest.param("", id="nothing"),
    ],
)
def test_a_hostile_translation_makes_nothing_disappear(file: str, translate: Command) -> None:
    out = translate.folder / "out"
    source = given(translate.folder, PLAIN, name="plain.yaml")
    translate("-f", source, "--output-dir", "out")
    ours = (out / "cilium/shop/plain.yaml").read_bytes()
    for place in ("victim.yaml", "out/beside.yaml"):
        (translate.folder / place).write_bytes(ours)
    (out / "cilium/shop/own.yaml").write_text("kind: CiliumNetworkPolicy\n")
    (out / "cilium/folder.yaml").mkdir()
    (out / "cilium/link").symlink_to(translate.folder)
    (out / "cilium/victim-link.yaml").symlink_to(translate.folder / "victim.yaml")
    name_in_translation(out, file.format(folder=translate.folder))
    before = tree(translate.folder)
    done = translate("-f", source, "--output-dir", "out")
    after = tree(translate.folder)
    assert (done.status, before.pop("out/translation.json") == after.pop("out/translation.json")) == (0, False)
    assert after == before


def test_a_file_of_an_earlier_run_is_removed_by_its_name(translate: Command) -> None:
    """The check of the tests above: what the translation names does disappear where it is ours."""
    source = given(translate.folder, PLAIN, name="plain.yaml")
    translate("-f", source, "--output-dir", "out")
    old = translate.folder / "out/cilium/shop/old.yaml"
    old.write_bytes((translate.folder / "out/cilium/shop/plain.yaml").read_bytes())
    name_in_translation(translate.folder / "out", "cilium/shop/old.yaml")
    translate("-f", source, "--output-dir", "out")
    assert not old.exists()


def put_own_file(out: Path) -> None:
    (out / "cilium/shop").mkdir(parents=True)
    (out / "cilium/shop/plain.yaml").write_text("kind: CiliumNetworkPolicy\n")


def put_folder(out: Path) -> None:
    (out / "cilium/shop/plain.yaml").mkdir(parents=True)


def put_link(out: Path) -> None:
    (out / "cilium").mkdir(parents=True)
    (out / "cilium/shop").symlink_to(out.parent)


def put_broken_translation(out: Path) -> None:
    out.mkdir()
    (out / "translation.json").write_text('{"kind": "Trans')


def put_other_document(out: Path) -> None:
    out.mkdir()
    (out / "translation.json").write_text('{"kind": "Snapshot"}')


@pytest.mark.parametrize(
    ("put", "message"),
    [
        pytest.param(put_own_file, "plain.yaml: migrate did not write it", id="a file of the user's"),
        pytest.param(
            put_folder,
            "out: cannot be used: Is a directory (out/cilium/shop/plain.yaml)",
            id="a folder where a file goes",
        ),
        pytest.param(put_link, "egress.yaml: a link leads outside of out", id="a link out of the folder"),
        pytest.param(put_broken_translation, "move it and cilium/ away", id="a damaged translation.json"),
        pytest.param(put_other_document, "move it and cilium/ away", id="a translation.json that is something else"),
    ],
)
def test_what_stands_in_the_way_ends_with_2_and_stays(
    put: Callable[[Path], None], message: str, translate: Command
) -> None:
    put(translate.folder / "out")
    source = given(translate.folder, EGRESS, PLAIN)
    before = tree(translate.folder)
    done = translate("-f", source, "--output-dir", "out")
    assert (done.status, done.out) == (2, "")
    assert message in done.err
    assert tree(translate.folder) == before


def test_nothing_changed(translate: Command) -> None:
    source = given(translate.folder, PLAIN, name="plain.yaml")
    translate("-f", source, "--output-dir", "before")
    done = translate("-f", source, "--diff", "before")
    assert (done.status, done.out) == (0, "")
    assert files(translate.folder / "migration") == ["cilium/shop/plain.yaml", "translation.json"]


def test_what_is_new_gone_and_changed(translate: Command) -> None:
    translate("-f", given(translate.folder, PLAIN, EGRESS), "--output-dir", "out", "--target", "cilium-1.18")
    narrower = network_policy({"podSelector": CLIENT, "ingress": [{"from": [{"podSelector": CLIENT}]}]}, "plain")
    source = given(translate.folder, narrower, HIDDEN_LABEL)
    done = translate("-f", source, "--output-dir", "out", "--target", "cilium-1.19", "--diff", "out")
    lines = done.out.splitlines()
    assert done.status == 1
    assert {
        "~ target: cilium-1.18 -> cilium-1.19",
        "- NetworkPolicy shop/egress: was exact",
        "+ NetworkPolicy shop/hidden-label: unsupported",
        "- cilium/shop/egress.yaml",
        "~ cilium/shop/plain.yaml: spec.endpointSelector.matchLabels: nothing -> {app: client}",
    } <= set(lines)
    assert not any(line.startswith("+ cilium/") for line in lines)
    assert translate("-f", source, "--output-dir", "out", "--target", "cilium-1.19", "--diff", "out").out == ""


def test_comparing_reads_nothing_outside_the_folder(translate: Command) -> None:
    source = given(translate.folder, PLAIN, name="plain.yaml")
    translate("-f", source, "--output-dir", "before")
    (translate.folder / "before/cilium/shop/plain.yaml").unlink()
    (translate.folder / "before/cilium/shop/plain.yaml").symlink_to("/etc/hostname")
    name_in_translation(translate.folder / "before", "../plain.yaml")
    assert translate("-f", source, "--diff", "before").out == "+ cilium/shop/plain.yaml\n"


def run(
    folder: Path, *arguments: str, stdout: int = subprocess.PIPE, limit: Callable[[], object] | None = None
) -> subprocess.CompletedProcess[bytes]:
    return ended_process(folder, "translate", *arguments, stdout=stdout, limit=limit)


def test_a_closed_pipe_ends_with_141_and_the_files_are_there(tmp_path: Path) -> None:
    given(tmp_path, PLAIN)
    read_end, write_end = os.pipe()
    os.close(read_end)
    done = run(tmp_path, "-f", "in.yaml", "-q", stdout=write_end)
    os.close(write_end)
    assert (done.returncode, done.stderr) == (141, b"")
    assert (tmp_path / "migration/translation.json").exists()


def test_a_full_standard_output_ends_with_2(tmp_path: Path) -> None:
    given(tmp_path, PLAIN)
    with Path("/dev/full").open("wb") as full:
        done = run(tmp_path, "-f", "in.yaml", "-o", "yaml", stdout=full.fileno())
    assert (done.returncode, b"standard output: writing failed" in done.stderr) == (2, True)


def lose_power_over_files() -> None:
    """Even root may then only write where the mode of a folder says so."""
    pr_capbset_drop, cap_dac_override = 24, 1
    ctypes.CDLL(None).prctl(pr_capbset_drop, cap_dac_override, 0, 0, 0)


@pytest.mark.parametrize("closed", ["out", "out/cilium/shop"])
def test_a_folder_that_may_not_be_written_ends_with_2(closed: str, tmp_path: Path) -> None:
    given(tmp_path, PLAIN)
    assert run(tmp_path, "-f", "in.yaml", "--output-dir", "out").returncode == 0
    given(tmp_path, PLAIN, EGRESS)
    before = tree(tmp_path)
    (tmp_path / closed).chmod(0o555)
    done = run(tmp_path, "-f", "in.yaml", "--output-dir", "out", limit=lose_power_over_files)
    (tmp_path / closed).chmod(0o755)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"out: cannot be used: Permission denied" in done.stderr
    assert tree(tmp_path) == before


def test_a_file_that_grows_too_large_leaves_the_earlier_run(tmp_path: Path) -> None:
    given(tmp_path, PLAIN)
    assert run(tmp_path, "-f", "in.yaml").returncode == 0
    given(tmp_path, PLAIN, EGRESS)
    before = tree(tmp_path)
    done = run(tmp_path, "-f", "in.yaml", limit=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024)))
    assert done.returncode == 2
    assert b"writing failed: File too large" in done.stderr
    assert tree(tmp_path) == before


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[None]:
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", folder], capture_output=True)
    require(mounted.returncode == 0, f"root that may mount a file system: {mounted.stderr.decode()}")
    try:
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_full_disk_leaves_the_earlier_run(tmp_path: Path) -> None:
    require(os.geteuid() == 0, "a full disk needs root, to mount a small one")
    given(tmp_path, PLAIN, EGRESS)
    many = [network_policy({"podSelector": CLIENT}, f"policy-{number}") for number in range(40)]
    given(tmp_path, PLAIN, *many, name="many.yaml")
    with small_disk(tmp_path / "disk", "64k"):
        assert run(tmp_path, "-f", "in.yaml", "--output-dir", "disk/out").returncode == 0
        before = tree(tmp_path)
        done = run(tmp_path, "-f", "many.yaml", "--output-dir", "disk/out")
        assert (done.returncode, done.stdout) == (2, b"")
        assert b"No space left on device; free space or choose another place" in done.stderr
        assert tree(tmp_path) == before


def test_ctrl_c_while_standard_input_is_read_ends_with_130_and_writes_nothing(tmp_path: Path) -> None:
    read_end, write_end = os.pipe()
    process = subprocess.Popen(
        [*COMMAND, "-f", "-"], stdin=read_end, stderr=subprocess.PIPE, cwd=tmp_path, env=environment()
    )
    os.close(read_end)
    os.write(write_end, b"# more than a pipe holds, so that it is being read\n" * 2**13)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=PATIENCE)
    os.close(write_end)
    assert (process.returncode, list(tmp_path.iterdir())) == (130, [])
    assert b"Traceback" not in errors


def on_terminal(folder: Path, *arguments: str) -> str:
    """What the command writes to stdout when that is a terminal."""
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, *arguments], stdout=slave, stderr=subprocess.DEVNULL, cwd=folder, env=environment()
    )
    os.close(slave)
    written = b""
    try:
        while part := os.read(master, 65536):
            written += part
    except OSError:
        pass  # the terminal was closed by its last user
    process.wait(PATIENCE)
    os.close(master)
    return written.decode()


def test_colour_is_for_terminals_only(tmp_path: Path) -> None:
    given(tmp_path, HIDDEN_LABEL)
    assert "\x1b[1m" in on_terminal(tmp_path, "-f", "in.yaml")
    done = run(tmp_path, "-f", "in.yaml")
    assert (b"\x1b" in done.stdout, b"\x1b" in done.stderr, b"reading" in done.stderr) == (False, False, False)
