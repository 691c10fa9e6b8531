"""What every client of the runtime needs to talk to the broker: its settings, patience, and where partitions end."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicCollection, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # not in its __all__
    AdminClient,
    ConfigResource,
    OffsetSpec,
    ResourceType,
)

T = TypeVar("T")
K = TypeVar("K")

REQUEST_S = 5.0
PATIENCE_S = 120.0
"""How long a start or a recovery goes on asking a broker that is away or not ready, before it is an error."""

NOT_YET = frozenset(
    {
        KafkaError.NOT_COORDINATOR,
        KafkaError.COORDINATOR_NOT_AVAILABLE,
        KafkaError.COORDINATOR_LOAD_IN_PROGRESS,
        KafkaError.NOT_LEADER_FOR_PARTITION,
        KafkaError.LEADER_NOT_AVAILABLE,
        KafkaError.FENCED_LEADER_EPOCH,
        KafkaError.UNKNOWN_LEADER_EPOCH,
        KafkaError.OFFSET_NOT_AVAILABLE,
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._NOENT,  # "No leaders found": a broker that has just come up
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
    }
)
"""What is answered while a broker starts, moves or is away, and while a transaction on an offset is open."""
NOT_KNOWN_YET = NOT_YET | {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION}
"""And of a topic that was made a moment ago, or whose broker has just come up."""


REFUSALS = {
    KafkaError._AUTHENTICATION: "check EBBTIDE_KAFKA_SASL_USERNAME, _SASL_PASSWORD and _SASL_MECHANISM",
    KafkaError._SSL: "check EBBTIDE_KAFKA_SECURITY_PROTOCOL and EBBTIDE_KAFKA_SSL_CA_LOCATION",
}
"""What a client hears where it is not let in, and what to do about it."""


class Place(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int

    def __str__(self) -> str:
        return f"{self.topic}[{self.partition}]"


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the broker. `security` is passed to every client as it is: librdkafka's TLS and SASL settings."""

    servers: str
    security: Mapping[str, str] = field(default_factory=dict, repr=False)

    def client(self, **config: str | int | float | bool) -> dict[str, str | int | float | bool]:
        """The settings of one client, `queued_min_messages` written for `queued.min.messages`.

        librdkafka's own log stays silent: it would say twenty times a second that a broker is away. Who uses the
        client says so once.
        """
        named = {name.replace("_", "."): value for name, value in config.items()}
        quiet = {"log_level": 2, "reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 2_000}
        return {"bootstrap.servers": self.servers, **quiet, **self.security, **named}


class Refused(RuntimeError):
    """The broker does not let this client in, or this client does not trust the broker."""


def admitted(connection: Connection, patience_s: float) -> AdminClient:
    """An admin client that the broker has answered. Blocks; raises Refused, or KafkaException after `patience_s`.

    A client that is not let in tries again for ever, and its requests fail as if no broker were there.
    """
    heard: list[KafkaError] = []
    config: dict[str, Any] = {**connection.client(), "error_cb": heard.append}
    admin = AdminClient(config)
    end = time.monotonic() + patience_s
    while True:
        try:
            admin.list_topics(timeout=1.0)
            return admin
        except KafkaException:
            admin.poll(0)
            for error in heard:
                if error.code() in REFUSALS:
                    raise Refused(f"Kafka at {connection.servers}: {error.str()}; {REFUSALS[error.code()]}") from None
            if time.monotonic() > end:
                raise


def error_of(exception: KafkaException) -> KafkaError:
    """The error that a KafkaException carries."""
    error: KafkaError = exception.args[0]
    return error


def patiently(ask: Callable[[], T], patience_s: float = PATIENCE_S, go_on: Callable[[], bool] = lambda: True) -> T:
    """What `ask` answers, asked again while the broker is not ready; raises its last error after `patience_s`, or
    as soon as `go_on` says no. Blocks: for threads."""
    end = time.monotonic() + patience_s
    while True:
        try:
            return ask()
        except KafkaException as exception:
            if error_of(exception).code() not in NOT_KNOWN_YET or time.monotonic() > end or not go_on():
                raise
            time.sleep(0.1)


def answers(futures: Mapping[K, "Future[T]"], within_s: float) -> dict[K, "Future[T]"]:
    """The futures, all of them done; where the client brings no answer in time, as after a worker was stopped, they
    fail as with a broker that brings none. Blocks."""
    wait(futures.values(), within_s)
    return {asked: future if future.done() else _unanswered() for asked, future in futures.items()}


def _unanswered() -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
    return future


class Ends:
    """Where partitions end, asked in one request for all of them.

    The admin client is kept: dropped, its futures never resolve. After an error its view of the cluster is renewed:
    by itself it would go on with leader epochs from before a broker's restart, and be refused for ever
    (confluent-kafka 2.16).
    """

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin

    def last_stable(self, places: Iterable[Place]) -> dict[Place, int]:
        """The ends as a read_committed reader sees them; a partition that does not answer is left out. Blocks."""
        ends, failed = self._ask(places, IsolationLevel.READ_COMMITTED)
        if failed is not None:
            with suppress(KafkaException):  # still away: the next question renews it
                self._renew()
        return ends

    def high_watermarks(self, places: Iterable[Place], go_on: Callable[[], bool]) -> dict[Place, int]:
        """The ends with what open transactions wrote; all of them, patiently. Blocks; raises KafkaException."""
        wanted = list(places)

        def ask() -> dict[Place, int]:
            ends, failed = self._ask(wanted, IsolationLevel.READ_UNCOMMITTED)
            if failed is not None:
                self._renew()
                raise failed
            return ends

        return patiently(ask, go_on=go_on) if wanted else {}

    def _ask(self, places: Iterable[Place], level: IsolationLevel) -> tuple[dict[Place, int], KafkaException | None]:
        wanted = {TopicPartition(*place): OffsetSpec.latest() for place in places}  # type: ignore[no-untyped-call]
        futures = self._admin.list_offsets(wanted, isolation_level=level, request_timeout=REQUEST_S)
        ends, failed = {}, None
        for tp, answer in answers(futures, 2 * REQUEST_S).items():
            try:
                offset = int(answer.result().offset)
            except KafkaException as exception:
                failed = exception
            else:
                if offset >= 0:
                    ends[Place(tp.topic, tp.partition)] = offset
                else:  # a broker that was frozen with the question in its hands (confluent-kafka 2.16)
                    failed = KafkaException(KafkaError(KafkaError._TIMED_OUT))
        return ends, failed

    def _renew(self) -> None:
        self._admin.list_topics(timeout=REQUEST_S)


@dataclass(frozen=True, slots=True)
class TopicFacts:
    """What a topic is, beside its name: made again under that name it has another id."""

    id: str
    partitions: int
    settings: Mapping[str, str]


def describe(admin: AdminClient, topic: str, go_on: Callable[[], bool]) -> TopicFacts:
    """Asks the broker about a topic, patiently. Blocks; raises KafkaException."""

    def ask() -> TopicFacts:
        resource = ConfigResource(ResourceType.TOPIC, topic)
        configs = admin.describe_configs([resource], request_timeout=REQUEST_S)
        topics = admin.describe_topics(TopicCollection([topic]), request_timeout=REQUEST_S)
        about = answers(topics, 2 * REQUEST_S)[topic].result()
        settings = answers(configs, 2 * REQUEST_S)[resource].result()
        found = {name: str(entry.value) for name, entry in settings.items()}
        return TopicFacts(str(about.topic_id), len(about.partitions), found)

    return patiently(ask, go_on=go_on)
