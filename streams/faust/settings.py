"""The settings of one worker of the runtime."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.kafka.connection import Connection
from streams.runtime.intake_settings import IntakeSettings


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """The settings of one worker. `inputs` are merged by partition number and share the count `partitions`."""

    name: str
    """The application's name: the group id, and the prefix of changelogs and transactional ids."""
    slot: str
    """Identifies the worker. Of two workers with one slot, the later fences the earlier."""
    connection: Connection
    inputs: tuple[str, ...]
    partitions: int
    checkpoint_s: float = 0.2
    batch_records: int = 1_000
    """How many records are applied before the event loop continues."""
    weights: Mapping[str, int] = field(default_factory=dict)
    """As how many records of a batch one record of an input counts, if not as one."""
    transaction_timeout_ms: int = 10_000
    """How long a worker that is stopped but not dead can delay its successor and every reader."""
    static_membership: bool = True
    session_timeout_ms: int = 10_000
    partitioner: str = "murmur2_random"
    snapshot_s: float | None = 60.0
    """The least time between two local snapshots of a partition, in Faust's `tabledir`. None or 0: no snapshots."""
    other_topics: tuple[str, ...] = ()
    """Other topics that must not change while the worker runs, such as its outputs."""
    faust: Mapping[str, Any] = field(default_factory=dict)
    """Further settings of Faust."""

    @property
    def intake(self) -> IntakeSettings:
        """The consumer's settings."""
        instance = f"{self.name}-{self.slot}" if self.static_membership else None
        return IntakeSettings(self.name, instance, self.session_timeout_ms)

    def producer(self) -> dict[str, str | int | float | bool]:
        """The transactional producer's configuration."""
        return self.connection.client(
            transactional_id=f"{self.name}-{self.slot}",
            transaction_timeout_ms=self.transaction_timeout_ms,
            partitioner=self.partitioner,
            linger_ms=5,
            compression_type="lz4",
            allow_auto_create_topics=False,  # a deleted topic must not come back empty and with other settings
            queue_buffering_max_messages=1_000_000,
            queue_buffering_max_kbytes=1024 * 1024,
        ) | {"delivery.report.only.error": True}
