"""The changes of state that one command's ledger row may go through.

Each change names the states that it starts from, so that of two workers that hold the same command, the slower one
changes nothing. Changes come in batches, and each may be made twice with the same result.

    admitted -> started -> accepted | deferred | refused | in_doubt | failed, or back to the state before
    admitted -> expired | suppressed | failed
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.sql import SQL

from infra.postgres.columns import RowArrays, statement
from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.queue.ledger import DueCommand


@dataclass(frozen=True, slots=True)
class AttemptStart:
    """The mail transaction about to begin: the attempt after `due.attempt`."""

    due: DueCommand
    message_id: str
    address_hash: bytes
    at: datetime

    @property
    def attempt(self) -> int:
        """The number of the attempt that begins."""
        return self.due.attempt + 1


@dataclass(frozen=True, slots=True)
class StateChange:
    """A command's new state. `attempt` is the one that it belongs to; `next_attempt_at` is absent for a last state.

    `hard` if the address must get no mail any more: it is then suppressed in the same transaction.
    """

    command_id: str
    attempt: int
    state: LedgerState
    at: datetime
    reason: str | None = None
    detail: str | None = None
    next_attempt_at: datetime | None = None
    reply: Reply | None = None
    hard: bool = False
    classifier_hash: str | None = None


_STARTS = RowArrays[AttemptStart](
    id=("text", lambda start: start.due.command.id),
    attempt=("int", lambda start: start.attempt),
    at=("timestamptz", lambda start: start.at),
    message_id=("text", lambda start: start.message_id),
    address_hash=("bytea", lambda start: start.address_hash),
)
_BEGIN = statement(
    """UPDATE ledger SET state = 'started', owner = %(owner)s, attempt = new.attempt, started_at = new.at,
           state_at = new.at, next_attempt_at = NULL, reason = NULL, detail = NULL, reply = NULL,
           message_id = new.message_id, address_hash = new.address_hash
       FROM {new}
       WHERE command_id = new.id
         AND EXISTS (SELECT FROM ledger_partitions AS p, ledger_workers AS w
                     WHERE p.partition = ledger.partition AND p.owner = %(owner)s
                       AND w.owner = %(owner)s AND w.lease_until > clock_timestamp())
         AND ((state IN ('admitted', 'deferred', 'in_doubt') AND ledger.attempt = new.attempt - 1)
              OR (state = 'started' AND ledger.attempt = new.attempt AND owner = %(owner)s))
       RETURNING command_id""",
    new=_STARTS.unnest("new"),
)

_CHANGES = RowArrays[StateChange](
    id=("text", lambda change: change.command_id),
    attempt=("int", lambda change: change.attempt),
    state=("text", lambda change: change.state.value),
    at=("timestamptz", lambda change: change.at),
    reason=("text", lambda change: change.reason),
    detail=("text", lambda change: change.detail),
    next_attempt_at=("timestamptz", lambda change: change.next_attempt_at),
    reply=("text", lambda change: None if change.reply is None else change.reply.model_dump_json()),
    hard=("boolean", lambda change: change.hard),
    classifier_hash=("text", lambda change: change.classifier_hash),
)
_CHANGE = """UPDATE ledger SET state = new.state, state_at = new.at, reason = new.reason, detail = new.detail,
       next_attempt_at = new.next_attempt_at, reply = new.reply::jsonb, unpublished = {unpublished},
       attempt = ledger.attempt - {taken_back}, hard = new.hard, classifier_hash = new.classifier_hash
   FROM {new}
   WHERE command_id = new.id AND ledger.attempt = new.attempt AND {guard}
   RETURNING command_id"""


_TRUE, _SAME, _NONE, _ONE = SQL("true"), SQL("unpublished"), SQL("0"), SQL("1")


def _change(guard: SQL, *, unpublished: SQL = _TRUE, taken_back: SQL = _NONE) -> bytes:
    new = _CHANGES.unnest("new")
    return statement(_CHANGE, new=new, guard=guard, unpublished=unpublished, taken_back=taken_back)


_ANSWERED = _change(SQL("owner = %(owner)s AND ledger.state IN ('started', 'in_doubt', 'deferred', new.state)"))
_TAKEN_BACK = _change(SQL("owner = %(owner)s AND ledger.state = 'started'"), unpublished=_SAME, taken_back=_ONE)
_SETTLED = _change(SQL("ledger.state IN ('admitted', 'deferred', 'in_doubt', new.state)"))
_POSTPONED = _change(SQL("ledger.state = new.state"), unpublished=_SAME)


async def begin(connection: AsyncConnection[Any], starts: Sequence[AttemptStart], owner: str) -> set[str]:
    """Make `started` durable. Returns the ids of the commands that this owner sends now.

    A command that another worker has begun or ended meanwhile is not among them, nor one whose partition another worker
    has taken over, nor any while this owner's lease is not renewed (`senders.queue.leases`).
    """
    cursor = await connection.execute(_BEGIN, {"owner": owner, **_STARTS.parameters(starts)})
    return {row[0] async for row in cursor}


async def answer(connection: AsyncConnection[Any], changes: Sequence[StateChange], owner: str) -> set[str]:
    """Record the answers of this owner's mail transactions, and suppress addresses that were refused hard.

    An answer that comes after another worker put the attempt in doubt still counts, until that worker begins anew.
    Returns the ids recorded.
    """
    recorded = await _apply(connection, _ANSWERED, changes, owner)
    hard = [change.command_id for change in changes if change.hard and change.command_id in recorded]
    if hard or not changes:
        await connection.execute(
            """INSERT INTO suppressions (address_hash, scope, reason, since, command_id)
               SELECT address_hash, '*', %(reason)s, state_at, command_id FROM ledger
               WHERE command_id = ANY(%(ids)s) AND address_hash IS NOT NULL ON CONFLICT DO NOTHING""",
            {"reason": DeliveryReason.HARD_BOUNCE, "ids": hard},
        )
    return recorded


async def take_back(connection: AsyncConnection[Any], changes: Sequence[StateChange], owner: str) -> set[str]:
    """Undo attempts of this owner that reached no server: the state before, and one attempt less.

    Returns the ids undone. An attempt that another worker has put in doubt meanwhile stays in doubt.
    """
    return await _apply(connection, _TAKEN_BACK, changes, owner)


async def settle(connection: AsyncConnection[Any], changes: Sequence[StateChange]) -> set[str]:
    """Record final answers to commands for which no mail was begun. Returns the ids recorded."""
    return await _apply(connection, _SETTLED, changes)


async def postpone(connection: AsyncConnection[Any], changes: Sequence[StateChange]) -> set[str]:
    """Record what commands wait for, until `next_attempt_at` or for good. Their state stays. Returns the ids."""
    return await _apply(connection, _POSTPONED, changes)


async def _apply(
    connection: AsyncConnection[Any], change: bytes, changes: Sequence[StateChange], owner: str | None = None
) -> set[str]:
    cursor = await connection.execute(change, {"owner": owner, **_CHANGES.parameters(changes)})
    return {row[0] async for row in cursor}
