"""What delivery wrote of a mail: where its links lead, and to whom it went.

The ledger knows a command for 35 days. After that `deliveries` tells of it, which may be in another database.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection


@dataclass(frozen=True, slots=True)
class MailOrigin:
    """The command of a mail."""

    user_id: str
    trigger: str | None
    purpose: str | None
    accepted_at: datetime | None
    """When a server took the mail or, if that is not known, when it was sent."""
    step: str | None = None
    variant: str | None = None
    brand: str | None = None
    decided_at: datetime | None = None


_LINKS = "SELECT id, url FROM links WHERE id = ANY(%s)"
NEW_LINKS = """
SELECT id, url, stored_at FROM links WHERE stored_at > %s ORDER BY stored_at DESC LIMIT %s
"""
_IN_LEDGER = """
SELECT command_id, user_id, trigger, purpose, CASE WHEN state = 'accepted' THEN state_at ELSE started_at END,
       step, variant, brand, decided_at
FROM ledger WHERE key IN (SELECT ledger_key(id) FROM unnest(%s::text[]) AS id)
"""
_IN_DELIVERIES = """
SELECT DISTINCT ON (command_id) command_id, user_id, trigger, purpose, time, step, variant, brand, decided_at
FROM deliveries WHERE command_id = ANY(%s) ORDER BY command_id, (kind = 'accepted') DESC, time DESC
"""


async def links(connection: AsyncConnection[Any], keys: Collection[bytes]) -> Mapping[bytes, str]:
    """Where links lead, by their ids."""
    return {bytes(id_): url async for id_, url in await connection.execute(_LINKS, [list(keys)])}


async def new_links(
    connection: AsyncConnection[Any], since: datetime, most: int
) -> tuple[Mapping[bytes, str], datetime]:
    """The newest links that were stored since then, the oldest of them first, and when the last was."""
    rows = await (await connection.execute(NEW_LINKS, [since, most])).fetchall()
    return {bytes(id_): url for id_, url, _ in reversed(rows)}, rows[0][2] if rows else since


async def in_ledger(connection: AsyncConnection[Any], keys: Collection[str]) -> Mapping[str, MailOrigin]:
    """The origins of mails by the ids of their commands."""
    return await _origins(connection, _IN_LEDGER, keys)


async def in_deliveries(connection: AsyncConnection[Any], keys: Collection[str]) -> Mapping[str, MailOrigin]:
    """The same, from the analysts' table."""
    return await _origins(connection, _IN_DELIVERIES, keys)


async def _origins(connection: AsyncConnection[Any], query: str, keys: Collection[str]) -> Mapping[str, MailOrigin]:
    rows = await connection.execute(query.encode(), [list(keys)])
    return {command_id: MailOrigin(*row) async for command_id, *row in rows}
