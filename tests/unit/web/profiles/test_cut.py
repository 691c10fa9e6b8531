"""A profile that is larger than readers take is published without its largest attributes."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas.profile_records import LARGEST, read_profile
from schemas.profiles import Consent, Profile
from web.profiles.cut import published_cut
from web.profiles.patches import ProfilePatch
from web.profiles.profile_state import merge, of_patch, of_whole, published

NOW_US = 1_764_400_000_000_000
KNOWN = of_patch(ProfilePatch("u1", NOW_US, "shop", {"locale": "de"}, {"a": "x" * 30, "b": 1, "gone": None, "ä": "ö"}))


def test_a_profile_that_is_full_keeps_its_refusals_and_its_small_attributes() -> None:
    refusals = {
        f"p{number}": Consent.model_validate({"granted": False, "time": "2026-11-29T09:00:00Z"}) for number in range(90)
    }
    backend = Profile(
        user_id="u1", address="a@b.example", attributes={"plan": "gold", "note": "x" * 100_000, "old": "y" * 99_000}
    )
    state = merge(of_whole(backend, NOW_US, "profiles"), of_patch(ProfilePatch("u1", NOW_US, "page", consent=refusals)))
    assert len(published("u1", state)) > LARGEST

    value, left_out = published_cut("u1", state)
    profile = read_profile(b"u1", value, 0, 1)
    assert isinstance(profile, Profile)
    assert (left_out, set(profile.attributes), len(profile.consent)) == (1, {"plan", "old"}, 90)
    assert profile.address == "a@b.example"


@given(st.integers(0, 200))
def test_it_has_at_most_so_many_bytes_unless_the_rest_alone_has_more(most: int) -> None:
    value, left_out = published_cut("u1", KNOWN, most)
    attributes = orjson.loads(value)["attributes"]
    assert len(value) <= most or not attributes
    assert left_out == 3 - len(attributes)
    if left_out == 0:
        assert value == published("u1", KNOWN)
