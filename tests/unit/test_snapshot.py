"""snapshot.jsonl.gz: what is written is read back, the same input gives the same bytes, and nothing broken passes."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from tempfile import TemporaryDirectory

import jsonschema
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import InputError
from migrate.model.documents import Evidence, Fact, KindCount, SnapshotHeader
from migrate.model.finding import Effect, Finding
from migrate.model.raw import FieldPath, Json, RawObject
from migrate.model.refs import Location, ObjectRef
from migrate.scan import snapshot
from migrate.scan.encoded import EncodedObjects
from tests.update_schemas import DOCUMENTS, path_of, schema_text

HEADER = SnapshotHeader(
    tool_version="1.0",
    origin="files",
    name="policies",
    kinds=(KindCount("v1", "Pod", "read", 2),),
    facts=(Fact(topic="engine", value="npm-linux", evidence=(Evidence("DaemonSet a/b", "spec", "x"),)),),
    findings=(
        Finding(
            id="SCAN-X",
            detail="x",
            effect=Effect.WIDENS,
            subject=ObjectRef("v1", "Pod", "a", "b"),
            at=Location("a.yaml", 3),
        ),
    ),
)


def pod(name: str, namespace: str = "shop", **more: Json) -> RawObject:
    return RawObject({"kind": "Pod", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace}, **more})


def write(path: Path, *objects: RawObject) -> bytes:
    snapshot.write(path, HEADER, objects)
    return path.read_bytes()


texts = st.text(max_size=5)
values: st.SearchStrategy[Json] = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=8,
)
paths: st.SearchStrategy[FieldPath] = st.lists(texts | st.integers(0, 9), max_size=3).map(tuple)
objects = st.builds(
    RawObject,
    st.dictionaries(texts, values, max_size=3),
    st.none() | texts,
    st.dictionaries(paths, st.integers(1, 2**31), max_size=4),
)


@given(st.lists(objects, max_size=4))
def test_what_is_written_is_read_back(given_objects: list[RawObject]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "s"
        snapshot.write(path, HEADER, iter(given_objects))
        found = snapshot.read(path)
    assert found.header == HEADER
    assert sorted(map(repr, found.objects)) == sorted(map(repr, map(plain, given_objects)))


def plain(raw: RawObject) -> RawObject:
    """The object with its keys in the order in which they are written."""
    data = json.loads(msgspec.json.encode(raw.data, order="sorted"))
    return RawObject(data, raw.source, dict(raw.lines))


def test_objects_are_sorted_by_version_kind_namespace_and_name(tmp_path: Path) -> None:
    node = RawObject({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "z"}})
    app = RawObject({"apiVersion": "apps/v1", "kind": "Zebra", "metadata": {"name": "a"}})
    write(tmp_path / "s", pod("b"), pod("a"), pod("c", "a"), node, app)
    found = snapshot.read(tmp_path / "s").objects
    assert [str(raw.ref) for raw in found] == ["Zebra a", "Node z", "Pod a/c", "Pod shop/a", "Pod shop/b"]


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    one = write(tmp_path / "one", pod("a", spec={"x": 1, "y": 2}), pod("b"))
    two = write(tmp_path / "folder/two", pod("b"), pod("a", spec={"y": 2, "x": 1}))
    assert one == two
    assert one[4:8] == bytes(4), "no time in the header of gzip"


def test_one_header_line_then_one_object_a_line(tmp_path: Path) -> None:
    raw = RawObject(pod("a").data, "a.yaml", {(): 1, ("spec", "ports", 0): 7})
    header, line = gzip.decompress(write(tmp_path / "s", raw)).splitlines()
    assert json.loads(header)["kind"] == "Snapshot"
    assert json.loads(line) == {"object": raw.data, "source": "a.yaml", "lines": [[1], ["spec", "ports", 0, 7]]}


@given(st.lists(objects, max_size=4), objects)
def test_one_more_object_goes_to_its_place(given_objects: list[RawObject], more: RawObject) -> None:
    found = EncodedObjects.of(given_objects).with_object(more)
    assert [raw.ref for raw in found] == [raw.ref for raw in EncodedObjects.of([*given_objects, more])]
    assert sorted(found.lines) == sorted(EncodedObjects.of([*given_objects, more]).lines)


def test_objects_of_a_snapshot_are_a_sequence() -> None:
    found = EncodedObjects.of([pod("c"), pod("a"), pod("b")])
    assert (len(found), found[-1].ref.name) == (3, "c")
    assert [raw.ref.name for raw in found[:2]] == ["a", "b"]
    with pytest.raises(IndexError):
        found[3]


def packed(*lines: object) -> bytes:
    return gzip.compress(
        b"".join((line if isinstance(line, bytes) else msgspec.json.encode(line)) + b"\n" for line in lines)
    )


DEEP = b'{"object": {"a": ' + b"[" * 9999 + b"]" * 9999 + b"}}"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"apiVersion: v1", "no snapshot, or a damaged one", id="not packed"),
        pytest.param(b"", ":1: no snapshot", id="empty"),
        pytest.param(packed(HEADER)[:-20], "no snapshot, or a damaged one", id="the end is missing"),
        pytest.param(packed(HEADER)[:-8] + bytes(8), "no snapshot, or a damaged one", id="the checksum is wrong"),
        pytest.param(packed(HEADER)[:12] + b"\xff" * 40, "no snapshot, or a damaged one", id="the data is wrong"),
        pytest.param(packed(b"x"), ":1: no snapshot", id="not JSON"),
        pytest.param(packed(b'{"kind": "\xff"}'), ":1: no snapshot", id="not UTF-8"),
        pytest.param(packed({"kind": "Translation"}), ":1: kind is 'Translation'", id="another document"),
        pytest.param(
            packed({"apiVersion": "cilium-migrate/v9", "kind": "Snapshot"}), "'cilium-migrate/v9'", id="version"
        ),
        pytest.param(
            packed({"apiVersion": "cilium-migrate/v1alpha1", "kind": "Snapshot"}), "header", id="half a header"
        ),
        pytest.param(packed(HEADER, {"object": {}}, b"{"), ":3: the object is damaged", id="half an object"),
        pytest.param(packed(HEADER, b'{"object": {"a": "\xff"}}'), ":2: the object is damaged", id="object not UTF-8"),
        pytest.param(packed(HEADER, DEEP), ":2: the object is damaged", id="an object that is too deep"),
        pytest.param(packed(HEADER, {"object": []}), ":2: the object is damaged", id="an object that is a list"),
        pytest.param(
            packed(HEADER, {"object": {}, "lines": [["a"]]}), ":2: the object is damaged", id="no line number"
        ),
        pytest.param(packed(HEADER, {"object": {}, "lines": [[]]}), ":2: the object is damaged", id="no path"),
    ],
)
def test_what_is_no_whole_snapshot_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "s"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        snapshot.read(path)
    assert str(caught.value).startswith(str(path))
    assert "migrate scan" in str(caught.value)


@pytest.mark.parametrize(("name", "message"), [("missing", "no such file"), (".", "cannot be read")])
def test_a_place_that_cannot_be_read(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        snapshot.read(tmp_path / name)


def test_a_failure_while_writing_leaves_the_earlier_snapshot(tmp_path: Path) -> None:
    before = write(tmp_path / "s", pod("a"))
    with pytest.raises(UnicodeEncodeError):
        snapshot.write(tmp_path / "s", msgspec.structs.replace(HEADER, name="\udcff"), [])
    assert (tmp_path / "s").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir()] == ["s"]


@pytest.mark.parametrize("name", DOCUMENTS)
def test_the_schema_in_reports_is_that_of_the_document(name: str) -> None:
    assert path_of(name).read_text(encoding="utf-8") == schema_text(name), "run: python -m tests.update_schemas"


def test_a_header_fits_its_schema() -> None:
    schema = json.loads(path_of("snapshot").read_text(encoding="utf-8"))
    header = json.loads(msgspec.json.encode(HEADER))
    jsonschema.validate(header, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(header | {"origin": "dream"}, schema)
