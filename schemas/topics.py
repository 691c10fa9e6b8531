"""The topics: name, key, how long they are kept, and the model they carry. One place, so that no reader guesses."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from schemas.broadcasts import Broadcast
from schemas.commands import SendCommand
from schemas.deadletters import DeadLetter
from schemas.decisions import Decision
from schemas.events import Event
from schemas.journal import Checkpoint
from schemas.outcomes import Outcome
from schemas.profiles import Profile
from schemas.rules import Control, Manifest, Text
from schemas.types import Fact

HOUR_MS = 60 * 60 * 1000
DAY_MS = 24 * HOUR_MS
DEMO_PARTITIONS = 16


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic. `user_keyed` topics share one partition count; `single` topics have one partition."""

    name: str
    models: tuple[type[Fact], ...]
    cleanup_policy: Literal["delete", "compact"]
    layout: Literal["user_keyed", "single", "by_partition", "source_keyed"]
    retention_ms: int | None = None
    log_append_time: bool = False
    min_compaction_lag_ms: int | None = None
    """How long an overwritten record of a compacted topic can still be read at least."""
    forgets: bool = False
    """Whether the topic is compacted and knows people, so that what was overwritten must go (FORGETTING)."""

    def partitions(self, user_partitions: int) -> int:
        """How many partitions the topic has if user-keyed topics have `user_partitions`."""
        return 1 if self.layout == "single" else user_partitions

    def config(self) -> dict[str, str]:
        """The topic's settings as Kafka's admin interface takes them."""
        settings = {"message.timestamp.type": "LogAppendTime" if self.log_append_time else "CreateTime"}
        settings["cleanup.policy"] = self.cleanup_policy
        if self.cleanup_policy == "delete":
            settings["retention.ms"] = str(self.retention_ms)
        elif self.min_compaction_lag_ms is not None:
            settings["min.compaction.lag.ms"] = str(self.min_compaction_lag_ms)
        return {**settings, **(FORGETTING if self.forgets else {})}


FORGETTING: Mapping[str, str] = {
    "segment.ms": str(HOUR_MS),
    "max.compaction.lag.ms": str(DAY_MS),
    "delete.retention.ms": str(DAY_MS),
}
"""The settings of compacted topics that know people, changelogs included. A segment is closed by the first record that
comes an hour after its own first one, and compacted within a day. Its tombstones stay for a day more: local snapshots
of stream workers may be half as old."""

EVENTS = Topic("events", (Event,), "delete", "user_keyed", 30 * DAY_MS, log_append_time=True)
PROFILES = Topic("profiles", (Profile,), "compact", "user_keyed", log_append_time=True, forgets=True)
RULES = Topic("rules", (Text, Manifest), "compact", "single", min_compaction_lag_ms=7 * DAY_MS)
CONTROL = Topic("control", (Control,), "compact", "single", min_compaction_lag_ms=7 * DAY_MS)
"""Of both, what the journal names by number can be read as long as the journal is kept."""
COMMANDS = Topic("commands", (SendCommand,), "delete", "user_keyed", 7 * DAY_MS)
DECISIONS = Topic("decisions", (Decision,), "delete", "user_keyed", 7 * DAY_MS)
OUTCOMES = Topic("outcomes", (Outcome,), "delete", "user_keyed", 30 * DAY_MS, log_append_time=True)
BROADCASTS = Topic("broadcasts", (Broadcast,), "delete", "by_partition", 7 * DAY_MS, log_append_time=True)
JOURNAL = Topic("journal", (Checkpoint,), "delete", "by_partition", 7 * DAY_MS)
DEAD_LETTERS = Topic("dead-letters", (DeadLetter,), "delete", "source_keyed", 30 * DAY_MS)

TOPICS = (EVENTS, PROFILES, RULES, CONTROL, COMMANDS, DECISIONS, OUTCOMES, BROADCASTS, JOURNAL, DEAD_LETTERS)
USER_KEYED = tuple(topic for topic in TOPICS if topic.layout == "user_keyed")
