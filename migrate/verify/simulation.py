"""Cases put to an engine, as the document that `migrate simulate` prints."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

import migrate
from migrate.errors import InputError
from migrate.model.documents import DecidedBy, SimulatedCase, SimulatedFlow, Simulation
from migrate.model.flow import Direction, Flow, Word
from migrate.model.ruleset import Action, Decision, Provenance
from migrate.sources.cases import Case
from migrate.verify.engines import build_engine
from migrate.verify.services import Judged, judge
from migrate.verify.simulate import Answer, Side, Simulator
from migrate.verify.ways import Ways, ways_of


def simulate_cases(cases: Sequence[Case], engine: str, release: int, *, one_input: bool) -> Simulation:
    """Answers to all flows of all cases, in their order. `one_input`: it is one, whose flows stand on top.

    Raises InputError for an engine or an option that is not known.
    """
    done = tuple(simulate_case(case, engine, release) for case in cases)
    complete = not any(case.left_out or flow.verdict == "unknown" for case in done for flow in case.flows)
    if one_input:
        return Simulation(
            tool_version=migrate.__version__,
            engine=engine,
            complete=complete,
            flows=done[0].flows,
            left_out=done[0].left_out,
        )
    return Simulation(tool_version=migrate.__version__, engine=engine, complete=complete, cases=done)


def simulate_case(case: Case, engine: str, release: int) -> SimulatedCase:
    """One case. Where the engine does not model a policy of it, every answer is unknown: it might decide."""
    try:
        built = build_engine(engine, case.policies, case.cluster, case.options, release)
        ways = ways_of(engine, case.options, case.policies)
    except InputError as error:
        raise InputError(f"{case.options_at or 'options'}: case {case.name!r}: {error}") from error
    not_modelled = (place for place in built.left_out if place not in built.on_nodes)
    left_out = tuple(sorted({str(place).strip() for place in (*not_modelled, *built.engine.unknown)}))
    engines = [built.engine, *(() if built.alternative is None else (built.alternative(),))]
    simulators = [Simulator(one, case.cluster, hosts=True) for one in engines]
    flows = tuple(
        _unknown(flow) if left_out else _noted([_known(one, flow, ways) for one in simulators], built.differs)
        for flow in case.flows
    )
    return SimulatedCase(name=case.name, flows=flows, left_out=left_out)


def _unknown(flow: Flow) -> SimulatedFlow:
    return SimulatedFlow(flow=str(flow), egress="unknown", ingress="unknown", verdict="unknown")


def _noted(said: Sequence[SimulatedFlow], differs: str) -> SimulatedFlow:
    """The first answer; where another one differs from it, the deciding side says so."""
    flow = said[0]
    decided = dict(flow.decided_by)
    for side, by in flow.decided_by.items():
        if len({getattr(one, side) for one in said}) > 1:
            decided[side] = msgspec.structs.replace(by, reason=f"{by.reason}; {differs}" if by.reason else differs)
    return msgspec.structs.replace(flow, decided_by=decided)


def _known(simulator: Simulator, flow: Flow, ways: Ways) -> SimulatedFlow:
    if flow.via is not None:
        return _through(judge(simulator, flow, flow.via, ways), flow)
    return _direct(simulator.answer(flow), flow)


def _through(judged: Judged, flow: Flow) -> SimulatedFlow:
    """A flow through a Service, of which not everything may be known."""
    egress, ingress = judged.sides[Direction.EGRESS], judged.sides[Direction.INGRESS]
    return SimulatedFlow(
        flow=str(flow),
        egress="unknown" if egress is None else egress.word.value,
        ingress="unknown" if ingress is None else ingress.word.value,
        verdict=judged.verdict,
        decided_by={
            "egress": _decided_by(egress, judged.reasons.get(Direction.EGRESS, "")),
            "ingress": _decided_by(ingress, judged.reasons.get(Direction.INGRESS, "")),
        },
    )


def _decided_by(side: Side | None, unknown: str) -> DecidedBy:
    return DecidedBy(reason=unknown) if side is None else decided_by(side.word, side.decision)


def _direct(answer: Answer, flow: Flow) -> SimulatedFlow:
    sides = {
        Direction.EGRESS: (answer.egress, answer.egress_decision),
        Direction.INGRESS: (answer.ingress, answer.ingress_decision),
    }
    return SimulatedFlow(
        flow=str(flow),
        egress=answer.egress.value,
        ingress=answer.ingress.value,
        verdict="deny" if answer.verdict == "deny" else "allow",
        decided_by={
            "egress": decided_by(*sides[Direction.EGRESS]),
            "ingress": decided_by(*sides[Direction.INGRESS]),
        },
    )


def decided_by(word: Word, decision: Decision | None) -> DecidedBy:
    """What decided one side of a flow, in words."""
    if word is Word.UNENFORCED or decision is None:
        return DecidedBy(reason="nothing polices this end in this direction")
    if decision.rule is None:
        place = f" ({decision.stage})" if decision.stage else ""
        said = "no rule matches, and the default is to deny" if word is Word.DENY else "no rule denies it"
        return DecidedBy(reason=f"{said}{place}")
    note = decision.rule.note or ("" if decision.action is not Action.DENY else "a rule denies it")
    return _by_rule(decision.rule.provenance, note)


def _by_rule(provenance: Provenance | None, note: str) -> DecidedBy:
    if provenance is None:
        return DecidedBy(reason=note)
    place = None if provenance.at is None else str(provenance.at)
    return DecidedBy(object=str(provenance.ref), rule=provenance.field, at=place, reason=note)
