"""The images of infra/compose.yaml, started by testcontainers: Ebbtide works on them as on the native servers."""

import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg
import pytest
import yaml
from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient
from docker.errors import DockerException
from drivers.free_ports import free_port
from drivers.running_senders import wait_until
from testcontainers.core.container import DockerContainer
from testcontainers.core.docker_client import DockerClient

from infra.kafka.publisher import Publisher
from infra.kafka.topic_reader import read_all
from infra.kafka.topic_setup import ensure_topics
from infra.local.compose import FILE
from infra.postgres.migrate import migrate
from schemas.topics import EVENTS

START_S = 120.0


@pytest.fixture(scope="module", autouse=True)
def _container_engine() -> None:
    try:
        DockerClient().client.ping()
    except DockerException as error:
        pytest.skip(f"no container engine answers ({error})")


def container(name: str, variable: str, port: int) -> DockerContainer:
    """A service of the compose file, which publishes its port on `port`."""
    ports = {variable: str(port)}
    text = re.sub(r"\$\{(\w+):-(\d+)\}", lambda found: ports.get(found[1], found[2]), FILE.read_text())
    service: dict[str, Any] = yaml.safe_load(text)["services"][name]
    inside = int(service["ports"][0].rpartition(":")[2])
    made = DockerContainer(service["image"]).with_bind_ports(inside, port).with_command(service.get("command", []))
    for key, value in service["environment"].items():
        made.with_env(key, str(value))
    return made


@pytest.fixture
def database_url() -> Iterator[str]:
    port = free_port()
    url = f"postgresql://postgres@127.0.0.1:{port}/ebbtide"

    def answers() -> bool:
        try:
            with closing(psycopg.connect(url, connect_timeout=5)):
                return True
        except psycopg.OperationalError:
            return False

    with container("timescale", "EBBTIDE_POSTGRES_PORT", port):
        wait_until(answers, "TimescaleDB answers", START_S)
        yield url


@pytest.fixture
def kafka() -> Iterator[str]:
    port = free_port()
    address = f"127.0.0.1:{port}"

    def answers() -> bool:
        with AdminClient({"bootstrap.servers": address, "log_level": 0}) as admin:
            try:
                return bool(admin.list_topics(timeout=5).brokers)
            except KafkaException:
                return False

    with container("kafka", "EBBTIDE_KAFKA_PORT", port):
        wait_until(answers, "Kafka answers", START_S)
        yield address


def test_timescaledb_s_image_takes_every_migration(database_url: str) -> None:
    assert migrate(database_url)
    assert migrate(database_url) == []


def test_kafka_s_image_keeps_what_is_published(kafka: str) -> None:
    ensure_topics(kafka, 2, topics=[EVENTS])
    with Publisher(kafka) as publisher:
        publisher.send(EVENTS.name, b"ann", b"{}")
    assert [(message.key(), message.value()) for message in read_all(kafka, EVENTS.name)] == [(b"ann", b"{}")]
