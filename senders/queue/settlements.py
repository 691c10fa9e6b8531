"""What a person decides about commands in doubt: the mail arrived, it did not, or it is sent again."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import args_row

from schemas.vocabulary import DeliveryReason, LedgerState
from senders.queue import transitions
from senders.queue.ledger import CommandStatus
from senders.queue.transitions import StateChange

AHEAD = timedelta(seconds=2)
"""A command to send again is due so much later: a worker that has read up to now must not miss it."""


class Settlement(StrEnum):
    """What becomes of a command in doubt."""

    ACCEPTED = "accepted"
    FAILED = "failed"
    RESEND = "resend"


@dataclass(frozen=True, slots=True)
class SettledCommand:
    """One command. `state` is None if the ledger does not know it; it is settled only if it was in doubt."""

    command_id: str
    state: str | None
    settled: bool


async def settle(
    connection: AsyncConnection[Any], ids: Sequence[str], decided: Settlement, by: str, why: str, now: datetime
) -> list[SettledCommand]:
    """Settle those of these commands that are in doubt, with a record of who decided it and why.

    Outcomes say so too, without the addresses in it.
    In a transaction that repeats its reads, so that an answer that comes at this moment makes it fail.
    """
    found = {status.command_id: status for status in await _statuses(connection, ids)}
    doubtful = [status for status in found.values() if status.state == LedgerState.IN_DOUBT]
    changes = [_change(status, decided, _without_addresses(f"by {by}: {why}"), now) for status in doubtful]
    write = transitions.postpone if decided is Settlement.RESEND else transitions.settle
    done = await write(connection, changes) if changes else set()
    await connection.cursor().executemany(
        """INSERT INTO settlements (at, by, why, command_id, attempt, decided) VALUES (%s, %s, %s, %s, %s, %s)""",
        [
            (now, by, why, status.command_id, status.attempt, decided)
            for status in doubtful
            if status.command_id in done
        ],
    )
    return [SettledCommand(id_, found[id_].state if id_ in found else None, id_ in done) for id_ in ids]


async def _statuses(connection: AsyncConnection[Any], ids: Collection[str]) -> list[CommandStatus]:
    cursor = connection.cursor(row_factory=args_row(CommandStatus))
    await cursor.execute(
        """SELECT command_id, state, attempt FROM ledger
           WHERE key IN (SELECT ledger_key(id) FROM unnest(%s::text[]) AS id)""",
        [list(ids)],
    )
    return await cursor.fetchall()


def _change(status: CommandStatus, decided: Settlement, detail: str, now: datetime) -> StateChange:
    reason = DeliveryReason.SETTLED
    if decided is Settlement.RESEND:
        return StateChange(
            status.command_id, status.attempt, LedgerState.IN_DOUBT, now, reason, detail, next_attempt_at=now + AHEAD
        )
    return StateChange(status.command_id, status.attempt, LedgerState(decided), now, reason, detail)


def _without_addresses(text: str) -> str:
    return " ".join("<address>" if "@" in word else word for word in text.split())
