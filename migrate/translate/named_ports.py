"""Named ports of egress rules, which releases before 1.20 resolve to one number for the whole cluster.

Facts (measured): 1.18.8 opens that number on every target of the rule, and opens nothing when pods use two numbers;
1.20.2 looks at each target pod. So for older releases the name becomes the numbers of the pods that are meant.
"""

from __future__ import annotations

from collections.abc import Iterable

from migrate.model.cluster import Pod
from migrate.model.documents import Result
from migrate.model.finding import Effect
from migrate.model.flow import Direction
from migrate.translate.context import Context
from migrate.translate.notes import Notes
from migrate.translate.objects import CiliumRule, Peers, Port
from migrate.translate.separate import select_exactly


def resolved(
    name: str, protocol: str, targets: Iterable[Pod], place: str, context: Context, notes: Notes
) -> tuple[CiliumRule, ...]:
    """Egress rules with numbers for the target pods that have the named port, by their labels of today."""
    by_number: dict[int, list[Pod]] = {}
    for pod in targets:
        for port in pod.named_ports:
            if port.name == name and port.protocol == protocol:
                by_number.setdefault(port.port, []).append(pod)
    rules: list[CiliumRule] = []
    lost: list[Pod] = []
    for number, pods in sorted(by_number.items()):
        endpoints, missed = select_exactly(pods, context)
        lost += missed
        if endpoints:
            rules.append(CiliumRule(Direction.EGRESS, Peers(endpoints=endpoints), (Port(protocol, number),)))
    _say(name, by_number, lost, place, context, notes)
    return tuple(rules)


def _say(
    name: str, by_number: dict[int, list[Pod]], lost: list[Pod], place: str, context: Context, notes: Notes
) -> None:
    numbers = " and ".join(str(number) for number in sorted(by_number)) or "no number (no target pod has it)"
    notes.find(
        "POL-NAMED-PORT",
        f'port "{name}" is {numbers} on the pods of today; {context.profile.name} cannot look it up per pod, so the '
        "numbers were written for the pods that have it",
        place=place,
    )
    notes.assume(f'pods keep their labels and the number of port "{name}"')
    if not context.pods or not context.cluster.complete:
        notes.find(
            "POL-NAMED-PORT",
            f'port "{name}": not all pods of the cluster were given, so flows to others are denied',
            place=place,
            effect=Effect.UNKNOWN,
            on_intent=Effect.NARROWS,
            result=Result.CHANGED,
        )
    if lost:
        notes.find(
            "POL-NAMED-PORT",
            f'port "{name}": no labels tell {lost[0]} from pods without this port, so flows to it are denied',
            place=place,
            effect=context.changes(Effect.NARROWS),
            on_intent=Effect.NARROWS,
            result=Result.CHANGED,
        )
