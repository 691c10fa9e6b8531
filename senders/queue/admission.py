"""Admits commands into the ledger within their budgets.

A command whose budgets all have room counts in each of them. Any other counts in none and waits in the ledger, with the
reason `budget` and the name of the first that is full, until a person releases or discards it (`held_commands`), or it
expires. A command without a budget is admitted as it was before there were budgets, by one statement.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, NamedTuple

from psycopg import Connection

from infra.postgres.columns import RowArrays, statement
from schemas.vocabulary import DeliveryReason
from senders.queue import budget_table, ledger
from senders.queue.budget_table import CountedBudget
from senders.queue.ledger import Admission


class _HeldCommand(NamedTuple):
    command_id: str
    expires_at: datetime
    budget: str


_HELD = RowArrays[_HeldCommand](
    id=("uuid", lambda held: held.command_id),
    at=("timestamptz", lambda held: held.expires_at),
    budget=("text", lambda held: held.budget),
)
_HOLD = statement(
    """UPDATE ledger_queue SET next_attempt_at = new.at, reason = %(reason)s, detail = new.budget FROM {new}
       WHERE command_id = new.id AND command_id = ANY(%(id)s::uuid[])""",
    new=_HELD.unnest("new"),
)


@dataclass(frozen=True, slots=True)
class AdmittedBatch:
    """What became of commands: how many the ledger did not know, and how many of these each budget holds."""

    new: int
    held: Mapping[str, int] = field(default_factory=dict)
    told: Sequence[CountedBudget] = ()
    """The budgets of which a person must hear now."""


def admit(connection: Connection[Any], admissions: Sequence[Admission], at: datetime) -> AdmittedBatch:
    """Admit the commands that the ledger does not know yet, due at this time unless a budget holds them."""
    limited = [each for each in admissions if each.command.budgets]
    if not limited:
        return AdmittedBatch(ledger.admit(connection, admissions, at))
    others = [each for each in admissions if not each.command.budgets]
    new = ledger.admit(connection, others, at) if others else 0
    fresh = ledger.admit_new(connection, limited, at)
    counted = _count(connection, {each.command.id: each for each in limited if each.command.id in fresh})
    told = tuple(each for each in counted if each.is_to_be_told)
    return AdmittedBatch(new + len(fresh), {each.budget.name: each.held for each in counted if each.held}, told)


def _count(connection: Connection[Any], fresh: Mapping[str, Admission]) -> Sequence[CountedBudget]:
    """Count these commands in their budgets, or hold them."""
    budgets = {(each.name, each.window): each for one in fresh.values() for each in one.command.budgets or ()}
    if not budgets:
        return ()
    counted = budget_table.lock(connection, list(budgets.values()))
    held: list[_HeldCommand] = []
    for admission in fresh.values():
        command = admission.command
        asked = [(counted[each.name, each.window], each) for each in command.budgets or ()]
        full = [row for row, budget in asked if not row.has_room(budget)]
        if full:
            full[0].held += 1
            held.append(_HeldCommand(command.id, command.expires_at, full[0].budget.name))
            continue
        for row, _ in asked:
            row.take()
    if held:
        connection.execute(_HOLD, {"reason": DeliveryReason.BUDGET, **_HELD.parameters(held)})
    budget_table.store(connection, counted.values())
    return list(counted.values())
