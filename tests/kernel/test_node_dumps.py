"""What the save programs print of rules and sets in the kernel is read without a loss, and can be written back."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from migrate.model.ip_sets import ProtocolIcmp
from migrate.model.node_state import Backend, Ending, Ruleset
from migrate.sources.node.icmp_names import ICMP, ICMPV6
from migrate.sources.node.ipset_save import read_ipset_save
from migrate.sources.node.iptables_save import read_iptables_save
from tests.kernel.lab import Namespace
from tests.prerequisites import require
from tests.unit.node_rules import lines, set_lines

pytestmark = pytest.mark.kernel

_SETS = """create s1 hash:ip,port
add s1 10.0.0.1,tcp:80
add s1 10.0.0.1,gre:0
create s2 hash:ip timeout 0 counters comment
add s2 10.0.0.1 comment "it's a \\b"
create s3 hash:net
add s3 10.0.0.0/8
add s3 10.1.0.0/16 nomatch
create s4 bitmap:port range 1-100
add s4 5
create s5 hash:net,iface
add s5 10.0.0.0/8,physdev:eth0
add s5 10.0.0.0/8,eth0
create s6 hash:net,port family inet6
add s6 fd00::/64,udp:53
add s6 fd00::1,ipv6-icmp:echo-request nomatch
create s7 list:set
add s7 s1
add s7 s3
create s8 hash:ip,port,net
add s8 10.0.0.1,sctp:5,10.1.0.0/16
"""
_RULES = {
    "raw": """
-A PREROUTING -p udp -m udp --dport 53 -j CT --notrack
-A PREROUTING -m rpfilter --validmark --invert -j DROP
-A PREROUTING -i eth+ -j CT --zone 5
-A PREROUTING -j TRACE
""",
    "mangle": """
-A PREROUTING -m socket --transparent -j MARK --set-xmark 0x200/0xf00
-A PREROUTING -p tcp -m mark --mark 0x200 -j TPROXY --on-port 1234 --on-ip 127.0.0.1 --tproxy-mark 0x200/0xffffffff
-A PREROUTING -j CONNMARK --save-mark --nfmask 0xff00 --ctmask 0xff00
-A PREROUTING -m connmark ! --mark 0x1/0x1 -j CONNMARK --restore-mark --nfmask 0xffffffff --ctmask 0xffffffff
-A PREROUTING -j CONNMARK --set-xmark 0x5/0xffffffff
-A PREROUTING -j MARK --set-xmark 0x0/0xffffbfff
-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu
-A FORWARD -p tcp -j DSCP --set-dscp 0x2e
""",
    "nat": """
-A PREROUTING -p tcp -m tcp --dport 80 -m statistic --mode random --probability 0.33333333349 -j OWN
-A PREROUTING -p tcp -m statistic --mode nth --every 3 --packet 1 -j OWN
-A PREROUTING -p tcp -m recent --rcheck --seconds 10800 --reap --name A --mask 255.255.255.255 --rsource -j OWN
-A POSTROUTING -p tcp -j SNAT --to-source 10.0.0.1:1024-65535 --random-fully
-A POSTROUTING -p tcp -j MASQUERADE --to-ports 1024-2000 --random-fully
-A POSTROUTING -m addrtype ! --src-type LOCAL --limit-iface-out -m policy --dir out --pol none -j MASQUERADE
-A OWN -p tcp -j DNAT --to-destination 10.0.0.1:8080
-A OWN -p tcp -j DNAT --to-destination 10.0.0.1-10.0.0.9:8080-8090 --random --persistent
-A OWN -p tcp -j REDIRECT --to-ports 99
""",
    "filter": """
-A INPUT -p tcp -m tcp --sport 5:65535 ! --dport 0:1024 -j ACCEPT
-A INPUT -p tcp -m tcp ! --tcp-flags FIN,SYN,RST,ACK SYN -m tcp --tcp-option 5 -j ACCEPT
-A INPUT -p udp -m multiport ! --dports 1,3:5,9 -m multiport --ports 4 -j REJECT --reject-with icmp-port-unreachable
-A INPUT -p tcp -j REJECT --reject-with tcp-reset
-A INPUT -p sctp -m sctp --dport 5 -m sctp --chunk-types any INIT -j ACCEPT
-A INPUT ! -p icmp -j ACCEPT
-A INPUT -p icmp -m icmp --icmp-type any -j ACCEPT
-A INPUT -p icmp -m icmp ! --icmp-type 3/4 -j ACCEPT
-A INPUT -p gre -j ACCEPT
-A INPUT -p ipencap -j ACCEPT
-A INPUT -p esp -m esp --espspi 1:2 -j ACCEPT
-A INPUT -p 200 -j ACCEPT
-A INPUT ! -s 10.0.0.0/8 ! -d 1.2.3.4/32 ! -i lo ! -f -j ACCEPT
-A INPUT -m state --state NEW,RELATED -m comment --comment "a \\"b\\" c\\\\d it\\'s" -j LOG --log-prefix "x: "
-A INPUT -m comment --comment "" -j NFLOG --nflog-prefix "D/default x" --nflog-group 2 --nflog-size 80
-A INPUT -m conntrack --ctstate NEW,DNAT ! --ctproto 6 --ctorigsrc 1.2.3.0/24 ! --ctorigdstport 80:90 --ctdir REPLY
-A INPUT -m conntrack ! --ctstate NEW -m conntrack --ctstatus SEEN_REPLY,ASSURED -j ACCEPT
-A FORWARD -m physdev --physdev-in veth+ ! --physdev-out v2 ! --physdev-is-bridged -j ACCEPT
-A FORWARD -m limit --limit 10/min --limit-burst 7 -j LOG
-A FORWARD -m u32 --u32 "0x0>>0x16&0x3c@0xc=0x40:0x50,0x7" -j DROP
-A FORWARD -m bpf --bytecode "4,48 0 0 9,21 0 1 6,6 0 0 1,6 0 0 0" -j ACCEPT
-A FORWARD -m mac --mac-source 00:11:22:33:44:55 -g OWN
-A FORWARD -m iprange --src-range 10.0.0.1-10.0.0.9 ! --dst-range 10.1.0.1-10.1.0.9 -j ACCEPT
-A FORWARD -m set --match-set s1 src,dst -m set ! --match-set s3 src --return-nomatch -j ACCEPT
-A FORWARD -m set --match-set s2 dst ! --update-counters -j SET --add-set s3 src --exist
-A FORWARD -m hashlimit --hashlimit-upto 10/sec --hashlimit-burst 5 --hashlimit-mode srcip --hashlimit-name x -j DROP
-A FORWARD -m connlimit --connlimit-above 5 --connlimit-mask 32 --connlimit-saddr -j ACCEPT
-A FORWARD
-A OUTPUT -m owner --uid-owner 0-99 ! --gid-owner 5 -j ACCEPT
-A OUTPUT -m owner --socket-exists -j ACCEPT
-A OWN -j NFQUEUE --queue-num 5 --queue-bypass
-A OWN -j RETURN
""",
}
_SIX = """*filter
:OWN -
-A INPUT -p ipv6-icmp -m icmp6 --icmpv6-type 128 -j ACCEPT
-A INPUT -s fd00::/64 -p ipv6-icmp -m icmp6 ! --icmpv6-type 1/4 -j REJECT --reject-with icmp6-adm-prohibited
-A INPUT -m set --match-set s6 src,dst -j OWN
COMMIT
*nat
-A PREROUTING -p tcp -j DNAT --to-destination [fd00::1]:8080
-A POSTROUTING -j SNAT --to-source fd00::1-fd00::9
COMMIT
"""


@pytest.fixture(autouse=True)
def _needs_the_programs() -> None:
    require(shutil.which("ipset") is not None, "ipset")
    require(shutil.which("iptables-legacy-restore") is not None, "iptables")


@pytest.fixture
def packet_filter() -> Iterator[Namespace]:
    """An empty namespace that ends with the test."""
    made = Namespace()
    yield made
    made.remove()


def _restorable(rules: dict[str, str]) -> str:
    return "".join(f"*{table}\n:OWN -{written}COMMIT\n" for table, written in rules.items())


def _written(body: bytes) -> list[str]:
    return [line for line in body.decode().splitlines() if not line.startswith("#")]


@pytest.mark.parametrize("backend", Backend)
def test_rules_of_every_kind_are_understood_and_come_back(packet_filter: Namespace, backend: Backend) -> None:
    packet_filter.do("ipset", "restore", text=_SETS)
    packet_filter.do(f"iptables-{backend.value}-restore", text=_restorable(_RULES))
    for counters in ((), ("-c",)):
        body = packet_filter.do(f"iptables-{backend.value}-save", *counters)
        ruleset = read_iptables_save(body, "save.txt")
        assert not list(ruleset.unread())
        assert {(table.family, table.backend) for table in ruleset.tables} == {(4, backend)}
        assert lines(ruleset, counters=bool(counters)) == _written(body)
    assert _count(ruleset) == sum(written.strip().count("\n") + 1 for written in _RULES.values())


def _count(ruleset: Ruleset) -> int:
    return sum(len(chain.rules) for table in ruleset.tables for chain in table.chains)


@pytest.mark.parametrize("backend", Backend)
def test_rules_of_ip6tables_are_understood_and_come_back(packet_filter: Namespace, backend: Backend) -> None:
    packet_filter.do("ipset", "restore", text=_SETS)
    packet_filter.do(f"ip6tables-{backend.value}-restore", text=_SIX)
    body = packet_filter.do(f"ip6tables-{backend.value}-save")
    ruleset = read_iptables_save(body, "save.txt")
    assert not list(ruleset.unread())
    assert {(table.family, table.backend) for table in ruleset.tables} == {(6, backend)}
    assert lines(ruleset, counters=False) == _written(body)


@pytest.mark.parametrize("backend", Backend)
def test_a_comment_cannot_pretend_to_be_a_rule(packet_filter: Namespace, backend: Backend) -> None:
    command = f"iptables-{backend.value}"
    comment = 'a" -j ACCEPT\n-A INPUT -j ACCEPT\nCOMMIT\\'
    packet_filter.do(command, "-A", "INPUT", "-m", "comment", "--comment", comment, "-j", "DROP")
    (rule,) = read_iptables_save(packet_filter.do(f"{command}-save"), "save.txt").tables[0].by_name()["INPUT"].rules
    assert rule.comments == (comment,)
    assert rule.target is Ending.DROP


def test_what_other_programs_wrote_into_a_table_is_noted_or_read(packet_filter: Namespace) -> None:
    packet_filter.do("iptables", "-A", "INPUT", "-m", "time", "--timestart", "10:00", "-j", "DROP")
    ruleset = read_iptables_save(packet_filter.do("iptables-save"), "save.txt")
    ((_table, chain, rule),) = ruleset.unread()
    assert chain.name == "INPUT"
    assert rule.unread[0] == "-m time"
    assert rule.target is Ending.DROP


def test_sets_of_every_kind_are_understood_and_come_back(packet_filter: Namespace) -> None:
    packet_filter.do("ipset", "restore", text=_SETS)
    body = packet_filter.do("ipset", "save")
    sets = read_ipset_save(body, "sets.txt")
    assert not [found for found in sets.sets if found.unread]
    assert [line for found in sets.sets for line in set_lines(found)] == body.decode().splitlines()


def test_a_comment_cannot_pretend_to_be_a_member(packet_filter: Namespace) -> None:
    packet_filter.do("ipset", "create", "s", "hash:ip", "comment")
    packet_filter.do("ipset", "add", "s", "10.0.0.1", "comment", "a\nadd s 10.0.0.2\\")
    (found,) = read_ipset_save(packet_filter.do("ipset", "save"), "sets.txt").sets
    assert [member.comment for member in found.members] == ["a\nadd s 10.0.0.2\\"]


def test_an_empty_node_is_read(packet_filter: Namespace) -> None:
    for program in ("iptables-nft-save", "ip6tables-legacy-save"):
        assert read_iptables_save(packet_filter.do(program), "save.txt").tables == ()
    assert read_ipset_save(packet_filter.do("ipset", "save"), "sets.txt").sets == ()


def test_names_of_icmp_messages_are_those_of_ipset(packet_filter: Namespace) -> None:
    four = [f"add four 10.0.0.1,icmp:{kind}/{code}" for kind in range(20) for code in range(17)]
    six = [f"add six fd00::1,ipv6-icmp:{kind}/{code}" for kind in (*range(6), *range(127, 140)) for code in range(8)]
    head = ["create four hash:ip,port", "create six hash:ip,port family inet6"]
    packet_filter.do("ipset", "restore", text="\n".join([*head, *four, *six, ""]))
    sets = read_ipset_save(packet_filter.do("ipset", "save"), "sets.txt").by_name()
    for name, names, added in (("four", ICMP, four), ("six", ICMPV6, six)):
        parts = [part for member in sets[name].members for part in member.parts if isinstance(part, ProtocolIcmp)]
        assert {(part.type, part.code) for part in parts} == {_numbers(line) for line in added}
        printed = {part.name: (part.type, part.code) for part in parts if "/" not in part.name}
        assert printed.items() <= names.items()
        assert set(names.values()) == set(printed.values())


def _numbers(line: str) -> tuple[int, int]:
    kind, code = line.rpartition(":")[2].split("/")
    return int(kind), int(code)


_NOT = st.sampled_from(["", "! "])
_OWN = st.builds("{0}-s 10.{1}.0.0/16 {2}-d 10.0.0.{1}/32 {3}-i eth{1}+".format, _NOT, st.integers(0, 255), _NOT, _NOT)
_PORTS = st.builds(lambda low, more: f"{low}:{low + more}", st.integers(0, 60000), st.integers(0, 5000))
_MATCHES = st.one_of(
    st.builds("-p tcp -m tcp {0}--sport {1} {2}--dport {3}".format, _NOT, _PORTS, _NOT, _PORTS),
    st.builds("-p udp -m multiport {0}--dports {1},{2}".format, _NOT, _PORTS, st.integers(0, 65535)),
    st.builds("-p icmp -m icmp {0}--icmp-type {1}/{2}".format, _NOT, st.integers(0, 20), st.integers(0, 20)),
    st.builds("-m mark {0}--mark {1:#x}/{2:#x}".format, _NOT, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
    st.builds("-m set {0}--match-set s3 {1}".format, _NOT, st.sampled_from(["src", "dst"])),
    st.builds("-m conntrack {0}--ctstate {1}".format, _NOT, st.sampled_from(["NEW", "RELATED,ESTABLISHED", "INVALID"])),
    st.text("ab:/ \"'\\!-é\n", max_size=30).map(lambda text: f"-m comment --comment {_quoted(text)}"),
)
_ENDS = st.one_of(
    st.sampled_from(["-j ACCEPT", "-j DROP", "-j RETURN", "-j OWN", "-g OWN", "-j REJECT", "-j LOG", ""]),
    st.builds("-j MARK --set-xmark {:#x}/{:#x}".format, st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1)),
)


def _quoted(text: str) -> str:
    escaped = text.replace("\n", " ").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


@pytest.mark.parametrize("backend", Backend)
@settings(max_examples=12)
@given(rules=st.lists(st.builds("-A OWN {} {} {}".format, _OWN, _MATCHES, _ENDS), min_size=1, max_size=30))
def test_random_rules_survive_reading_and_writing(backend: Backend, rules: list[str]) -> None:
    command = f"iptables-{backend.value}"
    first, second = Namespace(), Namespace()
    try:
        for one in (first, second):
            one.do("ipset", "create", "s3", "hash:net")
        first.do(
            f"{command}-restore", text="\n".join(["*filter", ":OWN2 -", ":OWN -", *_no_loops(rules), "COMMIT", ""])
        )
        saved = first.do(f"{command}-save")
        ruleset = read_iptables_save(saved, "save.txt")
        assert not list(ruleset.unread())
        second.do(f"{command}-restore", text="\n".join([*lines(ruleset, counters=False), ""]))
        assert _written(second.do(f"{command}-save")) == _written(saved)
    finally:
        first.remove()
        second.remove()


def _no_loops(rules: list[str]) -> list[str]:
    return [rule.replace("-j OWN", "-j OWN2").replace("-g OWN", "-g OWN2") for rule in rules]
