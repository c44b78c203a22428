"""Random rules in the kernel: what becomes of real packets is what the evaluator says."""

from __future__ import annotations

import os
import random
import secrets
import shutil
from collections import Counter
from dataclasses import dataclass, field

import pytest

from migrate.nodes.netfilter.evaluator import NodeFilter
from migrate.nodes.netfilter.judgement import Judgement
from tests.kernel.filter_lab import Router, Sent, router
from tests.kernel.knocked_out import kinds, without
from tests.kernel.random_rules import MARKED, SET_KINDS, Draw, Packets, Rules, Sets
from tests.prerequisites import require

pytestmark = pytest.mark.kernel

_SEED = "rules"
_RULESETS, _FRESH_RULESETS = 60, 10
_PACKETS, _STANDING = 150, 12
_KNOCKED_OUT = 60
"""Packets of a ruleset that are judged again without each kind."""
_MOST_UNKNOWN = 0.05
_TRACKING = "".join(
    f"-A PREROUTING -p udp --dport {port} -m conntrack --ctstate NEW -j CONNMARK --set-xmark {mark:#x}\n"
    for port, mark in MARKED.items()
)
_BACKENDS = (("nft",), ("nft",), ("legacy",), ("legacy",), ("nft", "legacy"))
_HAVE_TO_DECIDE = frozenset(
    [
        "ACCEPT",
        "DROP",
        "RETURN",
        "jump",
        "goto",
        "Reject",
        "policy DROP",
        "MarkChange",
        "ConnectionMarkChange",
        "mark copy save",
        "mark copy restore",
        "Untracked",
        "DNAT address",
        "DNAT ports",
        "DNAT ports address",
        "REDIRECT ports",
        *(f"{no}AddressIs {end}" for no in ("", "not ") for end in ("src", "dst")),
        *(f"{no}AddressBetween {end}" for no in ("", "not ") for end in ("src", "dst")),
        *(f"{no}DeviceIs {end}{plus}" for no in ("", "not ") for end in ("src", "dst") for plus in ("", " wildcard")),
        *(f"{no}ProtocolIs" for no in ("", "not ")),
        *(f"{no}PortIn own {end}" for no in ("", "not ") for end in ("src", "dst")),
        *(f"{no}PortIn multiport {end}" for no in ("", "not ") for end in ("src", "dst", "either")),
        *(f"{no}MarkIs {of}" for no in ("", "not ") for of in ("packet", "connection")),
        *(f"ConnectionIn {state}" for state in ("NEW", "ESTABLISHED", "RELATED", "INVALID", "UNTRACKED", "DNAT")),
        *(f"not ConnectionIn {state}" for state in ("NEW", "ESTABLISHED", "INVALID")),
        *(f"ConnectionDirection original={original}" for original in (True, False)),
        *(f"{no}TrackedAddressIs {end}" for no in ("", "not ") for end in ("src original=True", "dst original=True")),
        "TrackedAddressIs src original=False",
        "ConnectionStatusIn",
        *(f"{no}TcpFlagsAre" for no in ("", "not ")),
        *(f"{no}IcmpIs" for no in ("", "not ")),
        *(f"{no}AddressTypeIs {end} {kind}" for no in ("", "not ") for end in ("src", "dst") for kind in ("LOCAL",)),
        "not EveryNth",
    ]
)


@dataclass(slots=True)
class Told:
    """What was compared, and what the verdicts rest on."""

    flows: int = 0
    unknown: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    decided: set[str] = field(default_factory=set)
    wrong: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def _needs_the_programs() -> None:
    require(os.geteuid() == 0, "root")
    require(shutil.which("ipset") is not None, "ipset")
    require(shutil.which("iptables-legacy-restore") is not None, "iptables")


def test_packets_do_what_the_evaluator_says(capsys: pytest.CaptureFixture[str]) -> None:
    told = Told()
    kinds_of_sets = _set_kinds()
    for number in range(_RULESETS):
        with router() as lab:
            _compare(lab, f"{_SEED}-{number}", told, kinds_of_sets, knock_out=True)
    with capsys.disabled():
        print(f"\n{told.flows} packets, {dict(told.verdicts)}, {len(told.decided)} kinds decided")
    assert told.wrong == []
    assert told.unknown < told.flows * _MOST_UNKNOWN
    needed = _HAVE_TO_DECIDE | {f"{no}set {kind}" for no in ("", "not ") for kind in (*kinds_of_sets, "list:set")}
    needed |= {"set hash:net return-nomatch"}
    assert sorted(needed - told.decided) == []


def test_packets_do_what_the_evaluator_says_of_rules_never_seen(capsys: pytest.CaptureFixture[str]) -> None:
    told, seed = Told(), secrets.token_hex(4)
    with capsys.disabled():
        print(f"\nseed {seed}")
    kinds_of_sets = _set_kinds()
    for number in range(_FRESH_RULESETS):
        with router() as lab:
            _compare(lab, f"{seed}-{number}", told, kinds_of_sets, knock_out=False)
    assert told.wrong == [], f"seed {seed}"
    assert {"allow", "deny"} <= told.verdicts.keys()


def _set_kinds() -> list[str]:
    with router() as lab:
        return lab.set_kinds(SET_KINDS)


def _compare(lab: Router, seed: str, told: Told, set_kinds: list[str], *, knock_out: bool) -> None:
    """Load a random ruleset, send packets, and note where the evaluator is wrong."""
    chance = random.Random(seed)
    packets = Packets(chance, lab.numbers)
    sent = _standing(lab, packets, chance)
    _load(lab, chance, set_kinds)
    rulesets, sets = lab.rules(), lab.sets()
    rules = NodeFilter(rulesets, sets, lab.host)
    sent += [Sent(packets.draw(chance.choice((4, 6)))) for _ in range(_PACKETS)]
    arrived = lab.arrived(sent)
    judged = [rules.judge(one.packet) for one in sent]
    for one, there, judgement in zip(sent, arrived, judged, strict=True):
        told.verdicts[judgement.verdict] += 1
        if judgement.verdict != "unknown" and (judgement.verdict == "allow") is not there:
            told.wrong.append(_words(seed, one, there, judgement))
    told.flows += len(sent)
    told.unknown += sum(judgement.verdict == "unknown" for judgement in judged)
    if knock_out:
        by_name = sets.by_name()
        for kind in sorted(kinds(rulesets, by_name)):
            if kind not in told.decided:
                other = NodeFilter(without(kind, rulesets, by_name), sets, lab.host)
                some = chance.sample(range(len(sent)), _KNOCKED_OUT)
                differs = _differs(other, [sent[at] for at in some], [judged[at] for at in some])
                told.decided |= {kind} if differs else set()


def _differs(other: NodeFilter, sent: list[Sent], judged: list[Judgement]) -> bool:
    """Whether a packet that was certainly let through or dropped would certainly not be by other rules."""
    pairs = ((one.verdict, other.judge(sent_one.packet).verdict) for sent_one, one in zip(sent, judged, strict=True))
    return any(set(pair) == {"allow", "deny"} for pair in pairs)


def _standing(lab: Router, packets: Packets, chance: random.Random) -> list[Sent]:
    """Packets of connections that stand when the rules come."""
    standing = [packets.standing(chance.choice((4, 6))) for _ in range(_STANDING)]
    for program in ("iptables", "ip6tables"):
        lab.do(f"{program}-nft-restore", text=f"*mangle\n:PREROUTING ACCEPT\n{_TRACKING}COMMIT\n")
    assert all(lab.arrived([Sent(one.there) for one in standing]))
    assert all(lab.arrived([Sent(one.back) for one in standing]))
    return [packet for one in standing for packet in one.packets()]


def _load(lab: Router, chance: random.Random, set_kinds: list[str]) -> None:
    backends = chance.choice(_BACKENDS)
    for version, program in ((4, "iptables"), (6, "ip6tables")):
        draw = Draw(chance, version)
        sets = Sets(draw, set_kinds)
        lab.do("ipset", "restore", text="\n".join([*sets.lines, ""]))
        if "nft" not in backends:
            lab.do(f"{program}-nft-restore", text="*mangle\n:PREROUTING ACCEPT\nCOMMIT\n")
        for backend in backends:
            lab.do(f"{program}-{backend}-restore", text=Rules(draw, sets).text)


def _words(seed: str, sent: Sent, there: bool, judged: Judgement) -> str:
    steps = "\n  ".join(f"{step.at} {step.table} {step.chain}: {step.action}" for step in judged.steps)
    return f"{seed}: {sent.packet} {'arrived' if there else 'was dropped'}, said was {judged.verdict}:\n  {steps}"
