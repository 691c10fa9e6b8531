"""A recorder in a process that a test may kill: `python -m drivers.recording_worker KAFKA URL TOPICS GROUP`.

It reads two topics of the test, decisions and outcomes, and ends once it has read them to their ends.
"""

import sys
from collections.abc import Sequence
from contextlib import suppress
from threading import Event

from confluent_kafka import Message

from infra.kafka.connection import Connection
from infra.postgres.database import Database
from infra.service.outages import Outage
from schemas import codec
from schemas.decisions import Decision
from schemas.outcomes import Outcome
from senders.recording.recorder import Recorded, Recorder

PARTITIONS = 2


class OwnRecorder(Recorder):
    """Reads the test's topics instead of the shared ones, in batches small enough to be interrupted."""

    batch = 300
    gather_s = 0.1

    def decode(self, record: Message) -> Recorded:
        """By the topic, as the recorder does."""
        return codec.decode(Decision if record.topic() == self.topics[0] else Outcome, record.value())

    def at_end(self, topic: str, partition: int, offset: int) -> None:  # noqa: ARG002  # as its base has it
        """Note it."""
        ended.add((topic, partition))

    def after_batch(self) -> None:
        """End behind the batch that was the last."""
        if len(ended) == len(self.topics) * PARTITIONS and not self._handled:
            halt.set()


halt = Event()
ended: set[tuple[str, int]] = set()


def main(arguments: Sequence[str]) -> None:
    """Record until the end."""
    kafka, url, topics, group = arguments
    OwnRecorder.topics = (f"{topics}decisions", f"{topics}outcomes")
    OwnRecorder.group = group
    database, ledger = (Database(url, Outage(name), halt) for name in ("timescale", "ledger"))
    with suppress(KeyboardInterrupt):
        OwnRecorder(Connection(kafka), database, ledger, halt, instance="0").run()


if __name__ == "__main__":
    main(sys.argv[1:])
