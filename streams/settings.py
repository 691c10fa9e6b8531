"""Settings of the stream worker, read from EBBTIDE_… variables."""

from pathlib import Path

from pydantic import Field, field_validator
from pydantic_settings import SettingsConfigDict

from infra.kafka.connection import Connection
from infra.kafka.security import KafkaSecuritySettings
from schemas.zones import zone_hint, zone_named


class StreamSettings(KafkaSecuritySettings):
    """Where the stream worker finds Kafka, and how it presents itself."""

    model_config = SettingsConfigDict(env_prefix="EBBTIDE_")

    kafka: str = "127.0.0.1:21000"
    streams_group: str = "ebbtide-streams"
    default_zone: str = "UTC"
    profile_wait_s: float = Field(default=30.0, ge=0, le=3600)
    """How long a send that needs consent waits for the first profile of a user never seen."""
    web_port: int = 21004
    data_dir: Path = Path(".local/faust")
    replication_factor: int = 1
    commit_interval_s: float = Field(default=0.2, gt=0, le=5)
    snapshot_interval_s: float = Field(default=60.0, ge=0)
    """0: no local snapshots under data_dir."""

    @field_validator("default_zone")
    @classmethod
    def _is_a_zone(cls, name: str) -> str:
        if zone_named(name) is None:
            raise ValueError(f"unknown time zone {name!r}; {zone_hint(name)}")
        return name

    @property
    def connection(self) -> Connection:
        """How every client of the worker reaches Kafka."""
        return Connection(self.kafka, self.kafka_security)
