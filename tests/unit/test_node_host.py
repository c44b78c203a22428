"""The other files of a node's dump: read where they can be, told where not, whoever wrote them."""

from __future__ import annotations

import json
from ipaddress import IPv6Address, ip_address
from pathlib import Path

import pytest

from migrate.model.addresses import AddressSet, parse_network
from migrate.model.documents import Fact
from migrate.model.finding import Finding
from migrate.model.node_machine import VirtualServer
from migrate.model.refs import Location
from migrate.nodes import files
from migrate.nodes.dump import UNREAD, read_dump
from migrate.nodes.examine import examine
from migrate.nodes.files import Printed
from migrate.nodes.kube_proxy.services import ServicePortName
from migrate.nodes.linux import examine_linux
from migrate.nodes.software import What, cilium_on_node, known
from migrate.nodes.wording import clean, ranges
from migrate.sources.node.cni_files import salvage_cni
from migrate.sources.node.ip_json import salvage_routes
from migrate.sources.node.proc_files import read_settings, read_sockets, read_virtual_servers

OF_JSON = (files.LINKS, files.ADDRESSES, files.ROUTES, files.ROUTES6, files.NFT, files.BPF)
EVERY = (*OF_JSON, files.CNI, files.IPVS, files.SOCKETS, files.SYSCTL, files.MODULES, files.MOUNTS, files.PATHS)
NOISE = b'\x00\xff\xfe{["' * 50


def dump_of(folder: Path, **bodies: bytes) -> Path:
    place = folder / "n1"
    place.mkdir()
    (place / files.KERNEL.name).write_text("Linux 5.15.0-1079-azure #88-Ubuntu SMP x86_64\n", encoding="utf-8")
    for name, body in bodies.items():
        printed = getattr(files, name)
        assert isinstance(printed, Printed)
        (place / printed.name).write_bytes(body)
    return place


def unread(place: Path) -> list[str]:
    return [
        each.detail for each in examine_linux(read_dump(place), None) if isinstance(each, Finding) and each.id == UNREAD
    ]


@pytest.mark.parametrize("printed", EVERY, ids=lambda printed: printed.name)
@pytest.mark.parametrize("body", [NOISE, b"", b"[" * 100_000, b'{"a": 1}', b"[1, null, {}]", b"\n" * 50])
def test_noise_in_one_file_leaves_the_others(tmp_path: Path, printed: Printed, body: bytes) -> None:
    place = dump_of(tmp_path)
    (place / printed.name).write_bytes(body)
    said = [*examine_linux(read_dump(place), None)]
    assert "5.15.0-1079-azure" in [getattr(each, "value", None) for each in said]
    assert {each.id for each in said if isinstance(each, Finding)} <= {UNREAD}


@pytest.mark.parametrize("printed", OF_JSON, ids=lambda printed: printed.name)
def test_what_cannot_be_read_is_told_once_and_makes_the_node_incomplete(tmp_path: Path, printed: Printed) -> None:
    place = dump_of(tmp_path)
    (place / printed.name).write_bytes(b'[{"ifname": ')
    (told,) = unread(place)
    assert told.startswith(f"n1/{printed.name}")
    assert not examine((read_dump(place),), None, None).complete


def test_entries_that_are_no_links_leave_the_others(tmp_path: Path) -> None:
    entries = [{"ifname": "cbr0", "linkinfo": {"info_kind": "bridge"}}, {"ifname": 5}, *[{}] * 9]
    place = dump_of(tmp_path, LINKS=json.dumps(entries).encode())
    assert "pod-bridge" in [getattr(each, "topic", None) for each in examine_linux(read_dump(place), None)]
    told = unread(place)
    assert len(told) == 6
    assert told[-1].endswith("5 more entries")


def test_routes_with_several_hops_and_without_a_device() -> None:
    body = json.dumps(
        [
            {"dst": "default", "nexthops": [{"gateway": "10.0.0.1", "dev": "a"}, {"gateway": "10.0.0.2", "dev": "b"}]},
            {"type": "blackhole", "dst": "10.244.0.0/26", "table": 252, "protocol": 80},
        ]
    ).encode()
    routes, complaints = salvage_routes(body, "routes.json", 4)
    assert not complaints
    assert [(str(route.destination), route.device, route.kind, route.table) for route in routes] == [
        ("0.0.0.0/0", "a", "unicast", "main"),
        ("0.0.0.0/0", "b", "unicast", "main"),
        ("10.244.0.0/26", None, "blackhole", "252"),
    ]


def test_cni_files_in_the_forms_in_which_people_bring_them() -> None:
    body = '{"name": "net", "type": "bridge", "ipam": {"subnet": "10.1.0.0/24"}}'
    tail = f"==> /etc/cni/net.d/20-b.conf <==\n{body}\n\n==> /etc/cni/net.d/10-a.conflist.cilium_bak <==\n{body}\n"
    remark = f"# /etc/cni/net.d/10-a.conf\n{body}\n# /etc/cni/net.d/kubeconfig\napiVersion: v1\n"
    for text, names in ((tail, ["20-b.conf"]), (remark, ["10-a.conf"]), (body, [""])):
        found, complaints = salvage_cni(text, "cni.txt")
        assert not complaints
        assert [file.name for file in found] == names
        assert [str(subnet) for subnet in found[0].plugins[0].subnets] == ["10.1.0.0/24"]


@pytest.mark.parametrize("body", ["[]", "5", "{}", '{"plugins": []}', '{"plugins": [5]}', '{"type": 5}', "{"])
def test_a_cni_file_that_is_none_is_told_with_its_line(body: str) -> None:
    text = f'==> /etc/cni/net.d/10-a.conf <==\n{{"type": "bridge"}}\n==> /etc/cni/net.d/20-b.conf <==\n{body}\n'
    found, complaints = salvage_cni(text, "cni.txt")
    assert [file.name for file in found] == ["10-a.conf"]
    assert str(complaints[0]).startswith("cni.txt:3: 20-b.conf is no CNI configuration")


def test_files_of_proc() -> None:
    sockets = read_sockets(
        " sl local\n 1: 0100007F:2118 00000000:0000 07\n 2: 000080FE000000000000000001000000:CA9F 0:0 07\nnoise\n"
    )
    assert [(socket.address, socket.port) for socket in sockets] == [
        (ip_address("127.0.0.1"), 8472),
        (IPv6Address("fe80::1"), 51871),
    ]
    text = (
        "IP Virtual Server\nTCP  0A600001:01BB rr \nUDP  [fd00:10:96::a]:0035 rr\nFWM  00000001 rr\nTCP  [::z]:35 rr\n"
    )
    assert read_virtual_servers(text, "ipvs.txt") == (
        VirtualServer("TCP", ip_address("10.96.0.1"), 443, Location("ipvs.txt", 2)),
        VirtualServer("UDP", ip_address("fd00:10:96::a"), 53, Location("ipvs.txt", 3)),
    )
    assert read_settings("net.ipv4.ip_forward = 1\nnet/ipv4/conf/all/rp_filter = 2\nsysctl: denied\n") == {
        "net.ipv4.ip_forward": "1",
        "net.ipv4.conf.all.rp_filter": "2",
    }


def test_a_service_port_without_a_name() -> None:
    assert str(ServicePortName("shop", "web", "", "TCP")) == "shop/web"


def test_hostile_names_stay_on_one_line_and_short() -> None:
    assert clean("a\nb\x1b[31m") == "a?b?[31m"
    assert len(clean("x" * 5000)) == 121


@pytest.mark.parametrize(
    ("networks", "text"),
    [
        ((), "none"),
        (("10.0.0.0/8",), "10.0.0.0/8"),
        (("0.0.0.0/0",), "all addresses"),
        (("0.0.0.0/1", "128.0.0.0/2", "192.0.0.0/3", "224.0.0.0/4"), "all addresses but 240.0.0.0/4"),
    ],
)
def test_addresses_are_written_in_the_shorter_way(networks: tuple[str, ...], text: str) -> None:
    assert ranges(AddressSet.of(parse_network(network) for network in networks)) == text


def test_each_trace_is_known_as_its_program() -> None:
    cases: tuple[tuple[What, str, list[str]], ...] = (
        ("chains", "AZURE-NPM-INGRESS-123", ["npm-linux"]),
        ("chains", "KUBE-POSTROUTING", ["kube-proxy", "kubelet"]),
        ("chains", "KUBE-ROUTER-INPUT", ["kube-router"]),
        ("links", "cni0", ["flannel", "cni-plugins"]),
        ("chains", "WEAVER", []),
        ("cni", "10-calico.conflist", ["calico"]),
        ("cni", "10-calico.conflist.bak", []),
    )
    for what, name, programs in cases:
        assert [program.id for program in known().owners(what, name)] == programs


def test_ciliums_marks_lie_within_its_mask() -> None:
    cilium = cilium_on_node()
    assert all(mark & ~cilium.mark_mask == 0 for mark in cilium.marks)


@pytest.mark.parametrize(
    ("release", "detail", "told"),
    [
        pytest.param("6.6.51.1-1.azl3", "", False, id="new"),
        pytest.param("5.15.0-1079-azure", "", False, id="new enough for all"),
        pytest.param("5.4.0-1091-azure", "too old for Cilium 1.18 and newer", False, id="for some"),
        pytest.param("4.15.0-213-generic", "too old for Cilium 1.16 and newer", True, id="for none"),
        pytest.param("4.18.0-553.el8_10.x86_64", "", False, id="of RHEL 8"),
        pytest.param("3.10.0-1160.el7.x86_64", "too old for Cilium 1.16 and newer", True, id="of RHEL 7"),
    ],
)
def test_kernels_and_releases_of_cilium(tmp_path: Path, release: str, detail: str, told: bool) -> None:
    place = dump_of(tmp_path, KERNEL=f"Linux {release} #1 SMP x86_64\n".encode())
    said = [*examine_linux(read_dump(place), None)]
    assert [each.detail for each in said if isinstance(each, Fact) and each.topic == "kernel"] == [detail]
    assert [each.id for each in said if isinstance(each, Finding)] == (["WRK-KERNEL"] if told else [])
