"""Clients of one command: their settings, and whether a broker answers at all."""

import socket
import struct
import time
from contextlib import suppress
from functools import partial
from queue import Empty, SimpleQueue
from threading import Thread

from infra.kafka.connection import Connection, connect_admin
from infra.kafka.security import KafkaSecuritySettings
from schemas.errors import UserError

TIMEOUT_S = 30.0
ANSWER_S = 1.8
"""A broker accepts a connection and answers within this time, or the command reports that none does: a person waits 3 s
at most."""

_API_VERSIONS_REQUEST = struct.pack(">ihhih", 10, 18, 0, 1, -1)
"""ApiVersionsRequest, version 0, which every broker answers at once: its size, key, version, number, and no client."""


class KafkaAway(UserError):
    """No broker answers at the address."""


def require_kafka(kafka: str, *, secured: bool = False) -> None:
    """Raises KafkaAway if no broker answers at any of the addresses within 1.8 s; it tries all of them at once.

    It only connects to a `secured` broker; whether that one accepts the client is another question.
    """
    addresses, end = kafka.split(","), time.monotonic() + ANSWER_S
    answers: SimpleQueue[bool] = SimpleQueue()
    for address in addresses:
        probe = partial(_probe, address.strip(), secured=secured, end=end, answers=answers)
        Thread(target=probe, daemon=True).start()  # a look-up of a name may take longer than anybody waits
    with suppress(Empty):
        for _ in addresses:
            if answers.get(timeout=max(0.0, end - time.monotonic())):
                return
    raise KafkaAway(f"Kafka does not answer at {kafka}; `make status` shows what runs, `make up` starts it")


def _probe(address: str, *, secured: bool, end: float, answers: SimpleQueue[bool]) -> None:
    """Puts whether a broker answers a request: a process that hangs accepts connections too, and stays silent."""
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), ANSWER_S) as connection:
            connection.settimeout(max(0.001, end - time.monotonic()))
            connection.sendall(b"" if secured else _API_VERSIONS_REQUEST)
            answers.put(secured or bool(connection.recv(1)))
    except (OSError, ValueError):
        answers.put(False)


def client_config(kafka: str, **more: str | int | float | bool) -> dict[str, str | int | float | bool]:
    """The settings of a client of one command, TLS and SASL included.

    Raises KafkaAway if no address answers, and AccessDenied if the broker rejects the client, because librdkafka would
    retry for ever.
    """
    connection = Connection(kafka, KafkaSecuritySettings().kafka_security)
    require_kafka(kafka, secured=bool(connection.security))
    if connection.security:
        connect_admin(connection, TIMEOUT_S)
    return {**connection.client(), **more}
