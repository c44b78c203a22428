"""Ports of probes, by number and by name."""

from __future__ import annotations

import pytest

from migrate.model.raw import Json, RawObject
from migrate.sources.probes import probe_ports


@pytest.mark.parametrize(
    ("container", "ports"),
    [
        pytest.param({"livenessProbe": {"httpGet": {"port": 8080}}}, {8080}, id="by number"),
        pytest.param({"readinessProbe": {"tcpSocket": {"port": "8081"}}}, {8081}, id="by number, as a text"),
        pytest.param(
            {"startupProbe": {"grpc": {"port": 9}}, "livenessProbe": {"httpGet": {"port": "web"}},
             "ports": [{"name": "web", "containerPort": 80}]},
            {9, 80}, id="two, one of them by name",
        ),
        pytest.param({"livenessProbe": {"httpGet": {"port": "web"}}}, set(), id="a name of nothing"),
        pytest.param({"livenessProbe": {"exec": {"command": ["true"]}}}, set(), id="a command"),
        pytest.param({"livenessProbe": None, "ports": 3}, set(), id="odd values"),
    ],
)  # fmt: skip
def test_ports(container: dict[str, Json], ports: set[int]) -> None:
    pod: dict[str, Json] = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "namespace": "shop"},
        "spec": {"containers": [container]},
    }
    assert probe_ports([RawObject(pod)]) == {"shop/web": frozenset(ports)}
