"""Makes a backup: first where readers stand, then the databases, then rules and switches.

In this order what is read again after a restore may be in the databases already, and nothing is missing: every reader
takes a record that it has for known.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg
from psycopg import Connection

from cli.backup import folder as folders
from cli.backup import kafka_state
from cli.backup.folder import BackupManifest, DatabaseCopy, WrongBackup
from cli.environment import Environment
from cli.step_printer import StepPrinter
from infra.postgres import table_copy
from infra.postgres.migrate import applied
from schemas.topics import OUTCOMES

LEDGER, TIMESCALE = "ledger", "timescale"


def databases(environment: Environment) -> dict[str, str]:
    """The URLs of the databases by their names in a backup; one where the ledger has none of its own."""
    apart = environment.ledger_url != environment.database_url
    return {LEDGER: environment.ledger_url} | ({TIMESCALE: environment.database_url} if apart else {})


def make(environment: Environment, to: Path, printer: StepPrinter, *, only: str | None = None) -> BackupManifest:
    """Write a backup into a folder that is new or empty, of one table if `only` names it. Raises WrongBackup."""
    if to.exists() and any(to.iterdir()):
        raise WrongBackup(f"{to}: not empty; name a new folder")
    to.mkdir(mode=0o700, parents=True, exist_ok=True)
    kafka, began = environment.kafka, datetime.now(UTC)
    with printer.step("offsets"):
        groups = {group: kafka_state.committed(kafka, group, topics) for group, topics in kafka_state.GROUPS.items()}
        ends = {OUTCOMES.name: kafka_state.ends(kafka, OUTCOMES.name)}
    copies, migrations = {}, []
    for name, url in databases(environment).items():
        with _snapshot(url) as connection:
            migrations = applied(connection)
            copies[name] = _copy(connection, to / name, name, printer, only)
    for topic in () if only else kafka_state.WHOLE:
        with printer.step(f"topic {topic}"):
            kafka_state.save_topic(kafka, topic, to)
    with printer.step("checksums"):
        digests = folders.digests(to)
    cluster, partitions = kafka_state.cluster_id(kafka), kafka_state.partitions(kafka)
    manifest = BackupManifest(began, cluster, partitions, migrations, copies, groups, ends, digests)
    manifest.write(to)
    return manifest


def _copy(connection: Connection[Any], to: Path, name: str, printer: StepPrinter, only: str | None) -> DatabaseCopy:
    to.mkdir(mode=0o700)
    tables = [table for table in table_copy.tables(connection) if only in (None, table.name)]
    with printer.step(f"database {name}", len(tables)) as step:
        for number, table in enumerate(tables):
            step.at(number, table.name)
            table_copy.copy_out(connection, table, to)
    return DatabaseCopy(tables, table_copy.sequences(connection))


@contextmanager
def _snapshot(url: str) -> Iterator[Connection[Any]]:
    """A transaction that sees one moment of a database."""
    with psycopg.connect(url, options="-c timezone=UTC") as connection:
        connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        connection.read_only = True
        yield connection
