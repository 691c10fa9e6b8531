"""The real Kafka and TimescaleDB that tests run against, shared by all pytest sessions of one checkout.

They are native processes; with EBBTIDE_TEST_SERVERS=containers, containers of the official images. Each process of
pytest-xdist has servers of its own, because topics and consumer groups have fixed names.
"""

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import psycopg
from drivers.memory_data import forget_data, new_data
from psycopg import sql

from infra.local.choice import choose_engine
from infra.local.engine import Endpoints, Engine, Server
from infra.local.fetching import locked
from infra.local.layout import Layout
from infra.local.ports import Ports
from infra.local.problems import SetupProblem
from infra.postgres.migrate import MIGRATIONS, migrate

ENGINES = {"": "native", "native": "native", "containers": "compose"}
EMPTY = "ebbtide_template"
MIGRATED = "ebbtide_migrated_"
"""Migrations make partitions for the coming days: the template's name has the day, and what the migrations are."""
PORTS_APART = 10
"""Between the servers of two processes of pytest-xdist."""
MOST_PROCESSES = 4
"""Further ones would take the ports of `own_broker`: `test_ports_apart` counts them."""


class RealServers:
    """Where the servers answer, and how to make a database or take a server away."""

    def __init__(self, engine: Engine, ports: Ports) -> None:
        self.engine = engine
        self.ports = ports
        self.kafka = engine.endpoints.kafka
        self.kafka_server: Server = engine.kafka
        self.timescale_server: Server = engine.timescale
        self._migrated = f"{MIGRATED}{datetime.now(UTC):%Y%m%d}_{_migrations_hash()}"

    def database_url(self, name: str) -> str:
        """The URL of the database called `name`, whether or not there is one."""
        return Endpoints.on(self.ports, name).database_url

    def create_database(self, name: str | None = None, *, empty: bool = False) -> str:
        """The URL of a new, migrated database; with `empty`, of one that has nothing but the extension timescaledb."""
        name = name or f"test_{uuid.uuid4().hex[:16]}"
        self._administer("CREATE DATABASE {} TEMPLATE {} STRATEGY file_copy", name, EMPTY if empty else self._migrated)
        return self.database_url(name)

    def drop_database(self, url: str) -> None:
        """Remove the database, even if clients are still connected to it."""
        self._administer("DROP DATABASE IF EXISTS {} WITH (FORCE)", url.rpartition("/")[2])

    def spare_the_disk(self) -> None:
        """Let PostgreSQL not wait for the disk: what it wrote outlives its death, though not that of the machine."""
        for setting in ("fsync", "full_page_writes"):
            self._administer("ALTER SYSTEM SET {} = off", setting)
        self._administer("ALTER SYSTEM SET max_wal_size = '256MB'")  # its data are in memory
        self._administer("SELECT pg_reload_conf()")

    def make_templates(self) -> None:
        """Have the databases that new ones are copied from: a copy takes a tenth of the time of the migrations."""
        self._create_missing(EMPTY, "template1")
        with closing(psycopg.connect(self.database_url(EMPTY), autocommit=True)) as connection:
            connection.execute("SET client_min_messages = error")
            connection.execute("CREATE EXTENSION IF NOT EXISTS timescaledb")
        self._create_missing(self._migrated, EMPTY)
        migrate(self.database_url(self._migrated))

    def _create_missing(self, name: str, template: str) -> None:
        with suppress(psycopg.errors.DuplicateDatabase):
            self._administer("CREATE DATABASE {} TEMPLATE {}", name, template)

    def _administer(self, statement: str, *names: str) -> None:
        with closing(psycopg.connect(self.database_url("postgres"), autocommit=True)) as connection:
            connection.execute(sql.SQL(statement).format(*map(sql.Identifier, names)))


def _migrations_hash() -> str:
    files = sorted(MIGRATIONS.glob("*.sql"))
    return sha256(b"".join(file.name.encode() + file.read_bytes() for file in files)).hexdigest()[:12]


def stop_abandoned_servers() -> None:
    """Stops test servers that no pytest session of this checkout uses, as those of killed processes."""
    for home in _home().glob("*"):
        with (home / "users.lock").open("a") as users, suppress(BlockingIOError):
            fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _stop(_engine(home, Ports(int(home.name))), home)


@contextmanager
def real_servers() -> Iterator[RealServers]:
    """The servers, up, with no data of earlier sessions. Whichever pytest session is the last to leave stops them, also
    those that a crash left.
    """
    ports = _ports()
    home = _home() / str(ports.base)
    engine = _engine(home, ports)
    home.mkdir(parents=True, exist_ok=True)
    with (home / "users.lock").open("a") as users:
        fcntl.flock(users, fcntl.LOCK_SH)
        with locked(home / "run" / "start.lock"):
            _start(engine, home)
        try:
            servers = RealServers(engine, ports)
            with locked(home / "run" / "template.lock"):
                servers.spare_the_disk()
                servers.make_templates()
            yield servers
        finally:
            with suppress(BlockingIOError):  # another session still uses them
                fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
                _stop(engine, home)


def _start(engine: Engine, home: Path) -> None:
    if all(status.state == "stopped" for status in engine.status()):
        new_data(home / "data")
    engine.up()


def _stop(engine: Engine, home: Path) -> None:
    engine.down()
    forget_data(home / "data")


def _ports() -> Ports:
    number = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    if number >= MOST_PROCESSES:
        raise SetupProblem(
            f"at most {MOST_PROCESSES} test processes can have servers: run pytest with -n {MOST_PROCESSES}"
        )
    return Ports(Ports.from_env().for_tests().base + number * PORTS_APART)


def _home() -> Path:
    return Layout.of_project().home / "test"


def _engine(home: Path, ports: Ports) -> Engine:
    return choose_engine(ENGINES[os.environ.get("EBBTIDE_TEST_SERVERS", "")], home, ports)
