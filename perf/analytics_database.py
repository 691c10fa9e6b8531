"""A database with the facts of the seeded programme, their rollups and the histories."""

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, TypeVar

import psycopg
from psycopg import Connection

from cli.analytics import histories
from infra.local.layout import Layout
from infra.local.native import NativeEngine
from infra.local.ports import Ports
from infra.postgres.migrate import migrate
from perf.programme import FIRST_DAY, Programme
from schemas.vocabulary import ENGAGEMENT as OF_READERS
from senders.recording import tables
from senders.recording.hypertables import DECISIONS, DELIVERIES, ENGAGEMENT

PORT_OFFSET = 340
BATCH = 5_000
T = TypeVar("T")


@contextmanager
def own_server() -> Iterator[str]:
    """The URL of a database on a TimescaleDB of its own, migrated. Its data is removed at the end."""
    layout = Layout.of_project()
    ports = Ports(Ports.from_env().base + PORT_OFFSET)
    home = layout.home / "perf" / str(ports.base)
    engine = NativeEngine(ports, layout.in_own_partition(home))
    server = engine.timescale
    server.install()
    shutil.rmtree(home / "data", ignore_errors=True)  # of a run that was killed
    server.start()
    try:
        migrate(engine.endpoints.database_url)
        yield engine.endpoints.database_url
    finally:
        server.stop()
        shutil.rmtree(home / "data", ignore_errors=True)


def fill(url: str, programme: Programme) -> None:
    """Records the facts as the recorder does, and computes the histories."""
    deliveries = [fact for fact in programme.outcomes if fact.kind not in OF_READERS]
    engagement = [fact for fact in programme.outcomes if fact.kind in OF_READERS]
    with psycopg.connect(url, autocommit=True, options="-c timezone=UTC") as connection:
        for table, facts in ((DECISIONS, programme.decisions), (DELIVERIES, deliveries), (ENGAGEMENT, engagement)):
            for batch in _batches(facts):
                with connection.transaction():
                    tables.write(connection, {table: batch})
        compute_histories(connection, programme)


def known_until(programme: Programme) -> datetime:
    """A month after its end: what has not converted by then is lost."""
    return programme.end + timedelta(days=31)


def compute_histories(connection: Connection[Any], programme: Programme) -> None:
    """Paths and subjects of the whole programme."""
    known = known_until(programme)
    histories.compute_paths(connection, FIRST_DAY, known, known)
    histories.compute_subjects(connection)


def _batches(facts: Sequence[T]) -> Iterator[Sequence[T]]:
    return (facts[start : start + BATCH] for start in range(0, len(facts), BATCH))
