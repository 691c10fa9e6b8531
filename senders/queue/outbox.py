"""The transactional outbox: ledger rows whose outcome is not yet on the topic `outcomes`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import args_row

from infra.postgres.columns import fields_of, statement
from schemas.outcomes import Outcome, Reply, outcome_id
from schemas.vocabulary import LedgerState, OutcomeKind


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """An outcome to publish, and the state of the row that it was made from."""

    outcome: Outcome
    state: LedgerState


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """A row of the ledger whose outcome is to be published."""

    command_id: str
    user_id: str
    state: str
    state_at: datetime
    attempt: int
    reason: str | None
    detail: str | None
    reply_json: str | None
    hard: bool
    classifier_hash: str | None

    def message(self) -> OutboxMessage:
        """The outcome of the row. Each call returns the same, with the same id."""
        return self._message(
            provider="smtp" if self.reply_json else "",
            reply=None if self.reply_json is None else Reply.model_validate_json(self.reply_json),
            classification=f"{self.reason}: {self.detail}" if self.reason and self.detail else self.reason,
        )

    def message_without_text(self) -> OutboxMessage:
        """The same outcome without the text of servers."""
        return self._message(classification=self.reason)

    def _message(self, **answer: Any) -> OutboxMessage:
        kind = OutcomeKind(self.state)
        outcome = Outcome(
            id=outcome_id(self.command_id, kind, self.attempt),
            command_id=self.command_id,
            user_id=self.user_id,
            kind=kind,
            time=self.state_at,
            hard=self.hard,
            classifier_hash=self.classifier_hash,
            attempt=self.attempt,
            **answer,
        )
        return OutboxMessage(outcome, LedgerState(self.state))


_UNPUBLISHED = statement(
    """SELECT {row} FROM (SELECT *, reply::text AS reply_json FROM ledger) AS ledger
       WHERE unpublished AND partition = ANY(%s) AND command_id <> ALL(%s) ORDER BY state_at LIMIT %s""",
    row=fields_of(OutboxRow),
)


async def unpublished_rows(
    connection: AsyncConnection[Any], partitions: Collection[int], limit: int, without: Collection[str] = ()
) -> list[OutboxRow]:
    """Rows whose outcome is not published yet, oldest first, without the commands in `without`."""
    cursor = connection.cursor(row_factory=args_row(OutboxRow))
    await cursor.execute(_UNPUBLISHED, [list(partitions), list(without), limit])
    return await cursor.fetchall()


async def mark_published(connection: AsyncConnection[Any], messages: Sequence[OutboxMessage]) -> None:
    """Mark these as published. A row that has changed since stays unpublished."""
    await connection.execute(
        """UPDATE ledger SET unpublished = false
           FROM unnest(%s::text[], %s::text[], %s::int[]) AS published (id, state, attempt)
           WHERE command_id = published.id AND ledger.state = published.state AND ledger.attempt = published.attempt""",
        [
            [message.outcome.command_id for message in messages],
            [message.state.value for message in messages],
            [message.outcome.attempt for message in messages],
        ],
    )
