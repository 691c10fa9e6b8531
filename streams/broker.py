"""What every client of the runtime needs to talk to the broker: its settings, patience, and where partitions end."""

import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeVar

from confluent_kafka import IsolationLevel, KafkaError, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # not in its __all__

T = TypeVar("T")

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
        KafkaError.UNSTABLE_OFFSET_COMMIT,
        KafkaError._ALL_BROKERS_DOWN,
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
    }
)
"""What is answered while a broker starts, moves or is away, and while a transaction on an offset is open."""


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
    security: Mapping[str, str] = field(default_factory=dict)

    def client(self, **config: str | int | float | bool) -> dict[str, str | int | float | bool]:
        """The settings of one client, `queued_min_messages` written for `queued.min.messages`."""
        named = {name.replace("_", "."): value for name, value in config.items()}
        return {"bootstrap.servers": self.servers, **self.security, **named}


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
            if error_of(exception).code() not in NOT_YET or time.monotonic() > end or not go_on():
                raise
            time.sleep(0.1)


class Ends:
    """Where partitions end, asked in one request for all of them.

    The admin client is kept: dropped, its futures never resolve (confluent-kafka 2.16).
    """

    def __init__(self, admin: AdminClient) -> None:
        self._admin = admin

    def last_stable(self, places: Iterable[Place]) -> dict[Place, int]:
        """The ends as a read_committed reader sees them; a partition that does not answer is left out. Blocks."""
        ends = {}
        for place, future in self._ask(places, IsolationLevel.READ_COMMITTED).items():
            try:
                ends[place] = int(future.result(2 * REQUEST_S).offset)
            except (KafkaException, TimeoutError):  # away or electing a leader: the next question gets it
                continue
        return ends

    def high_watermarks(self, places: Iterable[Place], go_on: Callable[[], bool]) -> dict[Place, int]:
        """The ends with what open transactions wrote; all of them, patiently. Blocks; raises KafkaException."""

        def ask() -> dict[Place, int]:
            answers = self._ask(wanted, IsolationLevel.READ_UNCOMMITTED)
            return {place: int(future.result(2 * REQUEST_S).offset) for place, future in answers.items()}

        wanted = list(places)
        return patiently(ask, go_on=go_on) if wanted else {}

    def _ask(self, places: Iterable[Place], level: IsolationLevel) -> dict[Place, "Future[Any]"]:
        wanted = {TopicPartition(*place): OffsetSpec.latest() for place in places}  # type: ignore[no-untyped-call]
        futures = self._admin.list_offsets(wanted, isolation_level=level, request_timeout=REQUEST_S)
        return {Place(tp.topic, tp.partition): future for tp, future in futures.items()}
