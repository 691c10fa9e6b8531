"""Brings a database to the newest revision. Safe to run again, and from several processes at once."""

from pathlib import Path
from typing import cast

import psycopg
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine
from sqlalchemy.engine import make_url
from sqlalchemy.exc import OperationalError
from sqlalchemy.pool import NullPool

MIGRATIONS = Path(__file__).parent / "migrations"
ONE_AT_A_TIME = 7_306_118
"""The advisory lock that a second migrator waits for: an arbitrary number, the same in every version."""


CONNECT_S = 3
"""How long a person waits for a database that does not answer."""


class MigrationError(RuntimeError):
    """The database could not be reached or cannot hold the tables; the message names the next step."""


def require_database(database_url: str) -> None:
    """Raises psycopg.OperationalError where the database does not answer within 3 s."""
    psycopg.connect(database_url, connect_timeout=CONNECT_S).close()


def migrate(database_url: str) -> list[str]:
    """Run what has not run yet. Returns the revisions that were applied, oldest first; none where all had run."""
    url = make_url(database_url).set(drivername="postgresql+psycopg")
    engine = create_engine(url, poolclass=NullPool, connect_args={"connect_timeout": CONNECT_S})
    try:
        with engine.connect() as lock:
            lock.exec_driver_sql(f"SELECT pg_advisory_lock({ONE_AT_A_TIME})")
            lock.commit()
            with engine.connect() as connection:
                return _upgrade(connection)
    except OperationalError as error:
        place = url.render_as_string(hide_password=True)
        said = " ".join(str(error.orig).split())
        raise MigrationError(f"{place}: {said}; `make status` tells what runs, `make up` starts it") from error
    finally:
        engine.dispose()


def _upgrade(connection: Connection) -> list[str]:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    before = _revision(connection)
    connection.rollback()
    command.upgrade(config, "head")
    connection.commit()
    after = _revision(connection)
    revisions = ScriptDirectory.from_config(config).iterate_revisions(cast(str, after), before or "base")
    return [revision.revision for revision in reversed(list(revisions))]


def _revision(connection: Connection) -> str | None:
    return MigrationContext.configure(connection).get_current_revision()
