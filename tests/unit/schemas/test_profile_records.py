"""A record of `profiles`: what is a profile, what ends a user, and what is read from an unreadable one."""

from datetime import UTC, datetime

import orjson
import pytest

from schemas.codec import partition_for
from schemas.profile_records import LARGEST, ProfileRemoval, UnreadableProfile, read_profile
from schemas.profiles import Profile
from schemas.vocabulary import DeadLetterCause

PARTITIONS = 16
TIME = "2026-11-22T10:00:00Z"
INSTANT = datetime(2026, 11, 22, 10, tzinfo=UTC)
YES, NO = {"granted": True, "time": TIME}, {"granted": False, "time": TIME}
WHOLE = {"user_id": "u1", "address": "u1@mail.example", "consent": {"marketing": NO, "news": YES}}


def read(value: object, key: bytes | None = b"u1", partition: int | None = None):
    raw = value if value is None or isinstance(value, bytes) else orjson.dumps(value)
    return read_profile(key, raw, partition_for(b"u1", PARTITIONS) if partition is None else partition, PARTITIONS)


def unread(value: object, **where) -> UnreadableProfile:
    record = read(value, **where)
    assert isinstance(record, UnreadableProfile)
    return record


def test_a_whole_profile_is_one():
    assert isinstance(read(WHOLE), Profile)


def test_a_record_without_value_is_the_removal_of_its_user():
    assert read(None) == ProfileRemoval("u1")


@pytest.mark.parametrize(
    "wrong",
    [
        {"address": ""},
        {"address": "u1@mail.example "},
        {"address": '"a b"@mail.example'},
        {"attributes": []},
        {"attributes": {"a": "\0"}},
        {"locale": "x" * 36},
        {"zone": 5},
        {"user_id": None},
        {"user_id": 7},
        {"consent": WHOLE["consent"] | {" other": YES}},
        {"consent": WHOLE["consent"] | {"other": {"granted": True}}},
    ],
)
def test_a_profile_with_a_wrong_field_refuses_consent_but_grants_none(wrong):
    record = unread(WHOLE | wrong)
    assert (record.users, record.owner, record.refused) == (("u1",), "u1", {"marketing": INSTANT})
    assert record.error.cause is DeadLetterCause.INVALID


@pytest.mark.parametrize(
    ("answer", "since"),
    [
        ({"granted": False, "time": "2026-11-22T10:00:00"}, None),
        ({"granted": False, "time": "yesterday"}, None),
        ({"granted": False}, None),
        ({"granted": "false", "time": TIME, "method": 5}, INSTANT),
        ({"granted": "No ", "time": TIME}, INSTANT),
        ({"granted": 0}, None),
        (False, None),
        ("no", None),
    ],
)
def test_a_refusal_is_read_in_every_recognisable_form(answer, since):
    assert unread({"user_id": "u1", "consent": {" marketing ": answer, "news": {}}}).refused == {"marketing": since}


@pytest.mark.parametrize(
    "consent", [{"marketing": {"granted": None}}, {"marketing": True}, [{"purpose": "marketing"}], "no", 0, {"": False}]
)
def test_ambiguous_consent_grants_and_refuses_nothing(consent):
    record = unread({"user_id": "u1", "consent": consent})
    assert (record.owner, record.refused) == ("u1", {})


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"null", b"\xff", orjson.dumps(WHOLE)[:-30], b"[" * 2000, b"\xef\xbb\xbf{}"]
)
def test_the_key_names_the_user_of_a_value_that_is_not_a_profile(raw):
    record = unread(raw)
    assert (record.users, record.owner, record.says_address) == (("u1",), "u1", False)


@pytest.mark.parametrize(
    "raw",
    [
        b"\xef\xbb\xbf" + orjson.dumps(WHOLE),
        orjson.dumps(WHOLE)[:-1] + b',"score":NaN}',
        orjson.dumps(WHOLE)[:-1] + b',"score":1e400}',
        orjson.dumps(WHOLE)[:-1] + b',"name":"\xfc"}',
        orjson.dumps(WHOLE)[:-1] + b',"name":"a\x07b"}',
        orjson.dumps(WHOLE)[:-1] + b',"name":"\\ud800"}',
    ],
)
def test_a_refusal_in_what_is_nearly_json_is_not_lost(raw):
    record = unread(raw)
    assert record.error.cause is DeadLetterCause.NOT_JSON
    assert (record.owner, record.refused, record.address) == ("u1", {"marketing": INSTANT}, "u1@mail.example")


def test_a_user_or_an_address_that_cannot_be_decoded_is_not_guessed():
    record = unread(b'{"user_id": "u\xff", "address": "a@b\xff.example", "consent": {"marketing": false}}')
    assert (record.users, record.refused, record.says_address) == (("u1",), {"marketing": None}, False)


@pytest.mark.parametrize("key", [None, b"", b"\xff", b"a\nb", b"x" * 257])
def test_a_key_that_is_not_a_valid_user_id_names_no_user(key):
    assert unread(b"{", key=key).users == ()
    assert unread(WHOLE, key=key).users == ("u1",)
    assert unread(None, key=key).owner is None


def test_a_record_under_another_users_key_takes_consent_from_both():
    record = unread(WHOLE | {"user_id": "u2"})
    assert (record.users, record.owner, record.says_address) == (("u1", "u2"), "u1", False)


@pytest.mark.parametrize("value", [WHOLE, None, b"{"])
def test_a_record_in_a_wrong_partition_has_no_owner_and_still_names_its_user(value):
    record = unread(value, partition=partition_for(b"u1", PARTITIONS) ^ 1)
    assert (record.users, record.owner, record.says_address) == (("u1",), None, False)
    if value != b"{":
        assert record.error.cause is DeadLetterCause.MISROUTED


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"address": "new@mail.example"}, (True, "new@mail.example")),
        ({"address": None}, (True, None)),
        ({"address": " "}, (True, None)),
        ({"address": "not an address"}, (False, None)),
        ({"address": ["new@mail.example"]}, (False, None)),
        ({}, (False, None)),
    ],
)
def test_the_address_is_read_if_the_record_has_one(fields, expected):
    found = unread({"user_id": "u1", "locale": "x" * 36} | fields)
    assert (found.says_address, found.address) == expected


SAID = '{"granted": %s, "time": "2026-11-22T10:00:00Z"}'


@pytest.mark.parametrize(
    "consent",
    [
        '"consent": {"m": NO, "m": YES}',
        '"consent": {"m": NO}, "consent": {"m": YES}',
        '"consent": {"m": NO}, "consent": null',
        '"consent": {"m": {"granted": false, "granted": true, "time": "2026-11-22T10:00:00Z"}}',
    ],
)
def test_a_refusal_beside_a_consent_under_the_same_name_is_not_lost(consent):
    body = consent.replace("YES", SAID % "true").replace("NO", SAID % "false")
    record = unread(f'{{"user_id": "u1", {body}}}'.encode())
    assert record.error.detail == "consent: a name stands in it twice"


def test_names_of_consent_that_stand_elsewhere_too_are_no_contradiction():
    attributes = {"consent": 1, "granted": [{"granted": 2}, {"granted": 3}]}
    assert isinstance(read(WHOLE | {"attributes": attributes}), Profile)


def test_a_profile_that_a_stream_worker_could_not_keep_is_refused_for_its_size():
    record = unread(WHOLE | {"attributes": {"a": "x" * LARGEST}})
    assert record.error.detail.endswith(f"bytes, and may have {LARGEST}")
    assert record.refused == {"marketing": INSTANT}
