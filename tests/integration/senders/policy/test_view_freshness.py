"""How fresh the recipients view is while Kafka does not say where its topics end."""

from pathlib import Path
from threading import Event

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.own_broker import own_broker
from drivers.real_servers import RealServers
from drivers.running_senders import wait_until

from infra.kafka.topics import TopicPartition
from infra.postgres.database import Database
from infra.service.outages import Outage
from schemas.topics import PROFILES
from senders.policy.recipients import AddressHasher
from senders.policy.recipients_feed import RecipientsFeed
from senders.policy.view_progress import NEVER, PartitionProgress
from senders.settings import SenderSettings

pytestmark = pytest.mark.servers


def test_the_view_ages_while_the_broker_is_frozen_and_is_fresh_again_after_a_restart(
    servers: RealServers, tmp_path: Path
) -> None:
    """The client library returns the offset -1001 as the end if a frozen broker does not answer."""
    with own_broker(servers, tmp_path) as broker:
        admin = AdminClient({"bootstrap.servers": broker.address})
        admin.create_topics([NewTopic(PROFILES.name, 1, 1)])[PROFILES.name].result(30)
        settings = SenderSettings(kafka=broker.address, suppression_key="0" * 64)
        database = Database("postgresql://nobody@127.0.0.1:1/none", Outage("database"), Event())
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
