"""The samples by which a reader tells a record's fault from the process's can be written, and leave nothing behind."""

from threading import Event
from typing import Any

import pytest
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics

from infra.kafka.batch_reader import BatchReader
from infra.postgres.database import Database
from infra.service.outages import Outage
from senders.policy.recipients import AddressHasher
from senders.policy.recipients_feed import RecipientsFeed
from senders.queue.intake import CommandIntake
from senders.recording.recorder import Recorder
from senders.settings import SenderSettings

pytestmark = pytest.mark.servers


class ReaderFailure(Exception):
    """What a record would raise."""


def readers(settings: SenderSettings, database: Database) -> list[BatchReader[Any]]:
    halt, nothing = Event(), {"take_over": print, "give_up": print, "admitted": print}
    return [
        CommandIntake(settings, database, halt, 16, **nothing),  # type: ignore[arg-type]
        RecipientsFeed(settings, database, halt, 16, AddressHasher(b"a secret of the tests")),
        Recorder(settings.connection, database, database, halt),
    ]


def test_each_reader_can_write_its_samples(servers: RealServers, database_url: str) -> None:
    have_topics(servers.kafka)
    settings = SenderSettings(kafka=servers.kafka, database_url=database_url, suppression_key="a secret of the tests")
    database = Database(database_url, Outage("timescale"), Event())
    for reader in readers(settings, database):
        reader._prove(ReaderFailure())  # raises ReaderFailure if they cannot be written
        reader.consumer.close()
    tables = ("ledger", "recipients", "suppressions", "pending_suppressions", "decisions", "deliveries", "engagement")
    left = [database.run(lambda c, t=table: c.execute(f"SELECT count(*) FROM {t}").fetchone()) for table in tables]  # type: ignore[misc]
    assert left == [(0,)] * len(tables)
    database.close()
