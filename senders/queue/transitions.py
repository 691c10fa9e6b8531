"""The changes of state that one command's ledger row may go through.

Each change names the states that it starts from, so that of two workers that hold the same command, the slower one
changes nothing. Changes come in batches, and each may be made twice with the same result.

    admitted -> started -> accepted | deferred | refused | in_doubt | failed, or back to the state before
    admitted -> expired | suppressed | failed
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection, AsyncCursor
from psycopg.sql import SQL

from infra.postgres.columns import RowArrays, statement
from schemas.outcomes import Reply
from schemas.vocabulary import DeliveryReason, LedgerState
from senders.queue.attempt_paths import AttemptPath
from senders.queue.journal import JOURNAL
from senders.queue.ledger import DueCommand


@dataclass(frozen=True, slots=True)
class AttemptStart:
    """The mail transaction about to begin: the attempt after `due.attempt`. `links` are those of its mail, by id."""

    due: DueCommand
    address_hash: bytes
    at: datetime
    links: Mapping[bytes, str] = field(default_factory=dict)

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
    path: AttemptPath | None = None
    """The way of its mail."""
    blocked: bool | None = None
    """Whether the server refused the source of the mail; None without a mail."""
    behind: int | None = None
    """The line that the command waits in for its turn."""


_STARTS = RowArrays[AttemptStart](
    id=("uuid", lambda start: start.due.command.id),
    attempt=("int", lambda start: start.attempt),
    at=("timestamptz", lambda start: start.at),
    address_hash=("bytea", lambda start: start.address_hash),
)
_BEGIN = statement(
    """WITH living AS MATERIALIZED (
           SELECT owner FROM ledger_workers WHERE owner = %(owner)s AND lease_until > clock_timestamp() FOR KEY SHARE
       )
       UPDATE ledger_queue AS q SET state = 'started', owner = living.owner, attempt = new.attempt,
           started_at = new.at, state_at = new.at, reason = NULL, detail = NULL, reply = NULL,
           address_hash = new.address_hash
       FROM {new}, living
       WHERE command_id = new.id AND command_id = ANY(%(id)s::uuid[])
         AND EXISTS (SELECT FROM ledger_partitions AS p WHERE p.partition = q.partition AND p.owner = %(owner)s)
         AND ((state IN ('admitted', 'deferred', 'in_doubt') AND q.attempt = new.attempt - 1)
              OR (state = 'started' AND q.attempt = new.attempt AND q.owner = %(owner)s))
       RETURNING command_id""",
    new=_STARTS.unnest("new"),
)
"""The keys are there once more as an array, so that no plan reads other rows, however short the queue was when it was
made. The lock keeps the lease from being judged before the rows of this statement can be seen."""

_CHANGES = RowArrays[StateChange](
    id=("uuid", lambda change: change.command_id),
    attempt=("int", lambda change: change.attempt),
    state=("text", lambda change: change.state.value),
    at=("timestamptz", lambda change: change.at),
    reason=("text", lambda change: change.reason),
    detail=("text", lambda change: change.detail),
    next_attempt_at=("timestamptz", lambda change: change.next_attempt_at),
    reply=("text", lambda change: None if change.reply is None else change.reply.model_dump_json()),
    hard=("boolean", lambda change: change.hard),
    classifier_hash=("text", lambda change: change.classifier_hash),
    path=("int", lambda change: None if change.path is None else change.path.number),
    blocked=("boolean", lambda change: change.blocked),
    behind=("bigint", lambda change: change.behind),
)
_OUTCOME = SQL(
    "new.state, new.reason, new.detail, new.at AS state_at, new.reply, new.hard, new.classifier_hash, new.path"
)
_SET = SQL(
    """UPDATE ledger_queue AS q SET state = new.state, state_at = new.at, reason = new.reason, detail = new.detail,
           next_attempt_at = new.next_attempt_at, reply = new.reply, hard = new.hard,
           classifier_hash = new.classifier_hash, path = coalesce(new.path, q.path),
           blocked = coalesce(new.blocked, q.blocked), behind = new.behind"""
)
_LAST = """WITH moved AS (
           DELETE FROM ledger_queue AS q USING {new}
           WHERE {those} AND q.attempt = new.attempt AND {guard} RETURNING {of_row}, {outcome}
       ) {journal}"""
_NEXT = """WITH moved AS (
           {set} FROM {new}
           WHERE {those} AND q.attempt = new.attempt AND {guard} RETURNING {of_row}, {outcome}
       ) {journal}"""
_WITHOUT_OUTCOME = """{set}, attempt = q.attempt - {taken_back} FROM {new}
       WHERE {those} AND q.attempt = new.attempt AND {guard} RETURNING command_id"""
_NEW = _CHANGES.unnest("new")
_THOSE = SQL("command_id = new.id AND command_id = ANY(%(id)s::uuid[])")
_OURS = SQL("q.owner = %(owner)s AND q.state IN ('started', 'in_doubt') AND q.state <> new.state")
_ANSWERED_LAST = statement(_LAST, new=_NEW, those=_THOSE, guard=_OURS, outcome=_OUTCOME, **JOURNAL)
_ANSWERED_NEXT = statement(_NEXT, new=_NEW, those=_THOSE, guard=_OURS, outcome=_OUTCOME, set=_SET, **JOURNAL)
_SETTLED = statement(
    _LAST,
    new=_NEW,
    those=_THOSE,
    guard=SQL("q.state IN ('admitted', 'deferred', 'in_doubt')"),
    outcome=_OUTCOME,
    **JOURNAL,
)
_TAKEN_BACK = statement(
    _WITHOUT_OUTCOME,
    new=_NEW,
    those=_THOSE,
    guard=SQL("q.owner = %(owner)s AND q.state = 'started'"),
    set=_SET,
    taken_back=SQL("1"),
)
_POSTPONED = statement(
    _WITHOUT_OUTCOME, new=_NEW, those=_THOSE, guard=SQL("q.state = new.state"), set=_SET, taken_back=SQL("0")
)
_RECORDED_BEFORE = statement(
    """SELECT command_id FROM ledger_outcomes AS o JOIN {new}
         ON o.command_id = new.id AND o.attempt = new.attempt AND o.state = new.state
            AND o.command_id = ANY(%(id)s::uuid[])
       WHERE o.recorded_at > now() - interval '1 day'""",
    new=_NEW,
)
"""The same change was made by a transaction whose commit was not confirmed."""


async def begin(connection: AsyncConnection[Any], starts: Sequence[AttemptStart], owner: str) -> set[str]:
    """Make `started` durable. Returns the ids of the commands that this owner sends now.

    A command that another worker has begun or ended meanwhile is not among them, nor one whose partition another worker
    has taken over, nor any while this owner's lease is not renewed (`senders.queue.leases`).
    """
    return await ids_of([await send_begin(connection, starts, owner)])


async def send_begin(
    connection: AsyncConnection[Any], starts: Sequence[AttemptStart], owner: str
) -> AsyncCursor[tuple[UUID]]:
    """The first half of `begin`: what `ids_of` reads. In a pipelined transaction it does not wait."""
    return await connection.execute(_BEGIN, {"owner": owner, **_STARTS.parameters(starts)})


async def ids_of(sent: Iterable[AsyncCursor[tuple[UUID]]]) -> set[str]:
    """The ids of the commands that these statements changed, also once their transaction has ended."""
    return {key.hex for cursor in sent async for (key,) in cursor}


async def answer(connection: AsyncConnection[Any], changes: Sequence[StateChange], owner: str) -> set[str]:
    """Record the answers of this owner's mail transactions, and suppress addresses that were refused hard.

    An answer that comes after another worker put the attempt in doubt still counts, until that worker begins anew.
    Returns the ids recorded.
    """
    return await answered(connection, changes, await send_answers(connection, changes, owner))


async def send_answers(
    connection: AsyncConnection[Any], changes: Sequence[StateChange], owner: str
) -> Sequence[AsyncCursor[tuple[UUID]]]:
    """The first half of `answer`: what `answered` reads. In a pipelined transaction it does not wait."""
    last = [change for change in changes if change.state.terminal]
    following = [change for change in changes if not change.state.terminal]
    return [
        await connection.execute(change, {"owner": owner, **_CHANGES.parameters(some)})
        for change, some in ((_ANSWERED_LAST, last), (_ANSWERED_NEXT, following))
        if some or not changes
    ]


async def answered(
    connection: AsyncConnection[Any], changes: Sequence[StateChange], sent: Sequence[AsyncCursor[tuple[UUID]]]
) -> set[str]:
    """The second half of `answer`, in its transaction."""
    recorded = await ids_of(sent)
    recorded |= await recorded_before(connection, changes, recorded)
    hard = [change.command_id for change in changes if change.hard and change.command_id in recorded]
    if hard or not changes:
        await connection.execute(
            """INSERT INTO suppressions (address_hash, scope, reason, since, command_id)
               SELECT address_hash, '*', %(reason)s, state_at, replace(command_id::text, '-', '') FROM ledger_outcomes
               WHERE command_id = ANY(%(ids)s::uuid[]) AND address_hash IS NOT NULL
                 AND hard AND recorded_at > now() - interval '1 day'
               ON CONFLICT DO NOTHING""",
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
    recorded = await _apply(connection, _SETTLED, changes)
    return recorded | await recorded_before(connection, changes, recorded)


async def postpone(connection: AsyncConnection[Any], changes: Sequence[StateChange]) -> set[str]:
    """Record what commands wait for, until `next_attempt_at` or for good. Their state stays. Returns the ids."""
    return await _apply(connection, _POSTPONED, changes)


async def recorded_before(
    connection: AsyncConnection[Any], changes: Sequence[StateChange], recorded: Collection[str]
) -> set[str]:
    """The ids of other changes among these that a transaction made whose commit was not confirmed."""
    missing = [change for change in changes if change.command_id not in recorded]
    if changes and not missing:
        return set()
    return await _apply(connection, _RECORDED_BEFORE, missing)


async def _apply(
    connection: AsyncConnection[Any], change: bytes, changes: Sequence[StateChange], owner: str | None = None
) -> set[str]:
    return await ids_of([await connection.execute(change, {"owner": owner, **_CHANGES.parameters(changes)})])
