"""The pods that read nodes: which images they take, and what stands in them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from migrate.collect.cluster_nodes import ClusterNode
from migrate.collect.manifest import Images, PodWish, checked_image, checked_namespace, pod_yaml
from migrate.collect.pods import PodSettings, wishes_of
from migrate.errors import InputError
from migrate.model.node_documents import System
from tests.command_line import migrate

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "0123456789abcdef" * 4


def wish(system: System, **changed: str) -> PodWish:
    values = {"name": "pod", "namespace": "n", "node": "node", "image": "x:1", "run": "0123abcd"} | changed
    return PodWish(**values, system=system, seconds=120)


@pytest.mark.parametrize(
    "image",
    [
        "migrate:1.0",
        "registry.example/team/migrate:1.0",
        "registry.example:5000/migrate:v1_2-x",
        f"registry.example:5000/migrate@{DIGEST}",
        f"migrate:latest@{DIGEST}",
    ],
)
def test_an_image_that_says_which_one_it_is(image: str) -> None:
    assert checked_image(image, "--image") == image


@pytest.mark.parametrize(
    ("image", "said"),
    [
        ("migrate", "may be any version"),
        ("registry.example:5000/migrate", "may be any version"),
        ("migrate:latest", "may be any version"),
        ("", "is no image"),
        ("migrate: x", "is no image"),
        ("migrate@sha256:0123", "is no image"),
        ("-migrate:1", "is no image"),
    ],
)
def test_an_image_that_may_be_any_is_refused(image: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        checked_image(image, "--image")


@pytest.mark.parametrize("name", ["", "a/b", "../x", "A", "a" * 64, "x?watch=1"])
def test_a_namespace_is_a_name(name: str) -> None:
    with pytest.raises(InputError, match="--collector-namespace"):
        checked_namespace(name)


def test_a_hostile_name_stays_a_value() -> None:
    name = 'x"\n  hostPID: true\n#'
    made = yaml.safe_load(pod_yaml(wish("linux", node=name)))
    assert made["spec"]["nodeName"] == name
    assert "hostPID" not in made["spec"]


def test_a_linux_pod_has_only_what_is_documented() -> None:
    spec = yaml.safe_load(pod_yaml(wish("linux")))["spec"]
    [container] = spec["containers"]
    assert container["command"] == [
        *("migrate", "scan", "node", "--bundle", "--host-root", "/host", "--node-name", "node"),
    ]
    assert (spec["restartPolicy"], spec["activeDeadlineSeconds"]) == ("Never", 120)
    assert spec["automountServiceAccountToken"] is False
    assert not spec.keys() & {"hostPID", "hostIPC", "serviceAccountName", "priorityClassName"}
    assert "ports" not in container
    rights = container["securityContext"]
    assert (rights["privileged"], rights["allowPrivilegeEscalation"], rights["readOnlyRootFilesystem"]) == (
        *(False, False, True),
    )
    documented = (ROOT / "docs/nodes-cluster.md").read_text(encoding="utf-8")
    assert rights["capabilities"] == {"drop": ["ALL"], "add": re.findall(r"^\| ([A-Z_]+) \|", documented, re.MULTILINE)}
    assert all(mount["readOnly"] for mount in container["volumeMounts"])


def test_the_scripts_for_windows_reach_the_node_unchanged() -> None:
    made = yaml.safe_load(pod_yaml(wish("windows")))
    [container] = made["spec"]["containers"]
    values = {entry["name"]: entry["value"] for entry in container["env"]}
    for name, file in (("MIGRATE_COLLECTOR", "pod-windows.ps1"), ("MIGRATE_READER", "collect-windows.ps1")):
        script = (ROOT / "rules/node" / file).read_text(encoding="utf-8").rstrip()
        assert expanded(values[name]) == script
        assert len(script) < 32_767, "the longest environment variable of Windows"
    assert expanded(container["command"][-1]).endswith("([scriptblock]::Create($env:MIGRATE_COLLECTOR))")


def expanded(value: str) -> str:
    """What a kubelet makes of a value where no $(NAME) is known: $$ is a dollar, all else stays."""
    return re.sub(r"\$\$|\$\([^)]*\)", lambda found: "$" if found[0] == "$$" else found[0], value)


def test_pods_are_made_only_where_they_can_read() -> None:
    nodes = (ClusterNode("a", "linux"), ClusterNode("b", "linux", "it is not ready"), ClusterNode("c", "windows"))
    linux = PodSettings("n", Images("x:1"))
    both = PodSettings("n", Images("x:1", "y:1"))
    assert [made.node for made in wishes_of(nodes, linux, "run")] == ["a"]
    assert [(made.node, made.image) for made in wishes_of(nodes, both, "run")] == [("a", "x:1"), ("c", "y:1")]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--nodes",), "--nodes needs --image"),
        (("--nodes", "--image", "x"), "--image x: may be any version"),
        (("--nodes", "--image", "x:1", "--npm-only"), "--npm-only creates no pods"),
        (("--nodes", "--image", "x:1", "-f", "folder"), "give one or the other"),
        (("--nodes", "--image", "x:1", "--node-timeout", "soon"), "--node-timeout soon"),
        (("--image", "x:1"), "go with --nodes"),
        (("--nodes-manifest",), "go with --nodes"),
        (("--node", "a"), "go with --nodes"),
    ],
)
def test_options_that_do_not_go_together(tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    done = migrate(tmp_path, "scan", *options)
    assert done.status == 2
    assert said in done.stderr
