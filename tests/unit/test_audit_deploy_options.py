"""What can be asked of agents: refused with what to write instead, before any cluster is asked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from migrate.control.manifests import AgentWishes, manifests, needed_capabilities, optional_capabilities, virtual_labels
from migrate.control.settings import (
    MOST_SETTINGS,
    checked_agent_image,
    checked_capabilities,
    checked_name,
    checked_priority,
    checked_selector,
    settings_text,
)
from migrate.errors import InputError
from migrate.model.agent_documents import BPFFS_FOLDER, BPFFS_VARIABLE, SETTINGS_FILE, STORE_FOLDER, AgentSettings
from tests.command_line import migrate

DIGEST = "sha256:" + "0123456789abcdef" * 4
SETTINGS = AgentSettings(tool_version="1", run="r", cluster="c", began=1, seconds=60)


@pytest.mark.parametrize(
    "image", [f"registry.example:5000/a/b@{DIGEST}", f"migrate@{DIGEST}", f"registry.example/migrate:1.0@{DIGEST}"]
)
def test_an_image_with_a_digest_is_taken(image: str) -> None:
    assert checked_agent_image(image, allow_tag=False) == image


@pytest.mark.parametrize(
    ("image", "said"),
    [
        pytest.param("registry.example/migrate:1.0", "write registry.example/migrate@sha256:DIGEST", id="a tag"),
        pytest.param("registry.example:5000/migrate", "registry.example:5000/migrate@sha256:DIGEST", id="a port"),
        pytest.param("migrate@sha256:0123", "no image with a digest", id="a digest that is cut"),
        pytest.param(f"migrate@{DIGEST.upper()}", "no image with a digest", id="a digest in capitals"),
        pytest.param(f"migrate@{DIGEST}0", "no image with a digest", id="a digest that is too long"),
        pytest.param(f" migrate@{DIGEST}", "no image with a digest", id="a space in front"),
        pytest.param(f"migrate@{DIGEST}\n", "no image with a digest", id="a line break behind"),
        pytest.param("", "no image with a digest", id="nothing"),
    ],
)
def test_an_image_that_may_be_another_one_is_refused(image: str, said: str) -> None:
    with pytest.raises(InputError, match=r"^--image") as refused:
        checked_agent_image(image, allow_tag=False)
    assert said in str(refused.value)


def test_a_tag_is_taken_when_it_is_asked_for_but_never_latest() -> None:
    assert checked_agent_image("migrate:1.0", allow_tag=True) == "migrate:1.0"
    for image in ("migrate:latest", "migrate", "migrate@sha256:01"):
        with pytest.raises(InputError):
            checked_agent_image(image, allow_tag=True)


def test_node_selectors_are_labels() -> None:
    given = ("agentpool=users", "example.com/a_b.c=", "agentpool=users")
    assert checked_selector(given) == (("agentpool", "users"), ("example.com/a_b.c", ""))


@pytest.mark.parametrize("text", ["pool", "=x", "-a=x", "a=b c", "Example.com/a=b", "a/b/c=d", "a=" + "x" * 64, "/a=b"])
def test_what_cannot_be_a_label_is_refused(text: str) -> None:
    with pytest.raises(InputError, match="write KEY=VALUE"):
        checked_selector((text,))


def test_selectors_that_no_node_can_meet_are_refused() -> None:
    with pytest.raises(InputError, match="two values"):
        checked_selector(("pool=a", "pool=b"))
    with pytest.raises(InputError, match="Linux nodes only"):
        checked_selector(("kubernetes.io/os=windows",))


@pytest.mark.parametrize(
    "check",
    [
        lambda: checked_priority(-1),
        lambda: checked_priority(1_000_000_001),
        lambda: checked_name("Upper", "--priority-class"),
        lambda: checked_name("a" * 254, "--pull-secret"),
        lambda: checked_capabilities(("NET_RAW",), ("SYS_ADMIN",)),
    ],
)
def test_other_options_that_cannot_be_are_refused(check: Callable[[], object]) -> None:
    with pytest.raises(InputError, match=r"^--"):
        check()


def test_capabilities_are_taken_in_both_spellings() -> None:
    known = tuple(one.name for one in optional_capabilities())
    assert checked_capabilities(("cap_sys_admin", "SYS_ADMIN", "SYSLOG"), known) == ("SYSLOG", "SYS_ADMIN")


def test_settings_fit_into_a_config_map_or_are_refused() -> None:
    few = settings_text(SETTINGS)
    room = MOST_SETTINGS - len(few)
    name = "a" * (room - len('""'))
    fits = msgspec.structs.replace(SETTINGS, services=(name,))
    assert len(settings_text(fits)) == MOST_SETTINGS
    with pytest.raises(InputError, match="--no-services"):
        settings_text(msgspec.structs.replace(SETTINGS, services=(f"{name}a",)))


def test_each_capability_and_label_has_a_reason_and_a_source() -> None:
    names = [one.name for one in (*needed_capabilities(), *optional_capabilities())]
    assert len(set(names)) == len(names)
    assert all(one.why for one in (*needed_capabilities(), *optional_capabilities()))
    assert ("type", "virtual-kubelet") in [(one.key, one.value) for one in virtual_labels()]


def test_an_agents_pod_has_the_least_that_works() -> None:
    import json

    made = json.loads(manifests(AgentWishes(SETTINGS, f"migrate@{DIGEST}", (("pool", "users"),)))[-1].body)
    pod = made["spec"]["template"]["spec"]
    [agent] = pod["containers"]
    assert agent["securityContext"] == {
        "privileged": False,
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"], "add": ["BPF", "NET_ADMIN", "PERFMON"]},
    }
    assert (pod["hostNetwork"], pod["hostPID"], pod["hostIPC"]) == (True, False, False)
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert pod["tolerations"] == [{"operator": "Exists"}]
    assert pod["nodeSelector"] == {"kubernetes.io/os": "linux", "pool": "users"}
    assert not {"ports", "livenessProbe", "readinessProbe", "startupProbe"} & agent.keys()
    assert "priorityClassName" not in pod
    assert agent["command"] == ["migrate", "audit", "agent", "run"]
    hosts = {volume["name"]: volume["hostPath"]["path"] for volume in pod["volumes"] if "hostPath" in volume}
    places = {mount["name"]: mount["mountPath"] for mount in agent["volumeMounts"]}
    assert hosts == {"store": STORE_FOLDER, "bpffs": "/sys/fs/bpf"}
    assert places == {
        "settings": str(Path(SETTINGS_FILE).parent),
        "store": STORE_FOLDER,
        "bpffs": BPFFS_FOLDER,
        "temporary": "/tmp",
    }
    assert {"name": BPFFS_VARIABLE, "value": BPFFS_FOLDER} in agent["env"]
    assert agent["env"][0] == {"name": "NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--priority", "1", "--system-node-critical"), "give one"),
        (("-o", "yaml"), "add --dry-run"),
        (("--namespace", "Upper"), "--namespace Upper: no name of a namespace"),
        (("--duration", "24"), "the unit is missing"),
        (("--capability", "ALL"), "no agent has a use for it"),
    ],
)
def test_the_command_refuses_what_contradicts_itself(tmp_path: Path, more: tuple[str, ...], said: str) -> None:
    done = migrate(tmp_path, "audit", "deploy", "--image", f"migrate@{DIGEST}", *more)
    assert done.status == 2
    assert said in done.stderr


def test_without_a_snapshot_nothing_can_be_printed(tmp_path: Path) -> None:
    done = migrate(tmp_path, "audit", "deploy", "--image", f"migrate@{DIGEST}", "--dry-run", "-o", "yaml")
    assert done.status == 2
    assert "snapshot.jsonl.gz" in done.stderr
    assert done.stdout == ""
