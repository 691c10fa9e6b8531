"""Finds the command that a signed return path names: in the ledger, or among the deliveries of earlier months."""

from dataclasses import dataclass
from typing import Any

from psycopg import AsyncConnection
from psycopg.rows import args_row

from infra.postgres.database import AsyncDatabase
from senders.bounces.bounce_outcomes import SentCommand

_IN_LEDGER = """
    SELECT %(id)s, user_id, trigger, purpose, step, variant, brand, decided_at
    FROM ledger WHERE key = ledger_key(%(id)s)"""
_IN_DELIVERIES = """
    SELECT command_id, user_id, trigger, purpose, step, variant, brand, decided_at FROM deliveries
    WHERE command_id = %(id)s LIMIT 1"""


@dataclass(frozen=True, slots=True)
class SentCommands:
    """The database of the ledger, and that of the hypertables."""

    ledger: AsyncDatabase
    timescale: AsyncDatabase

    async def find(self, command_id: str) -> SentCommand | None:
        """The command, None if neither knows it. Waits while a database that is needed does not answer."""

        async def in_ledger(connection: AsyncConnection[Any]) -> SentCommand | None:
            return await _one(connection, _IN_LEDGER, command_id)

        async def in_deliveries(connection: AsyncConnection[Any]) -> SentCommand | None:
            return await _one(connection, _IN_DELIVERIES, command_id)

        return await self.ledger.run(in_ledger) or await self.timescale.run(in_deliveries)


async def _one(connection: AsyncConnection[Any], query: str, command_id: str) -> SentCommand | None:
    cursor = connection.cursor(row_factory=args_row(SentCommand))
    await cursor.execute(query, {"id": command_id})
    return await cursor.fetchone()
