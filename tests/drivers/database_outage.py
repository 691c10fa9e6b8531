"""Takes one database of the test servers away, as an outage does, and gives it back."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import psycopg
from drivers.real_servers import RealServers
from psycopg import sql


@contextmanager
def database_away(servers: RealServers, url: str) -> Iterator[Callable[[], None]]:
    """Within the block the database ends its connections and takes no others, until what this yields is called."""
    name = url.rpartition("/")[2]
    with psycopg.connect(servers.database_url("postgres"), autocommit=True) as administrator:

        def allow(*, connections: bool) -> None:
            words = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
            administrator.execute(words.format(sql.Identifier(name), sql.Literal(connections)))

        allow(connections=False)
        administrator.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        yield lambda: allow(connections=True)
