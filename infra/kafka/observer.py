"""What happens to readers, for their metrics."""

from infra.kafka.topics import TopicPartition
from schemas.vocabulary import DeadLetterCause


class ReaderObserver:
    """Receives events in the readers' threads. Override what matters; return quickly and raise nothing."""

    def dead_letter(self, cause: DeadLetterCause) -> None:
        """A record was put aside."""

    def stalled(self, place: TopicPartition) -> None:
        """The partition stalled and is fetched again."""
