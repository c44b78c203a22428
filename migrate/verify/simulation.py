"""Cases put to an engine, as the document that `migrate simulate` prints."""

from __future__ import annotations

from collections.abc import Sequence

import migrate
from migrate.errors import InputError
from migrate.model.documents import DecidedBy, SimulatedCase, SimulatedFlow, Simulation
from migrate.model.flow import Direction, Flow, Word
from migrate.model.ruleset import Action, Decision, Provenance
from migrate.sources.cases import Case
from migrate.verify.engines import build_engine
from migrate.verify.simulate import Answer, Simulator


def simulate_cases(cases: Sequence[Case], engine: str, release: int, *, one_input: bool) -> Simulation:
    """Answers to all flows of all cases, in their order. `one_input`: it is one, whose flows stand on top.

    Raises InputError for an engine or an option that is not known.
    """
    done = tuple(simulate_case(case, engine, release) for case in cases)
    complete = not any(case.left_out for case in done)
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
    except InputError as error:
        raise InputError(f"{case.options_at or 'options'}: case {case.name!r}: {error}") from error
    left_out = tuple(sorted(str(place).strip() for place in (*built.left_out, *built.engine.unknown)))
    simulator = Simulator(built.engine, case.cluster)
    flows = tuple(_flow(simulator.answer(flow), flow, certain=not left_out) for flow in case.flows)
    return SimulatedCase(name=case.name, flows=flows, left_out=left_out)


def _flow(answer: Answer, flow: Flow, *, certain: bool) -> SimulatedFlow:
    if not certain:
        return SimulatedFlow(flow=str(flow), egress="unknown", ingress="unknown", verdict="unknown")
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
