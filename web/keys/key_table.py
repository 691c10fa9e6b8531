"""The tables `write_keys` and `write_key_audit`: what workers read of them, and what commands change in them."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from psycopg import AsyncConnection, Connection
from psycopg.rows import args_row, class_row

from infra.postgres.columns import fields_of, statement
from web.keys.write_key import KeyClass, WriteKey


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as it is kept, without the hash of its secret."""

    id: str
    key_class: KeyClass
    source: str
    origins: tuple[str, ...]
    events_per_s: float | None
    created_at: datetime
    ends_at: datetime | None = None
    """When it stops being valid. None if that is not planned."""
    replaces: str | None = None
    """The id of the key whose successor it is."""

    @property
    def write_key(self) -> WriteKey:
        """What ingest knows of it."""
        return WriteKey(self.id, self.key_class, self.source, self.origins, self.events_per_s)

    def is_valid(self, at: datetime) -> bool:
        """Whether it may be used then."""
        return self.ends_at is None or self.ends_at > at


@dataclass(frozen=True, slots=True)
class KeyChange:
    """A line of the audit."""

    id: int
    at: datetime
    by: str
    action: str
    key_id: str


_COLUMNS = "id, class, source, origins, events_per_s, created_at, ends_at, replaces"
_ALL = f"SELECT {_COLUMNS} FROM write_keys ORDER BY created_at DESC, id"  # noqa: S608  # names of ours
_VALID = f"SELECT secret_hash, {_COLUMNS} FROM write_keys WHERE ends_at IS NULL OR ends_at > now()"  # noqa: S608
_ADD = f"""INSERT INTO write_keys (secret_hash, {_COLUMNS})
           VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)"""  # noqa: S608
_END = "UPDATE write_keys SET ends_at = %(ends)s WHERE id = %(id)s AND (ends_at IS NULL OR ends_at > %(ends)s)"
_NOTE = "INSERT INTO write_key_audit (at, by, action, key_id) VALUES (%s, %s, %s, %s)"
_HISTORY = statement("SELECT {change} FROM write_key_audit WHERE key_id = %s ORDER BY id", change=fields_of(KeyChange))


async def valid_keys(connection: AsyncConnection[Any]) -> dict[bytes, KeyRow]:
    """The keys that have not ended by the server's clock, by the hash of their secret."""
    cursor = await connection.execute(_VALID)
    return {bytes(secret_hash): _row(*columns) async for secret_hash, *columns in cursor}


def all_keys(connection: Connection[Any]) -> list[KeyRow]:
    """Every key that ever was, the newest first."""
    return list(connection.cursor(row_factory=args_row(_row)).execute(_ALL))


def history(connection: Connection[Any], key_id: str) -> list[KeyChange]:
    """What was done to a key, the oldest first."""
    return list(connection.cursor(row_factory=class_row(KeyChange)).execute(_HISTORY, [key_id]))


def add(connection: Connection[Any], row: KeyRow, secret_hash: bytes, by: str) -> None:
    """Keeps a new key."""
    _insert(connection, row, secret_hash)
    connection.execute(_NOTE, [row.created_at, by, "add", row.id])


def rotate(connection: Connection[Any], successor: KeyRow, secret_hash: bytes, ends_at: datetime, by: str) -> None:
    """Keeps a successor of the key that it replaces, which ends then, or sooner if that was planned."""
    _insert(connection, successor, secret_hash)
    connection.execute(_END, {"id": successor.replaces, "ends": ends_at})
    connection.execute(_NOTE, [successor.created_at, by, "rotate", successor.replaces])
    connection.execute(_NOTE, [successor.created_at, by, "add", successor.id])


def revoke(connection: Connection[Any], key_id: str, at: datetime, by: str) -> None:
    """Ends a key now."""
    connection.execute(_END, {"id": key_id, "ends": at})
    connection.execute(_NOTE, [at, by, "revoke", key_id])


def _insert(connection: Connection[Any], row: KeyRow, secret_hash: bytes) -> None:
    values = [row.id, row.key_class, row.source, list(row.origins), row.events_per_s]
    connection.execute(_ADD, [secret_hash, *values, row.created_at, row.ends_at, row.replaces])


def _row(key_id: str, key_class: str, source: str, origins: list[str], *rest: Any) -> KeyRow:
    return KeyRow(key_id, KeyClass(key_class), source, tuple(origins), *rest)
