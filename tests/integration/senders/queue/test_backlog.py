"""What waits in the ledger is counted by partition, on a real PostgreSQL."""

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from drivers.free_ports import free_port
from drivers.running_senders import a_command
from psycopg import AsyncConnection

from infra.kafka.connection import Connection
from infra.kafka.topics import TopicPartition
from infra.postgres.database import AsyncDatabase
from infra.service.outages import Outage
from infra.service.watchdog import Watchdog
from senders.monitoring import gauges
from senders.monitoring.gauges import BrokerGauges, LedgerGauges, PartitionBacklog
from senders.queue import backlog, leases, ledger
from senders.queue.backlog import Backlog, read_backlog
from senders.queue.ledger import Admission

pytestmark = pytest.mark.servers

NOW = datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


@pytest.fixture
def ledger_url(database_url: str) -> str:
    """A ledger with three commands due in partition 0, one later, and two due in partition 1."""
    with psycopg.connect(database_url, autocommit=True) as connection:
        for partition, ages_s in {0: (30, 20, 10, -60), 1: (5, 5)}.items():
            for age_s in ages_s:
                command = a_command("ann", "0" * 64)
                ledger.admit(connection, [Admission.of(partition, command)], NOW - timedelta(seconds=age_s))
        connection.execute(
            "INSERT INTO ledger_outbox (partition, command_id) SELECT partition, key FROM ledger WHERE partition = 1"
        )
        connection.execute(
            "INSERT INTO recipients_progress VALUES ('profiles', 0, 1, %(at)s), ('outcomes', 0, 1, %(now)s)",
            {"at": NOW - timedelta(seconds=7), "now": NOW},
        )
    return database_url


async def test_due_and_waiting_commands_are_counted_by_partition(ledger_url: str) -> None:
    async with await AsyncConnection.connect(ledger_url, autocommit=True) as connection:
        found = await read_backlog(connection, [0, 1, 2], NOW)
        assert found == {
            0: Backlog(due=3, waiting=1, oldest_due=NOW - timedelta(seconds=30)),
            1: Backlog(due=2, oldest_due=NOW - timedelta(seconds=5), outbox=2),
            2: Backlog(),
        }
        assert set(await read_backlog(connection, [1], NOW)) == {1}, "other workers count theirs"


async def test_commands_whose_answer_is_unknown_are_counted_and_no_longer_once_they_are_settled(
    ledger_url: str,
) -> None:
    async with await AsyncConnection.connect(ledger_url, autocommit=True) as connection:
        await connection.execute("UPDATE ledger_queue SET state = 'started', owner = 'lost'")
        await connection.execute("INSERT INTO ledger_workers VALUES ('lost', '-infinity', now())")
        lost = await leases.lost_workers(connection, "ours", timedelta(seconds=15))
        assert lost is not None
        await leases.mark_in_doubt(connection, lost, ["marketing"])
        found = await read_backlog(connection, [0, 1, 2], NOW)
        assert {partition: counted.in_doubt for partition, counted in found.items()} == {0: 4, 1: 2, 2: 0}
        await connection.execute("DELETE FROM ledger_queue WHERE partition = 0")
        assert (await read_backlog(connection, [0], NOW))[0].in_doubt == 0


async def test_a_long_queue_is_counted_up_to_a_bound_the_oldest_first(
    ledger_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backlog, "COUNTED", 2)
    async with await AsyncConnection.connect(ledger_url, autocommit=True) as connection:
        found = await read_backlog(connection, [0, 1], NOW)
    assert found[0] == Backlog(due=2, oldest_due=NOW - timedelta(seconds=30))
    assert (found[1].due, found[1].outbox) == (0, 2)


async def test_the_gauges_show_ages_and_only_partitions_that_are_still_held(ledger_url: str) -> None:
    held = {0, 1}
    database = AsyncDatabase(ledger_url, Outage("timescale"))
    measured = LedgerGauges(database, lambda: held, Watchdog())
    assert measured.now == []
    await measured.measure(NOW)
    await database.close()
    assert measured.now == [
        PartitionBacklog(0, due=3, waiting=1, oldest_due_age_s=30.0, outbox=0, in_doubt=0, view_age_s=7.0),
        PartitionBacklog(1, due=2, waiting=0, oldest_due_age_s=5.0, outbox=2, in_doubt=0, view_age_s=None),
    ]
    held.discard(0)
    assert [found.partition for found in measured.now] == [1]


def test_kafka_counts_as_away_while_no_broker_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gauges, "BROKER_TIMEOUT_S", 0.5)
    kafka = Outage("kafka")
    positions = {"ebbtide-senders": lambda: {TopicPartition("commands", 0): 5}}
    measured = BrokerGauges(Connection(f"127.0.0.1:{free_port()}"), positions, kafka)
    measured.measure()
    assert kafka.is_away
    assert measured.lags == {}
