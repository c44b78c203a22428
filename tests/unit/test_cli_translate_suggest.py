"""`migrate translate --suggest`: a folder apart that nothing applies, and options that say what is missing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.unit.policies import network_policy
from tests.unit.suggestions import NAMES, REQUESTS, WEB, hint_file
from tests.unit.translate_command import Command, given

POLICY = network_policy(
    {
        "podSelector": WEB,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": {}}], "ports": [{"port": 8080}]}],
        "egress": [{"to": [{"ipBlock": {"cidr": "203.0.113.0/24"}}], "ports": [{"port": 443}]}],
    },
    "web",
)
PROPOSAL = "migration/suggested/shop/in.yaml"


@pytest.fixture
def translate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    command = Command(tmp_path, monkeypatch, capsys)
    given(tmp_path, POLICY)
    (tmp_path / "hints.yaml").write_text(json.dumps(hint_file(fqdn=[NAMES], http=[REQUESTS])))
    return command


ASKED = ("-f", "in.yaml", "--target", "cilium-1.20", "--suggest", "fqdn", "--suggest", "l7", "--hints", "hints.yaml")


def test_proposals_are_in_a_folder_that_no_kustomization_names(translate: Command) -> None:
    done = translate(*ASKED, "--kustomize")
    assert done.status == 0
    assert "1 proposal in migration/suggested, which nothing applies" in done.err
    text = (translate.folder / PROPOSAL).read_text()
    assert text.startswith("# Proposal: replaces cilium/shop/in.yaml when somebody applies it\n")
    assert "# POL-SUGGEST-FQDN " in text
    assert "# POL-SUGGEST-HTTP " in text
    kustomizations = [str(path.relative_to(translate.folder)) for path in translate.folder.rglob("kustomization.yaml")]
    assert kustomizations == ["migration/cilium/kustomization.yaml"]
    assert "suggested" not in (translate.folder / kustomizations[0]).read_text()


def test_only_what_is_asked_for_is_proposed(translate: Command) -> None:
    translate("-f", "in.yaml", "--suggest", "fqdn", "--hints", "hints.yaml")
    text = (translate.folder / PROPOSAL).read_text()
    assert ("toFQDNs" in text, "http:" in text) == (True, False)


def test_a_stream_of_objects_has_no_proposals_in_it(translate: Command) -> None:
    with_proposals, without = translate(*ASKED, "-o", "yaml"), translate(*ASKED[:4], "-o", "yaml")
    assert with_proposals.out == without.out
    assert "toCIDRSet" in without.out


def test_without_the_option_the_proposals_of_the_run_before_are_gone(translate: Command) -> None:
    translate(*ASKED)
    assert (translate.folder / PROPOSAL).exists()
    translate(*ASKED[:4])
    assert not (translate.folder / PROPOSAL).exists()


def test_a_folder_without_its_proposals_is_stale(translate: Command) -> None:
    translate(*ASKED)
    assert translate(*ASKED, "--check").status == 0
    (translate.folder / PROPOSAL).unlink()
    stale = translate(*ASKED, "--check")
    assert (stale.status, "suggested/shop/in.yaml" in stale.out) == (1, True)


def test_the_document_names_proposals_beside_the_objects(translate: Command) -> None:
    (result,) = json.loads(translate(*ASKED, "-o", "json").out)["results"]
    assert [item["file"] for item in result["objects"]] == ["cilium/shop/in.yaml"]
    assert [item["file"] for item in result["suggested"]] == ["suggested/shop/in.yaml"]


WRONG = [
    pytest.param(("--suggest", "fqdn"), "", "give both", id="no hint file"),
    pytest.param(("--hints", "hints.yaml"), "", "give both", id="no kind of proposals"),
    pytest.param(
        ("--suggest", "l7", "--hints", "hints.yaml"),
        json.dumps(hint_file(fqdn=[NAMES])),
        "hints.yaml: has no hints under http",
        id="no hints of the kind",
    ),
    pytest.param(
        ("--suggest", "fqdn", "--hints", "hints.yaml"),
        'apiVersion: cilium-migrate/v1alpha1\nkind: Hints\nfqdn:\n- cidr: 192.0.2.0/24\n  names: ["*"]\n',
        "hints.yaml:5: fqdn[0].names[0]: ",
        id="a bad hint",
    ),
    pytest.param(("--suggest", "dns", "--hints", "hints.yaml"), "", "dns", id="an unknown kind"),
]


@pytest.mark.parametrize(("options", "hints", "message"), WRONG)
def test_what_is_missing_ends_with_2_and_nothing_is_written(
    translate: Command, options: tuple[str, ...], hints: str, message: str
) -> None:
    if hints:
        (translate.folder / "hints.yaml").write_text(hints)
    done = translate("-f", "in.yaml", *options)
    assert (done.status, message in done.err) == (2, True)
    assert not (translate.folder / "migration").exists()
