"""Kafka or PostgreSQL is away while unmodified SDKs send: 503 in time, and nothing is lost or written by halves."""

import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from drivers.ingest_load import IngestLoad, ingest_load
from drivers.own_broker import OwnBroker, own_broker
from drivers.own_postgres import own_postgres
from drivers.real_servers import RealServers
from drivers.running_senders import have_topics, wait_until
from drivers.web_edge import web_edge

from infra.kafka.topic_setup import ensure_topics
from schemas.topics import DEMO_PARTITIONS

pytestmark = [pytest.mark.servers, pytest.mark.scenario]

EVERY_S = 0.01
ANSWERED_WITHIN_S = 5.0
"""What is promised."""
SLACK_S = 1.5
"""For the client's own thread on a busy machine."""


@pytest.fixture(scope="module")
def broker(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with own_broker(servers, tmp_path_factory.mktemp("ingest-broker")) as made:
        ensure_topics(made.address, DEMO_PARTITIONS)
        yield made


def freeze(broker: OwnBroker, load: IngestLoad) -> None:
    """It answers nothing until calls have been refused."""
    broker.freeze()
    try:
        wait_until(lambda: load.statuses()[503] >= 20, "calls are refused")
    finally:
        broker.thaw()


def stop(broker: OwnBroker, load: IngestLoad) -> None:
    """It is gone, in order, until calls have been refused."""
    broker.stop()
    try:
        wait_until(lambda: load.statuses()[503] >= 20, "calls are refused")
    finally:
        broker.start()


def kill(broker: OwnBroker, load: IngestLoad) -> None:
    """It is gone at once."""
    broker.kill()
    try:
        wait_until(lambda: load.statuses()[503] >= 20, "calls are refused")
    finally:
        broker.start()


@pytest.mark.parametrize(
    "trouble", [freeze, pytest.param(stop, marks=pytest.mark.slow), pytest.param(kill, marks=pytest.mark.slow)]
)
def test_a_broker_that_is_away_makes_sdks_wait_and_loses_nothing(
    broker: OwnBroker, database_url: str, tmp_path: Path, trouble: Callable[[OwnBroker, IngestLoad], None]
) -> None:
    with web_edge(broker.address, database_url, tmp_path) as edge:
        pids, publishing, source = edge.start(), edge.publish(), f"away-{uuid.uuid4().hex[:8]}"
        with ingest_load(edge, source, edge.new_key(source), 500, EVERY_S) as load:
            wait_until(lambda: load.statuses()[200] >= 20, "calls are answered")
            trouble(broker, load)
            before = load.statuses()[200]
            wait_until(lambda: load.statuses()[200] >= before + 20, "calls are answered again")
            load.reports()
        load.require_all_written(edge)
        refused = [each for each in load.attempts if each.status == 503]
        assert load.statuses().keys() == {200, 503}
        assert max(each.seconds for each in load.attempts) < ANSWERED_WITHIN_S + SLACK_S
        assert sorted(each.seconds for each in refused)[len(refused) // 2] < 0.5, "at once when it is known"
        assert all(int(each.retry_after) >= 1 for each in refused)
        assert (edge.workers.wait_ready(0), edge.publication.wait_ready(0)) == (pids, publishing)
        assert edge.defects() == []


def test_events_go_on_while_the_database_is_away_and_profiles_wait(servers: RealServers, tmp_path: Path) -> None:
    have_topics(servers.kafka)
    user = f"user-{uuid.uuid4().hex[:8]}"
    patch = {"userId": user, "traits": {"plan": "gold"}, "messageId": "one"}
    with (
        own_postgres(servers, tmp_path / "postgres") as database,
        web_edge(servers.kafka, database.url, tmp_path) as edge,
    ):
        pids, publishing, source = edge.start(), edge.publish(), f"away-{uuid.uuid4().hex[:8]}"
        key = edge.new_key(source)
        with ingest_load(edge, source, key, 300, EVERY_S) as load:
            wait_until(lambda: load.statuses()[200] >= 20, "calls are answered")
            database.kill()
            try:
                began = time.monotonic()
                refused = edge.post("/v1/identify", key, patch)
                assert time.monotonic() - began < ANSWERED_WITHIN_S + SLACK_S
                assert (refused.status, int(refused.headers["retry-after"]) >= 1) == (503, True)
                load.reports()
            finally:
                database.start()
            wait_until(lambda: edge.post("/v1/identify", key, patch).status == 200, "the profile is kept")
        assert load.require_all_written(edge) == 0, "no call was refused, so none was sent again"
        assert load.statuses().keys() == {200}
        profile = wait_until(lambda: edge.profile(user), "the profile is published")
        assert profile is not None
        assert profile.attributes == {"plan": "gold"}
        assert (edge.workers.wait_ready(0), edge.publication.wait_ready(0)) == (pids, publishing)
        assert edge.defects() == []
