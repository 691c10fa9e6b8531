"""Follows the topic `profiles` into the store: what backends publish there themselves counts too.

A profile of a backend is a whole statement at the time at which it was appended. Consent has its own times, so a stale
yes does not undo a no. If the store knows more than the backend said, the whole profile is published again.

Records of our own are only compared: if one is older than the store and the last in its partition, as when a backend's
record came in between, the profile is published again. So the topic's last word is always the store's.

A record of our own whose publication the store does not know is from a time that it lost, as when a backup was
restored. It is taken like a whole profile, or a removal, of a backend, and told in the log.
"""

import uuid
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from threading import Event
from typing import Any

import orjson
from confluent_kafka import Message, TopicPartition
from psycopg import Connection

from infra.kafka.connection import Connection as KafkaConnection
from infra.kafka.observer import ReaderObserver
from infra.postgres.database import Database
from infra.postgres.erased_people import erased_among, require_key
from schemas.codec import DecodeError
from schemas.people import NO_KEY, PersonHasher
from schemas.profile_records import ProfileRecord, ProfileRemoval, UnreadableProfile, read_profile
from schemas.profiles import Consent, Profile
from schemas.topics import PROFILES
from schemas.vocabulary import DeadLetterCause
from web.profiles import tables
from web.profiles.once_reader import SAMPLE, OnceReader, Place
from web.profiles.outbox_producer import PUBLICATION_HEADER, VERSION_HEADER
from web.profiles.profile_state import (
    NOTHING,
    PAUSE,
    ProfileState,
    decode,
    encode,
    merge,
    microseconds,
    of_unreadable,
    of_whole,
    published,
)

SOURCE = "profiles"
"""The source of what a backend published itself."""
RESTORED = "restored"
"""The source of what the store had published before it was set back."""
_PUBLICATION = "SELECT publication FROM web_publisher"


@dataclass(frozen=True, slots=True)
class OwnProfile:
    """A profile that web published: the version of the store that it is, and 0 for the removal of a user."""

    user_id: str
    version: int
    publication: int = 0
    value: bytes | None = None
    """The record's; None if it removes the user."""


@dataclass(frozen=True, slots=True)
class FollowedProfile:
    """A record of the topic, and where it stands."""

    record: ProfileRecord | OwnProfile
    place: Place
    source: str = SOURCE


class ProfileFollower(OnceReader[FollowedProfile]):
    """Writes `profiles`, and puts profiles into the outbox that the topic does not have yet."""

    group = "ebbtide-web-profiles"
    topics = (PROFILES.name,)
    reader = "profiles"

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
        self._partitions = partitions
        self._restored = 0
        """How many records the store did not know that it had published, since that was last told."""
        self._hasher = hasher

    def item_of(self, record: Message, place: Place) -> FollowedProfile | None:
        """What the record says."""
        headers = dict(record.headers() or ())
        version = headers.get(VERSION_HEADER)
        if version is not None:
            user_id, publication = (record.key() or b"").decode(), int(headers.get(PUBLICATION_HEADER) or 0)
            return FollowedProfile(OwnProfile(user_id, int(version), publication, record.value()), place)
        profile = read_profile(record.key(), record.value(), place.partition, self._partitions)
        if isinstance(profile, UnreadableProfile):
            self.dead_letters.put(record, profile.error.cause, profile.error.detail)
        return FollowedProfile(profile, place)

    def write_once(self, connection: Connection[Any], items: Sequence[FollowedProfile]) -> None:
        """Merge what backends said, and compare what we said."""
        items = self._with_restored(connection, items)
        foreign = [item for item in items if not isinstance(item.record, OwnProfile)]
        if foreign:
            users = {user_id for item in foreign for user_id in _users_of(item.record)}
            erased = erased_among(connection, self._hasher, users)
            _take(connection, [*_of_known_people(foreign, erased)], erased)
            back = {user_id for user_id in erased if any(_says_something(item.record, user_id) for item in foreign)}
            if back:  # a backend published them again
                connection.execute(*tables.announce(sorted(back)))
        last = {user_id: item.record for item in items for user_id in _users_of(item.record)}
        own = {user_id: record.version for user_id, record in last.items() if isinstance(record, OwnProfile)}
        if own:
            known = dict(connection.execute(*tables.versions(own)).fetchall())
            if stale := [user_id for user_id, version in own.items() if known.get(user_id, 0) != version]:
                connection.execute(*tables.announce(stale))

    def assigned(self, partitions: list[TopicPartition]) -> list[TopicPartition]:
        """Begin at the offsets in the database. Raises OtherErasureKey."""
        self.database.run(lambda connection: require_key(connection, self._hasher))
        return super().assigned(partitions)

    def keep_up(self) -> None:
        """Tell what was restored, too, as often as the progress is written."""
        before_s = self._note_at_s
        super().keep_up()
        if self._restored and self._note_at_s != before_s:
            self.log.error("profiles_restored", count=self._restored, next_step="find out what set PostgreSQL back")
            self._restored = 0

    def _with_restored(
        self, connection: Connection[Any], items: Sequence[FollowedProfile]
    ) -> Sequence[FollowedProfile]:
        """The items, with own ones that the store does not know as if a backend had published them."""
        if not any(isinstance(item.record, OwnProfile) for item in items):
            return items
        [[publication]] = connection.execute(_PUBLICATION).fetchall()
        return [self._restored_from(item, publication) for item in items]

    def _restored_from(self, item: FollowedProfile, publication: int) -> FollowedProfile:
        own, partition = item.record, item.place.partition
        if not isinstance(own, OwnProfile) or own.publication <= publication:
            return item
        self._restored += 1
        profile = read_profile(own.user_id.encode(), own.value, partition, self._partitions)
        return replace(item, record=profile, source=RESTORED)

    def samples(self) -> Sequence[FollowedProfile]:
        """A user who does not exist, an unreadable profile of theirs, a removal, and a record of our own."""
        user_id = f"sample-{uuid.uuid4()}"
        consent = {"marketing": Consent(granted=True, time=datetime.now(UTC), method="sample", text_version="1")}
        unreadable = UnreadableProfile(DecodeError(DeadLetterCause.INVALID, "sample"), (user_id,), user_id)
        records: list[ProfileRecord | OwnProfile] = [
            Profile(user_id=user_id, address="sample@example.invalid", consent=consent),
            unreadable,
            ProfileRemoval(f"{user_id}-removed"),
            OwnProfile(user_id, 1),
        ]
        return [FollowedProfile(record, SAMPLE) for record in records]


def _take(connection: Connection[Any], items: Sequence[FollowedProfile], erased: Set[str]) -> None:
    """Bring the rows up to date with what backends said of their users, in its order.

    The links to erased users stay: an erasure removes them last, because another run finds the visits by them.
    """
    last = {user_id: item for item in items for user_id in _users_of(item.record)}
    users = sorted(last)
    if not users:
        return
    removed = [user_id for user_id in users if isinstance(last[user_id].record, ProfileRemoval)]
    unlinked = {item.record.user_id for item in items if isinstance(item.record, ProfileRemoval)}
    connection.execute(*tables.unlink(sorted(unlinked - erased)))
    connection.execute(*tables.add(users))
    before = dict(connection.execute(*tables.hold(users)).fetchall())
    states = {user_id: decode(text) for user_id, text in before.items()}
    for item in items:
        for user_id in _users_of(item.record):
            states[user_id] = _after(states[user_id], user_id, item)
    connection.execute(*tables.remove(removed))
    texts = {user_id: encode(state) for user_id, state in states.items() if user_id not in removed}
    changed = {user_id: text for user_id, text in texts.items() if text != before[user_id]}
    connection.execute(*tables.change(changed))
    connection.execute(*tables.announce([each for each in changed if not _says_all(last[each], states[each])]))


def _of_known_people(items: Sequence[FollowedProfile], erased: Set[str]) -> Iterator[FollowedProfile]:
    """The items without what they say of erased people."""
    for item in items:
        match item.record:
            case Profile() as profile if profile.user_id in erased:
                continue
            case UnreadableProfile() as record if not erased.isdisjoint(record.users):
                users = tuple(user_id for user_id in record.users if user_id not in erased)
                yield replace(item, record=replace(record, users=users))
            case _:
                yield item


def _says_something(record: ProfileRecord | OwnProfile, user_id: str) -> bool:
    return not isinstance(record, ProfileRemoval) and user_id in _users_of(record)


def _users_of(record: ProfileRecord | OwnProfile) -> Sequence[str]:
    return record.users if isinstance(record, UnreadableProfile) else (record.user_id,)


def _after(state: ProfileState, user_id: str, item: FollowedProfile) -> ProfileState:
    """What is known of a user after a record of a backend."""
    match item.record:
        case Profile() as profile:
            return merge(state, of_whole(profile, item.place.appended_us, item.source))
        case UnreadableProfile() as unreadable:
            return merge(state, of_unreadable(unreadable, user_id, item.place.appended_us, item.source))
        case _:
            return NOTHING


def _says_all(item: FollowedProfile, state: ProfileState) -> bool:
    """Whether a record of a backend says all that the store knows."""
    if not isinstance(item.record, Profile):
        return False
    user_id, at_us = item.record.user_id, item.place.appended_us
    return _content(user_id, of_whole(item.record, at_us, SOURCE), at_us) == _content(user_id, state, at_us)


def _content(user_id: str, state: ProfileState, at_us: int) -> Mapping[str, Any]:
    """What is published, without a pause that was over at that time."""
    content: dict[str, Any] = orjson.loads(published(user_id, state))
    if PAUSE in content and microseconds(datetime.fromisoformat(content[PAUSE])) <= at_us:
        del content[PAUSE]
    return content
