"""What a worker goes through, told to whoever measures it: by rebalance, recovery and checkpoint, never by record.

Knows nothing of what is done with it; metrics.py and health.py are the observers here.
"""

from collections.abc import Collection, Mapping

from infra.kafka.topics import TopicPartition
from streams.runtime.checkpoint import SealedCheckpoint
from streams.runtime.commit import Outcome


class Observer:
    """Hears of a worker's life, in the event loop. Override what matters; be quick, and raise nothing."""

    def assigned(self, partitions: Collection[int]) -> None:
        """The group gave these partitions; their state is being recovered."""

    def waits(self, versions: Mapping[str, int]) -> None:
        """The state is read, but what the steps need is not there in these versions, or not at all."""

    def recovered(self, partitions: Collection[int], took_s: float) -> None:
        """The partitions are being processed, `took_s` after they were assigned."""

    def dropped(self) -> None:
        """All partitions went to other workers, or were lost; what was done since the last checkpoint is undone."""

    def stalled(self, place: TopicPartition) -> None:
        """Nothing came of this partition though there was more; it is fetched afresh."""

    def checkpointed(self, sealed: SealedCheckpoint, outcome: Outcome, took_s: float) -> None:
        """A checkpoint came to its end, `took_s` after it was begun to be written."""

    def stops(self) -> None:
        """The worker ends in good order."""
