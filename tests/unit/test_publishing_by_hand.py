"""Facts from the command line: null is as absent, also where something is added to what is given."""

from datetime import UTC, datetime

from infra.publish import event_of, profile_of

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def test_consent_is_added_to_a_profile_that_has_null_for_it():
    profile = profile_of('{"user_id": "u1", "consent": null, "attributes": null}', NOW, ["marketing"])
    assert profile.consent["marketing"].granted
    assert profile.attributes == {}


def test_an_event_with_null_for_id_and_time_is_given_both():
    event = event_of('{"user_id": "u1", "type": "t", "id": null, "time": null}', NOW)
    assert event.time == NOW
    assert event.id
