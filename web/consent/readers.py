"""Reads `profiles` and `outcomes` into the ledger of consent, each change once.

Records that cannot be read make no dead letter here, as others that read the same topics write one: what they withdraw
is an entry, and the rest does not concern consent.
"""

import time
import uuid
from collections.abc import Sequence, Set
from dataclasses import replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

from confluent_kafka import Message
from psycopg import Connection

from infra.kafka.connection import Connection as KafkaConnection
from infra.kafka.observer import ReaderObserver
from infra.postgres.database import Database
from infra.postgres.erased_people import erased_among
from schemas.codec import DecodeError
from schemas.outcome_records import read_outcome
from schemas.outcomes import Outcome
from schemas.people import NO_KEY, PersonHasher
from schemas.profile_records import ProfileRemoval, UnreadableProfile, read_profile
from schemas.profiles import Consent, Profile
from schemas.topics import OUTCOMES, PROFILES
from schemas.vocabulary import DeadLetterCause, OutcomeKind
from web.consent import ledger
from web.consent.changes import KINDS
from web.consent.ledger import ConsentRecord
from web.consent.signed_heads import HeadKeys
from web.profiles.once_reader import SAMPLE, OnceReader, Place

_NOTHING = DecodeError(DeadLetterCause.INVALID, "of an erased person")
SIGN_EVERY_S = 60.0
"""How often it is asked which chains have no head of the last hour."""


class _ConsentReader(OnceReader[ConsentRecord]):
    """A reader of one of the two topics."""

    def __init__(
        self,
        connection: KafkaConnection,
        database: Database,
        halt: Event,
        partitions: int,
        session_timeout_ms: int = 10_000,
        instance: str | None = None,
        observer: ReaderObserver | None = None,
        hasher: PersonHasher = NO_KEY,
    ) -> None:
        super().__init__(connection, database, halt, session_timeout_ms, instance, observer)
        self.partitions = partitions
        self._hasher = hasher

    def write_once(self, connection: Connection[Any], items: Sequence[ConsentRecord]) -> None:
        """Add the entries, but none of erased people."""
        erased = erased_among(connection, self._hasher, {user for each in items for user in each.users})
        kept = [_without(each, erased) for each in items] if erased else items
        ledger.write(connection, [each for each in kept if each.users])


def _without(each: ConsentRecord, erased: Set[str]) -> ConsentRecord:
    """The record without what it says of erased people: possibly of nobody."""
    if erased.isdisjoint(each.users):
        return each
    error = each.record.error if isinstance(each.record, UnreadableProfile) else _NOTHING
    refused = each.record.refused if isinstance(each.record, UnreadableProfile) else {}
    users = tuple(user for user in each.users if user not in erased)
    return replace(each, record=UnreadableProfile(error, users, None, refused))


class ConsentProfileReader(_ConsentReader):
    """Keeps what profiles say of consent, and signs the heads."""

    group = "ebbtide-web-consent-profiles"
    topics = (PROFILES.name,)
    reader = "consent-profiles"

    def __init__(self, *args: Any, keys: HeadKeys, **more: Any) -> None:
        super().__init__(*args, **more)
        self._keys = keys
        self._sign_at_s = 0.0
        if not keys.can_sign:
            self.log.warning("consent_heads_unsigned", next_step="set EBBTIDE_CONSENT_KEYS")

    def item_of(self, record: Message, place: Place) -> ConsentRecord:
        """What the record says."""
        return ConsentRecord(read_profile(record.key(), record.value(), place.partition, self.partitions), place)

    def keep_up(self) -> None:
        """Note the progress, and sign the heads that are due."""
        super().keep_up()
        if self._keys.can_sign and time.monotonic() >= self._sign_at_s:
            self._sign_at_s = time.monotonic() + SIGN_EVERY_S
            self.database.run(lambda connection: ledger.sign_heads(connection, self._keys))

    def samples(self) -> Sequence[ConsentRecord]:
        """A user who does not exist, an unreadable profile of theirs, and their removal."""
        user_id = f"sample-{uuid.uuid4()}"
        consent = {"marketing": Consent(granted=True, time=datetime.now(UTC), method="sample", text_version="1")}
        unreadable = UnreadableProfile(DecodeError(DeadLetterCause.INVALID, "sample"), (user_id,), user_id)
        records = (Profile(user_id=user_id, consent=consent), unreadable, ProfileRemoval(user_id))
        return [ConsentRecord(record, SAMPLE) for record in records]


class ConsentOutcomeReader(_ConsentReader):
    """Keeps which outcomes withdrew consent, or lifted that."""

    group = "ebbtide-web-consent-outcomes"
    topics = (OUTCOMES.name,)
    reader = "consent-outcomes"

    def item_of(self, record: Message, place: Place) -> ConsentRecord | None:
        """The outcome, if it is of a kind that may change consent."""
        at = datetime.fromtimestamp(place.appended_us / 1_000_000, UTC)
        try:
            found = read_outcome(record.key(), record.value(), place.partition, self.partitions, at)
        except DecodeError:
            return None
        return ConsentRecord(found.outcome, place) if found.outcome.kind in KINDS else None

    def samples(self) -> Sequence[ConsentRecord]:
        """An unsubscribe of a user who does not exist."""
        user_id = f"sample-{uuid.uuid4()}"
        outcome = Outcome(
            id=user_id, command_id=user_id, user_id=user_id, kind=OutcomeKind.UNSUBSCRIBED, time=datetime.now(UTC)
        )
        return [ConsentRecord(outcome, SAMPLE)]
