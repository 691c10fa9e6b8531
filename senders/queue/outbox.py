"""The transactional outbox: rows of `ledger_outcomes` that are not yet on the topic `outcomes`."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.rows import args_row

from infra.postgres.columns import RowArrays, array_literal, names, statement
from schemas.endpoints import WEBHOOK
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
    step: str | None
    variant: str | None
    brand: str | None
    decided_at: datetime | None
    channel: str
    state: str
    state_at: datetime
    attempt: int
    reason: str | None
    detail: str | None
    reply: str | None
    hard: bool
    classifier_hash: str | None
    provider: str | None

    def message(self) -> OutboxMessage:
        """The outcome of the row. Each call returns the same, with the same id."""
        return self._message(
            provider=self._answerer,
            reply=None if self.reply is None else Reply.model_validate_json(self.reply),
            classification=f"{self.reason}: {self.detail}" if self.reason and self.detail else self.reason,
        )

    @property
    def _answerer(self) -> str:
        if self.channel == WEBHOOK:
            return WEBHOOK
        return (self.provider or "smtp") if self.reply else ""

    def message_without_text(self) -> OutboxMessage:
        """The same outcome without the text of servers."""
        return self._message(classification=self.reason, provider=WEBHOOK if self.channel == WEBHOOK else "")

    def _message(self, **answer: Any) -> OutboxMessage:
        kind = OutcomeKind(self.state)
        outcome = Outcome(
            id=outcome_id(self.command_id, kind, self.attempt),
            command_id=self.command_id,
            user_id=self.user_id,
            trigger=self.trigger,
            purpose=self.purpose,
            step=self.step,
            variant=self.variant,
            brand=self.brand,
            decided_at=self.decided_at,
            channel=self.channel,
            kind=kind,
            time=self.state_at,
            hard=self.hard,
            classifier_hash=self.classifier_hash,
            attempt=self.attempt,
            **answer,
        )
        return OutboxMessage(self.number, outcome)


_COLUMNS = [field.name for field in fields(OutboxRow) if field.name not in ("number", "command_id", "provider")]
_UNPUBLISHED = """SELECT number, command_id, recorded_at FROM ledger_outbox
    WHERE number > %(after)s AND partition = ANY(%(partitions)s) AND number <> ALL(%(without)s)
    ORDER BY number LIMIT %(limit)s"""
_NEW = RowArrays[tuple[int, UUID, datetime]](
    number=("bigint", lambda row: row[0]),
    command_id=("uuid", lambda row: row[1]),
    recorded_at=("timestamptz", lambda row: row[2]),
)
_OUTCOMES = statement(
    """SELECT x.number, replace(o.command_id::text, '-', ''), {columns}, way.path::json ->> 'provider'
       FROM {new} JOIN ledger_outcomes AS o ON o.command_id = x.command_id AND o.recorded_at = x.recorded_at
       LEFT JOIN ledger_paths AS way ON way.number = o.path
       WHERE o.recorded_at BETWEEN %(first)s AND %(last)s
       ORDER BY x.number""",
    new=_NEW.unnest("x"),
    columns=names(_COLUMNS, "o"),
)
"""Planned with the times between which the outcomes are, so that only the partitions of these days are opened."""


async def unpublished_rows(
    connection: AsyncConnection[Any],
    partitions: Collection[int],
    limit: int,
    without: Collection[int] = (),
    after: int = 0,
) -> list[OutboxRow]:
    """Outcomes that are not published yet, oldest first, with a number above `after`, except those in `without`."""
    parameters = {"after": after, "partitions": list(partitions), "without": list(without), "limit": limit}
    new = await (await connection.execute(_UNPUBLISHED, parameters)).fetchall()
    if not new:
        return []
    times = [recorded_at for _, _, recorded_at in new]
    cursor = connection.cursor(row_factory=args_row(OutboxRow))
    await cursor.execute(_OUTCOMES, {"first": min(times), "last": max(times), **_NEW.parameters(new)})
    return await cursor.fetchall()


async def mark_published(connection: AsyncConnection[Any], messages: Sequence[OutboxMessage]) -> None:
    """Take these out of the outbox."""
    numbers = array_literal("bigint", [message.number for message in messages])
    await connection.execute("DELETE FROM ledger_outbox WHERE number = ANY(%s::bigint[])", [numbers])
