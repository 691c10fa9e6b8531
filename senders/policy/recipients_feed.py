"""Keeps the recipients view: profiles become recipients; complaints, unsubscribes and late bounces, suppressions.

Reading begins where the database says it ended, so view and place move together; the group's offsets in Kafka are
there for those who watch its lag. Once a second the feed asks Kafka
for the ends of its partitions; a partition that has reached such an end is known as of the moment of asking. That
moment, not the age of the last record, is what delivery calls the view's freshness: a quiet topic stays fresh.
"""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Event
from typing import Any

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, Message
from psycopg import Connection
from psycopg.types.json import Jsonb

from infra.kafka.batch_reader import BatchReader
from infra.kafka.observer import ReaderObserver
from infra.kafka.topics import TopicPartition
from infra.postgres.database import Database
from schemas import codec
from schemas.outcome_records import MAY_WITHHOLD, read_outcome
from schemas.outcomes import Outcome
from schemas.profile_records import ProfileRecord, ProfileRemoval, UnreadableProfile, read_profile
from schemas.profiles import Profile
from schemas.topics import OUTCOMES
from schemas.vocabulary import DeadLetterCause, OutcomeKind
from senders.policy.pipeline import EVERY_PURPOSE
from senders.policy.recipients import FEEDS, AddressHasher
from senders.queue import ledger
from senders.queue.observer import LedgerObserver
from senders.settings import SenderSettings

ASK_EVERY_S = 0.5
"""Well under the five seconds after which marketing waits, so that one slow answer from Kafka delays nothing."""
WITHHOLDING = frozenset({OutcomeKind.COMPLAINED, OutcomeKind.UNSUBSCRIBED})
LONG_AGO = datetime(1970, 1, 1, tzinfo=UTC)

Item = Profile | ProfileRemoval | UnreadableProfile | Outcome


@dataclass(slots=True)
class _Place:
    """How far one partition has been read, and the end that it is to reach next to be known as of `asked_at`."""

    position: int
    as_of: datetime = LONG_AGO
    end: int | None = None
    asked_at: datetime = LONG_AGO

    def reach(self, position: int) -> None:
        self.position = max(self.position, position)
        if self.end is not None and self.position >= self.end:
            self.as_of, self.end = max(self.as_of, self.asked_at), None


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
        ledger_observer: LedgerObserver | None = None,
    ) -> None:
        super().__init__(
            settings.connection, database, halt, settings.session_timeout_ms, settings.sender_instance, observer
        )
        self._ledger_observer = LedgerObserver() if ledger_observer is None else ledger_observer
        self._partitions = partitions
        self._hasher = hasher
        self._places: dict[TopicPartition, _Place] = {}
        self._ask_at = 0.0

    def decode(self, record: Message) -> Item | None:
        """What a record of `profiles` says, one that cannot be read too; or an outcome that withholds mail, None for
        any other outcome."""
        topic, partition = record.topic() or "", record.partition() or 0
        place = self._places.get(TopicPartition(topic, partition))
        if place is not None:
            place.position = max(place.position, (record.offset() or 0) + 1)
        if topic == OUTCOMES.name:
            return _withholding(record, self._partitions)
        said = read_profile(record.key(), record.value(), partition, self._partitions)
        if isinstance(said, UnreadableProfile):
            self.dead_letters.put(record, said.error.cause, said.error.detail)
        if isinstance(said, ProfileRemoval):
            return ProfileRemoval(said.user_id, _appended_at(record))
        return said

    def write(self, connection: Connection[Any], items: Sequence[Item]) -> int:
        """Apply profiles and removals, last word per user, then suppressions."""
        withheld = keep_profiles(connection, [item for item in items if not isinstance(item, Outcome)])
        for item in items:
            if isinstance(item, Outcome):
                self._suppress(connection, item)
        return withheld

    def instead(self, item: Item) -> Item | None:
        """Of a profile that cannot be kept, that nothing is known of its user's consent any more."""
        if not isinstance(item, Profile):
            return None
        refused = {purpose: answer.time for purpose, answer in item.consent.items() if not answer.granted}
        error = codec.DecodeError(DeadLetterCause.INVALID, "the database cannot keep it")
        return UnreadableProfile(error, (item.user_id,), item.user_id, refused)

    def samples(self) -> Sequence[Item]:
        """A user who does not exist, the complaint of that user, an unreadable profile, and another user's removal."""
        now, user_id = datetime.now(UTC), f"sample-{uuid.uuid4()}"
        profile = Profile(user_id=user_id, address="sample@example.invalid")
        complaint = Outcome(id=user_id, command_id="sample", user_id=user_id, kind=OutcomeKind.COMPLAINED, time=now)
        unreadable = UnreadableProfile(codec.DecodeError(DeadLetterCause.INVALID, "sample"), (user_id,), user_id)
        return [profile, complaint, unreadable, ProfileRemoval(f"{user_id}-removed")]

    def _suppress(self, connection: Connection[Any], outcome: Outcome) -> None:
        """Withhold mail from the address that the command went to, or else from the user's address now."""
        row = connection.execute(
            """SELECT l.address_hash, l.purpose, r.address FROM (SELECT %s::text AS id, %s::text AS user_id) AS o
               LEFT JOIN ledger l ON l.command_id = o.id AND l.user_id = o.user_id
               LEFT JOIN recipients r ON r.user_id = o.user_id""",
            [outcome.command_id, outcome.user_id],
        ).fetchone()
        address_hash, purpose, address = row or (None, None, None)
        address_hash = address_hash or (self._hasher(address) if address else None)
        if address_hash is None:
            self.log.warning("suppression_without_address", command_id=outcome.command_id, kind=outcome.kind.value)
            return
        scope = EVERY_PURPOSE
        if outcome.kind is OutcomeKind.UNSUBSCRIBED:
            # Of a command no longer known nobody can tell the purpose; then the reader's no is taken widely.
            scope = purpose or EVERY_PURPOSE
        # An outcome that is read a second time must not bring back what a person has lifted since.
        connection.execute(
            """INSERT INTO suppressions (address_hash, scope, reason, since, command_id)
               SELECT %(hash)s, %(scope)s, %(reason)s, %(since)s, %(command)s
               WHERE NOT EXISTS (SELECT FROM suppression_audit WHERE action = 'lift' AND at >= %(since)s
                                 AND address_hash = %(hash)s AND scope = %(scope)s)
               ON CONFLICT DO NOTHING""",
            {
                "hash": address_hash,
                "scope": scope,
                "reason": outcome.kind.value,
                "since": outcome.time,
                "command": outcome.command_id,
            },
        )

    def assigned(self, partitions: list[confluent_kafka.TopicPartition]) -> list[confluent_kafka.TopicPartition]:
        """Begin where the database says the view has got to."""
        known = self.database.run(_progress)
        for partition in partitions:
            key = TopicPartition(partition.topic, partition.partition)
            offset, as_of = known.get(key, (None, LONG_AGO))
            self._places[key] = _Place(offset or 0, as_of)
            partition.offset = OFFSET_BEGINNING if offset is None else offset
        return partitions

    def revoked(self, partitions: list[confluent_kafka.TopicPartition]) -> None:
        """Forget the places; the database has them."""
        for partition in partitions:
            self._places.pop(TopicPartition(partition.topic, partition.partition), None)

    def at_end(self, topic: str, partition: int, offset: int) -> None:
        """Note the end reached. It may lie behind control records, which no read returns."""
        if place := self._places.get(TopicPartition(topic, partition)):
            place.position = max(place.position, offset)

    def after_batch(self) -> None:
        """Write down how far the view has got, whenever that is further than before."""
        withheld, self.changed_commands = self.changed_commands, 0
        if withheld:
            self._ledger_observer.withheld(withheld)
        before = {key: place.as_of for key, place in self._places.items()}
        if time.monotonic() >= self._ask_at:
            self._ask_for_ends()
            self._ask_at = time.monotonic() + ASK_EVERY_S
        for place in self._places.values():
            place.reach(place.position)
        moved = [(*key, p.position, p.as_of) for key, p in self._places.items() if p.as_of > before[key]]
        if moved:
            self.database.run(lambda connection: _advance(connection, moved))

    def _ask_for_ends(self) -> None:
        asked_at = datetime.now(UTC)
        waiting = [key for key, place in self._places.items() if place.end is None]
        if not waiting:
            return
        ends = self.ends.last_stable(waiting)
        for tp, end in ends.items():
            self._places[tp].end, self._places[tp].asked_at = end, asked_at
        if len(ends) < len(waiting):  # the view ages, which is what delivery has to see
            self.log.info("ends_unknown", partitions=[str(tp) for tp in waiting if tp not in ends])


def _withholding(record: Message, partitions: int) -> Outcome | None:
    """The outcome if it withholds mail, by its kind or because it is hard; also where the rest of it cannot be read,
    which the recorder reports."""
    try:
        place = (record.partition() or 0, partitions)
        said = read_outcome(record.key(), record.value(), *place, _appended_at(record))
    except codec.DecodeError:
        return None
    outcome = said.outcome
    if outcome.kind not in MAY_WITHHOLD:
        return None
    return outcome if outcome.kind in WITHHOLDING or outcome.is_hard else None


def _appended_at(record: Message) -> datetime:
    return datetime.fromtimestamp(record.timestamp()[1] / 1000, UTC)


def keep_profiles(connection: Connection[Any], records: Sequence[ProfileRecord]) -> int:
    """Bring the view up to date with records in their order. Of a user the last word counts; one that cannot be read
    takes consent from whom it names, and leaves the rest as it was. Returns how many waiting commands that ended."""
    last: dict[str, Profile | None] = {}
    unreadable: dict[str, list[UnreadableProfile]] = {}
    for record in records:
        if isinstance(record, UnreadableProfile):
            for user_id in record.users:
                unreadable.setdefault(user_id, []).append(record)
        else:
            last[record.user_id] = record if isinstance(record, Profile) else None
            unreadable.pop(record.user_id, None)
    _keep(connection, [profile for profile in last.values() if profile])
    _remove(connection, [user_id for user_id, profile in last.items() if profile is None])
    removed = [record for record in records if isinstance(record, ProfileRemoval)]
    withheld = ledger.withhold(connection, {record.user_id: record.at for record in removed if record.at is not None})
    _withdraw(connection, [(user_id, record) for user_id, several in unreadable.items() for record in several])
    return withheld


def _keep(connection: Connection[Any], profiles: Sequence[Profile]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO recipients (user_id, address, zone, locale, attributes, consent, known_at)
               VALUES (%s, %s, %s, %s, %s, %s, now())
               ON CONFLICT (user_id) DO UPDATE SET address = EXCLUDED.address, zone = EXCLUDED.zone,
                   locale = EXCLUDED.locale, attributes = EXCLUDED.attributes, consent = EXCLUDED.consent,
                   known_at = EXCLUDED.known_at""",
            [
                (
                    profile.user_id,
                    profile.address,
                    profile.zone,
                    profile.locale,
                    Jsonb(profile.attributes),
                    Jsonb({purpose: answer.model_dump(mode="json") for purpose, answer in profile.consent.items()}),
                )
                for profile in profiles
            ],
        )


def _withdraw(connection: Connection[Any], unreadable: Sequence[tuple[str, UnreadableProfile]]) -> None:
    """Noes stand and are added to; no yes is left."""
    with connection.cursor() as cursor:
        cursor.executemany(
            """UPDATE recipients SET known_at = now(), address = CASE WHEN %s THEN %s ELSE address END, consent = %s ||
                   (SELECT coalesce(jsonb_object_agg(key, value), '{}') FROM jsonb_each(consent)
                    WHERE value -> 'granted' IS DISTINCT FROM 'true')
               WHERE user_id = %s""",
            [
                (
                    record.says_address and user_id == record.home,
                    record.address,
                    Jsonb({purpose: {"granted": False, "time": since} for purpose, since in record.refused.items()}),
                    user_id,
                )
                for user_id, record in unreadable
            ],
        )


def _remove(connection: Connection[Any], users: Sequence[str]) -> None:
    if users:
        connection.execute("DELETE FROM recipients WHERE user_id = ANY(%s)", [list(users)])


def _progress(connection: Connection[Any]) -> dict[tuple[str, int], tuple[int, datetime]]:
    rows = connection.execute("SELECT topic, partition, next_offset, as_of FROM recipients_progress")
    return {(topic, partition): (offset, as_of) for topic, partition, offset, as_of in rows}


def _advance(connection: Connection[Any], moved: Sequence[tuple[str, int, int, datetime]]) -> None:
    with connection.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO recipients_progress (topic, partition, next_offset, as_of) VALUES (%s, %s, %s, %s)
               ON CONFLICT (topic, partition) DO UPDATE
                   SET next_offset = EXCLUDED.next_offset, as_of = EXCLUDED.as_of
                   WHERE recipients_progress.as_of <= EXCLUDED.as_of""",
            moved,
        )
