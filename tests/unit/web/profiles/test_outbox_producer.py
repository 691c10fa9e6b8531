"""The records of the outbox, and what becomes of their entries."""

import orjson
from confluent_kafka import KafkaError

from schemas.topics import EVENTS, PROFILES
from web.profiles.outbox import OutboxBatch, OutboxEntry
from web.profiles.outbox_producer import OutboxRecord, Publication, records_of
from web.profiles.patches import ProfilePatch
from web.profiles.profile_state import encode, of_patch

STATE = encode(of_patch(ProfilePatch("u1", 5, "shop", {"locale": "de"})))


def test_a_user_who_stands_there_several_times_is_published_once() -> None:
    entries = [
        OutboxEntry(1, "u1", None, None, 7, STATE),
        OutboxEntry(2, "u2", b"{}", "a2", None, None),
        OutboxEntry(3, "u1", None, None, 7, STATE),
        OutboxEntry(4, "u3", None, None, None, None),
    ]
    profile, event, removal = records_of(OutboxBatch(12, entries))
    assert (profile.numbers, profile.topic, profile.key) == ([1, 3], PROFILES.name, b"u1")
    assert profile.headers == [("ebbtide-profile-version", b"7"), ("ebbtide-publication", b"12")]
    assert orjson.loads(profile.value or b"") == {"user_id": "u1", "locale": "de", "attributes": {}, "consent": {}}
    assert event == OutboxRecord([2], EVENTS.name, b"u2", b"{}", [("ebbtide-replayed-for", b"a2")])
    assert (removal.numbers, removal.key, removal.value) == ([4], b"u3", None)
    assert removal.headers == [("ebbtide-profile-version", b"0"), ("ebbtide-publication", b"12")]


def test_what_kafka_takes_leaves_the_outbox_and_what_it_cannot_take_now_stays() -> None:
    publication = Publication()
    codes = (None, KafkaError.MSG_SIZE_TOO_LARGE, KafkaError._MSG_TIMED_OUT)
    for number, code in enumerate(codes):
        record = OutboxRecord([number], PROFILES.name, b"u", b"", [])
        publication.note(record, None if code is None else KafkaError(code))
    assert (publication.done, publication.refused) == ([0], [1])
    assert publication.error is not None
    assert publication.error.code() == KafkaError._MSG_TIMED_OUT
