"""PostgreSQL servers of a test's own, for the tests that kill one, promote its standby or fill its disk."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, LiteralString

import psycopg
from drivers.memory_data import forget_data, new_data
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until

from infra.local.engine import DATABASE, DATABASE_USER, Endpoints
from infra.local.fetching import run
from infra.local.layout import Layout
from infra.local.ports import Ports
from infra.local.timescale.identity import Identity
from infra.local.timescale.server import SETTINGS, TimescaleServer

DISTANCE = 55
"""Of its ports from those of the shared test servers; its standby has the next ones."""
STANDBY = "standby"


class OwnPostgres(TimescaleServer):
    """The local TimescaleDB with lines added to its settings."""

    extra: str = ""

    @property
    def url(self) -> str:
        """The database `ebbtide` of this server alone."""
        return Endpoints.on(self.ports).database_url

    def prepare(self) -> None:
        """Adds the lines."""
        super().prepare()
        with (self.cluster / SETTINGS).open("a") as file:
            file.write(self.extra)

    def ask(self, query: LiteralString, *values: object) -> list[tuple[Any, ...]]:
        """What a query answers."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            return connection.execute(query, values).fetchall()

    def change(self, statement: str) -> None:
        """Carries out a statement that answers nothing."""
        with psycopg.connect(self.url, autocommit=True, connect_timeout=5) as connection:
            connection.execute(statement.encode())

    def own(self, directory: Path) -> None:
        """Gives the server a directory."""
        Identity.choose(self.cluster).own(directory, self.layout.programs)


class Standby(OwnPostgres):
    """A streaming standby, copied from its primary when it starts first."""

    def __init__(self, layout: Layout, ports: Ports, primary: OwnPostgres) -> None:
        super().__init__(layout, ports)
        self._primary = primary
        self.extra = (
            f"primary_conninfo = 'host=127.0.0.1 port={primary.port} user={DATABASE_USER} application_name={STANDBY}'\n"
        )

    def complete(self) -> None:
        """Nothing: it has the database of its primary, and writes none."""

    def promote(self) -> None:
        """It takes writes on return."""
        assert self.ask("SELECT pg_promote()") == [(True,)]

    def _make_cluster(self, new: Path) -> None:
        identity = Identity.choose(self.cluster)
        identity.own(new, self.layout.programs)
        program, cluster = self._program("pg_basebackup"), new / "cluster"
        primary = ["-h", "127.0.0.1", "-p", str(self._primary.port), "-U", DATABASE_USER]
        run(
            [*identity.prefix, program, "-D", cluster, "--checkpoint=fast", "--no-sync", *primary],
            log=self.layout.log("standby-copy"),
            failure="the standby could not be copied",
            marks=("pg_basebackup: error",),
            directory=Path("/"),
        )
        run(
            [*identity.prefix, "touch", cluster / "standby.signal"],
            log=self.layout.log("standby-copy"),
            failure="the standby could not be marked as one",
        )


@contextmanager
def own_postgres(
    servers: RealServers, folder: Path, extra: str = "", *, in_memory: bool = True
) -> Iterator[OwnPostgres]:
    """A server, up, with its data in memory or below `folder`; killed at the end, because it is not needed any more."""
    server = OwnPostgres(Layout.of_project().in_own_partition(folder), Ports(servers.ports.base + DISTANCE))
    server.extra = extra
    if in_memory:
        new_data(folder / "data")
    try:
        server.start()
        yield server
    finally:
        server.kill()
        forget_data(folder / "data")


@contextmanager
def synchronous_standby(primary: OwnPostgres, folder: Path) -> Iterator[Standby]:
    """A standby of a server, up, for which each commit there waits from now on."""
    standby = Standby(Layout.of_project().in_own_partition(folder), Ports(primary.ports.base + 1), primary)
    try:
        standby.start()
        primary.change(f"ALTER SYSTEM SET synchronous_standby_names = '{STANDBY}'")
        primary.ask("SELECT pg_reload_conf()")
        state: LiteralString = "SELECT sync_state FROM pg_stat_replication"
        wait_until(lambda: primary.ask(state) == [("sync",)], "commits wait for the standby")
        yield standby
    finally:
        standby.kill()


def url_of(*servers: OwnPostgres) -> str:
    """The database `ebbtide` on whichever of these servers takes writes."""
    hosts = ",".join(f"127.0.0.1:{server.port}" for server in servers)
    return f"postgresql://{DATABASE_USER}@{hosts}/{DATABASE}?target_session_attrs=read-write"
