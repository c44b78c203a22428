"""A node's dump as the log of a pod: whole it gives the same files, cut or damaged anywhere it is an error."""

from __future__ import annotations

import base64
import gzip
import hashlib
import random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.collect.bundle import BundleError, BundleReader, bundle_text
from migrate.collect.dumps import of_npm, of_pod, with_npm
from migrate.collect.npm_endpoint import NpmReading
from migrate.model.node_documents import NodeFile, NodeManifest
from migrate.nodes import files

NAMES = [printed.name for printed in files.ALL]
MANIFEST = NodeManifest(tool_version="1", name="node", system="linux", way="node")
bodies = st.dictionaries(st.sampled_from(NAMES), st.binary(max_size=300), max_size=5)
noise = st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line), max_size=3)


def read(lines: list[bytes]) -> dict[str, bytes]:
    reader = BundleReader()
    for line in lines:
        reader.add(line)
    return reader.files()


def large() -> list[bytes]:
    """A dump of many lines."""
    return bundle_text(MANIFEST, {"modules.txt": random.Random(1).randbytes(40_000)}).encode().splitlines()


@given(bodies)
def test_what_goes_in_comes_out(made: dict[str, bytes]) -> None:
    found = read(bundle_text(MANIFEST, made).encode().splitlines())
    assert list(found) == ["node.json", *made]
    assert {name: body for name, body in found.items() if name != "node.json"} == made
    assert msgspec.json.decode(found["node.json"], type=NodeManifest) == MANIFEST


@given(bodies, noise, st.randoms(use_true_random=False))
def test_lines_of_others_and_line_ends_of_windows_do_not_matter(
    made: dict[str, bytes], other: list[bytes], chance: random.Random
) -> None:
    lines = [line + b"\r" for line in bundle_text(MANIFEST, made).encode().splitlines()]
    for line in other:
        lines.insert(chance.randint(0, len(lines)), b"stderr: " + line)
    assert {name: body for name, body in read(lines).items() if name != "node.json"} == made


@pytest.mark.parametrize("missing", range(len(large()) - 1))
def test_a_line_that_is_missing_is_an_error(missing: int) -> None:
    lines = large()
    with pytest.raises(BundleError, match="is missing" if missing else "the log begins with line 0"):
        read(lines[:missing] + lines[missing + 1 :])


@pytest.mark.parametrize("kept", range(1, len(large()) - 2))
def test_a_log_that_was_rotated_or_cut_is_an_error_and_says_which(kept: int) -> None:
    lines = large()
    with pytest.raises(BundleError, match=f"the log begins with line {kept - 1} of the dump: the kubelet had rotated"):
        read(lines[kept:])
    with pytest.raises(BundleError, match=f"{kept - 1} of 14 lines came, line {kept - 1} is missing"):
        read(lines[:kept])


@given(st.integers(0, 40_000), st.integers(0, 7))
def test_a_bit_that_flipped_is_an_error(at: int, bit: int) -> None:
    body = bytearray(b"\n".join(large()[:-1]))
    place = body.index(b"\n") + at % (len(body) - body.index(b"\n"))
    body[place] ^= 1 << bit
    with pytest.raises(BundleError):
        read(bytes(body).split(b"\n"))


def test_the_end_alone_says_that_the_log_was_rotated() -> None:
    with pytest.raises(BundleError, match="begins in the last line of the dump"):
        read(large()[-1:])


def test_whole_is_told_only_at_the_end() -> None:
    reader = BundleReader()
    for line in large():
        assert not reader.whole
        reader.add(line)
    assert reader.whole


def hostile(unpacked: bytes) -> list[bytes]:
    """A bundle whose lines are right, and whose content is somebody else's."""
    packed = gzip.compress(unpacked)
    text = base64.b64encode(packed)
    first = f"cilium-migrate-bundle 1 1 {len(packed)} {hashlib.sha256(packed).hexdigest()}".encode()
    return [first, b"b 0 " + text, b"cilium-migrate-bundle end"]


FIRST = b'{"name":"node.json","size":2}\n{}'


@pytest.mark.parametrize(
    ("unpacked", "said"),
    [
        pytest.param(b"", "the dump is empty", id="nothing"),
        pytest.param(b'{"name":"ipset-save.txt","size":0}\n', "ipset-save.txt", id="no description in front"),
        pytest.param(FIRST + b'{"name":"../../x","size":0}\n', r"\.\./\.\./x", id="a name that leaves the folder"),
        pytest.param(FIRST + b'{"name":"/etc/passwd","size":0}\n', "/etc/passwd", id="a place of its own"),
        pytest.param(FIRST + FIRST, "node.json", id="a second description"),
        pytest.param(FIRST + 2 * b'{"name":"nft.json","size":0}\n', "nft.json", id="a file twice"),
        pytest.param(FIRST + b'{"name":"nft.json","size":9}\nx', "ends within nft.json", id="a file that is cut"),
        pytest.param(FIRST + b'{"name":"nft.json","size":-1}\n', "ends within nft.json", id="a size below nothing"),
        pytest.param(FIRST + b"\xff\n", "made otherwise", id="binary noise"),
    ],
)
def test_content_that_no_dump_has_is_refused(unpacked: bytes, said: str) -> None:
    with pytest.raises(BundleError, match=said):
        read(hostile(unpacked))


def test_a_dump_that_unpacks_without_end_is_not_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.collect.bundle._MOST_UNPACKED", 1 << 20)
    with pytest.raises(BundleError, match="larger than 1 MiB"):
        read(hostile(FIRST + b'{"name":"nft.json","size":9000000}\n' + bytes(9_000_000)))


def test_a_log_without_end_is_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("migrate.collect.bundle._MOST_COMPRESSED", 1 << 20)
    endless = [b"b %d QUJD" % number for number in range(10)] + [b"b 10 " + base64.b64encode(bytes(1 << 20))]
    with pytest.raises(BundleError, match="larger than 1 MiB"):
        read(endless)


def listed(name: str, body: bytes) -> NodeFile:
    return NodeFile(name=name, command="x", sha256=hashlib.sha256(body).hexdigest())


def described(*entries: NodeFile) -> bytes:
    return msgspec.json.encode(msgspec.structs.replace(MANIFEST, files=entries))


def test_a_pods_dump_is_of_the_node_that_the_pod_was_bound_to() -> None:
    manifest, found = of_pod("other", {"node.json": described(listed("nft.json", b"{}")), "nft.json": b"{}"})
    assert (manifest.name, manifest.way, found) == ("other", "pod", {"nft.json": b"{}"})


@pytest.mark.parametrize(
    ("held", "said"),
    [
        pytest.param({"node.json": b"[]"}, "no description", id="another kind of JSON"),
        pytest.param({"node.json": described(listed("nft.json", b"{}"))}, "does not hold it", id="a file is missing"),
        pytest.param(
            {"node.json": described(listed("nft.json", b"{}")), "nft.json": b"[]"}, "differs", id="a file is another"
        ),
    ],
)
def test_a_pods_dump_that_is_not_what_it_says_is_an_error(held: dict[str, bytes], said: str) -> None:
    with pytest.raises(BundleError, match=said):
        of_pod("node", held)


def test_what_the_dump_has_goes_before_what_npm_tells() -> None:
    manager, metrics = files.NPM_MANAGER.name, files.NPM_NODE_METRICS.name
    reading = NpmReading({manager: b"new", metrics: b"m"}, (listed(manager, b"new"), listed(metrics, b"m")))
    before = msgspec.structs.replace(MANIFEST, files=(listed(manager, b"old"),))
    manifest, found = with_npm(before, {manager: b"old"}, reading)
    assert found == {manager: b"old", metrics: b"m"}
    assert manifest.files == (listed(manager, b"old"), listed(metrics, b"m"))
    alone, _ = of_npm("node", "linux", "2026-11-22T00:00:00Z", reading)
    assert (alone.way, alone.name) == ("proxy", "node")
