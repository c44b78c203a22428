"""Random rules in the kernel: what becomes of real packets is what the evaluator says."""

from __future__ import annotations

import os
import random
import shutil
from collections import Counter
from dataclasses import dataclass, field

import pytest

from migrate.nodes.netfilter.evaluator import NodeFilter
from migrate.nodes.netfilter.judgement import Judgement
from tests.kernel.filter_lab import Router, Sent, router
from tests.kernel.random_rules import MARKED, SET_KINDS, Draw, Packets, Rules, Sets
from tests.kernel.rules_by_kind import Trial
from tests.prerequisites import require
from tests.seeds import drawn_seed

pytestmark = pytest.mark.kernel

_SEED = "rules"
_RULESETS = 16
_PACKETS, _STANDING = 150, 12
_MOST_UNKNOWN = 0.1
_TRACKING = "".join(
    f"-A PREROUTING -p udp --dport {port} -m conntrack --ctstate NEW -j CONNMARK --set-xmark {mark:#x}\n"
    for port, mark in MARKED.items()
)
_BACKENDS = (("nft",), ("nft",), ("legacy",), ("legacy",), ("nft", "legacy"))


@dataclass(slots=True)
class Told:
    """What was compared, and what the verdicts rest on."""

    flows: int = 0
    unknown: int = 0
    verdicts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)


@pytest.fixture(autouse=True)
def _needs_the_programs() -> None:
    require(os.geteuid() == 0, "root")
    require(shutil.which("ipset") is not None, "ipset")
    require(shutil.which("iptables-legacy-restore") is not None, "iptables")


@pytest.mark.parametrize("backend", ["nft", "legacy"])
def test_every_kind_of_match_and_target_decides_as_the_kernel(backend: str, capsys: pytest.CaptureFixture[str]) -> None:
    flows, wrong, idle = 0, list[str](), list[str]()
    with router() as lab:
        trials = [Trial(version, lab.set_kinds(SET_KINDS)) for version in (4, 6)]
        for trial, program in zip(trials, ("iptables", "ip6tables"), strict=True):
            lab.do("ipset", "restore", text=trial.sets)
            lab.do(f"{program}-{backend}-restore", text=trial.rules)
        rules = NodeFilter(lab.rules(), lab.sets(), lab.host)
        for trial in trials:
            for number, kind in enumerate(trial.kinds):
                sent = trial.packets(number)
                fates = lab.arrived(sent)
                judged = [rules.judge(one.packet) for one in sent]
                flows += len(sent)
                idle += [] if len(set(fates)) == 2 else [f"IPv{trial.version} {kind.name}: all {fates[0]}"]
                wrong += [
                    _words(kind.name, one, there, judgement)
                    for one, there, judgement in zip(sent, fates, judged, strict=True)
                    if judgement.verdict != ("allow" if there else "deny")
                ]
    with capsys.disabled():
        print(f"\n{flows} packets, {sum(len(trial.kinds) for trial in trials)} kinds")
    assert wrong == []
    assert idle == [], f"{backend}: these tell no packets apart"


@pytest.mark.parametrize("seed", [_SEED, pytest.param(None, id="seed that is drawn")])
def test_packets_do_what_the_evaluator_says(seed: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    told, drawn = Told(), seed or drawn_seed()
    kinds_of_sets = _set_kinds()
    for number in range(_RULESETS):
        with router() as lab:
            _compare(lab, f"{drawn}-{number}", told, kinds_of_sets)
    with capsys.disabled():
        print(f"\nseed {drawn}: {told.flows} packets, {dict(told.verdicts)}")
    assert told.wrong == [], f"seed {drawn}"
    assert {"allow", "deny"} <= told.verdicts.keys()
    assert told.unknown < told.flows * _MOST_UNKNOWN


def _set_kinds() -> list[str]:
    with router() as lab:
        return lab.set_kinds(SET_KINDS)


def _compare(lab: Router, seed: str, told: Told, set_kinds: list[str]) -> None:
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
