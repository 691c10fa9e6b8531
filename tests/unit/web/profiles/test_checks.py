"""What a patch and a link must be before they are kept."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import pytest

from schemas.codec import decode
from schemas.profiles import Consent, Profile
from web.profiles.checks import AHEAD_US, MOST_ATTRIBUTES, MOST_PURPOSES, InvalidPatch, bounded, require_link, state_of
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.profile_state import Stamp, merge, microseconds, of_whole, published

NOW = datetime(2026, 11, 29, 10, tzinfo=UTC)
NOW_US = microseconds(NOW)
YES = Consent(granted=True, time=NOW, method="form", text_version="2026-01")


def patch(
    values: Mapping[str, Any] | None = None,
    attributes: Mapping[str, Any] | None = None,
    consent: Mapping[str, Consent] | None = None,
    time_us: int = NOW_US,
    user_id: str = "u1",
) -> ProfilePatch:
    return ProfilePatch(user_id, time_us, "shop", values or {}, attributes or {}, consent or {})


def test_values_are_kept_as_profile_writes_them() -> None:
    state = state_of(patch({"address": "ann@bücher.example", "locale": None}), NOW_US)
    assert state.values == {
        "address": Stamp(NOW_US, "shop", "ann@xn--bcher-kva.example"),
        "locale": Stamp(NOW_US, "shop", None),
    }


def test_a_pause_is_kept_as_text_and_read_as_a_time() -> None:
    state = state_of(patch({"paused_until": NOW + timedelta(days=30)}), NOW_US)
    assert state.values["paused_until"].value == "2026-12-29T10:00:00Z"
    assert decode(Profile, published("u1", state)).paused_until == NOW + timedelta(days=30)


def test_an_attribute_that_is_null_is_taken_away() -> None:
    state = state_of(patch(attributes={"plan": None, "cart": {"items": [1, None]}}), NOW_US)
    assert state.attributes["plan"].value is None
    assert state.attributes["cart"].value == {"items": [1, None]}


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        (patch({"address": "ann@shop.example, eve@evil.example"}), "address"),
        (patch({"email": "ann@shop.example"}), "email"),
        (patch({"zone": "x" * 65}), "zone"),
        (patch(attributes={"note": "\0"}), "attributes"),
        (patch(attributes={"": 1}), "attributes"),
        (patch(attributes={"n" * 257: 1}), "attributes"),
        (patch(attributes={"big": 1 << 70}), "attributes"),
        (patch(attributes={str(n): n for n in range(MOST_ATTRIBUTES + 1)}), "attributes"),
        (patch(consent={"no purpose!": YES}), "consent"),
        (patch(consent={"news": YES.model_copy(update={"method": ""})}), "consent"),
        (patch(consent={"news": YES.model_copy(update={"text_version": ""})}), "consent"),
        (patch(consent={"news": YES.model_copy(update={"time": NOW + timedelta(minutes=6)})}), "consent"),
        (patch({"locale": "de"}, time_us=NOW_US + AHEAD_US + 1), "time"),
        (patch({"locale": "de"}, time_us=-1), "time"),
        (patch({"locale": "de"}, user_id="a\nb"), "user_id"),
        (patch({"locale": "de"}, user_id=""), "user_id"),
    ],
)
def test_a_patch_that_profile_would_refuse_is_refused_by_its_field(wrong: ProfilePatch, field: str) -> None:
    with pytest.raises(InvalidPatch) as refused:
        state_of(wrong, NOW_US)
    assert refused.value.field == field
    assert "evil" not in refused.value.reason


def test_a_deep_attribute_is_refused() -> None:
    value: Any = 1
    for _ in range(300):
        value = [value]
    with pytest.raises(InvalidPatch):
        state_of(patch(attributes={"deep": value}), NOW_US)


def test_a_no_needs_no_method() -> None:
    no = Consent(granted=False, time=NOW)
    assert state_of(patch(consent={"news": no}), NOW_US).consent["news"].refused


def test_a_profile_is_bounded_over_all_its_patches() -> None:
    parts = [state_of(patch(attributes={str(number): "x" * 30_000}), NOW_US) for number in range(7)]
    state = reduce(merge, parts[:5])
    assert bounded("u1", state, parts[5]) == merge(state, parts[5])
    with pytest.raises(InvalidPatch) as refused:
        bounded("u1", merge(state, parts[5]), parts[6])
    assert refused.value.field == "attributes"


def test_a_profile_that_a_backend_made_too_large_takes_what_makes_it_no_larger() -> None:
    many = Profile(user_id="u1", attributes={str(number): "x" * 200 for number in range(MOST_ATTRIBUTES + 500)})
    state = of_whole(many, NOW_US - 10, "profiles")
    for fine in (
        patch(attributes={"7": "short", "8": None}),
        patch(consent={"news": Consent(granted=False, time=NOW)}),
    ):
        said = state_of(fine, NOW_US)
        assert bounded("u1", state, said) == merge(state, said)
    for larger in (patch(attributes={"new": 1}), patch(consent={"news": YES}), patch({"locale": "de"})):
        with pytest.raises(InvalidPatch):
            bounded("u1", state, state_of(larger, NOW_US))


def test_purposes_are_bounded_also_those_that_are_refused() -> None:
    no = Consent(granted=False, time=NOW)
    state = state_of(patch(consent={f"p{number}": YES for number in range(MOST_PURPOSES)}), NOW_US)
    assert bounded("u1", state, state_of(patch(consent={"p7": no}), NOW_US + 1)).consent["p7"].refused
    with pytest.raises(InvalidPatch) as refused:
        bounded("u1", state, state_of(patch(consent={"another": no}), NOW_US))
    assert refused.value.field == "consent"


@pytest.mark.parametrize(
    ("anonymous_id", "user_id", "field"),
    [
        ("", "u1", "anonymous_id"),
        ("a\0", "u1", "anonymous_id"),
        ("a1", "u" * 257, "user_id"),
        ("u1", "u1", "anonymous_id"),
    ],
)
def test_a_link_joins_two_ids(anonymous_id: str, user_id: str, field: str) -> None:
    with pytest.raises(InvalidPatch) as refused:
        require_link(IdentityLink(anonymous_id, user_id, NOW_US), NOW_US)
    assert refused.value.field == field
