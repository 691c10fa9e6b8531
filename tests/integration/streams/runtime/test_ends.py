"""Requests for the ends of partitions to a broker that does not answer: they return no ends, and nothing crashes."""

import socket
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from typing import Any

import pytest
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic
from drivers.limits import HANGS_AFTER_S
from drivers.own_broker import OwnBroker, own_broker
from drivers.real_servers import RealServers

from infra.kafka import offsets, partition_counts
from infra.kafka import topics as broker_topics
from infra.kafka.connection import Connection
from infra.kafka.offsets import EndOffsets
from infra.kafka.partition_counts import existing_topics
from infra.kafka.topics import TopicPartition, describe

pytestmark = pytest.mark.servers

PLACES = [TopicPartition("rows", 0), TopicPartition("rows", 1)]
REQUEST_TIMEOUT_S = 0.05


class Patient(AdminClient):
    """A client that waits longer for the broker than its caller waits for the client, like a stopped client."""

    requests: list[Future[object]]

    def list_offsets(self, *args: Any, **kwargs: Any) -> Any:
        return self._keep(super().list_offsets(*args, **kwargs | {"request_timeout": 1.0}))

    def describe_topics(self, *args: Any, **kwargs: Any) -> Any:
        return self._keep(super().describe_topics(*args, **kwargs | {"request_timeout": 1.0}))

    def describe_configs(self, *args: Any, **kwargs: Any) -> Any:
        return self._keep(super().describe_configs(*args, **kwargs | {"request_timeout": 1.0}))

    def _keep(self, futures: dict[Any, Future[object]]) -> dict[Any, Future[object]]:
        self.requests = [*getattr(self, "requests", ()), *futures.values()]
        return futures


@pytest.fixture(scope="module")
def broker(servers: RealServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OwnBroker]:
    with own_broker(servers, tmp_path_factory.mktemp("ends")) as made:
        admin = AdminClient(Connection(made.address).client())
        admin.create_topics([NewTopic("rows", 2, 1)])["rows"].result(30)
        yield made


@pytest.fixture
def silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[AdminClient]:
    """A client of somebody who takes connections and never says a word."""
    for module in (offsets, broker_topics, partition_counts):
        monkeypatch.setattr(module, "REQUEST_TIMEOUT_S", REQUEST_TIMEOUT_S)
    with (
        socket.create_server(("127.0.0.1", 0)) as port,
        Patient(Connection(f"127.0.0.1:{port.getsockname()[1]}").client()) as admin,
    ):
        yield admin
        wait(admin.requests)  # dropped before that, it is freed twice


def all_of(ends: EndOffsets) -> bool:
    return ends.last_stable(PLACES) == dict.fromkeys(PLACES, 0)


def test_requests_for_ends_repeat_until_a_frozen_broker_answers(
    broker: OwnBroker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its silence came as an answer once, offset -1001: before everything, so that all seemed to be read."""
    ends = EndOffsets(AdminClient(Connection(broker.address).client()))
    while not all_of(ends):  # the client does not know the topic yet
        pass
    broker.freeze()
    try:
        monkeypatch.setattr(ends, "_timeout_s", 1.0)  # only while nothing answers
        while all_of(ends):  # it is not frozen yet
            pass
        assert ends.last_stable(PLACES) == {}
        with ThreadPoolExecutor(1) as pool:
            requests: list[bool] = []
            going_on = pool.submit(ends.high_watermarks, PLACES, lambda: requests.append(True) is None)
            while len(requests) < 2:
                assert not going_on.done(), going_on.result()
            monkeypatch.undo()
            broker.thaw()
            assert going_on.result(HANGS_AFTER_S) == dict.fromkeys(PLACES, 0)
    finally:
        broker.thaw()


def test_ends_that_do_not_arrive_in_time_are_left_out_without_an_error(silent: AdminClient) -> None:
    assert EndOffsets(silent).last_stable(PLACES) == {}


def test_a_recovery_that_gets_no_answer_in_time_hears_of_it_as_of_any_trouble_with_a_broker(
    silent: AdminClient,
) -> None:
    with pytest.raises(KafkaException):
        EndOffsets(silent).high_watermarks(PLACES, lambda: False)
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        describe(silent, "rows", lambda: False)


def test_the_look_at_topics_takes_no_answer_in_time_as_a_broker_that_is_away(silent: AdminClient) -> None:
    with pytest.raises(KafkaException, match="_TIMED_OUT"):
        existing_topics(silent, ["rows"])
