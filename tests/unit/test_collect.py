"""Reading a node: whose files, what may be asked of the kernel, and what is never kept of CNI configuration."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from migrate.collect import machine
from migrate.collect.by_hand import script
from migrate.collect.cni import configurations
from migrate.collect.host import Host, host_at
from migrate.collect.kernel import need_module
from migrate.collect.outcome import AbsentError, UnreadError, one_line
from migrate.errors import InputError
from migrate.model.raw import Json

_RELEASE = os.uname().release


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """The root of a node's filesystem."""
    made = tmp_path / "host"
    made.mkdir()
    return made


def _put(root: Path, path: str, text: str = "") -> None:
    place = root / path.lstrip("/")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_text(text)


@pytest.mark.parametrize(
    ("link", "target"),
    [
        pytest.param("/var/run", "/run", id="from the root"),
        pytest.param("/var/run", "../run", id="from where it stands"),
        pytest.param("/var/run", "../../../../run", id="up beyond the root"),
    ],
)
def test_links_of_a_node_stay_in_its_filesystem(root: Path, link: str, target: str) -> None:
    _put(root, "/run/calico/nodename")
    (root / "var").mkdir()
    (root / link.lstrip("/")).symlink_to(target)
    host = Host(root)
    assert host.place("/var/run/calico/nodename") == root / "run/calico/nodename"
    assert list(host.matching("/var/run/calico/*")) == ["/var/run/calico/nodename"]


def test_links_that_go_round_lead_nowhere(root: Path) -> None:
    (root / "a").symlink_to("b")
    (root / "b").symlink_to("a")
    assert not Host(root).exists("/a/x")
    with pytest.raises(OSError, match="too many"):
        Host(root).place("/a")


def test_patterns_find_what_a_shell_finds(root: Path) -> None:
    for name in ("b", "a", ".hidden"):
        _put(root, f"/opt/cni/bin/{name}")
    (root / "opt/cni/bin/gone").symlink_to("/nowhere")
    host = Host(root)
    assert list(host.matching("/opt/cni/bin/*")) == [f"/opt/cni/bin/{name}" for name in ("a", "b", "gone")]
    assert list(host.matching("/etc/cni/net.d/*")) == []
    assert list(host.matching("/opt/cni")) == ["/opt/cni"]


def test_a_root_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"--host-root .*missing: no such folder"):
        host_at(tmp_path / "missing")


def _modules(folder: Path, text: str) -> Path:
    folder.mkdir()
    (folder / "modules").write_text(text)
    return folder


_IP_SET = "ip_set 61440 2 xt_set,ip_set_hash_net, Live 0xffffffffc0a00000\n"


def test_a_module_that_is_there_may_be_asked(root: Path, tmp_path: Path) -> None:
    proc = _modules(tmp_path / "proc", _IP_SET)
    need_module(Host(root), "ip_set", proc, tmp_path)


def test_a_kernel_without_modules_may_be_asked(root: Path, tmp_path: Path) -> None:
    need_module(Host(root), "ip_set", tmp_path, tmp_path)


def test_a_part_of_the_kernel_may_be_asked(root: Path, tmp_path: Path) -> None:
    proc = _modules(tmp_path / "proc", "")
    _put(root, f"/usr/lib/modules/{_RELEASE}/modules.builtin", "kernel/net/netfilter/nf_tables.ko\n")
    (root / "lib").symlink_to("usr/lib")
    need_module(Host(root), "nf_tables", proc, tmp_path)
    with pytest.raises(AbsentError, match="asking would load it"):
        need_module(Host(root), "tables", proc, tmp_path)


def test_a_module_that_would_be_loaded_is_not_asked(root: Path, tmp_path: Path) -> None:
    proc = _modules(tmp_path / "proc", _IP_SET)
    _put(root, f"/lib/modules/{_RELEASE}/modules.builtin", "kernel/net/ipv4/inet_diag.ko\n")
    with pytest.raises(AbsentError, match="has not loaded nf_tables"):
        need_module(Host(root), "nf_tables", proc, tmp_path)


def test_where_it_cannot_be_told_nothing_is_asked(root: Path, tmp_path: Path) -> None:
    proc = _modules(tmp_path / "proc", _IP_SET)
    with pytest.raises(UnreadError, match=re.escape("modules.builtin")):
        need_module(Host(root), "ip_set_hash", proc, tmp_path)


_CONFIGURATIONS: dict[str, tuple[str, Json]] = {
    "10-calico.conflist": (
        json.dumps(
            {
                "name": "k8s",
                "plugins": [
                    {
                        "type": "calico",
                        "mtu": 1440,
                        "etcd_endpoints": "https://user:hunter2@10.0.0.1:2379,https://10.0.0.2:2379",
                        "etcd_key_file": "/etc/etcd/key.pem",
                        "policy": {"type": "k8s", "k8s_auth_token": 'ey\\J"hbG', "k8s_client_key-data": "LS0t"},
                        "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
                    },
                    {"type": "portmap", "capabilities": {"portMappings": True}},
                ],
            },
            indent=2,
        ),
        {
            "name": "k8s",
            "plugins": [
                {
                    "type": "calico",
                    "mtu": 1440,
                    "etcd_endpoints": "https://REDACTED@10.0.0.1:2379,https://10.0.0.2:2379",
                    "etcd_key_file": "/etc/etcd/key.pem",
                    "policy": {"type": "k8s", "k8s_auth_token": "REDACTED", "k8s_client_key-data": "REDACTED"},
                    "kubernetes": {"kubeconfig": "/etc/cni/net.d/calico-kubeconfig"},
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        },
    ),
    "20-x.conf.bak": (
        '{"type":"x","PASSWORD"\n:\n"a, b","apiKey":5,"path":"/token","url":"https://u:hunter2/b@h"}',
        {
            "type": "x",
            "PASSWORD": "REDACTED",
            "apiKey": "REDACTED",
            "path": "/token",
            "url": "https://REDACTED@h",
        },
    ),
}
_WITH_PARTS: dict[str, tuple[str, Json]] = {
    "31-list.conf": ('{"privateKeys":["a]b","hunter2"],"a":1}', {"privateKeys": "REDACTED", "a": 1}),
    "32-map.conf": (
        '{"credentials":{"main":{"user":"u"},"backup":"hunter2"},"a":1}',
        {"credentials": "REDACTED", "a": 1},
    ),
    "33-slash.conf": (r'{"url":"https:\/\/u:hunter2@h"}', {"url": "https://REDACTED@h"}),
}
"""Secrets whose end no shell finds."""
_LEFT_OUT = {
    "calico.kubeconfig.conf": '{"type": "x", "a": "geheim"}',
    "30-config.conf": "apiVersion: v1\nclusters:\n- cluster: {server: geheim}\n",
    "40-config.json": '{"kind": "Config", "users": [{"name": "geheim"}]}',
    "50-cut.conflist": 'plugins: [{"token": "geheim"',
    "README": "geheim",
}


@pytest.fixture
def net_d(root: Path) -> Path:
    """A folder of CNI configuration with secrets, kubeconfigs and other things."""
    for name, (text, _) in (_CONFIGURATIONS | _WITH_PARTS).items():
        _put(root, f"/etc/cni/net.d/{name}", text)
    for name, text in _LEFT_OUT.items():
        _put(root, f"/etc/cni/net.d/{name}", text)
    (root / "etc/cni/net.d/60-folder.conf").mkdir()
    return root / "etc/cni/net.d"


def _parts(text: str) -> dict[str, str]:
    heading = re.compile(r"^==> /etc/cni/net\.d/(.*) <==$", re.MULTILINE)
    pieces = heading.split(text)
    assert pieces[0] == ""
    return dict(zip(pieces[1::2], pieces[2::2], strict=True))


def _check_configurations(text: str, there: Mapping[str, tuple[str, Json]]) -> None:
    assert "geheim" not in text
    assert "hunter2" not in text
    parts = _parts(text)
    assert sorted(parts) == [*sorted(_CONFIGURATIONS | _WITH_PARTS), "50-cut.conflist"]
    assert parts.pop("50-cut.conflist").strip().startswith("left out: this is no JSON")
    for name in parts.keys() - there.keys():
        assert parts.pop(name).strip() == "left out: a shell cannot tell its secrets from the rest"
    assert {name: json.loads(body) for name, body in parts.items()} == {name: kept for name, (_, kept) in there.items()}


def test_secrets_of_cni_configuration_are_not_kept(net_d: Path, root: Path) -> None:
    _check_configurations("".join(configurations(Host(root))), _CONFIGURATIONS | _WITH_PARTS)


def test_the_printed_script_keeps_no_secrets_either(net_d: Path) -> None:
    (function,) = re.findall(r"^configurations\(\) \{\n.*?^\}\n", script(), re.MULTILINE | re.DOTALL)
    there = function.replace("/etc/cni/net.d/", f"{net_d}/") + "configurations\n"
    done = subprocess.run(["sh", "-u", "-c", there], capture_output=True, text=True, check=True)
    assert done.stderr == ""
    _check_configurations(done.stdout.replace(f"{net_d}/", "/etc/cni/net.d/"), _CONFIGURATIONS)


def test_the_script_has_no_mark_left() -> None:
    assert re.findall(r"@[A-Z_]+@", script()) == []


def test_settings_are_named_as_sysctl_names_them() -> None:
    names = {line.partition(" = ")[0] for line in machine.settings().splitlines()}
    assert {"net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter", "net.ipv4.conf.lo.rp_filter"} <= names


def test_known_paths_are_absolute_and_have_patterns_at_their_end_only() -> None:
    assert machine.traces()
    for path in machine.traces():
        assert re.fullmatch(r"(/[\w.-]+)+(/\*)?", path), path


def test_what_a_program_said_is_told_in_one_harmless_line() -> None:
    assert one_line("a\n\n  b\x1b[2J\n") == "a; b?[2J"
    assert len(one_line("x" * 10_000)) == 300
