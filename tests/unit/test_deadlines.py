"""Deadlines: which concern a cluster, how many days are left, and what was superseded."""

from datetime import date

import pytest

from migrate.model.documents import Evidence, Fact
from migrate.readiness.deadlines import applying, findings, load_deadlines
from tests.unit.inventory_cases import azure, cluster, counts, facts_of

TODAY = date(2026, 11, 21)
AKS = Fact(topic="cloud", value="aks")


def engine(name: str, state: str = "active") -> Fact:
    shown = (Evidence(f"DaemonSet kube-system/{name}", "status.numberReady", "3"),)
    assert state in ("active", "present")
    return Fact(topic="engine", value=name, state="active" if state == "active" else "present", evidence=shown)


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        pytest.param([AKS, engine("npm-linux")], [("npm-linux", 679)], id="NPM on Linux has until 2028-09-30"),
        pytest.param([AKS, engine("npm-windows")], [("npm-windows", -52)], id="NPM on Windows ended on 2026-09-30"),
        pytest.param([AKS, engine("npm-linux", "present")], [], id="what does not run has no deadline"),
        pytest.param([AKS, engine("calico")], [], id="Calico has no deadline"),
        pytest.param([AKS, Fact(topic="kubenet", value="kubenet")], [("kubenet", 496)], id="kubenet on AKS"),
        pytest.param([Fact(topic="kubenet", value="kubenet")], [], id="kubenet elsewhere is not Azure's"),
        pytest.param(
            [AKS, Fact(topic="node-image", value="AKSUbuntu-2204gen2containerd-202610.20.0")],
            [("os-ubuntu2204", 221)],
            id="a node image by its name",
        ),
        pytest.param(
            [AKS, Fact(topic="node-os", value="Ubuntu 22.04.5 LTS")],
            [("os-ubuntu2204", 221)],
            id="an operating system by its name",
        ),
        pytest.param([AKS, Fact(topic="node-os", value="Ubuntu 24.04.3 LTS")], [], id="Ubuntu 24.04 has none yet"),
        pytest.param([Fact(topic="node-os", value="Ubuntu 22.04.5 LTS")], [], id="Ubuntu elsewhere is not AKS's"),
        pytest.param([], [], id="nothing is known"),
    ],
)
def test_applying(facts: list[Fact], expected: list[tuple[str, int]]) -> None:
    assert [(each.deadline.what, each.days_left) for each in applying(facts, TODAY)] == expected


@pytest.mark.parametrize(
    ("today", "past", "said"),
    [
        (date(2028, 9, 29), False, "support ends on 2028-09-30, in 1 day"),
        (date(2028, 9, 30), True, "support ended on 2028-09-30, 0 days ago"),
        (date(2028, 10, 1), True, "support ended on 2028-09-30, 1 day ago"),
    ],
)
def test_the_day_itself_is_the_first_without_support(today: date, past: bool, said: str) -> None:
    (applied,) = applying([engine("npm-linux")], today)
    assert applied.past is past
    assert applied.sentence.endswith(said)


def test_an_applied_deadline_keeps_what_shows_the_use() -> None:
    (applied,) = applying([engine("npm-linux")], TODAY)
    assert applied.uses == ("npm-linux",)
    assert applied.evidence == engine("npm-linux").evidence


@pytest.mark.parametrize(
    ("what", "day", "source_day"),
    [
        ("npm-windows", date(2026, 9, 30), date(2026, 1, 14)),
        ("npm-linux", date(2028, 9, 30), date(2026, 1, 14)),
        ("kubenet", date(2028, 3, 31), date(2026, 1, 14)),
        ("os-azurelinux2", date(2025, 11, 30), date(2025, 12, 16)),
        ("os-ubuntu2004", date(2027, 3, 17), date(2026, 1, 14)),
        ("os-ubuntu2204", date(2027, 6, 30), date(2026, 2, 9)),
        ("os-windows2019", date(2026, 3, 1), date(2026, 1, 14)),
        ("os-windows2022", date(2027, 3, 15), date(2026, 1, 14)),
        ("osm", date(2027, 9, 30), date(2026, 1, 14)),
    ],
)
def test_the_dates_of_microsofts_documents(what: str, day: date, source_day: date) -> None:
    (deadline,) = [each for each in load_deadlines() if each.what == what]
    assert (deadline.date, deadline.source_date) == (day, source_day)
    assert deadline.source


def test_the_misprinted_date_of_npm_on_linux_is_kept_and_explained() -> None:
    (deadline,) = [each for each in load_deadlines() if each.what == "npm-linux"]
    (old,) = deadline.superseded
    assert old.date == date(2026, 9, 30)
    assert "Windows date" in old.reason


def test_deadlines_are_in_the_order_of_their_dates() -> None:
    days = [deadline.date for deadline in load_deadlines()]
    assert days == sorted(days)


@pytest.mark.parametrize(
    ("profile", "expected"),
    [
        pytest.param("npm-node-subnet", ["CLU-DEADLINE"], id="NPM"),
        pytest.param("npm-overlay-nap", ["CLU-DEADLINE"], id="NPM on overlay"),
        pytest.param("npm-windows", ["CLU-DEADLINE"] * 3, id="NPM twice, and Windows Server 2022"),
        pytest.param("kubenet-calico", ["CLU-DEADLINE"], id="kubenet"),
        pytest.param("calico-azurecni-old", ["CLU-OS-IMAGE-GONE"], id="Azure Linux 2 has no images"),
        pytest.param("acpc-acns-l7", [], id="nothing that ends"),
    ],
)
def test_findings_of_azure_profiles(profile: str, expected: list[str]) -> None:
    objects = azure(profile)
    applied = applying(facts_of(objects, counts(objects)), TODAY)
    assert [finding.id for finding in findings(applied)] == expected


def test_a_finding_shows_the_source_and_its_date() -> None:
    (finding,) = findings(applying([engine("npm-linux")], TODAY))
    assert "azure-network-policy-manager-linux-retirement.md of 2026-01-14" in finding.detail


def test_images_that_still_exist_are_no_finding() -> None:
    facts = [AKS, Fact(topic="node-os", value="Windows Server 2019 Datacenter")]
    assert [finding.id for finding in findings(applying(facts, TODAY))] == ["CLU-DEADLINE"]
    gone = [finding.id for finding in findings(applying(facts, date(2027, 4, 1)))]
    assert gone == ["CLU-OS-IMAGE-GONE"]


def test_the_deadlines_of_a_whole_cluster() -> None:
    applied = applying(facts_of(*cluster("aks-npm")), TODAY)
    assert [each.deadline.what for each in applied] == ["npm-windows", "os-windows2022", "os-ubuntu2204", "npm-linux"]
