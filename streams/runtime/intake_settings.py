"""The settings of a worker's consumer."""

from dataclasses import dataclass

from infra.kafka.connection import Connection


@dataclass(frozen=True, slots=True)
class IntakeSettings:
    """The consumer's group membership, and how much it fetches and hands over."""

    group: str
    instance: str | None = None
    """group.instance.id: with it, a restart within the session timeout causes no rebalance."""
    session_timeout_ms: int = 10_000
    poll_s: float = 0.05
    batch: int = 2_000
    held_records: int = 20_000
    """Polling pauses while this many records are handed over and not yet released. Bounds memory."""

    def consumer(self, connection: Connection) -> dict[str, str | int | float | bool]:
        """The consumer's configuration."""
        static = {} if self.instance is None else {"group_instance_id": self.instance}
        return connection.client(
            group_id=self.group,
            enable_auto_commit=False,
            enable_auto_offset_store=False,
            enable_partition_eof=True,  # reports a partition's end behind control records and compacted records
            auto_offset_reset="error",  # every start is explicit; a gap is reported and never skipped
            isolation_level="read_committed",
            partition_assignment_strategy="range",  # co-partitions topics that have one partition count
            session_timeout_ms=self.session_timeout_ms,
            heartbeat_interval_ms=self.session_timeout_ms // 5,
            queued_min_messages=100_000,
            queued_max_messages_kbytes=4 * 1024,
            max_partition_fetch_bytes=256 * 1024,  # compressed: small records take many times that
            fetch_queue_backoff_ms=10,  # by default a partition is not fetched for a second when the queue is full
            fetch_wait_max_ms=100,
            topic_metadata_refresh_interval_ms=30_000,
            **static,
        )
