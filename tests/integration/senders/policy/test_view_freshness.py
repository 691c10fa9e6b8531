"""How fresh the recipients view may call itself where Kafka does not say where its topics end."""

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
from senders.policy.recipients_feed import LONG_AGO, RecipientsFeed, _Place
from senders.settings import SenderSettings

pytestmark = pytest.mark.servers


def test_a_view_is_no_fresher_for_a_broker_that_is_frozen_and_is_fresh_again_after_its_death(
    servers: RealServers, tmp_path: Path
) -> None:
    """The silence of a frozen broker comes out of the client library as an end, offset -1001."""
    with own_broker(servers, tmp_path) as broker:
        admin = AdminClient({"bootstrap.servers": broker.address})
        admin.create_topics([NewTopic(PROFILES.name, 1, 1)])[PROFILES.name].result(30)
        settings = SenderSettings(kafka=broker.address, suppression_key="0" * 64)
        database = Database("postgresql://nobody@127.0.0.1:1/none", Outage("database"), Event())
        feed = RecipientsFeed(settings, database, Event(), 1, AddressHasher(b"key"))

        def asked() -> _Place:
            place = feed._places[TopicPartition(PROFILES.name, 0)] = _Place(0)
            feed._ask_for_ends()
            place.reach(0)
            return place

        wait_until(lambda: asked().as_of > LONG_AGO, "the end is known")
        broker.freeze()
        try:
            frozen = asked()
        finally:
            broker.thaw()
        assert (frozen.as_of, frozen.end) == (LONG_AGO, None)
        broker.kill()
        broker.start()
        wait_until(lambda: asked().as_of > LONG_AGO, "the end is known again")
        feed.consumer.close()
