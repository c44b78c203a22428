"""`migrate translate` and the forms of its output: names of files, workloads, kustomizations, owners, --check."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import yaml

from migrate.model.raw import Json
from tests.unit.policies import calico, network_policy
from tests.unit.translate_command import CLIENT, EGRESS, PLAIN, Command, files, given, manifests, tree

WEB: Json = {"matchLabels": {"app": "web"}}
FROM_CLIENT: Json = [{"from": [{"podSelector": CLIENT}]}]
HELM: Json = {"meta.helm.sh/release-name": "web", "meta.helm.sh/release-namespace": "shop"}


@pytest.fixture
def translate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    return Command(tmp_path, monkeypatch, capsys)


def web(name: str, spec: Mapping[str, Json], namespace: str = "shop") -> dict[str, Json]:
    """A policy for the pods app=web."""
    return network_policy({"podSelector": WEB, **spec}, name, namespace)


def objects(folder: Path) -> dict[str, dict[str, Json]]:
    """Every object below a folder by its file."""
    return {path: yaml.safe_load((folder / path).read_text()) for path in files(folder)}


NAMES = [
    pytest.param({"apps/web/deny.yaml": [web("a", {})]}, ["shop/deny.yaml"], id="the name of the file"),
    pytest.param({"deny.yml": [web("a", {})]}, ["shop/deny.yaml"], id="a file that ends in yml"),
    pytest.param({"x.yaml": [web("a", {}), web("b", {})]}, ["shop/a.yaml", "shop/b.yaml"], id="two in one file"),
    pytest.param(
        {"x/p.yaml": [web("a", {})], "y/p.yaml": [web("b", {})]},
        ["shop/a.yaml", "shop/b.yaml"],
        id="two files of one name in one namespace: neither gets it",
    ),
    pytest.param(
        {"x/p.yaml": [web("a", {})], "y/p.yaml": [web("a", {}, "lab")]},
        ["lab/p.yaml", "shop/p.yaml"],
        id="two files of one name in two namespaces",
    ),
    pytest.param(
        {"b.yaml": [web("a", {})], "x.yaml": [web("b", {}), web("c", {})]},
        ["shop/a.yaml", "shop/b.yaml", "shop/c.yaml"],
        id="a file with the name of another object",
    ),
    pytest.param(
        {"b.yaml": [web("a", {})], "a.yaml": [web("b", {})]},
        ["shop/a.yaml", "shop/b.yaml"],
        id="two files with each other's names",
    ),
    pytest.param({"My Policy.yaml": [web("a", {})]}, ["shop/a.yaml"], id="a name that is no name of ours"),
    pytest.param({"kustomization.yaml": [web("a", {})]}, ["shop/a.yaml"], id="a name that kustomize keeps to itself"),
]


LONG: Json = {"matchLabels": {f"label-{number}": "v" * 63 for number in range(5)}}
LONGER: Json = {"matchLabels": {f"label-{number}": "v" * 63 for number in range(6)}}
ODD = [
    pytest.param([network_policy({"podSelector": {}}, "kustomization")], id="an object called as kustomize's own file"),
    pytest.param([web("a" * 253, {}), web("a" * 252 + "b", {})], id="names of 253 characters that differ at the end"),
    pytest.param(
        [network_policy({"podSelector": LONG}, "a"), network_policy({"podSelector": LONGER}, "b")],
        id="labels that are longer than a name",
    ),
]


@pytest.mark.parametrize("split", ["per-source", "per-workload"])
@pytest.mark.parametrize("items", ODD)
def test_odd_names(items: list[dict[str, Json]], split: str, translate: Command) -> None:
    source = given(translate.folder, PLAIN, *items)
    translate("-f", source, "--split", split, "--kustomize", "--output-dir", "out")
    written = [path for path in files(translate.folder / "out/cilium") if path != "kustomization.yaml"]
    names = [
        yaml.safe_load((translate.folder / "out/cilium" / path).read_text())["metadata"]["name"] for path in written
    ]
    assert all(Path(path).name != "kustomization.yaml" for path in written)
    assert all(len(name) <= 253 and re.fullmatch(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?", name) for name in names)
    assert len(set(names)) == len(names) >= (2 if split == "per-source" else 1)
    assert translate("-f", source, "--split", split, "--kustomize", "--output-dir", "out", "--check").status == 0


@pytest.mark.parametrize(("given_files", "written"), NAMES)
def test_names_of_files(given_files: dict[str, list[dict[str, Json]]], written: list[str], translate: Command) -> None:
    for name, items in given_files.items():
        given(translate.folder / "git", *items, name=name)
    done = translate("-f", "git", "--output-dir", "out", "-o", "json")
    assert files(translate.folder / "out/cilium") == written
    named = [item["file"] for result in json.loads(done.out)["results"] for item in result["objects"]]
    assert sorted(named) == [f"cilium/{path}" for path in written]


def test_standard_input_has_no_file_name(translate: Command) -> None:
    translate("-f", "-", "--output-dir", "out", stdin=manifests(PLAIN))
    assert files(translate.folder / "out/cilium") == ["shop/plain.yaml"]


def per_workload(
    translate: Command, *items: Mapping[str, Json], target: str = "cilium-1.20"
) -> dict[str, dict[str, Json]]:
    translate(
        "-f", given(translate.folder, *items), "--split", "per-workload", "--target", target, "--output-dir", "out"
    )
    return objects(translate.folder / "out/cilium")


def test_policies_for_the_same_pods_become_one_object(translate: Command) -> None:
    written = per_workload(
        translate,
        web("allow", {"ingress": FROM_CLIENT}),
        web("again", {"ingress": FROM_CLIENT}),
        web("ports", {"ingress": [{"ports": [{"port": 80}]}]}),
        web("out", {"policyTypes": ["Egress"]}),
    )
    assert list(written) == ["shop/web.yaml"]
    assert written["shop/web.yaml"]["spec"] == {
        "endpointSelector": WEB,
        "enableDefaultDeny": {"ingress": True, "egress": True},
        "ingress": [
            {"fromEndpoints": [CLIENT]},
            {"fromEntities": ["all"], "toPorts": [{"ports": [{"port": "80", "protocol": "TCP"}]}]},
        ],
        "egress": [{}],
    }
    comment = (translate.folder / "out/cilium/shop/web.yaml").read_text()
    for line in (
        "# NetworkPolicy shop/allow: ingress[0]",
        "# NetworkPolicy shop/again: ingress[0]",
        "# NetworkPolicy shop/ports: ingress[1]",
        "# NetworkPolicy shop/out: no rule, only the default deny",
    ):
        assert line in comment.splitlines()
    assert re.search(r"^# From NetworkPolicy shop/out \(networking.k8s.io/v1\), .*in.yaml:8$", comment, re.MULTILINE)
    document = json.loads((translate.folder / "out/translation.json").read_text())
    assert document["split"] == "per-workload"
    assert {item["file"] for r in document["results"] for item in r["objects"]} == {"cilium/shop/web.yaml"}


WORKLOADS = [
    pytest.param([web("a", {}), web("b", {}, "lab")], ["lab/web.yaml", "shop/web.yaml"], id="other namespaces"),
    pytest.param([web("a", {}), PLAIN], ["shop/all-pods.yaml", "shop/web.yaml"], id="other selectors"),
    pytest.param([PLAIN, EGRESS], ["shop/all-pods.yaml"], id="all pods of a namespace"),
    pytest.param(
        [
            web("a", {}),
            calico("GlobalNetworkPolicy", {"selector": "app == 'web'", "types": ["Ingress"]}, {"name": "g"}),
        ],
        ["_cluster/web-*.yaml", "shop/web.yaml"],
        id="a policy for all namespaces beside one for its own",
    ),
    pytest.param(
        [
            network_policy({"podSelector": {"matchLabels": {"app": "Web_1", "tier": "front"}}}, "a"),
            network_policy({"podSelector": {"matchLabels": {"tier": "back", "x": ""}}}, "b"),
        ],
        ["shop/back.yaml", "shop/web-1-front.yaml"],
        id="names by labels, the one of the application first",
    ),
    pytest.param(
        [web("a", {}), network_policy({"podSelector": {"matchLabels": {"k8s-app": "web"}}}, "b")],
        ["shop/web-*.yaml", "shop/web-*.yaml"],
        id="two selectors that would share a name both get a digest",
    ),
    pytest.param(
        [network_policy({"podSelector": {"matchExpressions": [{"key": "app", "operator": "Exists"}]}}, "a")],
        ["shop/*.yaml"],
        id="a selector without a value",
    ),
]


@pytest.mark.parametrize(("items", "patterns"), WORKLOADS)
def test_workloads(items: list[dict[str, Json]], patterns: list[str], translate: Command) -> None:
    written = sorted(per_workload(translate, *items))
    assert len(written) == len(patterns)
    assert all(Path(path).match(pattern) for path, pattern in zip(written, patterns, strict=True)), written
    names = [data["metadata"] for data in objects(translate.folder / "out/cilium").values()]
    assert all(
        isinstance(metadata, dict) and metadata["name"] == Path(path).stem
        for metadata, path in zip(names, written, strict=True)
    )


def test_a_cilium_policy_that_is_there_keeps_its_name(translate: Command) -> None:
    own: dict[str, Json] = {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"endpointSelector": {}, "ingress": [{}]},
    }
    (path,) = per_workload(translate, web("a", {}), own)
    assert Path(path).match("shop/web-*.yaml")


def test_an_order_of_sources_does_not_change_a_byte(translate: Command) -> None:
    items = [web("a", {"ingress": FROM_CLIENT}), web("b", {"egress": [{}]}), PLAIN, EGRESS]
    for folder, ordered in (("one", items), ("two", items[::-1])):
        translate("-f", "-", "--split", "per-workload", "--output-dir", folder, stdin=manifests(*ordered))
    one, two = (tree(translate.folder / folder / "cilium") for folder in ("one", "two"))
    assert {path: _without_lines(text) for path, text in one.items()} == {p: _without_lines(t) for p, t in two.items()}


def _without_lines(text: bytes | None) -> list[bytes]:
    """The lines but those that say where in the input a source stood."""
    return [line for line in (text or b"").splitlines() if not line.startswith(b"# From")]


def test_a_kustomization_names_every_object(translate: Command) -> None:
    source = given(translate.folder, PLAIN, web("a", {}, "lab"))
    translate("-f", source, "--output-dir", "plain")
    translate("-f", source, "--kustomize", "--output-dir", "out")
    kustomization = yaml.safe_load((translate.folder / "out/cilium/kustomization.yaml").read_text())
    assert kustomization["resources"] == ["lab/a.yaml", "shop/plain.yaml"] == files(translate.folder / "plain/cilium")
    document = json.loads((translate.folder / "out/translation.json").read_text())
    assert document["files"] == ["cilium/kustomization.yaml"]
    translate("-f", source, "--output-dir", "out")
    assert files(translate.folder / "out/cilium") == ["lab/a.yaml", "shop/plain.yaml"]


def test_a_kustomization_of_somebody_else_stays(translate: Command) -> None:
    path = translate.folder / "out/cilium/kustomization.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("resources: []\n")
    done = translate("-f", given(translate.folder, PLAIN), "--kustomize", "--output-dir", "out")
    assert (done.status, path.read_text()) == (2, "resources: []\n")
    assert "migrate did not write it" in done.err


def test_no_kustomization_over_nothing(translate: Command) -> None:
    translate("-f", given(translate.folder, PLAIN), "--kustomize", "--networkpolicy", "keep", "--output-dir", "out")
    assert files(translate.folder / "out") == ["translation.json"]


def owned(name: str = "web", **metadata: Json) -> dict[str, Json]:
    found = web(name, {"ingress": FROM_CLIENT})
    found["metadata"] = {"name": name, "namespace": "shop", **metadata}
    return found


def test_the_owner_stands_in_the_table_the_document_and_the_file(translate: Command) -> None:
    done = translate("-f", given(translate.folder, owned(annotations=HELM), PLAIN))
    table = " ".join(done.out.split())
    assert "Helm release shop/web 1 goes once Cilium enforces the values or templates of Helm release shop/web" in table
    by_name = {
        r["source"]["name"]: r
        for r in json.loads((translate.folder / "migration/translation.json").read_text())["results"]
    }
    assert (by_name["web"]["owner"]["kind"], by_name["plain"]["owner"]["kind"]) == ("helm", "file")
    lines = (translate.folder / "migration/cilium/shop/web.yaml").read_text().splitlines()
    assert lines[2] == "# Owner Helm release shop/web: change the values or templates of Helm release shop/web"
    assert lines[3] == "apiVersion: cilium.io/v2"
    assert "# Owner" not in (translate.folder / "migration/cilium/shop/plain.yaml").read_text()


ARGO: Json = {"argocd.argoproj.io/tracking-id": "shop:g/K:shop/web"}
HOSTILE: Json = {"meta.helm.sh/release-name": "x\nspec: {}", "meta.helm.sh/release-namespace": "shop"}
FATES = [
    pytest.param(owned(annotations=HELM), "rewrite", "after_cutover", ["POL-OWNER-RELEASE"], id="a release"),
    pytest.param(owned(annotations=ARGO), "rewrite", "after_cutover", ["POL-OWNER-CONTROLLER"], id="a controller"),
    pytest.param(owned(annotations=HOSTILE), "rewrite", "after_cutover", ["POL-OWNER-RELEASE"], id="a hostile name"),
    pytest.param(owned(), "rewrite", "after_cutover", [], id="nobody who brings it back"),
    pytest.param(owned(annotations=HELM), "keep", "stays", [], id="what stays need not be changed"),
    pytest.param(owned(annotations=HELM), "supplement", "stays", [], id="nor what gets a supplement"),
    pytest.param(
        calico("NetworkPolicy", {"selector": "all()"}, {"name": "c", "namespace": "shop", "annotations": HELM}),
        "rewrite",
        "with_old_engine",
        ["POL-OWNER-RELEASE"],
        id="a Calico policy, which Cilium does not read",
    ),
    pytest.param(
        network_policy({"podSelector": {"matchLabels": {"pod-template-hash": "1"}}}),
        "rewrite",
        "decided",
        [],
        id="what could not be translated",
    ),
]


@pytest.mark.parametrize(("item", "mode", "original", "findings"), FATES)
def test_what_becomes_of_the_original(
    item: dict[str, Json], mode: str, original: str, findings: list[str], translate: Command
) -> None:
    done = translate("-f", given(translate.folder, item), "--networkpolicy", mode, "-o", "json")
    (result,) = json.loads(done.out)["results"]
    found = [finding["id"] for finding in result["findings"] if finding["id"].startswith("POL-OWNER")]
    assert (result["original"], found) == (original, findings)
    for path in files(translate.folder / "migration/cilium") if mode == "rewrite" else ():
        assert len(list(yaml.safe_load_all((translate.folder / "migration/cilium" / path).read_text()))) == 1


def edit(path: Path) -> None:
    path.write_text(path.read_text().replace("app: client", "app: other"))


def copy_beside(path: Path) -> None:
    path.with_name("stray.yaml").write_text(path.read_text())


def touch_document(path: Path) -> None:
    document = path.parents[2] / "translation.json"
    document.write_text(document.read_text().replace('"line": 2', '"line": 9'))


STALE: list[object] = [
    pytest.param(
        edit,
        "~ cilium/shop/plain.yaml: spec.ingress[0].fromEndpoints[0].matchLabels.app: other -> client",
        id="a file that was edited",
    ),
    pytest.param(Path.unlink, "+ cilium/shop/plain.yaml", id="a file that is gone"),
    pytest.param(
        copy_beside, "- cilium/shop/stray.yaml: no translation names it", id="a file of ours that nothing names"
    ),
    pytest.param(touch_document, "~ translation.json: places, owners or assumptions", id="a document of another time"),
]


@pytest.mark.parametrize(("change", "line"), STALE)
def test_check_says_what_is_stale_and_writes_nothing(
    change: Callable[[Path], None], line: str, translate: Command
) -> None:
    source = given(translate.folder, PLAIN, EGRESS)
    translate("-f", source)
    change(translate.folder / "migration/cilium/shop/plain.yaml")
    before = tree(translate.folder)
    done = translate("-f", source, "--check")
    assert (done.status, done.out.splitlines()) == (1, [line])
    assert "migration is stale: run the same command without --check" in done.err
    assert tree(translate.folder) == before


def test_check_of_what_is_up_to_date(translate: Command) -> None:
    source = given(translate.folder, PLAIN)
    translate("-f", source)
    document = translate.folder / "migration/translation.json"
    document.write_text(document.read_text().replace('"toolVersion": "', '"toolVersion": "0.0.'))
    (translate.folder / "migration/cilium/shop/own.yaml").write_text("kind: CiliumNetworkPolicy\n")
    done = translate("-f", source, "--check")
    assert (done.status, done.out) == (0, "")


def test_check_sees_other_options_and_other_policies(translate: Command) -> None:
    source = given(translate.folder, PLAIN)
    translate("-f", source)
    assert "~ split: per-source -> per-workload" in translate("-f", source, "--check", "--split", "per-workload").out
    given(translate.folder, PLAIN, EGRESS)
    assert "+ NetworkPolicy shop/egress: exact" in translate("-f", source, "--check").out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        pytest.param("-f in.yaml --check -o json", "--check prints what differs", id="check and a form"),
        pytest.param("-f in.yaml --check --diff x", "--check prints what differs", id="check and diff"),
        pytest.param("-f in.yaml --check", "translation.json: cannot be read", id="nothing to check"),
        pytest.param("-f in.yaml --split per-pod", "'per-source', 'per-workload'", id="an unknown split"),
        pytest.param("-f in.yaml --on-gap close", "'refuse', 'narrow', 'widen'", id="an unknown way with gaps"),
        pytest.param("-f in.yaml --emit gatewayapi", "'networkpolicy'", id="an unknown thing to emit"),
        pytest.param("-f in.yaml --dry-run client", "'server'", id="an unknown dry run"),
        pytest.param(
            "--dry-run server -A", "--dry-run server asks a cluster; name it", id="a dry run without a cluster"
        ),
        pytest.param(
            "-f in.yaml --dry-run server", "asks a cluster; name it", id="a dry run of files without a cluster"
        ),
    ],
)
def test_bad_usage(arguments: str, message: str, translate: Command) -> None:
    given(translate.folder, PLAIN)
    before = tree(translate.folder)
    done = translate(*arguments.split())
    assert (done.status, done.out, tree(translate.folder)) == (2, "", before)
    assert message in " ".join(done.err.replace("│", " ").split())
