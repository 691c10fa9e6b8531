"""A database of a benchmark's own, on a PostgreSQL that there is."""

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg
from psycopg.sql import SQL, Identifier

from infra.postgres.migrate import migrate


@contextmanager
def own_database(server: str, name: str) -> Iterator[str]:
    """The URL of a new, migrated database beside that of the URL `server`. It is dropped at the end."""
    database = f"bench_{name}_{uuid.uuid4().hex[:8]}"
    with closing(psycopg.connect(server, autocommit=True)) as connection:
        connection.execute(SQL("CREATE DATABASE {}").format(Identifier(database)))
        try:
            url = server.rpartition("/")[0] + f"/{database}"
            migrate(url)
            yield url
        finally:
            connection.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(database)))
