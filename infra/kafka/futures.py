"""Waits for the futures of an admin client with a bound, because some never resolve."""

from collections.abc import Mapping
from concurrent.futures import Future, wait
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException

T = TypeVar("T")
K = TypeVar("K")

REQUEST_TIMEOUT_S = 5.0
"""How long the broker may take for one request; its future gets twice that."""


def completed(futures: Mapping[K, "Future[T]"], timeout_s: float) -> dict[K, "Future[T]"]:
    """The futures, all of them done. Blocks.

    If the client returns nothing in time, as after a worker was stopped, a future fails with _TIMED_OUT.
    """
    wait(futures.values(), timeout_s)
    return {request: future if future.done() else _timed_out() for request, future in futures.items()}


def _timed_out() -> "Future[Any]":
    future: Future[Any] = Future()
    future.set_exception(KafkaException(KafkaError(KafkaError._TIMED_OUT)))
    return future
