"""The settings of the bounce listener, read from the environment with the prefix `EBBTIDE_`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt
from pydantic_settings import SettingsConfigDict

from infra.kafka.connection import Connection
from infra.kafka.security import KafkaSecuritySettings
from infra.postgres.settings import DatabaseSettings
from schemas.types import Line
from senders.bounces.verp import ReturnPaths
from senders.settings import BounceKeys, Domain


class BounceSettings(KafkaSecuritySettings, DatabaseSettings):
    """Where the listener listens, for which domain, and what it takes."""

    model_config = SettingsConfigDict(env_prefix="EBBTIDE_", extra="ignore")

    kafka: str = "127.0.0.1:21000"

    bounce_domain: Domain
    """The domain of the return paths. Its MX, or the relay that passes its mail on by LMTP, is this listener."""
    bounce_keys: Annotated[BounceKeys, Field(min_length=1)]
    bounce_rules: Path | None = None
    complaint_address: Annotated[str, Field(pattern=r"^[a-z0-9._-]{1,64}$")] = "fbl"
    """The local part to which providers send complaints; what it gets counts only with a signed return path in it."""

    bounces_host: Line = "127.0.0.1"
    bounces_port: Annotated[int, Field(gt=0, lt=65536)] = 21025
    bounces_protocol: Literal["smtp", "lmtp"] = "smtp"
    bounces_hello: Line = "localhost"
    bounces_max_bytes: PositiveInt = 2_097_152
    bounces_connections: PositiveInt = 100
    bounces_per_second: PositiveFloat = 100.0
    """More than this, over ten seconds, are asked to come again later."""
    bounces_timeout_s: PositiveFloat = 60.0

    bounces_web_port: Annotated[int, Field(gt=0, lt=65536)] = 21300
    """The port of the pages of the worker in slot 0; those of the others follow."""

    @property
    def connection(self) -> Connection:
        """How the listener reaches Kafka."""
        return Connection(self.kafka, self.kafka_security)

    @property
    def return_paths(self) -> ReturnPaths:
        """The return paths that are ours."""
        paths = ReturnPaths.of(self.bounce_domain, self.bounce_keys)
        assert paths is not None, "there is a domain, and at least one key"
        return paths
