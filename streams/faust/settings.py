"""What a worker of the runtime is configured with."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from infra.kafka.connection import Connection
from streams.runtime.intake import IntakeSettings


@dataclass(frozen=True, slots=True)
class RuntimeSettings:
    """What a worker is told. `inputs` are merged by partition number and share `partitions`."""

    name: str
    """The application: group id, prefix of changelogs and of transactional ids."""
    slot: str
    """Which of its workers: no two that run at once may have one slot, for the later fences the earlier."""
    connection: Connection
    inputs: tuple[str, ...]
    partitions: int
    checkpoint_s: float = 0.2
    batch_records: int = 1_000
    """Records applied without letting the event loop go."""
    transaction_timeout_ms: int = 10_000
    """How long a worker that is stopped, not dead, can keep its successor and every reader waiting."""
    static_membership: bool = True
    session_timeout_ms: int = 10_000
    partitioner: str = "murmur2_random"
    snapshot_s: float | None = 60.0
    """At least this long between two local snapshots of a partition, in Faust's `tabledir`; None or 0: none."""
    other_topics: tuple[str, ...] = ()
    """Other topics that must stay as they are while it runs, such as those that it writes."""
    faust: Mapping[str, Any] = field(default_factory=dict)
    """More of Faust's own settings."""

    @property
    def intake(self) -> IntakeSettings:
        """What the consumer is told."""
        instance = f"{self.name}-{self.slot}" if self.static_membership else None
        return IntakeSettings(self.name, instance, self.session_timeout_ms)

    def producer(self) -> dict[str, str | int | float | bool]:
        """What the transactional producer is told."""
        return self.connection.client(
            transactional_id=f"{self.name}-{self.slot}",
            transaction_timeout_ms=self.transaction_timeout_ms,
            partitioner=self.partitioner,
            linger_ms=5,
            compression_type="lz4",
            allow_auto_create_topics=False,  # a topic that was deleted must not come back empty, with other settings
            queue_buffering_max_messages=1_000_000,
            queue_buffering_max_kbytes=1024 * 1024,
        ) | {"delivery.report.only.error": True}
