"""The local TimescaleDB as one PostgreSQL process and its children, on loopback.

Anyone who can log in on this machine can connect to it as superuser: it is for development and tests only.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import ClassVar

import psycopg
from psycopg import sql

from infra.local.engine import DATABASE, DATABASE_USER, Endpoints
from infra.local.fetching import installing, run
from infra.local.server import NativeServer
from infra.local.timescale import install
from infra.local.timescale.identity import Identity
from infra.service import processes

SETTINGS = "ebbtide.conf"
CONNECT_TIMEOUT_S = 5
ORPHANS_TIMEOUT_S = 10.0


class TimescaleServer(NativeServer):
    """PostgreSQL 17 with TimescaleDB loaded, and the database `ebbtide`."""

    name: ClassVar[str] = "timescale"
    stop_signal: ClassVar[signal.Signals] = signal.SIGINT  # "fast": open transactions are rolled back

    @property
    def port(self) -> int:
        """PostgreSQL's only listener."""
        return self.ports.postgres

    @property
    def cluster(self) -> Path:
        """Its data directory."""
        return self.layout.data(self.name) / "cluster"

    @property
    def marks(self) -> tuple[Path, ...]:
        """The program and the data directory of the postmaster; its children show a title instead of the program."""
        return (self._program("postgres").resolve(), self.cluster)

    def install(self) -> bool:
        """Installs the programs."""
        return install.install(self.layout)

    def prepare(self) -> None:
        """Makes the cluster once, writes its settings, and removes what a killed server left."""
        data = self.layout.data(self.name)
        if not data.exists():
            with installing(data, install.LAYOUT_VERSION) as new:
                self._make_cluster(new)
        self._clear_remains()
        settings = self.cluster / SETTINGS
        settings.write_text(SERVER_SETTINGS.format(port=self.port))
        settings.chmod(0o644)

    def command(self) -> list[str | Path]:
        """The postmaster in the foreground, in its own session."""
        return [*Identity.choose(self.cluster).prefix, self._program("postgres"), "-D", self.cluster]

    def ready(self) -> bool:
        """Whether it answers a query."""
        try:
            with self._connection("postgres") as connection:
                connection.execute("SELECT 1")
        except psycopg.OperationalError:
            return False
        return True

    def complete(self) -> None:
        """Creates the database `ebbtide` and its extension, if they are missing."""
        with self._connection("postgres") as connection:
            if not connection.execute("SELECT FROM pg_database WHERE datname = %s", [DATABASE]).rowcount:
                connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(DATABASE)))
        with self._connection(DATABASE) as connection:
            connection.execute("SET client_min_messages = error")  # the extension prints a banner
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")

    def _program(self, name: str) -> Path:
        return install.bin_directory(self.layout) / name

    @contextmanager
    def _connection(self, database: str) -> Iterator[psycopg.Connection]:
        url = Endpoints.on(self.ports, database).database_url
        with closing(psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S)) as connection:
            yield connection

    def _make_cluster(self, new: Path) -> None:
        identity = Identity.choose(self.cluster)
        identity.own(new, self.layout.programs)
        cluster = new / "cluster"
        initdb: list[str | Path] = [
            self._program("initdb"),
            "-D",
            cluster,
            "-U",
            DATABASE_USER,
            "--auth=trust",
            "--encoding=UTF8",
        ]
        run(
            # --no-sync: there is no data to lose yet. The server itself runs with fsync.
            [*identity.prefix, *initdb, "--locale=C.UTF-8", "--no-sync", "--no-instructions"],
            log=self.layout.log("timescale-initdb"),
            failure="PostgreSQL could not make its data directory",
            marks=("initdb: error", "initdb:"),
            directory=Path("/"),
        )
        with (cluster / "postgresql.conf").open("a") as main:
            main.write(f"include = '{SETTINGS}'\n")

    def _clear_remains(self) -> None:
        """After a SIGKILL of the postmaster: waits until its children end, and removes its pid file.

        PostgreSQL removes a stale pid file itself, but not if the pid now belongs to a zombie or to another program.
        Here the start time has shown that our server does not run.
        """
        programs = self.layout.programs.resolve()

        def children() -> list[int]:
            return processes.working_in(self.cluster.resolve(), programs)

        if not processes.wait_until(lambda: not children(), ORPHANS_TIMEOUT_S):
            for pid in children():
                os.kill(pid, signal.SIGKILL)
            processes.wait_until(lambda: not children(), ORPHANS_TIMEOUT_S)
        (self.cluster / "postmaster.pid").unlink(missing_ok=True)


SERVER_SETTINGS = """# Written at each start.
listen_addresses = '127.0.0.1'
port = {port}
# No socket: its path may not be longer than 107 bytes, and its lock file outlives a crash.
unix_socket_directories = ''
shared_preload_libraries = 'timescaledb'
timescaledb.telemetry_level = off
# In the Apache edition they can do nothing, but would hold connections to every database.
timescaledb.max_background_workers = 0
max_connections = 200
max_locks_per_transaction = 256
shared_buffers = 512MB
max_wal_size = 4GB
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_min_messages = warning
log_checkpoints = off
"""
