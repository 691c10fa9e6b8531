"""How fresh the recipients view is while Kafka does not say where its topics end."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import psycopg
import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.own_broker import own_broker
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics, wait_until
from psycopg import sql

from infra.kafka.topics import TopicPartition
from infra.postgres.database import Database
from infra.service.outages import Outage
from schemas.topics import PROFILES
from senders.policy import view_progress
from senders.policy.recipients import FEEDS, AddressHasher
from senders.policy.recipients_feed import RecipientsFeed
from senders.policy.view_progress import NEVER, PartitionProgress
from senders.settings import SenderSettings

pytestmark = pytest.mark.servers


def test_the_view_ages_while_the_broker_is_frozen_and_is_fresh_again_after_a_restart(
    servers: RealServers, database_url: str, tmp_path: Path
) -> None:
    """The client library returns the offset -1001 as the end if a frozen broker does not answer."""
    with own_broker(servers, tmp_path) as broker:
        admin = AdminClient({"bootstrap.servers": broker.address})
        admin.create_topics([NewTopic(PROFILES.name, 1, 1)])[PROFILES.name].result(30)
        settings = SenderSettings(kafka=broker.address, suppression_key="0" * 64)
        database = Database(database_url, Outage("database"), Event())
        feed = RecipientsFeed(settings, database, Event(), 1, AddressHasher(b"key"))

        def progress_now() -> PartitionProgress:
            progress = PartitionProgress(0)
            feed.progress.begin(TopicPartition(PROFILES.name, 0), progress)
            feed.ask_for_ends()
            feed.progress.written()
            return progress

        wait_until(lambda: progress_now().as_of > NEVER, "the end is known")
        broker.freeze()
        try:
            frozen = progress_now()
        finally:
            broker.thaw()
        assert (frozen.as_of, frozen.end) == (NEVER, None)
        broker.kill()
        broker.start()
        wait_until(lambda: progress_now().as_of > NEVER, "the end is known again")
        feed.consumer.close()
        database.close()


SKEWED = sql.SQL(
    """CREATE SCHEMA skewed;
       CREATE FUNCTION skewed.clock_timestamp() RETURNS timestamptz LANGUAGE sql VOLATILE
           AS $$SELECT pg_catalog.clock_timestamp() + interval {}$$;
       CREATE FUNCTION skewed.now() RETURNS timestamptz LANGUAGE sql STABLE
           AS $$SELECT pg_catalog.now() + interval {}$$"""
)
ON_EACH_CONNECTION = sql.SQL("ALTER DATABASE {} SET search_path = skewed, pg_catalog, public")


@pytest.mark.parametrize("by", ["-1 hour", "1 hour"])
def test_the_view_is_dated_by_the_clock_of_the_database(servers: RealServers, database_url: str, by: str) -> None:
    """A feed's host an hour ahead would make a view that is not read any more fresh for another hour."""
    partitions = have_topics(servers.kafka)
    with psycopg.connect(database_url, autocommit=True) as connection:
        connection.execute(SKEWED.format(sql.Literal(by), sql.Literal(by)))
        connection.execute(ON_EACH_CONNECTION.format(sql.Identifier(connection.info.dbname)))
    settings = SenderSettings(kafka=servers.kafka, database_url=database_url, suppression_key="0" * 64)
    database = Database(database_url, Outage("database"), Event())
    feed = RecipientsFeed(settings, database, Event(), partitions, AddressHasher(b"key"))
    with psycopg.connect(database_url, autocommit=True) as connection:
        before = view_progress.database_time(connection)
        for topic in FEEDS:
            feed.progress.begin(TopicPartition(topic, 0), PartitionProgress(1 << 60))

        def dated() -> list[tuple[str, datetime]]:
            feed.after_batch()
            rows = connection.execute("SELECT topic, as_of FROM recipients_progress").fetchall()
            return rows if len(rows) == len(FEEDS) else []

        rows = wait_until(dated, "the ends are known")
        after = view_progress.database_time(connection)
    feed.consumer.close()
    database.close()
    assert all(before <= as_of <= after for _, as_of in rows), (before, rows, after)
    assert abs(datetime.now(UTC) - before) > timedelta(minutes=59)
