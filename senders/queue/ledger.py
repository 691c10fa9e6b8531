"""The ledger: one PostgreSQL row a command, and the only changes it may go through.

Every change names the state it starts from, so that of two workers who hold the same command, the slower one changes
nothing. Changes come in batches, and each may be made twice with the same result. Times are passed in.

    admitted -> started -> accepted | deferred | refused | in_doubt | failed, or back to where it was
    admitted -> expired | suppressed | failed
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.rows import args_row
from psycopg.types.json import Jsonb

from schemas.commands import SendCommand
from schemas.outcomes import Outcome, Reply, outcome_id
from schemas.vocabulary import DeliveryReason, LedgerState, OutcomeKind, SuppressionReason

KEPT = timedelta(days=35)
"""Longer than any topic that can be replayed, so that a command replayed is always known."""


@dataclass(frozen=True, slots=True)
class Admission:
    """A command as it came from its partition."""

    partition: int
    command: SendCommand


@dataclass(frozen=True, slots=True)
class Position:
    """Where a command stands, in which no value of a publisher appears. `attempt` counts the transactions begun."""

    command_id: str
    state: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Due:
    """A command whose turn it is. `attempt` counts the mail transactions begun so far."""

    command: SendCommand
    partition: int
    state: LedgerState
    attempt: int
    admitted_at: datetime

    @property
    def position(self) -> Position:
        """Where it stands."""
        return Position(self.command.id, self.state, self.attempt)


@dataclass(frozen=True, slots=True)
class Start:
    """The mail transaction about to begin is the attempt after `due.attempt`."""

    due: Due
    message_id: str
    address_hash: bytes
    at: datetime

    @property
    def attempt(self) -> int:
        """The number of the attempt that begins."""
        return self.due.attempt + 1


@dataclass(frozen=True, slots=True)
class StateChange:
    """A command's new state. `attempt` is the one that it belongs to; `next_attempt_at` is absent where it rests.

    `hard` where the reply condemns the address, which is then suppressed with the answer.
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


def admit(connection: Connection[Any], admissions: Sequence[Admission], at: datetime) -> int:
    """Write down commands not known yet, due at once. Returns how many were new."""
    cursor = connection.execute(
        """INSERT INTO ledger (command_id, partition, user_id, trigger, purpose, command, state,
                               admitted_at, state_at, next_attempt_at)
           SELECT c->>'id', p, c->>'user_id', c->>'trigger', c->>'purpose', c, 'admitted', %(at)s, %(at)s, %(at)s
           FROM unnest(%(partitions)s::int[], %(commands)s::jsonb[]) AS new (p, c)
           ON CONFLICT (command_id) DO NOTHING""",
        {
            "at": at,
            "partitions": [admission.partition for admission in admissions],
            "commands": [Jsonb(admission.command.model_dump(mode="json")) for admission in admissions],
        },
    )
    return cursor.rowcount


def withhold(connection: Connection[Any], removed: Mapping[str, datetime]) -> int:
    """End what waits for users who were removed, each as of an instant: also what would go to an address of the rule's.
    Of what was decided later nothing changes. Returns how many ended."""
    cursor = connection.execute(
        """UPDATE ledger SET state = %s, reason = %s, state_at = now(), next_attempt_at = NULL, unannounced = true
           FROM unnest(%s::text[], %s::timestamptz[]) AS gone (user_id, at)
           WHERE ledger.user_id = gone.user_id AND ledger.state = ANY(%s)
               AND (ledger.command ->> 'decided_at')::timestamptz <= gone.at""",
        [
            LedgerState.SUPPRESSED,
            SuppressionReason.NO_RECIPIENT,
            list(removed),
            list(removed.values()),
            [LedgerState.ADMITTED, LedgerState.DEFERRED],
        ],
    )
    return cursor.rowcount


async def due(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    in_hand: Collection[str],
    now: datetime,
    limit: int,
) -> list[Position]:
    """Where those commands of these partitions stand whose turn it is, the longest waiting first, without those in
    hand.

    A command whose last answer is not announced yet has to wait for that: the next attempt would overwrite it.
    """
    cursor = connection.cursor(row_factory=args_row(Position))
    await cursor.execute(
        """SELECT command_id, state, attempt FROM ledger
           WHERE next_attempt_at <= %(now)s AND partition = ANY(%(partitions)s) AND NOT unannounced
             AND command_id <> ALL(%(in_hand)s)
           ORDER BY next_attempt_at LIMIT %(limit)s""",
        {"now": now, "partitions": list(partitions), "in_hand": list(in_hand), "limit": limit},
    )
    return await cursor.fetchall()


async def read_due(connection: AsyncConnection[Any], positions: Sequence[Position]) -> list[Due]:
    """The commands that stand there, whole, in this order of attempts; those that have gone on are left out."""
    cursor = await connection.execute(
        """SELECT command, partition, state, ledger.attempt, admitted_at
           FROM ledger JOIN unnest(%(ids)s::text[], %(attempts)s::int[]) WITH ORDINALITY AS asked (id, attempt, place)
             ON command_id = asked.id AND ledger.attempt = asked.attempt
           ORDER BY asked.place""",
        {"ids": [at.command_id for at in positions], "attempts": [at.attempt for at in positions]},
    )
    return [
        Due(SendCommand.model_validate(command), partition, LedgerState(state), attempt, admitted_at)
        async for command, partition, state, attempt, admitted_at in cursor
    ]


async def begin(connection: AsyncConnection[Any], starts: Sequence[Start], owner: str) -> set[str]:
    """Make `started` durable. Returns the ids of those that are this owner's to send now.

    What another worker began or ended in the meantime is not among them.
    """
    cursor = await connection.execute(
        """UPDATE ledger SET state = 'started', owner = %(owner)s, attempt = new.attempt, started_at = new.at,
               state_at = new.at, next_attempt_at = NULL, reason = NULL, detail = NULL, reply = NULL,
               message_id = new.message_id, address_hash = new.address_hash
           FROM unnest(%(ids)s::text[], %(attempts)s::int[], %(ats)s::timestamptz[], %(message_ids)s::text[],
                       %(hashes)s::bytea[]) AS new (id, attempt, at, message_id, address_hash)
           WHERE command_id = new.id
             AND ((state IN ('admitted', 'deferred', 'in_doubt') AND ledger.attempt = new.attempt - 1)
                  OR (state = 'started' AND ledger.attempt = new.attempt AND owner = %(owner)s))
           RETURNING command_id""",
        {
            "owner": owner,
            "ids": [start.due.command.id for start in starts],
            "attempts": [start.attempt for start in starts],
            "ats": [start.at for start in starts],
            "message_ids": [start.message_id for start in starts],
            "hashes": [start.address_hash for start in starts],
        },
    )
    return {row[0] async for row in cursor}


_CHANGE = """UPDATE ledger SET state = new.state, state_at = new.at, reason = new.reason, detail = new.detail,
       next_attempt_at = new.next_attempt_at, reply = new.reply::jsonb, unannounced = {announced},
       attempt = ledger.attempt - {taken_back}, hard = new.hard
   FROM unnest(%(ids)s::text[], %(attempts)s::int[], %(states)s::text[], %(ats)s::timestamptz[],
               %(reasons)s::text[], %(details)s::text[], %(nexts)s::timestamptz[], %(replies)s::text[],
               %(hards)s::boolean[])
        AS new (id, attempt, state, at, reason, detail, next_attempt_at, reply, hard)
   WHERE command_id = new.id AND ledger.attempt = new.attempt AND {guard}
   RETURNING command_id"""

_ANSWERED = _CHANGE.format(
    announced="true",
    taken_back=0,
    guard="owner = %(owner)s AND ledger.state IN ('started', 'in_doubt', 'deferred', new.state)",
)
_TAKEN_BACK = _CHANGE.format(
    announced="unannounced",
    taken_back=1,
    guard="owner = %(owner)s AND ledger.state = 'started'",
)
_SETTLED = _CHANGE.format(
    announced="true",
    taken_back=0,
    guard="ledger.state IN ('admitted', 'deferred', 'in_doubt', new.state)",
)
_POSTPONED = _CHANGE.format(announced="unannounced", taken_back=0, guard="ledger.state = new.state")


async def answer(connection: AsyncConnection[Any], changes: Sequence[StateChange], owner: str) -> set[str]:
    """Record what mail transactions of this owner came to, and suppress the addresses that bounced hard.

    An answer that comes after another worker put the attempt in doubt still counts, until that worker begins anew.
    Returns the ids recorded.
    """
    recorded = await _apply(connection, _ANSWERED, changes, owner)
    condemned = [change for change in changes if change.hard and change.command_id in recorded]
    if condemned or not changes:
        await connection.execute(
            """INSERT INTO suppressions (address_hash, scope, reason, since, command_id)
               SELECT address_hash, '*', %(reason)s, state_at, command_id FROM ledger
               WHERE command_id = ANY(%(ids)s) AND address_hash IS NOT NULL ON CONFLICT DO NOTHING""",
            {"reason": DeliveryReason.HARD_BOUNCE, "ids": [change.command_id for change in condemned]},
        )
    return recorded


async def take_back(connection: AsyncConnection[Any], changes: Sequence[StateChange], owner: str) -> set[str]:
    """Undo attempts of this owner of which no server took anything: the state before, one attempt less.

    Returns the ids of those undone; what another worker has put in doubt meanwhile stays in doubt.
    """
    return await _apply(connection, _TAKEN_BACK, changes, owner)


async def settle(connection: AsyncConnection[Any], changes: Sequence[StateChange]) -> set[str]:
    """Record final answers to commands for which no mail was begun. Returns the ids recorded."""
    return await _apply(connection, _SETTLED, changes)


async def postpone(connection: AsyncConnection[Any], changes: Sequence[StateChange]) -> set[str]:
    """Let commands stay in their state until `next_attempt_at` (or for good), with what they wait for."""
    return await _apply(connection, _POSTPONED, changes)


async def _apply(
    connection: AsyncConnection[Any], statement: str, changes: Sequence[StateChange], owner: str | None = None
) -> set[str]:
    cursor = await connection.execute(
        statement,
        {
            "owner": owner,
            "ids": [change.command_id for change in changes],
            "attempts": [change.attempt for change in changes],
            "states": [change.state.value for change in changes],
            "ats": [change.at for change in changes],
            "reasons": [change.reason for change in changes],
            "details": [change.detail for change in changes],
            "nexts": [change.next_attempt_at for change in changes],
            "replies": [_reply_json(change.reply) for change in changes],
            "hards": [change.hard for change in changes],
        },
    )
    return {row[0] async for row in cursor}


def _reply_json(reply: Reply | None) -> str | None:
    return None if reply is None else reply.model_dump_json()


async def doubt(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    owner: str,
    resend: Collection[str],
    now: datetime,
) -> int:
    """Put in doubt what another, lost worker began in these partitions; due again where the purpose says resend."""
    cursor = await connection.execute(
        """UPDATE ledger SET state = 'in_doubt', state_at = %(now)s, reason = %(reason)s, unannounced = true,
               next_attempt_at = CASE WHEN purpose = ANY(%(resend)s) THEN %(now)s END
           WHERE state = 'started' AND partition = ANY(%(partitions)s) AND owner IS DISTINCT FROM %(owner)s""",
        {
            "now": now,
            "reason": DeliveryReason.WORKER_LOST,
            "resend": list(resend),
            "partitions": list(partitions),
            "owner": owner,
        },
    )
    return cursor.rowcount


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """A state that the topic `outcomes` has not heard of yet."""

    outcome: Outcome
    state: LedgerState


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row of the ledger whose outcome is to be published."""

    command_id: str
    user_id: str
    state: str
    at: datetime
    attempt: int
    reason: str | None
    detail: str | None
    reply: str | None
    hard: bool

    def message(self) -> OutboxMessage:
        """The outcome of the row. Each call returns the same, with the same id."""
        return self._message(
            provider="smtp" if self.reply else "",
            reply=None if self.reply is None else Reply.model_validate_json(self.reply),
            classification=f"{self.reason}: {self.detail}" if self.reason and self.detail else self.reason,
        )

    def bare_message(self) -> OutboxMessage:
        """The same outcome without the text of servers."""
        return self._message(classification=self.reason)

    def _message(self, **said: Any) -> OutboxMessage:
        kind = OutcomeKind(self.state)
        outcome = Outcome(
            id=outcome_id(self.command_id, kind, self.attempt),
            command_id=self.command_id,
            user_id=self.user_id,
            kind=kind,
            time=self.at,
            hard=self.hard,
            attempt=self.attempt,
            **said,
        )
        return OutboxMessage(outcome, LedgerState(self.state))


async def outbox_rows(
    connection: AsyncConnection[Any], partitions: Collection[int], limit: int, without: Collection[str] = ()
) -> list[OutboxRow]:
    """Rows whose outcome is not published yet, oldest first, without the commands in `without`."""
    cursor = connection.cursor(row_factory=args_row(OutboxRow))
    await cursor.execute(
        """SELECT command_id, user_id, state, state_at, attempt, reason, detail, reply::text, hard FROM ledger
           WHERE unannounced AND partition = ANY(%s) AND command_id <> ALL(%s) ORDER BY state_at LIMIT %s""",
        [list(partitions), list(without), limit],
    )
    return await cursor.fetchall()


async def mark_published(connection: AsyncConnection[Any], messages: Sequence[OutboxMessage]) -> None:
    """Mark these as published. A command that has changed since stays unmarked."""
    await connection.execute(
        """UPDATE ledger SET unannounced = false
           FROM unnest(%s::text[], %s::text[], %s::int[]) AS told (id, state, attempt)
           WHERE command_id = told.id AND ledger.state = told.state AND ledger.attempt = told.attempt""",
        [
            [item.outcome.command_id for item in messages],
            [item.state.value for item in messages],
            [item.outcome.attempt for item in messages],
        ],
    )


async def forget(connection: AsyncConnection[Any], before: datetime, limit: int) -> int:
    """Delete at most `limit` commands that were settled and published before then. Returns the number deleted."""
    cursor = await connection.execute(
        """DELETE FROM ledger WHERE command_id IN (
             SELECT command_id FROM ledger WHERE state_at < %s AND NOT unannounced AND next_attempt_at IS NULL
               AND state NOT IN ('started', 'in_doubt') LIMIT %s)""",
        [before, limit],
    )
    return cursor.rowcount
