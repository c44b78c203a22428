"""`migrate simulate` as a process: its answers to the vectors, what it prints, and how it ends."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path

import jsonschema
import msgspec
import pytest

from migrate.model.documents import DecidedBy, SimulatedCase, SimulatedFlow, Simulation
from migrate.model.raw import Json
from migrate.scan.cases import LARGEST_FILE
from tests.update_schemas import path_of

ROOT = Path(__file__).parents[2]
VECTORS = ROOT / "tests/cases/vectors"
ENGINES = ("kubernetes", "calico", "cilium")
PATIENCE = 300

Document = dict[str, Json]


def simulate(*options: str | Path, stdin: bytes = b"") -> subprocess.CompletedProcess[str]:
    kept = {key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "FORCE_COLOR")}
    done = subprocess.run(
        [sys.executable, "-m", "migrate", "simulate", *map(str, options)],
        input=stdin,
        capture_output=True,
        cwd=ROOT,
        env=kept | {"COLUMNS": "100"},
        check=False,
        timeout=PATIENCE,
    )
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout.decode(), done.stderr.decode())


@cache
def _schema() -> Document:
    schema: Document = json.loads(path_of("simulation").read_text(encoding="utf-8"))
    return schema


def answered(*options: str | Path, status: int = 0, stdin: bytes = b"") -> Simulation:
    """The document that is printed, which fits its schema."""
    done = simulate(*options, "-o", "json", stdin=stdin)
    assert (done.returncode, done.stderr) == (status, "")
    jsonschema.validate(json.loads(done.stdout), _schema())
    return msgspec.json.decode(done.stdout, type=Simulation)


def _cases(document: Simulation) -> tuple[SimulatedCase, ...]:
    assert isinstance(document.cases, tuple)
    assert document.flows is msgspec.UNSET
    return document.cases


def _flows(document: Simulation) -> tuple[SimulatedFlow, ...]:
    assert isinstance(document.flows, tuple)
    assert document.cases is msgspec.UNSET
    return document.flows


def _words(flows: Iterable[SimulatedFlow]) -> list[tuple[str, str, str]]:
    return [(flow.egress, flow.ingress, flow.verdict) for flow in flows]


def _said(vector: Path) -> list[tuple[str, str, str]]:
    flows = json.loads(vector.read_text(encoding="utf-8"))["flows"]
    return [(flow["egress"], flow["ingress"], flow["verdict"]) for flow in flows]


def _files(engine: str) -> list[Path]:
    files = sorted((VECTORS / engine).glob("*.json"))
    assert len(files) == 15
    return files


@pytest.mark.parametrize("engine", ENGINES)
def test_all_words_of_all_vectors_agree(engine: str) -> None:
    files = _files(engine)
    given = [option for file in files for option in ("-f", file)]
    for file, found in zip(files, _cases(answered("--engine", engine, *given)), strict=True):
        assert found.name == file.stem
        assert _words(found.flows) == _said(file), file


@pytest.mark.parametrize("engine", ENGINES)
def test_one_vector_has_its_flows_on_top(engine: str) -> None:
    (file, *_) = _files(engine)
    assert _words(_flows(answered("--engine", engine, "-f", file))) == _said(file)


def _example(index: int, folder: Path) -> Path:
    """A case of the documentation as a file."""
    blocks = (ROOT / "docs/simulate.md").read_text(encoding="utf-8").split("```yaml\n")
    path = folder / "case.yaml"
    path.write_text(blocks[index].partition("```")[0], encoding="utf-8")
    return path


def test_the_case_in_the_documentation(tmp_path: Path) -> None:
    assert _words(_flows(answered("--engine", "kubernetes", "-f", _example(1, tmp_path)))) == [
        ("unenforced", "allow", "allow"),
        ("unenforced", "unenforced", "allow"),
        ("unenforced", "deny", "deny"),
    ]


def test_the_way_through_a_service_in_the_documentation(tmp_path: Path) -> None:
    example = _example(2, tmp_path)
    document = answered("--engine", "npm", "-f", example, status=4)
    assert not document.complete
    found = _flows(document)
    assert _words(found) == [
        ("unenforced", "unenforced", "allow"),
        ("unenforced", "deny", "deny"),
        ("unenforced", "unknown", "unknown"),
        ("unenforced", "unknown", "unknown"),
    ]
    assert found[2].decided_by["ingress"].reason == "unenforced to shop/near; deny to shop/far"
    table = " ".join(simulate("--engine", "npm", "-f", example).stdout.split())
    assert "ingress: unenforced to shop/near" in table


# Small cases of its own.

Write = Callable[[Document], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(document: Document) -> Path:
        path = tmp_path / "case.json"
        path.write_text(json.dumps(document, indent=1), encoding="utf-8")
        return path

    return written


def policy(name: str = "only-web", **spec: Json) -> Document:
    metadata: Json = {"name": name, "namespace": "shop"}
    whole: Json = {"podSelector": {}, **spec}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": whole}


def allow_from(*peers: Json) -> Document:
    return policy(podSelector={"matchLabels": {"app": "db"}}, ingress=[{"from": list(peers)}])


def case(*policies: Json, **changed: Json) -> Document:
    """web, db and bad, of which two ask db."""
    labelled: list[Json] = [
        {"namespace": "shop", "name": name, "labels": {"app": name}, "ips": [f"10.0.0.{index}"]}
        for index, name in enumerate(("web", "db", "bad"))
    ]
    flows: list[Json] = [
        {"src": {"pod": f"shop/{name}"}, "dst": {"pod": "shop/db"}, "protocol": "TCP", "port": 5432}
        for name in ("web", "bad")
    ]
    return {"name": "small", "pods": labelled, "policies": list(policies), "flows": flows, **changed}


_WEB: Json = {"podSelector": {"matchLabels": {"app": "web"}}}


def test_the_table_says_what_decides(write: Write) -> None:
    path = write(case(allow_from(_WEB)))
    done = simulate("--engine", "kubernetes", "-f", path)
    assert done.returncode == 0
    rows = [line.split() for line in done.stdout.splitlines() if "→" in line]
    assert rows[0][:6] == ["shop/web", "→", "shop/db", "TCP/5432", "unenforced", "allow"]
    assert " ".join(rows[0][6:]).startswith("allow ingress: NetworkPolicy shop/only-web spec.ingress[0]")
    assert " ".join(rows[1]).endswith("deny deny ingress: no rule matches, and the default is to deny (NetworkPolicy)")


def test_json_has_the_place_of_the_rule(write: Write) -> None:
    path = write(case(allow_from(_WEB)))
    allowed, denied = _flows(answered("--engine", "kubernetes", "-f", path))
    rule = next(n for n, line in enumerate(path.read_text().splitlines(), 1) if '"from"' in line) - 1
    assert allowed.decided_by["ingress"] == DecidedBy(
        object="NetworkPolicy shop/only-web", rule="spec.ingress[0]", at=f"{path}:{rule}"
    )
    assert denied.decided_by["ingress"].object is None


def test_a_document_with_cases_names_them_in_the_table(write: Write) -> None:
    path = write({"cases": [case(name="first"), case(policy(), name="second")]})
    rows = [line.split() for line in simulate("--engine", "npm", "-f", path).stdout.splitlines() if "→" in line]
    assert [row[0] for row in rows] == ["first", "first", "second", "second"]


def test_standard_input() -> None:
    stdin = json.dumps(case()).encode()
    found = _flows(answered("--engine", "calico", "-f", "-", stdin=stdin))
    assert _words(found) == [("unenforced", "unenforced", "allow")] * 2


def test_releases_of_cilium_answer_differently(write: Write) -> None:
    negated: Json = {"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "NotIn", "values": ["b"]}]}}
    flow: Json = {"src": {"ip": "203.0.113.1"}, "dst": {"pod": "shop/db"}, "port": 1}
    path = write(case(allow_from(negated), flows=[flow]))
    said = {
        target: _flows(answered("--engine", "cilium", "--target", target, "-f", path))[0].verdict
        for target in ("cilium-1.18", "cilium-1.20")
    }
    assert said == {"cilium-1.18": "allow", "cilium-1.20": "deny"}


def test_what_is_not_modelled_makes_answers_unknown(write: Write) -> None:
    selector: Json = {"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]}
    path = write({"cases": [case(policy(podSelector=selector), name="odd"), case(name="plain")]})
    document = answered("--engine", "kubernetes", "-f", path, status=4)
    odd, plain = _cases(document)
    assert not document.complete
    assert {flow.verdict for flow in odd.flows} == {"unknown"}
    assert {flow.verdict for flow in plain.flows} == {"allow"}
    line = next(n for n, text in enumerate(path.read_text().splitlines(), 1) if '"operator"' in text)
    place = f"NetworkPolicy shop/only-web spec.podSelector.matchExpressions[0].operator ({path}:{line})"
    assert odd.left_out == (place,)
    table = simulate("--engine", "kubernetes", "-f", path)
    assert table.returncode == 4
    assert "case odd: all answers are unknown" in table.stdout
    assert place.split()[2] in table.stdout


@pytest.mark.parametrize(
    ("engine", "odd"),
    [
        pytest.param(
            "calico",
            {
                "apiVersion": "projectcalico.org/v3",
                "kind": "GlobalNetworkPolicy",
                "metadata": {"name": "odd"},
                "spec": {"selector": "app == 'web' junk"},
            },
            id="a selector with something left over",
        ),
        pytest.param("kubernetes", {"apiVersion": "v1", "kind": "Odd", "metadata": {"name": "odd"}}, id="another kind"),
        pytest.param("kubernetes", {}, id="an object without a kind"),
    ],
)
def test_objects_that_cannot_be_read(engine: str, odd: Json, write: Write) -> None:
    document = answered("--engine", engine, "-f", write(case(odd)), status=4)
    assert {flow.verdict for flow in _flows(document)} == {"unknown"}
    assert len(document.left_out) == 1


def test_no_policies_and_no_flows(write: Write) -> None:
    assert _flows(answered("--engine", "npm-windows", "-f", write(case(flows=[])))) == ()


@pytest.mark.parametrize(
    ("options", "changed", "message"),
    [
        pytest.param(("--engine", "cilium", "--target", "cilium-1.2"), {}, "did you mean cilium-1.20?", id="target"),
        pytest.param(("--engine", "clium"), {}, "'clium' is not one of", id="engine"),
        pytest.param(("--engine", "npm", "--speed", "9"), {}, "No such option: --speed", id="option"),
        pytest.param((), {}, "Missing option '--engine'", id="no engine"),
        pytest.param(("--engine", "npm"), {"options": {"enable-magic": True}}, "enable-magic", id="option of a case"),
        pytest.param(("--engine", "calico"), {"options": {"tieBreak": "old"}}, "'old' is not", id="tie-break"),
        pytest.param(("--engine", "npm"), {"flows": [{"src": {}}]}, "flows[0].src: must name one end", id="flow"),
    ],
)
def test_usage_that_is_refused(options: tuple[str, ...], changed: Document, message: str, write: Write) -> None:
    path = write(case(**changed))
    done = simulate(*options, "-f", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())
    assert not changed or f"{path}:" in done.stderr


def test_a_file_that_is_not_there() -> None:
    done = simulate("--engine", "npm", "-f", "gone.json")
    assert (done.returncode, done.stderr) == (2, "error: gone.json: cannot be read: No such file or directory\n")


def test_odd_label_values_are_compared_and_printed_as_they_are(write: Write) -> None:
    odd = ("é\u202e[red]\x1b[31m" * 8)[:63]
    peer: Json = {"podSelector": {"matchLabels": {"app": odd}}}
    pods: Json = [
        {"namespace": "shop", "name": odd, "labels": {"app": odd}, "ips": ["10.0.0.1"]},
        {"namespace": "shop", "name": "db", "labels": {"app": "db"}, "ips": ["10.0.0.2"]},
    ]
    flow: Json = {"src": {"ip": "10.0.0.1"}, "dst": {"pod": "shop/db"}, "port": 1}
    path = write(case(allow_from(peer), pods=pods, flows=[flow]))
    done = simulate("--engine", "kubernetes", "-f", path)
    assert done.returncode == 0
    assert "unenforced" in done.stdout
    assert "deny" not in done.stdout
    assert "\x1b" not in done.stdout
    assert "\u202e" not in done.stdout


def test_ten_thousand_policies_on_three_pods(write: Write) -> None:
    peers: list[Json] = [{"podSelector": {"matchLabels": {"app": f"app-{index}"}}} for index in range(10_000)]
    many = [policy(f"p-{n}", ingress=[{"from": [peer], "ports": [{"port": 5432}]}]) for n, peer in enumerate(peers)]
    path = write(case(*many, allow_from(_WEB)))
    found = _flows(answered("--engine", "npm", "-f", path))
    assert _words(found) == [("unenforced", "allow", "allow"), ("unenforced", "deny", "deny")]


def test_a_policy_with_five_thousand_blocks(write: Write) -> None:
    networks: list[Json] = [f"10.{index // 250}.{index % 250}.0/24" for index in range(1, 5_001)]
    blocks: list[Json] = [{"ipBlock": {"cidr": network}} for network in networks]
    path = write(case(allow_from(*blocks)))
    assert {flow.verdict for flow in _flows(answered("--engine", "kubernetes", "-f", path))} == {"deny"}
    path = write(case(allow_from({"ipBlock": {"cidr": "10.0.0.0/8", "except": networks}})))
    assert {flow.verdict for flow in _flows(answered("--engine", "kubernetes", "-f", path))} == {"allow"}


def test_a_selector_of_very_many_combinations(write: Write) -> None:
    expressions: list[Json] = [
        {"key": f"key-{index}", "operator": "In", "values": [f"value-{number}" for number in range(200)]}
        for index in range(8)
    ]
    path = write(case(allow_from({"namespaceSelector": {"matchExpressions": expressions}})))
    assert {flow.verdict for flow in _flows(answered("--engine", "npm", "-f", path))} == {"deny"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param('{"name": "x", "pods": [{"namespace": "a"', ":1: not JSON", id="JSON that is cut off"),
        pytest.param(
            '{"flows": ' + "[" * 10_000 + "]" * 10_000 + "}", "nested deeper than", id="JSON that is too deep"
        ),
        pytest.param(
            '{"flows": [{"port": ' + "9" * 5_000 + "}]}", ":1: not JSON: Integer", id="a number of 5,000 digits"
        ),
        pytest.param('{"flows": [{"port": NaN}]}', ":1: not JSON", id="not a number"),
        pytest.param('{"flows": [],\n"flows": []}', 'the key "flows" stands here and in line 1', id="a key twice"),
        pytest.param('{"flows": [null]}', "flows[0]: must be a mapping, not null", id="a flow that is null"),
        pytest.param('{"flows": [], "pods": {"a": 1}}', "pods: must be a list", id="pods that are no list"),
        pytest.param('{"flows": [], "pods": [{"name": "a"}]}', "pods[0].namespace: must be given", id="no namespace"),
        pytest.param('{"flows": [], "nodes": [{}]}', "nodes[0].name: must be given", id="a node without a name"),
        pytest.param(
            json.dumps({"flows": [], "policies": [policy(), policy()]}),
            "policies[1]: NetworkPolicy shop/only-web is also in policies[0]",
            id="a policy twice",
        ),
    ],
)
def test_documents_that_make_no_sense(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / "case.json"
    path.write_text(text, encoding="utf-8")
    done = simulate("--engine", "npm", "-f", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {path}:")
    assert message in done.stderr


@pytest.mark.parametrize("given", ["file", "standard input"])
def test_a_file_that_is_too_large_is_refused_unread(given: str, tmp_path: Path) -> None:
    body = b"{" + b" " * LARGEST_FILE
    path = tmp_path / "case.json" if given == "file" else Path("-")
    if given == "file":
        path.write_bytes(body)
    done = simulate("--engine", "npm", "-f", path, stdin=body)
    assert done.returncode == 2
    assert done.stderr == f"error: {path}: larger than 32 MiB; put fewer cases in one file\n"
