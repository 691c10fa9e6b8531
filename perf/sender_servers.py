"""The servers of the benchmark of delivery: Kafka, PostgreSQL and a sink of their own, and what they spent."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import psycopg

from infra.kafka.topic_setup import ensure_topics
from infra.local.layout import Layout
from infra.local.native import NativeEngine
from infra.local.ports import Ports
from infra.local.sink_process import ProviderSink
from perf.threads import TICKS_S

PORT_OFFSET = 330
PARTITIONS = 16
LEDGER = r"^(ledger|settled|command)"
"""The tables that delivery keeps commands in, whatever revision made them."""
KEPT = r"^(ledger$|ledger_outcomes|ledger_ids|settled|command)"
"""Those of them whose rows stay. The queue and the outbox keep the size of the longest queue so far, for what comes."""
_MIGRATE = "import sys; from infra.postgres.migrate import migrate; migrate(sys.argv[1])"


@dataclass(frozen=True, slots=True)
class DatabaseUse:
    """What PostgreSQL has spent and written up to a moment."""

    cpu_s: float
    wal_at: str


class SenderServers:
    """Fresh for each contender. Leaving the `with` block stops them and deletes their data."""

    def __init__(self) -> None:
        layout = Layout.of_project()
        ports = Ports(Ports.from_env().base + PORT_OFFSET)
        self.home = layout.home / "perf" / str(ports.base)
        self._engine = NativeEngine(ports, layout.in_own_partition(self.home))
        self.sink_port = ports.smtp
        self.web_port = ports.senders_web

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._remove()

    def _remove(self) -> None:
        self._engine.down()
        for folder in ("data", "sink"):
            shutil.rmtree(self.home / folder, ignore_errors=True)

    @property
    def kafka(self) -> str:
        """Kafka's bootstrap server."""
        return self._engine.endpoints.kafka

    @property
    def database_url(self) -> str:
        """The database."""
        return self._engine.endpoints.database_url

    def fresh(self, tree: Path) -> None:
        """Starts them without data, with the topics, and with the tables of the revision in `tree`."""
        self._remove()
        self._engine.up()
        ensure_topics(self.kafka, PARTITIONS)
        with self.connection() as connection:
            connection.execute("CREATE EXTENSION IF NOT EXISTS pg_walinspect")
        subprocess.run(
            [sys.executable, "-c", _MIGRATE, self.database_url], cwd=tree, env=tree_environment(tree), check=True
        )

    @contextmanager
    def sink(self, name: str, script: str = "") -> Iterator[ProviderSink]:
        """A sink with a folder of its own."""
        with ProviderSink(self.sink_port, self.home / "sink" / name, script) as sink:
            yield sink

    @contextmanager
    def connection(self) -> Iterator[psycopg.Connection]:
        """A connection to the database, in autocommit."""
        with psycopg.connect(self.database_url, autocommit=True) as connection:
            yield connection

    def delivered(self) -> int:
        """How many commands have the row of an accepted mail in `deliveries`."""
        with self.connection() as connection:
            row = connection.execute("SELECT count(*) FROM deliveries WHERE kind = 'accepted'").fetchone()
        return int(row[0]) if row else 0

    def database_use(self) -> DatabaseUse:
        """What PostgreSQL has spent so far, all its processes together."""
        postmaster = self._engine.timescale.process()
        assert postmaster is not None, "it runs"
        with self.connection() as connection:
            row = connection.execute("SELECT pg_current_wal_insert_lsn()").fetchone()
        assert row is not None, "it is one row"
        return DatabaseUse(cpu_of(postmaster.pid, with_children=True), str(row[0]))

    def wal_bytes(self, since: DatabaseUse, until: DatabaseUse) -> tuple[int, int]:
        """The WAL between two moments: all of it, and the records of the ledger's tables and indexes."""
        with self.connection() as connection:
            every = connection.execute("SELECT pg_wal_lsn_diff(%s, %s)", [until.wal_at, since.wal_at]).fetchone()
            ledger = connection.execute(
                """SELECT coalesce(sum(record_length), 0) FROM pg_get_wal_block_info(%s, %s)
                   WHERE block_id = 0 AND relfilenode IN (
                       SELECT pg_relation_filenode(c.oid) FROM pg_class c LEFT JOIN pg_index i ON i.indexrelid = c.oid
                       LEFT JOIN pg_class t ON t.oid = i.indrelid WHERE coalesce(t.relname, c.relname) ~ %s)""",
                [since.wal_at, until.wal_at, LEDGER],
            ).fetchone()
        assert every is not None
        assert ledger is not None
        return int(every[0]), int(ledger[0])

    def ledger_bytes(self) -> int:
        """The size of the tables that keep what is settled, with their indexes, at rest."""
        with self.connection() as connection:
            names = connection.execute(
                "SELECT oid::regclass::text FROM pg_class WHERE relkind = 'r' AND relname ~ %s", [KEPT]
            ).fetchall()
            for (name,) in names:
                connection.execute(f"VACUUM {name}")
            sizes = connection.execute(
                """SELECT coalesce(sum(pg_total_relation_size(oid)), 0) FROM pg_class
                   WHERE relkind = 'r' AND relname ~ %s""",
                [KEPT],
            ).fetchone()
        return int(sizes[0]) if sizes else 0


def tree_environment(tree: Path) -> dict[str, str]:
    """The environment in which Python imports the revision in `tree`."""
    return {**os.environ, "PYTHONPATH": str(tree)}


def cpu_of(pid: int, *, with_children: bool) -> float:
    """Seconds of CPU that a process has used and, on request, its children: those that ended and those that run."""
    own = _times(pid)
    if not with_children:
        return (own[0] + own[1]) / TICKS_S
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    running = [_times(int(child)) for child in children]
    return (sum(own) + sum(used[0] + used[1] for used in running)) / TICKS_S


def _times(pid: int) -> tuple[int, int, int, int]:
    """User and system time in ticks, and those of its children that have ended; zeros if the process has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return 0, 0, 0, 0
    user, system, children_user, children_system = map(int, fields[11:15])
    return user, system, children_user, children_system
