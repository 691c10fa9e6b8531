"""How clients reach the broker: address, TLS and SASL, and the settings that every client shares."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from schemas.errors import UserError

ACCESS_ERRORS = {
    KafkaError._AUTHENTICATION: "check EBBTIDE_KAFKA_SASL_USERNAME, _SASL_PASSWORD and _SASL_MECHANISM",
    KafkaError._SSL: "check EBBTIDE_KAFKA_SECURITY_PROTOCOL and EBBTIDE_KAFKA_SSL_CA_LOCATION",
}
"""Errors that end in AccessDenied, each with what to check."""


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach the broker. `security` holds librdkafka's TLS and SASL settings, for every client."""

    servers: str
    security: Mapping[str, str] = field(default_factory=dict, repr=False)

    def client(self, **config: str | int | float | bool) -> dict[str, str | int | float | bool]:
        """The settings of one client, with `queued_min_messages` for `queued.min.messages`.

        librdkafka's own log is off: it would report an absent broker twenty times a second. The client's user logs
        it once.
        """
        named = {name.replace("_", "."): value for name, value in config.items()}
        quiet = {"log_level": 2, "reconnect.backoff.ms": 200, "reconnect.backoff.max.ms": 2_000}
        return {"bootstrap.servers": self.servers, **quiet, **self.security, **named}


class AccessDenied(UserError):
    """The broker rejects this client, or this client does not trust the broker."""


def connect_admin(connection: Connection, timeout_s: float) -> AdminClient:
    """An admin client that the broker has answered. Blocks; raises AccessDenied, or KafkaException after `timeout_s`.

    A rejected client reconnects for ever, and its requests fail as if there were no broker: only `error_cb` shows why.
    """
    errors: list[KafkaError] = []
    config: dict[str, Any] = {**connection.client(), "error_cb": errors.append}
    admin = AdminClient(config)
    end = time.monotonic() + timeout_s
    while True:
        try:
            admin.list_topics(timeout=1.0)
            return admin
        except KafkaException:
            admin.poll(0)
            for error in errors:
                if error.code() in ACCESS_ERRORS:
                    problem = f"Kafka at {connection.servers}: {error.str()}"
                    raise AccessDenied(f"{problem}; {ACCESS_ERRORS[error.code()]}") from None
            if time.monotonic() > end:
                raise
