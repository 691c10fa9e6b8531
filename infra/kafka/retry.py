"""Requests that are repeated while a broker starts, moves or is away."""

import time
from collections.abc import Callable
from typing import TypeVar

from confluent_kafka import KafkaError, KafkaException

T = TypeVar("T")

RETRY_TIMEOUT_S = 120.0
"""How long a start or a recovery repeats a request to a broker that is away or not ready, before it fails."""
PAUSE_S = 0.1

RETRIABLE = frozenset(
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
        KafkaError._NOENT,  # "No leaders found": a broker that has just started
        KafkaError._TIMED_OUT,
        KafkaError._TRANSPORT,
        KafkaError._WAIT_COORD,
    }
)
"""Errors while a broker starts, moves or is away, and while a transaction on an offset is open."""
RETRIABLE_OR_UNKNOWN = RETRIABLE | {KafkaError.UNKNOWN_TOPIC_OR_PART, KafkaError._UNKNOWN_PARTITION}
"""Also those of a topic that was created a moment ago, or whose broker has just started."""


def error_of(exception: KafkaException) -> KafkaError:
    """The error that a KafkaException carries."""
    error: KafkaError = exception.args[0]
    return error


def retry(
    request: Callable[[], T], timeout_s: float = RETRY_TIMEOUT_S, keep_trying: Callable[[], bool] = lambda: True
) -> T:
    """Returns what `request` returns, repeating it while the broker is not ready.

    Raises the last error after `timeout_s`, or as soon as `keep_trying` returns False. Blocks: for threads.
    """
    end = time.monotonic() + timeout_s
    while True:
        try:
            return request()
        except KafkaException as exception:
            retriable = error_of(exception).code() in RETRIABLE_OR_UNKNOWN
            if not retriable or time.monotonic() > end or not keep_trying():
                raise
            time.sleep(PAUSE_S)
