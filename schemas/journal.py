"""The journal: records of checkpoints, with which the same inputs can be applied in the same order again."""

from schemas.types import Count, Fact, Instant


class AppliedRange(Fact):
    """A run of offsets of one input, [first, last], applied in order."""

    topic: str
    partition: Count
    first: Count
    last: Count


class Checkpoint(Fact):
    """What one checkpoint applied, in order, up to which clock, under which rules, control and zone data."""

    partition: Count
    number: Count
    applied: list[AppliedRange]
    clock: Instant
    manifest: Count
    control: Count
    zones: str = ""
    """The release of the zone data, such as 2026f; empty in records written before it was recorded."""
