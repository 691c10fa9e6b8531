"""The journal: what each checkpoint applied, in which order and up to which clock, in the checkpoint's transaction.

A replay of it gives the same decisions (see `replay`).
"""

from datetime import UTC, datetime

from schemas.codec import encode
from schemas.journal import AppliedRange, Checkpoint
from schemas.topics import JOURNAL
from schemas.zones import release_name
from streams.runtime.checkpoint import JournalSegment, Output


class CheckpointJournal:
    """Encodes each segment as a `schemas.journal.Checkpoint`, for the partition number that it describes."""

    def __init__(self, topic: str = JOURNAL.name) -> None:
        self._topic = topic

    def __call__(self, partition: int, segment: JournalSegment) -> Output:
        """The record of one segment."""
        record = Checkpoint(
            partition=partition,
            number=segment.number,
            applied=[AppliedRange(topic=t, partition=partition, first=f, last=last) for t, f, last in segment.applied],
            clock=datetime.fromtimestamp(max(segment.clock_ms, 0) / 1000, UTC),
            manifest=segment.versions.get("manifest", 0),
            control=segment.versions.get("control", 0),
            zones=release_name(segment.versions.get("zones", 0)),
        )
        return Output(self._topic, str(partition).encode(), encode(record), partition)
