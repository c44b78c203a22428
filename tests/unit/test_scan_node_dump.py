"""`migrate scan --node-dump`: dumps are taken over and compared, and nothing that is wrong with one goes unsaid."""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import resource
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import yaml

from migrate.files import file_digest
from migrate.model.raw import Json
from tests.command_line import Ended, migrate, migrate_process

_AZURE = Path(__file__).parents[1] / "cases/azure"
_SAMPLE = _AZURE / "linux-npm/hash-sha256"
_NODE = "aks-np-0"
_ADDRESS = "10.224.0.4"
_MIB = 1 << 20
_DROP_FROM_BOUNDS, _DAC_OVERRIDE, _DAC_READ_SEARCH = 24, 1, 2


def _cluster(folder: Path, *names: str) -> Path:
    """A file with the sample's policies and these nodes."""
    nodes = [
        {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": name},
            "status": {"addresses": [{"type": "InternalIP", "address": f"10.224.0.{4 + number}"}]},
        }
        for number, name in enumerate(names)
    ]
    place = folder / "nodes.yaml"
    place.write_text("---\n".join(yaml.safe_dump(node) for node in nodes))
    return place


@pytest.fixture
def dump(tmp_path: Path) -> Path:
    """A dump that somebody made by hand."""
    made = tmp_path / "dumps" / _NODE
    made.mkdir(parents=True)
    for name in ("iptables-save.txt", "ipset-save.txt"):
        shutil.copy(_SAMPLE / name, made)
    return made


def scan(folder: Path, *options: str | Path, nodes: tuple[str, ...] = (_NODE,)) -> Ended:
    inputs = ("-f", _AZURE / "policies/policies.yaml", "-f", _cluster(folder, *nodes))
    return migrate(folder, "scan", *inputs, *options)


def _states(folder: Path) -> dict[str, Json]:
    read = json.loads((folder / "migration/nodes.json").read_text())
    assert isinstance(read, dict)
    return read


def _findings(folder: Path) -> list[tuple[str, str]]:
    """Id and text of everything about nodes."""
    states = json.loads((folder / "migration/nodes.json").read_text())
    found = [*states["findings"], *(finding for node in states["nodes"] for finding in node["findings"])]
    return [(finding["id"], finding["detail"]) for finding in found]


def _about(folder: Path, id_: str) -> list[str]:
    return [detail for found, detail in _findings(folder) if found == id_]


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_dump_is_taken_over_and_compared(tmp_path: Path, dump: Path) -> None:
    done = scan(tmp_path, "--node-dump", dump.parent)
    assert done.status == 0, done.stderr
    assert "wrote migration/nodes.json with 1 node, by dumps of an unknown time\n" in done.stderr
    kept = tmp_path / "migration/nodes" / _NODE
    manifest = json.loads((kept / "node.json").read_text())
    assert (manifest["name"], manifest["way"], manifest["system"]) == (_NODE, "files", "linux")
    assert {file["name"]: file["sha256"] for file in manifest["files"]} == {
        name: hashlib.sha256((_SAMPLE / name).read_bytes()).hexdigest()
        for name in ("ipset-save.txt", "iptables-save.txt")
    }
    states = _states(tmp_path)
    assert states["snapshot"] == file_digest(tmp_path / "migration/snapshot.jsonl.gz").hex()
    assert states["complete"] is True
    words = " ".join(done.stdout.split())
    assert f"{_NODE} linux files not known complete 2 read" in words


def test_one_folder_or_several_may_be_given(tmp_path: Path, dump: Path) -> None:
    other = tmp_path / "other" / "aks-np-1"
    shutil.copytree(dump, other)
    done = scan(tmp_path, "--node-dump", dump, "--node-dump", other.parent, nodes=(_NODE, "aks-np-1"))
    assert done.status == 0, done.stderr
    assert [path.name for path in sorted((tmp_path / "migration/nodes").iterdir())] == [_NODE, "aks-np-1"]


def test_json_is_the_header_of_the_snapshot_with_the_states_beside(tmp_path: Path, dump: Path) -> None:
    without = json.loads(scan(tmp_path, "-o", "json").stdout)
    done = scan(tmp_path, "--node-dump", dump, "-o", "json")
    document = json.loads(done.stdout)
    assert document.pop("nodeStates") == _states(tmp_path)
    assert document == without
    as_yaml = yaml.safe_load(scan(tmp_path, "-o", "yaml").stdout)
    assert as_yaml["nodeStates"] == _states(tmp_path)


def test_the_same_dumps_give_the_same_bytes(tmp_path: Path, dump: Path) -> None:
    for name in ("one", "two"):
        assert scan(tmp_path, "--node-dump", dump, "--output-dir", name).status == 0
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "two")


def test_a_later_scan_compares_the_same_dumps_again(tmp_path: Path, dump: Path) -> None:
    assert scan(tmp_path, "--node-dump", dump).status == 0
    before = _states(tmp_path)["snapshot"]
    shutil.rmtree(dump.parent)
    again = scan(tmp_path, nodes=(_NODE, "aks-np-1"))
    assert again.status == 4
    assert "they were in migration/nodes already, and --node-dump takes newer ones" in again.stderr
    assert _states(tmp_path)["snapshot"] != before
    assert _about(tmp_path, "NODE-NOT-READ") == ["node aks-np-1 was not read"]


def test_a_newer_dump_takes_the_place_of_an_older_one(tmp_path: Path, dump: Path) -> None:
    assert scan(tmp_path, "--node-dump", dump).status == 0
    (dump / "ipset-save.txt").unlink()
    assert scan(tmp_path, "--node-dump", dump).status == 0
    kept = tmp_path / "migration/nodes" / _NODE
    assert {path.name for path in kept.iterdir()} == {"node.json", "iptables-save.txt"}


def test_the_folders_own_dumps_may_be_named(tmp_path: Path, dump: Path) -> None:
    assert scan(tmp_path, "--node-dump", dump).status == 0
    before = _bytes(tmp_path / "migration/nodes")
    assert scan(tmp_path, "--node-dump", "migration/nodes").status == 0
    assert _bytes(tmp_path / "migration/nodes") == before


def test_without_dumps_there_is_nothing_about_nodes(tmp_path: Path) -> None:
    (tmp_path / "migration/nodes/notes").mkdir(parents=True)
    (tmp_path / "migration/nodes/notes/todo.txt").write_text("x")
    done = scan(tmp_path)
    assert (done.status, "nodes" in done.stderr) == (0, False)
    assert not (tmp_path / "migration/nodes.json").exists()


_ADDRESSES = json.dumps([{"ifname": "eth0", "addr_info": [{"family": "inet", "local": _ADDRESS, "prefixlen": 16}]}])


def test_a_node_that_the_snapshot_does_not_have_is_found(tmp_path: Path, dump: Path) -> None:
    scan(tmp_path, "--node-dump", dump, nodes=("aks-np-7", "gke-1"))
    (said,) = _about(tmp_path, "NODE-NOT-IN-SNAPSHOT")
    assert said.startswith(f"the snapshot has no node {_NODE}; there is aks-np-7")


def test_a_node_under_another_name_is_told_by_its_address(tmp_path: Path, dump: Path) -> None:
    (dump / "addresses.json").write_text(_ADDRESSES)
    scan(tmp_path, "--node-dump", dump, nodes=("vm-a", "vm-b"))
    (said,) = _about(tmp_path, "NODE-NOT-IN-SNAPSHOT")
    assert "; by its addresses it is vm-a:" in said


def test_a_dump_of_another_cluster_with_the_same_names_is_found(tmp_path: Path, dump: Path) -> None:
    (dump / "addresses.json").write_text(_ADDRESSES.replace(_ADDRESS, "10.0.0.9"))
    scan(tmp_path, "--node-dump", dump)
    (said,) = _about(tmp_path, "NODE-NOT-IN-SNAPSHOT")
    assert f"the snapshot's node has ({_ADDRESS})" in said


@pytest.mark.parametrize("addresses", [_ADDRESSES, "[]", "{", '[{"addr_info": [{"local": "x"}]}]'])
def test_a_node_of_the_snapshot_is_no_other(tmp_path: Path, dump: Path, addresses: str) -> None:
    (dump / "addresses.json").write_text(addresses)
    scan(tmp_path, "--node-dump", dump)
    assert _about(tmp_path, "NODE-NOT-IN-SNAPSHOT") == []


def test_files_without_nodes_say_nothing_of_whose_a_dump_is(tmp_path: Path, dump: Path) -> None:
    inputs = ("-f", _AZURE / "policies/policies.yaml")
    assert migrate(tmp_path, "scan", *inputs, "--node-dump", dump).status == 0
    assert _about(tmp_path, "NODE-NOT-IN-SNAPSHOT") == _about(tmp_path, "NODE-NOT-READ") == []


def _noise(path: Path) -> None:
    path.write_bytes(bytes(range(256)) * 400)


def _large(path: Path) -> None:
    """A gigabyte, of which the disk holds nothing."""
    with path.open("wb") as stream:
        stream.truncate(1024 * _MIB)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:2000])


def _link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/etc/shadow")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(_noise, f"{_NODE}/iptables-save.txt:1", id="binary noise"),
        pytest.param(_cut, f"{_NODE}/iptables-save.txt", id="a file that is cut"),
        pytest.param(_large, "is larger than 256 MiB", id="a gigabyte"),
        pytest.param(_link, "is no plain file", id="a link out of the dump"),
        pytest.param(_pipe, "is no plain file", id="a pipe"),
    ],
)
def test_a_spoilt_file_is_a_finding_and_the_rest_is_used(
    tmp_path: Path, dump: Path, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(dump / "iptables-save.txt")
    for options in (("--node-dump", dump), ()):
        done = scan(tmp_path, *options)
        assert done.status == 4, done.stderr
        assert any(said in detail for detail in _about(tmp_path, "NODE-DUMP-UNREAD")), _findings(tmp_path)
    assert (tmp_path / "migration/nodes" / _NODE / "ipset-save.txt").read_bytes() == (
        dump / "ipset-save.txt"
    ).read_bytes()
    assert _states(tmp_path)["complete"] is False


def test_a_gigabyte_is_not_read_into_memory(tmp_path: Path, dump: Path) -> None:
    _large(dump / "iptables-save.txt")
    inputs = ("-f", _AZURE / "policies/policies.yaml", "-f", _cluster(tmp_path, _NODE))
    small = partial(resource.setrlimit, resource.RLIMIT_AS, (900 * _MIB, 900 * _MIB))
    done = migrate_process(tmp_path, "scan", *inputs, "--node-dump", dump, limit=small)
    assert done.status == 4, done.stderr


def _without_roots_eyes() -> None:
    """Root, too, gets only what a file's mode gives its owner."""
    libc = ctypes.CDLL(None)
    for capability in (_DAC_OVERRIDE, _DAC_READ_SEARCH):
        libc.prctl(_DROP_FROM_BOUNDS, capability, 0, 0, 0)


def test_a_file_that_may_not_be_read_is_a_finding(tmp_path: Path, dump: Path) -> None:
    (dump / "iptables-save.txt").chmod(0)
    inputs = ("-f", _AZURE / "policies/policies.yaml", "-f", _cluster(tmp_path, _NODE))
    done = migrate_process(tmp_path, "scan", *inputs, "--node-dump", dump, limit=_without_roots_eyes)
    assert done.status == 4, done.stderr
    assert any("permission denied" in detail for detail in _about(tmp_path, "NODE-DUMP-UNREAD"))


def test_a_folder_that_may_not_be_read_is_refused(tmp_path: Path, dump: Path) -> None:
    dump.chmod(0)
    inputs = ("-f", _AZURE / "policies/policies.yaml")
    try:
        done = migrate_process(tmp_path, "scan", *inputs, "--node-dump", dump.parent, limit=_without_roots_eyes)
    finally:
        dump.chmod(0o755)
    assert (done.status, "Permission denied; change its rights" in done.stderr) == (2, True), done.stderr


def _described(dump: Path, **fields: Json) -> None:
    described: dict[str, Json] = {"toolVersion": "1", "name": _NODE, "system": "linux", "way": "node"}
    (dump / "node.json").write_text(json.dumps(described | fields))


def test_a_changed_file_of_a_description_is_found(tmp_path: Path, dump: Path) -> None:
    files: list[Json] = [{"name": "iptables-save.txt", "command": "iptables-save", "sha256": "0" * 64}]
    _described(dump, files=files)
    assert scan(tmp_path, "--node-dump", dump).status == 4
    assert [detail for detail in _about(tmp_path, "NODE-DUMP-UNREAD") if "another SHA-256" in detail]


def test_a_missing_file_of_a_description_is_found(tmp_path: Path, dump: Path) -> None:
    files: list[Json] = [{"name": "nft.json", "command": "nft -j list ruleset"}]
    _described(dump, files=files)
    assert scan(tmp_path, "--node-dump", dump).status == 4
    assert [detail for detail in _about(tmp_path, "NODE-DUMP-UNREAD") if "nft.json" in detail and "not there" in detail]


def test_what_failed_on_the_node_is_a_finding(tmp_path: Path, dump: Path) -> None:
    files: list[Json] = [
        {"name": "nft.json", "command": "nft -j list ruleset", "status": "failed", "detail": "it crashed"},
        {"name": "bpf.json", "command": "bpftool -j net show", "status": "absent", "detail": "no bpftool"},
    ]
    _described(dump, files=files)
    assert scan(tmp_path, "--node-dump", dump).status == 4
    assert _about(tmp_path, "NODE-DUMP-UNREAD") == ["nft.json: `nft -j list ruleset` failed: it crashed"]


def _named(name: str) -> Callable[[Path], None]:
    return lambda dump: _described(dump, name=name)


def _empty(dump: Path) -> None:
    for path in dump.iterdir():
        path.unlink()


def _twice(dump: Path) -> None:
    shutil.copytree(dump, dump.parent / "again")
    for each in (dump, dump.parent / "again"):
        _described(each)


@pytest.mark.parametrize(
    ("prepare", "options", "message"),
    [
        pytest.param(lambda dump: None, ("--node-dump", "missing"), "missing: no such folder", id="missing folder"),
        pytest.param(
            lambda dump: None, ("--node-dump", f"dumps/{_NODE}/ipset-save.txt"), "no such folder", id="a file"
        ),
        pytest.param(_empty, ("--node-dump", "dumps"), "dumps: no dump of a node is in it", id="empty folder"),
        pytest.param(_named("../../x"), ("--node-dump", "dumps"), "'../../x' is no name of a node", id="way out"),
        pytest.param(_named("Node_1"), ("--node-dump", "dumps"), "'Node_1' is no name of a node", id="odd name"),
        pytest.param(_named(""), ("--node-dump", "dumps"), "'' is no name of a node", id="no name"),
        pytest.param(
            lambda dump: (dump / "node.json").write_text("{"), ("--node-dump", "dumps"), "node.json: is no", id="cut"
        ),
        pytest.param(
            lambda dump: _large(dump / "node.json"), ("--node-dump", "dumps"), "larger than 16 MiB", id="a gigabyte"
        ),
        pytest.param(_twice, ("--node-dump", "dumps"), f"is of node {_NODE}, as ", id="two of one node"),
    ],
)
def test_bad_input_ends_with_2_and_writes_nothing(
    tmp_path: Path, dump: Path, prepare: Callable[[Path], object], options: tuple[str, ...], message: str
) -> None:
    prepare(dump)
    done = scan(tmp_path, *options)
    assert (done.status, done.stdout) == (2, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "migration").exists()


def test_a_damaged_dump_of_the_folder_is_told_before_anything_is_written(tmp_path: Path, dump: Path) -> None:
    assert scan(tmp_path, "--node-dump", dump).status == 0
    (tmp_path / "migration/nodes" / _NODE / "node.json").write_text("{")
    before = _bytes(tmp_path / "migration")
    done = scan(tmp_path, nodes=(_NODE, "aks-np-1"))
    assert done.status == 2
    assert f"migration/nodes/{_NODE}/node.json: is no description of a dump" in done.stderr
    assert _bytes(tmp_path / "migration") == before


def test_a_full_disk_leaves_the_earlier_dump(tmp_path: Path, dump: Path) -> None:
    assert scan(tmp_path, "--node-dump", dump).status == 0
    before = _bytes(tmp_path / "migration/nodes")
    with (dump / "iptables-save.txt").open("a") as stream:
        stream.write("# more\n" * 20_000)
    inputs = ("-f", _AZURE / "policies/policies.yaml", "-f", _cluster(tmp_path, _NODE))
    small = partial(resource.setrlimit, resource.RLIMIT_FSIZE, (50_000, 50_000))
    done = migrate_process(tmp_path, "scan", *inputs, "--node-dump", dump, limit=small)
    assert done.status == 2
    assert "writing failed" in done.stderr
    assert _bytes(tmp_path / "migration/nodes") == before
    assert not list((tmp_path / "migration").glob(".migrate-*"))


def test_scan_node_is_told_apart_from_scan(tmp_path: Path) -> None:
    help_of = {words: migrate(tmp_path, *words.split(), "--help").stdout for words in ("scan", "scan node")}
    assert "--node-dump" in help_of["scan"]
    assert "--print-commands" in help_of["scan node"]
    assert migrate(tmp_path, "scan", "nodes").status == 2


@pytest.mark.parametrize("name", ["../x", "A", "a..b", "-a", "x" * 254, "a/b", "a\n"])
def test_a_name_that_no_node_has_is_refused(tmp_path: Path, name: str) -> None:
    done = migrate(tmp_path, "scan", "node", "--name", name)
    assert (done.status, "is no name of a node" in done.stderr) == (2, True)
    assert list(tmp_path.iterdir()) == []


def test_the_script_is_printed_without_any_right(tmp_path: Path) -> None:
    windows = migrate(tmp_path, "scan", "node", "--print-commands", "--windows")
    assert "Get-HnsEndpoint" in windows.stdout
    assert migrate(tmp_path, "scan", "node", "--windows").status == 2
    done = migrate(tmp_path, "scan", "node", "--print-commands")
    assert done.status == 0
    assert done.stdout.startswith("#!/bin/sh\n")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("options", [("--output-dir", "x"), ("-o", "json"), ("--nodes",), ("-q",)])
def test_options_before_node_are_not_lost(tmp_path: Path, options: tuple[str, ...]) -> None:
    ended = migrate(tmp_path, "scan", *options, "node", "--print-commands")
    assert ended.status == 2
    assert "stand behind node" in ended.stderr
