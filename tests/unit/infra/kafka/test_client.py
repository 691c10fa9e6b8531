"""The client learns within seconds whether Kafka answers, also if other servers have its addresses."""

import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from threading import Thread

import pytest
from drivers.free_ports import free_port

from infra.kafka import client
from infra.kafka.client import KafkaAway, require_kafka


@pytest.fixture
def silent() -> Iterator[list[str]]:
    """Three servers that accept connections and send nothing; the last accepts no more, because its queue is full."""
    with ExitStack() as opened:
        servers = [opened.enter_context(socket.create_server(("127.0.0.1", 0), backlog=n)) for n in (9, 9, 0)]
        for _ in range(2):
            waiting = opened.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(servers[-1].getsockname())
        yield [f"127.0.0.1:{server.getsockname()[1]}" for server in servers]


def test_servers_that_are_silent_are_away_within_one_deadline(silent: list[str]) -> None:
    began = time.monotonic()
    with pytest.raises(KafkaAway, match=f"Kafka does not answer at {silent[0]}, {silent[1]}, {silent[2]}; "):
        require_kafka(", ".join(silent))
    assert time.monotonic() - began < 3


def test_a_broker_that_answers_is_found_at_once_behind_those_that_are_silent(
    silent: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "ANSWER_S", 60.0)
    with socket.create_server(("127.0.0.1", 0)) as broker:
        Thread(target=_answer, args=(broker,), daemon=True).start()
        began = time.monotonic()
        require_kafka(f"{','.join(silent)},127.0.0.1:{broker.getsockname()[1]}")
        assert time.monotonic() - began < 30


def _answer(server: socket.socket) -> None:
    connection, _ = server.accept()
    with connection:
        connection.sendall(connection.recv(100))


@pytest.mark.parametrize("address", ["127.0.0.1:{free}", "127.0.0.1", "127.0.0.1:x", "", "nowhere.invalid:9092"])
def test_kafka_is_away_if_nothing_listens(address: str) -> None:
    with pytest.raises(KafkaAway):
        require_kafka(address.format(free=free_port()))


def test_a_secured_broker_is_only_connected_to(silent: list[str]) -> None:
    require_kafka(silent[0], secured=True)
    with pytest.raises(KafkaAway):
        require_kafka(silent[2], secured=True)
