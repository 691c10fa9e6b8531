"""Facts from the command line: null counts as absent, also if an option adds to the field."""

from datetime import UTC, datetime

import pytest

from cli.operations.publish import InvalidFact, event_of, event_words, profile_of, unknown_fields
from schemas.events import Event
from schemas.profiles import Profile

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_consent_is_added_to_a_profile_that_has_null_for_it():
    profile = profile_of('{"user_id": "u1", "consent": null, "attributes": null}', NOW, ["marketing"])
    assert profile.consent["marketing"].granted
    assert profile.attributes == {}


def test_an_event_with_null_for_id_and_time_is_given_both():
    event = event_of('{"user_id": "u1", "type": "t", "id": null, "time": null}', NOW)
    assert event.time == NOW
    assert event.id


@pytest.mark.parametrize(
    ("user_id", "words"),
    [
        ('"u1"', "published t e1 of u1, 2026-11-22 12:00:00 UTC"),
        ("null", "published t e1 without a user, 2026-11-22 12:00:00 UTC"),
    ],
)
def test_a_published_event_is_named_with_its_user_or_without_one(user_id, words):
    assert event_words(event_of(f'{{"user_id": {user_id}, "type": "t", "id": "e1"}}', NOW)) == words


def test_an_event_that_says_nothing_of_its_user_is_refused_with_how_to_write_one_without():
    with pytest.raises(InvalidFact, match=r'user_id: .*; write "user_id": null for an event without a user'):
        event_of('{"type": "t"}', NOW)
    with pytest.raises(InvalidFact, match=r"^(?!.*null for an event)"):
        event_of('{"user_id": null}', NOW)


@pytest.mark.parametrize(
    ("text", "model", "expected"),
    [
        ('{"user_id": "u4", "email": "u4@mail.example"}', Profile, "unknown field `email`; did you mean `address`?"),
        ('{"user_id": "u4", "adress": "u4@mail.example"}', Profile, "unknown field `adress`; did you mean `address`?"),
        ('{"user_id": "u4", "timezone": "UTC"}', Profile, "unknown field `timezone`; did you mean `zone`?"),
        (
            '{"user_id": "u4", "plan": "pro"}',
            Profile,
            'unknown field `plan`; what rules read belongs in `attributes`, as in "attributes": {"plan": …}',
        ),
        (
            '{"type": "seen", "user_id": "u4", "sku": "kb"}',
            Event,
            'unknown field `sku`; what rules read belongs in `properties`, as in "properties": {"sku": …}',
        ),
        (
            '{"type": "seen", "timestamp": "x"}',
            Event,
            "unknown field `timestamp`; did you mean `time`?",
        ),
    ],
)
def test_an_unknown_field_is_reported_with_the_field_that_may_be_meant(text, model, expected):
    assert unknown_fields(text, model) == [expected]


def test_known_fields_are_not_reported():
    assert unknown_fields('{"user_id": "u1", "zone": "UTC", "attributes": {"email": 1}}', Profile) == []
    assert unknown_fields('{"type": "x", "user_id": "u1", "properties": {"sku": 1}, "source": "s"}', Event) == []
