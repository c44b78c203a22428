"""`migrate verify` on unusual inputs: many policies, many blocks, nothing but policies."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec

from migrate.model.documents import Verification
from migrate.model.raw import Json
from tests.command_line import migrate

Document = dict[str, Json]


def _policy(name: str, spec: Document) -> Document:
    metadata: Json = {"name": name, "namespace": "shop"}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata, "spec": spec}


def _pod(number: int) -> Document:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": f"p{number}", "namespace": "shop", "labels": {"app": f"a{number}"}},
        "spec": {},
        "status": {"podIP": f"10.0.0.{number + 1}"},
    }


def _verify(place: Path, before: list[Document], after: list[Document], *more: str) -> tuple[int, Verification]:
    for name, objects in (("before", before), ("after", after)):
        (place / name).mkdir(parents=True)
        whole = {"apiVersion": "v1", "kind": "List", "items": objects}
        (place / name / "all.json").write_text(json.dumps(whole), encoding="utf-8")
    done = migrate(place, "verify", "--before", "before", "--after", "after", "-o", "json", *more)
    assert done.stderr == ""
    return done.status, msgspec.json.decode(done.stdout, type=Verification)


def _many(count: int) -> list[Document]:
    return [
        _policy(
            f"many-{number}",
            {
                "podSelector": {"matchLabels": {"app": f"a{number % 50}"}},
                "ingress": [
                    {
                        "from": [{"podSelector": {"matchLabels": {"app": f"a{number % 37}"}}}],
                        "ports": [{"port": 1000 + number % 100}],
                    }
                ],
            },
        )
        for number in range(count)
    ]


def test_thousands_of_policies_on_three_pods(tmp_path: Path) -> None:
    many, pods = _many(2_000), [_pod(number) for number in range(3)]
    status, found = _verify(tmp_path / "same", [*many, *pods], many)
    assert (status, found.result, found.proof) == (0, "equivalent", "witness")
    gone = [item for number, item in enumerate(many) if number % 50 != 1]
    status, found = _verify(tmp_path / "less", [*many, *pods], gone)
    assert (status, found.newly_denied_pairs, found.newly_allowed_pairs) == (1, 0, 2)


def _blocks(count: int) -> Document:
    peers: list[Json] = [{"ipBlock": {"cidr": f"20.{number // 250}.{number % 250}.0/24"}} for number in range(count)]
    return _policy("blocks", {"podSelector": {}, "ingress": [{"from": peers}]})


def test_thousands_of_blocks_in_one_policy(tmp_path: Path) -> None:
    status, found = _verify(tmp_path, [_blocks(5_000), _pod(0)], [_blocks(4_999)])
    assert status == 1
    (cause,) = found.causes
    assert (cause.counterexample.source, cause.sources.outside) == ("outside 20.19.249.0", True)
    assert (cause.pod_pairs, found.newly_denied_pairs) == (0, 0)


def test_a_label_of_63_odd_characters(tmp_path: Path) -> None:
    odd = "A" + "-_." * 20 + "zZ"
    before = _policy("odd", {"podSelector": {}, "ingress": [{"from": [{"podSelector": {"matchLabels": {"x": odd}}}]}]})
    after = _policy("odd", {"podSelector": {}, "ingress": []})
    status, found = _verify(tmp_path, [before], [after])
    assert (status, found.proof) == (1, "witness")
    assert found.witness is not None
    assert f"x={odd}" in found.witness.causes[0].counterexample.source_traits


def test_pods_without_a_single_node_or_policy_that_selects_them(tmp_path: Path) -> None:
    nobody = _policy("nobody", {"podSelector": {"matchLabels": {"app": "nobody"}}, "ingress": []})
    status, found = _verify(tmp_path, [_pod(0), nobody], [nobody], "--matrix", "namespace")
    assert (status, found.result) == (0, "equivalent")
    assert found.matrix is not None
    assert found.matrix.names == ("shop", "nodes", "outside")
    assert found.matrix.before == ("  a", "   ", "a  ")
