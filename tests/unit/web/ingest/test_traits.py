"""What `identify` says of a user."""

from datetime import timedelta
from typing import Any

import pytest
from drivers.ingest_calls import BROWSER, NOW, reading_of, refusal_of

from schemas.profiles import Consent, Profile
from web.profiles.patches import ProfilePatch

ANSWER = {"granted": True, "time": "2026-11-29T09:00:00Z", "method": "form", "text_version": "3"}


def patch_of(**traits: Any) -> ProfilePatch:
    (patch,) = reading_of("/v1/identify", {"userId": "u1", "traits": traits}).patches
    return patch


def test_email_timezone_and_locale_are_values_and_the_rest_attributes() -> None:
    patch = patch_of(email="a@bücher.example", timezone="Europe/Berlin", locale="de-AT", plan="pro", firstName="Ada")
    assert patch.values == {"address": "a@xn--bcher-kva.example", "zone": "Europe/Berlin", "locale": "de-AT"}
    assert patch.attributes == {"plan": "pro", "firstName": "Ada"}


def test_null_takes_a_value_away() -> None:
    patch = patch_of(email=None, timezone=None, locale=None, plan=None)
    assert patch.values == {"address": None, "zone": None, "locale": None}
    assert patch.attributes == {"plan": None}


def test_consent_is_set_by_purpose_with_its_proof() -> None:
    patch = patch_of(consent={"newsletter": ANSWER, "offers": ANSWER | {"granted": False}})
    assert set(patch.consent) == {"newsletter", "offers"}
    proof = {"time": NOW - timedelta(hours=1), "method": "form", "text_version": "3"}
    assert patch.consent["newsletter"] == Consent(granted=True, **proof)
    assert patch.attributes == patch.values == {}


@pytest.mark.parametrize(
    ("traits", "field"),
    [
        ({"email": ""}, "traits.email"),
        ({"email": 5}, "traits.email"),
        ({"email": "a@b.example, c@d.example"}, "traits.email"),
        ({"email": "a@b.example\nBcc: x@y.example"}, "traits.email"),
        ({"email": "a@ü" + ".ü" * 11}, "traits.email"),
        ({"timezone": "Berlin"}, "traits.timezone"),
        ({"timezone": "../etc/passwd"}, "traits.timezone"),
        ({"timezone": []}, "traits.timezone"),
        ({"locale": "x" * 36}, "traits.locale"),
        ({"locale": ""}, "traits.locale"),
        ({"locale": "de\n"}, "traits.locale"),
        ({"locale": {}}, "traits.locale"),
        ({"consent": True}, "traits.consent"),
        ({"consent": {"newsletter": True}}, "traits.consent"),
        ({"consent": {"newsletter": None}}, "traits.consent"),
        ({"consent": {"": ANSWER}}, "traits.consent"),
        ({"consent": {"news letter": ANSWER}}, "traits.consent"),
        *(({"consent": {"a": {k: v for k, v in ANSWER.items() if k != left}}}, "traits.consent") for left in ANSWER),
        *(
            ({"consent": {"a": ANSWER | {name: value}}}, "traits.consent")
            for name in ANSWER
            for value in ("", None, 1, {})
        ),
        ({"consent": {"a": ANSWER | {"time": "yesterday"}}}, "traits.consent.time"),
        ({"consent": {"a": ANSWER | {"time": "2026-11-29T09:00:00"}}}, "traits.consent.time"),
        ({"consent": {"a": ANSWER | {"time": "2026-11-29T10:05:01Z"}}}, "traits.consent.time"),
        ({"consent": {"a": ANSWER | {"method": "m" * 129}}}, "traits.consent.method"),
        ({"consent": {"a": ANSWER | {"text_version": "m" * 129}}}, "traits.consent.text_version"),
    ],
)
def test_a_trait_that_a_profile_cannot_have_refuses_the_call(traits: dict[str, Any], field: str) -> None:
    assert refusal_of("/v1/identify", {"userId": "u1", "anonymousId": "v1", "traits": traits})[0] == field


NO = {"granted": False}


@pytest.mark.parametrize(
    "call",
    [
        {"traits": {"email": "", "consent": {"offers": NO}}},
        {"traits": {"timezone": "Berlin", "consent": {"offers": False}}},
        {"traits": {"name": "a\0b", "consent": {"offers": "no"}}},
        {"traits": {"consent": {"news letter": NO, "offers ": NO, "news": ANSWER}}},
        {"traits": {"consent": {"offers": NO | {"time": "yesterday"}}}},
        {"traits": {"consent": {"offers": NO | {"time": "2026-11-29T10:05:01Z"}}}},
        {"traits": {"consent": {"offers": NO | {"time": "0001-01-01T00:00:00Z"}}}},
        {"traits": {"big": "x" * 40_000, "consent": {"offers": NO}}},
        {"traits": {"email": 5}, "context": {"traits": {"consent": {"offers": NO}}}},
        {"traits": {"consent": {"offers": NO}}, "context": 5},
        {"traits": {"consent": {"offers": NO}}, "timestamp": "yesterday"},
    ],
)
def test_of_a_refused_call_its_refusals_of_consent_are_kept(call: dict[str, Any]) -> None:
    reading = reading_of("/v1/identify", {"userId": "u1", "anonymousId": "v1", **call})
    (patch,), (_,) = reading.patches, reading.refused
    assert patch.consent == {"offers": Consent(granted=False, time=NOW, method="call refused")}
    assert (patch.user_id, patch.values, patch.attributes, reading.links) == ("u1", {}, {}, [])
    assert reading.place_of(patch) == 0


def test_a_refusal_of_a_refused_call_keeps_its_own_time() -> None:
    consent = {"offers": NO | {"time": "2026-11-29T09:00:00Z"}}
    (patch,) = reading_of("/v1/identify", {"userId": "u1", "traits": {"email": "", "consent": consent}}).patches
    assert patch.consent["offers"].time == NOW - timedelta(hours=1)


def test_a_browser_key_refuses_no_consent_of_anybody() -> None:
    call = {"userId": "u1", "traits": {"email": "", "consent": {"offers": NO}}}
    assert reading_of("/v1/identify", call, BROWSER).patches == []


def test_what_is_taken_is_a_profile() -> None:
    patch = patch_of(
        email="a@b.example", timezone="US/Pacific", locale="en", consent={"a": ANSWER}, deep={"a": [1, None]}
    )
    profile = Profile(user_id=patch.user_id, **patch.values, attributes=patch.attributes, consent=patch.consent)
    assert profile.attributes == {"deep": {"a": [1, None]}}
