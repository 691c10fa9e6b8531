"""Runs the migrations of a database. It is safe to run again, and from several processes at once.

A migration is a file of SQL in `migrations/`. Files run in the order of their names, each once and in its own
transaction; the table `schema_migrations` names those that ran. One that does not get at a table soon lets others go
before it and tries again, for two minutes.
"""

from collections.abc import Collection, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from time import sleep
from typing import Any, LiteralString

import psycopg
from psycopg import Connection

from infra.postgres.address import shown
from infra.postgres.error_words import absent_name, outage_words
from schemas.errors import UserError

MIGRATIONS = Path(__file__).parent / "migrations"
LOCK = 7_306_118
"""The advisory lock that a second migrator waits for: an arbitrary number, the same in every version."""
LOCK_S = 3
"""How long a migration waits for a table: whoever uses that table next waits behind it."""
LOCK_TRIES = 20
"""How often it tries, with a rest as long as the wait, in which others get at the table."""
CONNECT_S = 3
"""How long a person waits for a database that does not answer."""

_HISTORY = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    name       text PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""

_OLDEST = """SELECT pid, xact_start AT TIME ZONE 'UTC' FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid() AND backend_type = 'client backend'
      AND xact_start IS NOT NULL ORDER BY xact_start LIMIT 1"""


class MigrationError(UserError):
    """The database could not be reached or migrated; the message names the next step."""


@contextmanager
def require_migrated() -> Iterator[None]:
    """Raises MigrationError if a query of the block names what the database does not have yet."""
    try:
        yield
    except (psycopg.errors.UndefinedTable, psycopg.errors.UndefinedColumn, psycopg.errors.UndefinedFunction) as error:
        lacking = f"it has no {absent_name(error)}"
        raise MigrationError(f"the database is older than this program: {lacking}; run `ebbtide migrate`") from None


def require_database(database_url: str) -> None:
    """Raises psycopg.OperationalError if the database does not answer within 3 s."""
    psycopg.connect(database_url, connect_timeout=CONNECT_S).close()


def applied(connection: Connection[Any]) -> list[str]:
    """The names of the migrations that have run, oldest first."""
    return [name for (name,) in connection.execute("SELECT name FROM schema_migrations ORDER BY name")]


def migrate(database_url: str, only: Collection[str] | None = None) -> list[str]:
    """Runs the migrations that have not run yet, of those in `only` if that is given.

    Returns their names, oldest first; raises MigrationError.
    """
    try:
        with closing(psycopg.connect(database_url, autocommit=True, connect_timeout=CONNECT_S)) as connection:
            connection.execute("SELECT pg_advisory_lock(%s)", [LOCK])
            return _run_missing(connection, only)
    except psycopg.OperationalError as error:
        raise _away(database_url, error) from error


def migrate_both(database_url: str, ledger_url: str) -> list[str]:
    """The same for the database of the hypertables and that of the ledger, which may be one. Both get all tables.

    Raises MigrationError, and changes nothing in the ledger's, if a ledger would begin anew beside one that is in use:
    its suppressions and what waits in it would be left behind.
    """
    ran = migrate(database_url)
    if ledger_url == database_url:
        return ran
    if _is_new(ledger_url) and _is_used(database_url):
        raise MigrationError(
            f"{shown(ledger_url)} has no ledger, and {shown(database_url)} has one that is in use: keep that as "
            "EBBTIDE_LEDGER_URL, and give EBBTIDE_DATABASE_URL a new database (docs/operating.md)"
        )
    return ran + [f"{name} (ledger)" for name in migrate(ledger_url)]


def _is_new(url: str) -> bool:
    return _value(url, "SELECT to_regclass('ledger_ids') IS NULL")


def _is_used(url: str) -> bool:
    return _value(
        url,
        """SELECT EXISTS (SELECT FROM ledger_ids) OR EXISTS (SELECT FROM recipients)
               OR EXISTS (SELECT FROM suppressions) OR EXISTS (SELECT FROM suppression_audit)""",
    )


def _value(url: str, query: LiteralString) -> bool:
    try:
        with closing(psycopg.connect(url, connect_timeout=CONNECT_S)) as connection:
            [[value]] = connection.execute(query).fetchall()
            return bool(value)
    except psycopg.OperationalError as error:
        raise _away(url, error) from error


def _away(url: str, error: psycopg.OperationalError) -> MigrationError:
    return MigrationError(
        f"{shown(url)} does not answer ({outage_words(error)}); `make status` shows what runs, `make up` starts it"
    )


def _run_missing(connection: Connection[Any], only: Collection[str] | None) -> list[str]:
    connection.execute(_HISTORY)
    done = {*applied(connection)}
    wanted = [file for file in sorted(MIGRATIONS.glob("*.sql")) if only is None or file.stem in only]
    files = [file for file in wanted if file.stem not in done]
    for file in files:
        _run_patiently(connection, file)
    return [file.stem for file in files]


def _run_patiently(connection: Connection[Any], file: Path) -> None:
    for _ in range(LOCK_TRIES):
        try:
            _run(connection, file)
        except psycopg.errors.LockNotAvailable:
            sleep(LOCK_S)
        else:
            return
    raise MigrationError(
        f"{file.stem}: its tables are in use{_oldest(connection)}, and nothing of it was kept; once they are free, run "
        "`ebbtide migrate` again"
    )


def _run(connection: Connection[Any], file: Path) -> None:
    with connection.transaction():
        connection.execute("SELECT set_config('lock_timeout', %s, true)", [f"{LOCK_S}s"])
        connection.execute(file.read_bytes())
        connection.execute("INSERT INTO schema_migrations (name) VALUES (%s)", [file.stem])


def _oldest(connection: Connection[Any]) -> str:
    """The transaction that most likely holds a table, such as that of a backup."""
    for pid, since in connection.execute(_OLDEST):
        return f" (the oldest transaction is of server process {pid}, since {since:%H:%M:%S} UTC)"
    return ""
