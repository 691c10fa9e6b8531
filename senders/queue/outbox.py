"""The transactional outbox: rows of `ledger_outcomes` that are not yet on the topic `outcomes`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import args_row

from infra.postgres.columns import names, statement
from schemas.outcomes import Outcome, Reply, outcome_id
from schemas.vocabulary import OutcomeKind


@dataclass(frozen=True, slots=True)
class OutboxMessage:
    """An outcome to publish, and its number in the outbox."""

    number: int
    outcome: Outcome


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """An outcome of the ledger that is to be published."""

    number: int
    command_id: str
    user_id: str
    trigger: str
    purpose: str
    state: str
    state_at: datetime
    attempt: int
    reason: str | None
    detail: str | None
    reply: str | None
    hard: bool
    classifier_hash: str | None

    def message(self) -> OutboxMessage:
        """The outcome of the row. Each call returns the same, with the same id."""
        return self._message(
            provider="smtp" if self.reply else "",
            reply=None if self.reply is None else Reply.model_validate_json(self.reply),
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
            trigger=self.trigger,
            purpose=self.purpose,
            kind=kind,
            time=self.state_at,
            hard=self.hard,
            classifier_hash=self.classifier_hash,
            attempt=self.attempt,
            **answer,
        )
        return OutboxMessage(self.number, outcome)


_COLUMNS = [field.name for field in fields(OutboxRow) if field.name not in ("number", "command_id")]
_UNPUBLISHED = statement(
    """SELECT number, replace(o.command_id::text, '-', ''), {columns}
       FROM (SELECT number, command_id, recorded_at FROM ledger_outbox
             WHERE number > %(after)s AND partition = ANY(%(partitions)s) AND number <> ALL(%(without)s)
             ORDER BY number LIMIT %(limit)s) AS x
       JOIN ledger_outcomes AS o ON o.command_id = x.command_id AND o.recorded_at = x.recorded_at
       ORDER BY number""",
    columns=names(_COLUMNS, "o"),
)


async def unpublished_rows(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    limit: int,
    without: Collection[int] = (),
    after: int = 0,
) -> list[OutboxRow]:
    """Outcomes that are not published yet, oldest first, with a number above `after`, except those in `without`."""
    cursor = connection.cursor(row_factory=args_row(OutboxRow))
    parameters = {"after": after, "partitions": list(partitions), "without": list(without), "limit": limit}
    await cursor.execute(_UNPUBLISHED, parameters)
    return await cursor.fetchall()


async def mark_published(connection: AsyncConnection[Any], messages: Sequence[OutboxMessage]) -> None:
    """Take these out of the outbox."""
    numbers = [message.number for message in messages]
    await connection.execute("DELETE FROM ledger_outbox WHERE number = ANY(%s)", [numbers])
