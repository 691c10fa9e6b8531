"""Runs the migrations of a database. It is safe to run again, and from several processes at once.

A migration is a file of SQL in `migrations/`. Files run in the order of their names, each once and in its own
transaction; the table `schema_migrations` names those that ran.
"""

from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
from psycopg import Connection

from schemas.errors import UserError

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 7_306_118
"""The advisory lock that a second migrator waits for: an arbitrary number, the same in every version."""
CONNECT_S = 3
"""How long a person waits for a database that does not answer."""

_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class MigrationError(UserError):
    """The database could not be reached or migrated; the message names the next step."""


def require_database(database_url: str) -> None:
    """Raises psycopg.OperationalError if the database does not answer within 3 s."""
    psycopg.connect(database_url, connect_timeout=CONNECT_S).close()


def migrate(database_url: str) -> list[str]:
    """Runs the migrations that have not run yet. Returns their names, oldest first; raises MigrationError."""
    try:
        with closing(psycopg.connect(database_url, autocommit=True, connect_timeout=CONNECT_S)) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            return _run_missing(connection)
    except psycopg.OperationalError as error:
        place, reason = _without_password(database_url), " ".join(str(error).split())
        raise MigrationError(f"{place}: {reason}; `make status` shows what runs, `make up` starts it") from error


def _run_missing(connection: Connection[Any]) -> list[str]:
    connection.execute(_HISTORY)
    applied = {name for (name,) in connection.execute("SELECT name FROM schema_migrations")}
    files = [file for file in sorted(MIGRATIONS.glob("*.sql")) if file.stem not in applied]
    for file in files:
        with connection.transaction():
            connection.execute(file.read_bytes())
            connection.execute("INSERT INTO schema_migrations (name) VALUES (%s)", [file.stem])
    return [file.stem for file in files]


def _without_password(database_url: str) -> str:
    parts = urlsplit(database_url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
