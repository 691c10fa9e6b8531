"""The settings of the HTTP edges and of profile workers, read from the environment with the prefix `EBBTIDE_`."""

import re
from pathlib import Path
from typing import Annotated, Self

from pydantic import AfterValidator, Field, PositiveFloat, PositiveInt, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from infra.kafka.connection import Connection
from infra.kafka.security import KafkaSecuritySettings
from infra.postgres.settings import DatabaseSettings
from schemas.types import Line


def _is_seed(secret: SecretStr) -> SecretStr:
    if not re.fullmatch(r"[0-9a-fA-F]{64}", secret.get_secret_value()):
        raise ValueError("needs 64 hexadecimal digits; `openssl rand -hex 32` makes one")
    return secret


class EdgeSettings(KafkaSecuritySettings, DatabaseSettings):
    """What HTTP processes and profile workers share."""

    model_config = SettingsConfigDict(env_prefix="EBBTIDE_", extra="ignore")

    kafka: str = "127.0.0.1:21000"

    replay_minutes: Annotated[int, Field(ge=0, le=1440)] = 30
    """For how long the events of an unknown visitor are kept, to be credited to the user who logs in."""
    replay_events: PositiveInt = 200
    """How many events of one visitor are kept for that."""

    erasure_key: SecretStr = SecretStr("")
    """The key by which erased people are recognised. A process without it ends once somebody was erased."""

    @property
    def connection(self) -> Connection:
        """How the edges reach Kafka."""
        return Connection(self.kafka, self.kafka_security)


class ProfileSettings(EdgeSettings):
    """Where the pages of profile workers are, and by which keys they sign."""

    profiles_web_port: Annotated[int, Field(gt=0, lt=65536)] = 21090
    """The port of the health and metrics pages of the worker in slot 0; those of the others follow."""

    consent_keys: tuple[Annotated[SecretStr, AfterValidator(_is_seed)], ...] = ()
    """The keys that sign the heads of the ledger of consent (Ed25519), as a JSON array: the first one signs, each
    verifies, so that they can be rotated. Without one, no head is signed."""


class WebSettings(EdgeSettings):
    """Where the HTTP edges listen, how much they take, and by which keys they sign."""

    http_host: Line = "127.0.0.1"
    http_port: Annotated[int, Field(gt=0, lt=65536)] = 21080
    """All processes share it."""
    http_web_port: Annotated[int, Field(gt=0, lt=65536)] = 21395
    """The port of the health and metrics pages of the process in slot 0; those of the others follow."""
    http_timeout_s: PositiveFloat = 15.0
    """How long a client may take to send its request."""
    stop_within_s: PositiveFloat = 5.0
    """How long a process that stops waits for the requests that it has taken."""

    body_bytes: PositiveInt = 4_194_304
    """The largest body, inflated."""
    event_bytes: PositiveInt = 32_768
    """The largest item of a call."""

    events_catalogue: Path | None = None
    """The event catalogue that ingest enforces; read at the start."""
    privacy_rules: Path | None = None
    """The privacy file whose field rules ingest obeys; read at the start."""
    field_hash_key: Annotated[SecretStr, Field(min_length=16)] | None = None
    """The key of the hashes that replace fields of events."""

    public_url: Annotated[str, Field(pattern=r"^https?://[^\s/?#]+$")] | None = None
    """The origin under which recipients reach the pages, such as `https://mail.shop.example`."""
    link_keys: tuple[Annotated[SecretStr, Field(min_length=16)], ...] = ()
    """The keys of links in mails, as a JSON array: the first one signs, each verifies, so that they can be rotated."""

    @model_validator(mode="after")
    def _can_read_links(self) -> Self:
        if self.public_url is not None and not self.link_keys:
            raise ValueError("public_url needs link_keys: links that nobody signs could be forged")
        return self
