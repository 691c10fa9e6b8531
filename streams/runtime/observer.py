"""The worker's life cycle for observers: rebalances, recoveries and checkpoints, never single records.

The observers are in streams/monitoring.
"""

from collections.abc import Collection, Mapping

from infra.kafka.topics import TopicPartition
from streams.runtime.checkpoint import Transaction
from streams.runtime.commit import CommitOutcome


class Observer:
    """Receives life-cycle events in the event loop. Override what matters; return quickly and raise nothing."""

    def assigned(self, partitions: Collection[int]) -> None:
        """The group assigned these partitions; their recovery begins."""

    def waits(self, versions: Mapping[str, int]) -> None:
        """The state is loaded, but the processor still needs these versions (empty: any first version)."""

    def recovered(self, partitions: Collection[int], took_s: float) -> None:
        """Processing begins, `took_s` after the assignment."""

    def dropped(self) -> None:
        """All partitions were revoked or lost. Work since the last checkpoint is undone."""

    def stalled(self, partition: TopicPartition) -> None:
        """The partition stalled and is fetched again."""

    def checkpointed(self, transaction: Transaction, result: CommitOutcome, took_s: float) -> None:
        """A checkpoint ended, `took_s` after its first write."""

    def stops(self) -> None:
        """A graceful stop begins."""
