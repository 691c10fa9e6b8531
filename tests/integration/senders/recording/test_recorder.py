"""The recorder while the ledger, in a database of its own, is away, and beside one that stands still."""

from collections.abc import Iterator
from datetime import UTC, datetime
from threading import Event
from typing import Any

import psycopg
import pytest
from drivers.free_ports import free_port
from drivers.real_servers import RealServers
from psycopg import Connection

from infra.kafka.connection import Connection as KafkaConnection
from infra.postgres.database import Database, Shutdown
from infra.service.outages import Outage
from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind
from senders.queue.observer import LedgerObserver
from senders.recording import tables
from senders.recording.recorder import Recorder

pytestmark = pytest.mark.servers


class ReportCounter(LedgerObserver):
    """The reports that were counted."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, str, str]] = []

    def reported(self, kind: str, provider: str, purpose: str) -> None:
        self.reports.append((kind, provider, purpose))


def away() -> str:
    """A database whose server does not answer."""
    return f"postgresql://ebbtide@127.0.0.1:{free_port()}/ebbtide"


def outcome(trigger: str | None) -> Outcome:
    return Outcome(
        id="o1",
        command_id="c1",
        user_id="u1",
        kind=OutcomeKind.COMPLAINED,
        time=datetime.now(UTC),
        trigger=trigger,
        purpose=trigger and "marketing",
    )


@pytest.fixture
def observer() -> ReportCounter:
    return ReportCounter()


def recorder(servers: RealServers, url: str, ledger_url: str, outage: Outage, observer: ReportCounter) -> Recorder:
    """A recorder that stops where it would wait for a server."""
    halt = Event()
    halt.set()
    database, ledger = Database(url, outage, halt), Database(ledger_url, Outage("ledger"), halt)
    return Recorder(KafkaConnection(servers.kafka), database, ledger, halt, ledger_observer=observer)


@pytest.fixture
def recorded(servers: RealServers, database_url: str, observer: ReportCounter) -> Iterator[Recorder]:
    """A recorder without its ledger."""
    made = recorder(servers, database_url, away(), Outage("timescale"), observer)
    yield made
    made.consumer.close()
    made.database.close()


def test_a_complaint_is_recorded_and_counted_while_the_ledger_is_away(
    recorded: Recorder, database_url: str, observer: ReportCounter
) -> None:
    recorded._write([outcome("hello")])
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT kind, trigger FROM engagement").fetchall() == [("complained", "hello")]
    assert observer.reports == [("complained", "", "marketing")]


def test_the_ledger_is_asked_before_the_transaction_of_the_hypertables_begins(
    servers: RealServers, observer: ReportCounter
) -> None:
    timescale = Outage("timescale")
    waiting = recorder(servers, away(), away(), timescale, observer)
    with pytest.raises(Shutdown):
        waiting._write([outcome(None)])
    assert not timescale.is_away, "nobody has asked it yet"
    waiting.consumer.close()


def test_a_recorder_that_stands_still_with_the_lock_loses_it_and_records_its_batch_again(
    recorded: Recorder, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "HELD_S", 0.5)
    attempts: list[None] = []

    def write(connection: Connection[Any]) -> None:
        recorded.write(connection, [outcome("hello").model_copy(update={"id": "o2"})])
        attempts.append(None)
        if len(attempts) == 1:
            with psycopg.connect(database_url, options="-c lock_timeout=5s") as other:  # meanwhile this one is frozen
                tables.lock(other)

    recorded._write([outcome("before")])  # so the connection is one that has worked before
    recorded.database.run(write)

    assert len(attempts) == 2
    with psycopg.connect(database_url) as connection:
        assert connection.execute("SELECT count(*) FROM engagement").fetchall() == [(2,)]
