"""A database of a benchmark's own, on a PostgreSQL that there is."""

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Annotated

import psycopg
import typer
from psycopg.conninfo import conninfo_to_dict
from psycopg.sql import SQL, Identifier

from infra.local.engine import Endpoints
from infra.local.ports import Ports
from infra.postgres.migrate import migrate


def _local_database() -> str:
    return Endpoints.on(Ports.from_env()).database_url


DatabaseServer = Annotated[
    str,
    typer.Option(
        "--database",
        envvar="EBBTIDE_DATABASE_URL",
        default_factory=_local_database,
        show_default="that of `make up`",
        help="A database of a PostgreSQL in which a new one can be made.",
    ),
]


@contextmanager
def own_database(server: str, name: str) -> Iterator[str]:
    """The URL of a new, migrated database beside that of the URL `server`. It is dropped at the end."""
    database = f"bench_{name}_{uuid.uuid4().hex[:8]}"
    with closing(_connection(server)) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(database)))
        try:
            url = server.rpartition("/")[0] + f"/{database}"
            migrate(url)
            yield url
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(database)))


def _connection(server: str) -> psycopg.Connection:
    try:
        return psycopg.connect(server, autocommit=True)
    except psycopg.OperationalError:
        found = conninfo_to_dict(server)
        raise SystemExit(
            f"no PostgreSQL takes a connection at {found.get('host')}:{found.get('port')}: start it with `make up`, or "
            "name another with --database"
        ) from None
