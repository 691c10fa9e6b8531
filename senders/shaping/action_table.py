"""Actions of rules and of people for all workers: the table `shaping_actions`, which each worker reads once a second.

A row stays after its end: a suspension is on probation until a mail is taken, whichever worker sends it. `changed`
numbers the changes, so that a worker reads only what is new. Rows that were lifted stay a day, to be seen as lifted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from senders.shaping.actions import ActiveAction
from senders.shaping.document import ActionKind
from senders.shaping.keys import ProviderKeys

KEEP = "1 day"
_IN_TURN = "SELECT pg_advisory_xact_lock(7306120)"
"""One transaction writes at a time, so that changes can be seen in the order of their numbers."""


@dataclass(frozen=True, slots=True)
class ActionChange:
    """An action as a worker is to have it; `lifted`: it is over before its time."""

    action: ActiveAction
    lifted: bool
    number: int


async def write(connection: AsyncConnection[Any], actions: Iterable[ActiveAction]) -> None:
    """Writes actions. One that is in force already only gets a later end."""
    await connection.execute(_IN_TURN)
    for each in sorted(actions, key=lambda action: action.id):
        values = ProviderKeys.model_construct(**each.values).model_dump(mode="json", include=set(each.values))
        await connection.execute(
            """INSERT INTO shaping_actions AS held (target, kind, rule, since_us, until_us, "values", reply)
               VALUES (%s, %s, %s, %s, %s, %s, %s)
               ON CONFLICT (target, kind, rule) DO UPDATE SET
                   since_us = excluded.since_us, until_us = excluded.until_us, "values" = excluded."values",
                   reply = excluded.reply, lifted = false, changed = nextval('shaping_actions_changed')
               WHERE held.until_us < excluded.until_us OR held.lifted""",
            [list(each.target), each.kind, each.rule, each.since_us, each.until_us, Jsonb(values), each.reply],
        )


async def lift(connection: AsyncConnection[Any], actions: Iterable[ActiveAction]) -> None:
    """Ends actions: a probe was taken, or a person says so. An action that was renewed meanwhile stays."""
    await connection.execute(_IN_TURN)
    for each in sorted(actions, key=lambda action: action.id):
        await connection.execute(
            """UPDATE shaping_actions SET lifted = true, changed = nextval('shaping_actions_changed')
               WHERE target = %s AND kind = %s AND rule = %s AND until_us = %s AND NOT lifted""",
            [list(each.target), each.kind, each.rule, each.until_us],
        )


async def read(connection: AsyncConnection[Any], after: int) -> list[ActionChange]:
    """The changes after a number, in their order. Begin with 0."""
    cursor = await connection.execute(
        """SELECT target, kind, rule, since_us, until_us, "values", reply, lifted, changed FROM shaping_actions
           WHERE changed > %s ORDER BY changed""",
        [after],
    )
    return [_change(*row) async for row in cursor]


async def forget(connection: AsyncConnection[Any], now_us: int) -> None:
    """Deletes what ended a day ago, and suspensions that nobody has tried since."""
    await connection.execute(
        "DELETE FROM shaping_actions WHERE until_us < %s - extract(epoch FROM %s::interval) * 1000000", [now_us, KEEP]
    )


def _change(
    target: list[str],
    kind: str,
    rule: str,
    since_us: int,
    until_us: int,
    values: dict[str, Any],
    reply: str,
    lifted: bool,
    number: int,
) -> ActionChange:
    keys = ProviderKeys.model_validate(values)
    read_values = {key: getattr(keys, key) for key in keys.model_fields_set}
    action = ActiveAction(tuple(target), ActionKind(kind), rule, since_us, until_us, read_values, reply)
    return ActionChange(action, lifted, number)
