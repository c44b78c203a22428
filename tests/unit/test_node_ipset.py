"""ipset save dumps → typed sets: nothing lost, every complaint with its line."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from migrate.errors import InputError
from migrate.model.ip_sets import DeviceName, IpSet, Member, ProtocolIcmp, ProtocolPort, SetName
from migrate.model.node_state import Counters
from migrate.sources.node.ipset_save import read_ipset_save, salvage_ipset_save
from tests.unit.node_rules import set_lines

_SAMPLES = Path("tests/cases/azure/linux-npm")
_DUMPS = sorted(_SAMPLES.rglob("*ipset*.txt"))


def only(*written: str) -> IpSet:
    """The set of a dump with one."""
    (found,) = read_ipset_save("".join(f"{line}\n" for line in written).encode(), "sets.txt").sets
    return found


@pytest.mark.parametrize("dump", _DUMPS, ids=lambda path: str(path.relative_to(_SAMPLES)))
def test_every_line_of_a_sample_is_understood_and_comes_back_as_it_was(dump: Path) -> None:
    sets = read_ipset_save(dump.read_bytes(), dump.name)
    written = dump.read_text().splitlines()
    assert not [found for found in sets.sets if found.unread]
    assert [line for found in sets.sets for line in set_lines(found)] == written
    for found in sets.sets:
        assert written[found.line - 1].startswith(f"create {found.name} ")
        assert all(written[member.line - 1].startswith(f"add {found.name} ") for member in found.members)


def test_members_are_typed() -> None:
    body = (_SAMPLES / "hash-sha256/with-linux-only.ipset-save.txt").read_bytes()
    sets = read_ipset_save(body, "sets.txt").by_name()
    ports = sets["azure-npm-64r7b76fx87ma3vwp98v"]
    assert (ports.kind, ports.family, ports.dimensions) == ("hash:ip,port", 4, ("ip", "port"))
    assert (ipaddress.ip_network("10.244.1.10/32"), ProtocolPort(6, (80, 80))) in [m.parts for m in ports.members]
    lists = sets["azure-npm-vgoadx6g3z6i3f571afq"]
    assert lists.family is None
    assert lists.members[0].parts == (SetName("azure-npm-1ovzgzwuldswm06ujjp3"),)
    exceptions = {member.parts for found in sets.values() for member in found.members if member.nomatch}
    assert exceptions == {(ipaddress.ip_network("10.30.5.0/24"),), (ipaddress.ip_network("10.30.6.0/24"),)}


def test_options_of_members() -> None:
    found = only(
        "create s hash:ip family inet hashsize 1024 maxelem 65536 timeout 100 counters comment",
        'add s 1.2.3.4 timeout 99 packets 5 bytes 600 comment "a b\'s"',
    )
    assert found.timeout == 100
    network = ipaddress.ip_network("1.2.3.4/32")
    assert found.members == (Member(2, (network,), False, 99, Counters(5, 600), "a b's"),)


def test_a_comment_may_hold_line_breaks_and_backslashes() -> None:
    head = "create s hash:ip comment"
    found = only(head, 'add s 1.1.1.1 comment "a', 'add s 2.2.2.2"', 'add s 1.1.1.2 comment "\\"')
    assert [(member.line, member.comment) for member in found.members] == [(2, "a\nadd s 2.2.2.2"), (4, "\\")]


@pytest.mark.parametrize(
    ("kind", "member", "parts"),
    [
        (
            "hash:net,port family inet6",
            "fd00::/64,udp:53",
            (ipaddress.ip_network("fd00::/64"), ProtocolPort(17, (53, 53))),
        ),
        ("hash:net,port", "10.0.0.0/8,sctp:5", (ipaddress.ip_network("10.0.0.0/8"), ProtocolPort(132, (5, 5)))),
        ("hash:ip,port", "1.1.1.1,gre:0", (ipaddress.ip_network("1.1.1.1/32"), ProtocolPort(47))),
        (
            "hash:ip,port",
            "1.1.1.1,icmp:echo-request",
            (ipaddress.ip_network("1.1.1.1/32"), ProtocolIcmp(1, "echo-request", 8, 0)),
        ),
        ("hash:net,iface", "10.0.0.0/8,physdev:eth0", (ipaddress.ip_network("10.0.0.0/8"), DeviceName("eth0", True))),
        ("bitmap:port range 1-100", "5", ((5, 5),)),
    ],
)  # fmt: skip
def test_kinds_of_members(kind: str, member: str, parts: tuple[object, ...]) -> None:
    found = only(f"create s {kind}", f"add s {member}")
    assert found.members[0].parts == parts
    assert not found.unread


def test_words_of_a_creation_that_are_not_known_are_kept() -> None:
    assert only("create s hash:ip family inet shiny 5").unread == ("shiny", "5")
    assert only("create s hash:ip,color family inet").unread == ("hash:ip,color",)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("create s hash:ip\nadd s 1.2.3.4\nadd s 1.2", "sets.txt:3: the dump ends in the middle of a line"),
        ("add s 1.2.3.4\n", "sets.txt:1: a member of s, which is not created above"),
        ("create s hash:ip\ncreate s hash:ip\n", "sets.txt:2: the set s is created twice"),
        ("create s hash:ip family inet\nadd s fd00::1\n", "sets.txt:2: 'fd00::1' is of another family"),
        ("create s hash:ip,port\nadd s 1.1.1.1\n", "sets.txt:2: '1.1.1.1' is no member of a set of type hash:ip,port"),
        ("create s hash:ip\nadd s host.example\n", "sets.txt:2: 'host.example' is no ip"),
        ("create s hash:ip timeout 9\nadd s 1.1.1.1 timeout\n", "sets.txt:2: timeout has no value"),
        ("create s hash:ip timeout soon\n", "sets.txt:1: 'soon' is no number"),
        ("create s hash\n", "sets.txt:1: 'hash' is no type of a set"),
        ("flush\n", "sets.txt:1: 'flush' is no line of ipset save"),
    ],
)
def test_a_broken_dump_is_an_error_with_its_line(body: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        read_ipset_save(body.encode(), "sets.txt")


def test_the_rest_of_a_broken_dump_can_be_used() -> None:
    sets, complaints = salvage_ipset_save(b"create s hash:ip\nadd s what\nadd s 1.1.1.1\nadd s 1.1.", "x")
    assert [str(complaint).partition(": ")[0] for complaint in complaints] == ["x:2", "x:4"]
    assert [member.line for member in sets.sets[0].members] == [3]


_WORDS = re.findall(r"\S+", "\n".join(dump.read_text() for dump in _DUMPS))
_PARTS = ["timeout", "nomatch", "comment", '"', "packets", "-", ",", "tcp:", "create s hash:ip,port\nadd s"]
_LINES = st.lists(st.sampled_from([*_WORDS, *_PARTS]), max_size=7).map(" ".join)


@given(st.lists(st.one_of(_LINES, st.text(max_size=20)), max_size=20).map("\n".join))
def test_nothing_but_input_errors_comes_of_mixed_up_words(text: str) -> None:
    body = f"create s hash:ip,port\n{text}\n".encode(errors="replace")
    _sets, complaints = salvage_ipset_save(body, "x")
    assert all(str(complaint).startswith("x:") for complaint in complaints)


@given(st.binary(max_size=200), st.sampled_from(_DUMPS), st.integers(0, 5000))
def test_nothing_but_input_errors_comes_of_noise(noise: bytes, dump: Path, place: int) -> None:
    body = dump.read_bytes()
    salvage_ipset_save(body[:place] + noise + body[place + len(noise) :], "x")
