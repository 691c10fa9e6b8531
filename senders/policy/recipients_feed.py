"""Reads `profiles` and `outcomes` into the recipients view.

Reading begins at the offset in the database, so that the view and its progress change together. The offsets that the
group commits to Kafka are only for tools that watch its lag.
"""

import time
import uuid
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, Message
from psycopg import Connection

from infra.kafka.batch_reader import BatchReader
from infra.kafka.observer import ReaderObserver
from infra.kafka.topics import TopicPartition
from infra.postgres.database import Database
from infra.postgres.erased_people import erased_among, require_key
from schemas import codec
from schemas.outcome_records import read_outcome
from schemas.outcomes import Outcome
from schemas.profile_records import ProfileRemoval, UnreadableProfile, read_profile
from schemas.profiles import Consent, Profile
from schemas.topics import OUTCOMES
from schemas.vocabulary import DeadLetterCause, OutcomeKind
from senders.policy import outcome_suppressions, view_progress
from senders.policy.recipients import FEEDS, AddressHasher
from senders.policy.recipients_table import write_profiles
from senders.policy.view_progress import PartitionProgress, ViewProgress
from senders.queue import retention
from senders.settings import SenderSettings

ASK_EVERY_S = 0.5
"""Marketing waits once the view is 5 s old. At this interval, one slow answer of Kafka delays nothing."""

Item = Profile | ProfileRemoval | UnreadableProfile | Outcome


class RecipientsFeed(BatchReader[Item]):
    """Writes `recipients`, `suppressions` and `recipients_progress`."""

    group = "ebbtide-recipients"
    topics = FEEDS

    def __init__(
        self,
        settings: SenderSettings,
        database: Database,
        halt: Event,
        partitions: int,
        hasher: AddressHasher,
        observer: ReaderObserver | None = None,
    ) -> None:
        super().__init__(
            settings.connection, database, halt, settings.session_timeout_ms, settings.sender_instance, observer
        )
        self._partitions = partitions
        self._hasher = hasher
        self.progress = ViewProgress()
        self._ask_at = 0.0

    def decode(self, record: Message) -> Item | None:
        """What a profile record says, even an unreadable one; or an outcome that concerns suppressions, else None."""
        topic, partition = record.topic() or "", record.partition() or 0
        progress = self.progress.get(TopicPartition(topic, partition))
        if progress is not None:
            progress.read_to((record.offset() or 0) + 1)
        if topic == OUTCOMES.name:
            return _outcome(record, self._partitions)
        profile = read_profile(record.key(), record.value(), partition, self._partitions)
        if isinstance(profile, UnreadableProfile):
            self.dead_letters.put(record, profile.error.cause, profile.error.detail)
        if isinstance(profile, ProfileRemoval):
            return ProfileRemoval(profile.user_id, _appended_at(record))
        return profile

    def write(self, connection: Connection[Any], items: Sequence[Item]) -> int:
        """Write the profiles, then add and lift suppressions. Of erased people nothing is kept."""
        items = self._without_erased(connection, items)
        write_profiles(connection, [item for item in items if not isinstance(item, Outcome)])
        users = [user for item in items for user in _users_of(item)]
        outcome_suppressions.suppress_known_addresses(connection, self._hasher, users)
        profiles = [item for item in items if isinstance(item, Profile)]
        outcome_suppressions.lift_by_consent(connection, self._hasher, profiles)
        for item in items:
            if isinstance(item, Outcome):
                outcome_suppressions.apply_outcome(connection, self._hasher, item)
        return 0

    def _without_erased(self, connection: Connection[Any], items: Sequence[Item]) -> list[Item]:
        users = {user for item in items for user in _named(item)}
        erased = erased_among(connection, self._hasher.people, users) if users else frozenset()
        if not erased:
            return list(items)
        return [kept for item in items if (kept := _without(item, erased)) is not None]

    def instead(self, item: Item) -> Item | None:
        """For a profile that the database refuses: an unreadable profile, which takes the user's consent back."""
        if not isinstance(item, Profile):
            return None
        refused = {purpose: answer.time for purpose, answer in item.consent.items() if not answer.granted}
        error = codec.DecodeError(DeadLetterCause.INVALID, "the database cannot keep it")
        return UnreadableProfile(error, (item.user_id,), item.user_id, refused)

    def samples(self) -> Sequence[Item]:
        """A user who does not exist, complaints, a lift, an unreadable profile, and the removal of another user."""
        now, user_id = datetime.now(UTC), f"sample-{uuid.uuid4()}"
        consent = {"marketing": Consent(granted=True, time=now)}
        profile = Profile(user_id=user_id, address="sample@example.invalid", consent=consent)
        kinds = (OutcomeKind.COMPLAINED, OutcomeKind.REINSTATED)
        outcomes = [Outcome(id=user_id, command_id="sample", user_id=user_id, kind=kind, time=now) for kind in kinds]
        early = outcomes[0].model_copy(update={"user_id": f"{user_id}-without-profile"})
        unreadable = UnreadableProfile(codec.DecodeError(DeadLetterCause.INVALID, "sample"), (user_id,), user_id)
        return [profile, *outcomes, early, unreadable, ProfileRemoval(f"{user_id}-removed", now)]

    def assigned(self, partitions: list[confluent_kafka.TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        """Begin at the offsets in the database, once the ledger has partitions for these days."""
        self.database.run(lambda connection: require_key(connection, self._hasher.people))
        self.database.run(retention.add_partitions)
        stored = self.database.run(view_progress.stored)
        for partition in partitions:
            key = TopicPartition(partition.topic, partition.partition)
            partition.offset = stored[key].next_offset if key in stored else OFFSET_BEGINNING
            self.progress.begin(key, stored.get(key) or PartitionProgress(0))
        return partitions

    def revoked(self, partitions: list[confluent_kafka.TopicPartition]) -> None:
        """Follow these partitions no more. Their progress is in the database."""
        for partition in partitions:
            self.progress.end(TopicPartition(partition.topic, partition.partition))

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Note the end of a partition. It may lie after control records, which are not returned as records."""
        if progress := self.progress.get(TopicPartition(topic, partition)):
            progress.read_to(offset)

    def after_batch(self) -> None:
        """Write the progress of partitions that are known as of later than before."""
        if time.monotonic() >= self._ask_at:
            self.ask_for_ends()
            self._ask_at = time.monotonic() + ASK_EVERY_S
        moved = self.progress.written()
        if moved:
            self.database.run(lambda connection: view_progress.store(connection, moved))

    def ask_for_ends(self) -> None:
        """Request the partitions' ends from Kafka. Without an answer the view ages, and marketing waits."""
        partitions = self.progress.without_end()
        if not partitions:
            return
        asked_at = self.database.run(view_progress.database_time)
        ends = self.ends.last_stable(partitions)
        self.progress.ends_known(ends, asked_at)
        if len(ends) < len(partitions):
            self.log.info("ends_unknown", partitions=[str(tp) for tp in partitions if tp not in ends])


def _named(item: Item) -> Sequence[str]:
    return item.users if isinstance(item, UnreadableProfile) else [item.user_id]


def _without(item: Item, erased: Collection[str]) -> Item | None:
    """What is left of an item without what it says of erased people: of their profiles, that they are removed."""
    match item:
        case UnreadableProfile():
            return replace(item, users=tuple(user for user in item.users if user not in erased))
        case Outcome():
            return None if item.user_id in erased else item
        case _:
            return ProfileRemoval(item.user_id) if item.user_id in erased else item


def _users_of(item: Item) -> Sequence[str]:
    """The users whose address the item may bring."""
    if isinstance(item, UnreadableProfile):
        return item.users
    return [item.user_id] if isinstance(item, Profile) else []


def _outcome(record: Message, partitions: int) -> Outcome | None:
    """The outcome if it concerns suppressions, even if the rest of it cannot be read. The recorder reports that."""
    if not outcome_suppressions.may_concern(record.value()):
        return None
    try:
        found = read_outcome(record.key(), record.value(), record.partition() or 0, partitions, _appended_at(record))
    except codec.DecodeError:
        return None
    return found.outcome if outcome_suppressions.concerns_suppressions(found.outcome) else None


def _appended_at(record: Message) -> datetime:
    return datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC)
