"""Merging profiles: the order and the repetition of what was said change nothing, and a slow model agrees."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import DecodeError
from schemas.codec import decode as decode_fact
from schemas.profile_records import UnreadableProfile
from schemas.profiles import Consent, Profile
from schemas.vocabulary import DeadLetterCause
from web.profiles.patches import ProfilePatch
from web.profiles.profile_state import (
    NOTHING,
    ProfileState,
    decode,
    encode,
    merge,
    microseconds,
    moment,
    of_patch,
    of_unreadable,
    of_whole,
    published,
)

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
TIMES = st.integers(0, 6)
SOURCES = st.sampled_from(["app", "shop"])
NAMES = st.sampled_from(["a", "b", "c"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 2) | st.sampled_from([0.0, 1.0, "", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NAMES, inner, max_size=2),
    max_leaves=4,
)
ADDRESSES = st.sampled_from(["ann@a.example", "ann@b.example"])
ANSWERS = st.builds(
    lambda granted, at, method, version: Consent(
        granted=granted, time=EPOCH + timedelta(microseconds=at), method=method, text_version=version
    ),
    st.booleans(),
    TIMES,
    st.sampled_from(["form", "page"]),
    st.sampled_from(["1", "2"]),
)
CONSENT = st.dictionaries(st.sampled_from(["marketing", "news"]), ANSWERS, max_size=2)
PATCHES = st.builds(
    ProfilePatch,
    st.just("u1"),
    TIMES,
    SOURCES,
    st.dictionaries(st.sampled_from(["address", "locale"]), ADDRESSES | st.none(), max_size=2),
    st.dictionaries(NAMES, JSON, max_size=3),
    CONSENT,
)


@dataclass(frozen=True)
class Whole:
    """A whole profile, and when it was appended."""

    profile: Profile
    at_us: int
    source: str


WHOLES = st.builds(
    Whole,
    st.builds(
        lambda address, attributes, consent: Profile(
            user_id="u1", address=address, attributes=attributes, consent=consent
        ),
        ADDRESSES | st.none(),
        st.dictionaries(NAMES, JSON, max_size=3),
        CONSENT,
    ),
    TIMES,
    SOURCES,
)


@dataclass(frozen=True)
class Unreadable:
    """A record that is no profile, and when it was appended."""

    record: UnreadableProfile
    at_us: int
    source: str


UNREADABLES = st.builds(
    Unreadable,
    st.builds(
        UnreadableProfile,
        st.just(DecodeError(DeadLetterCause.INVALID, "wrong")),
        st.just(("u1",)),
        st.sampled_from(["u1", None]),
        st.dictionaries(
            st.sampled_from(["marketing", "news"]),
            st.none() | TIMES.map(lambda at: EPOCH + timedelta(microseconds=at)),
            max_size=2,
        ),
        st.booleans(),
        ADDRESSES | st.none(),
    ),
    TIMES,
    SOURCES,
)
Said = ProfilePatch | Whole | Unreadable
SAID = st.lists(PATCHES | WHOLES | UNREADABLES, max_size=8)


def state_of(said: Said) -> ProfileState:
    match said:
        case Whole():
            return of_whole(said.profile, said.at_us, said.source)
        case Unreadable():
            return of_unreadable(said.record, "u1", said.at_us, said.source)
        case _:
            return of_patch(said)


def merged(said: list[Said]) -> ProfileState:
    return reduce(merge, map(state_of, said), NOTHING)


@given(SAID, st.data())
def test_any_order_and_any_repetition_give_the_same_profile(said: list[Said], data: st.DataObject) -> None:
    again = data.draw(st.lists(st.sampled_from(said), max_size=4)) if said else []
    other = data.draw(st.permutations([*said, *again]))
    assert encode(merged(said)) == encode(merged(other))


@given(SAID, SAID, SAID)
def test_states_merge_in_any_grouping(one: list[Any], two: list[Any], three: list[Any]) -> None:
    a, b, c = merged(one), merged(two), merged(three)
    assert encode(merge(merge(a, b), c)) == encode(merge(a, merge(b, c)))
    assert encode(merge(a, b)) == encode(merge(b, a))
    assert encode(merge(a, a)) == encode(a)


@given(SAID)
def test_the_merged_profile_is_that_of_the_slow_model(said: list[Said]) -> None:
    assert orjson.loads(published("u1", merged(said))) == slow_profile(said)


@given(SAID)
def test_a_state_survives_its_encoding(said: list[Said]) -> None:
    state = merged(said)
    assert encode(decode(encode(state))) == encode(state)


@given(SAID)
def test_every_reader_accepts_what_is_published(said: list[Said]) -> None:
    assert decode_fact(Profile, published("u1", merged(said))).user_id == "u1"


@given(SAID)
def test_a_later_no_beats_an_earlier_yes(said: list[Said]) -> None:
    no = Consent(granted=False, time=EPOCH + timedelta(microseconds=6), method="page", text_version="1")
    refusal = ProfilePatch("u1", 0, "page", consent={"marketing": no})
    for order in ([refusal, *said], [*said, refusal]):
        profile = orjson.loads(published("u1", merged(order)))
        assert profile["consent"]["marketing"]["granted"] is False


PAUSES = st.builds(
    lambda at, until: ProfilePatch("u1", at, "page", {"paused_until": until}),
    TIMES,
    st.sampled_from([moment(50), moment(60), None]),
)


@given(SAID, st.lists(PAUSES, min_size=1, max_size=3), st.data())
def test_the_last_pause_counts_whatever_whole_profiles_say(
    said: list[Said], pauses: list[ProfilePatch], data: st.DataObject
) -> None:
    order = data.draw(st.permutations([*said, *pauses]))
    assert encode(merged(order)) == encode(merged([*said, *pauses]))
    last = max(pauses, key=lambda each: (each.time_us, orjson.dumps(each.values["paused_until"])))
    profile = orjson.loads(published("u1", merged(order)))
    assert profile["paused_until"] == (last.values["paused_until"] or moment(last.time_us))


def slow_profile(said: list[Said]) -> dict[str, Any]:
    """The profile by its definition: of each value the last one that was said, unless a whole profile without it was
    later."""
    wholes = [each for each in said if isinstance(each, Whole)]
    floor = max((whole.at_us for whole in wholes), default=0)
    consent_floor = max((each.at_us for each in said if not isinstance(each, ProfilePatch)), default=0)
    values: dict[str, list[tuple[int, bytes, str, Any]]] = {}
    attributes: dict[str, list[tuple[int, bytes, str, Any]]] = {}
    answers: dict[str, list[tuple[int, bool, str, str, int, str]]] = {}
    for each in said:
        consent: Mapping[str, Consent] = {}
        free: dict[str, Any] = {}
        if isinstance(each, Unreadable):
            at, record = each.at_us, each.record
            single: dict[str, Any] = {"address": record.address} if record.says_address and record.owner else {}
            for purpose, time in record.refused.items():
                time_us = at if time is None else min(at, microseconds(time))
                answers.setdefault(purpose, []).append((time_us, True, each.source, "", at, each.source))
        elif isinstance(each, Whole):
            at, consent = each.at_us, each.profile.consent
            single = {"address": each.profile.address} if each.profile.address else {}
            free = {name: value for name, value in each.profile.attributes.items() if value is not None}
        else:
            at, consent, single, free = each.time_us, each.consent, dict(each.values), dict(each.attributes)
        for kept, new in ((values, single), (attributes, free)):
            for name, value in new.items():
                text = orjson.dumps(value, option=orjson.OPT_SORT_KEYS)
                kept.setdefault(name, []).append((at, text, each.source, value))
        for purpose, answer in consent.items():
            time_us = microseconds(answer.time)
            time_us = min(time_us, at) if isinstance(each, Whole) else time_us
            stamp = (time_us, not answer.granted, answer.method, answer.text_version, at, each.source)
            answers.setdefault(purpose, []).append(stamp)
    profile: dict[str, Any] = {"user_id": "u1", **_last(values, floor), "attributes": _last(attributes, floor)}
    profile["consent"] = {
        purpose: {"granted": not refused, "time": moment(at), "method": method, "text_version": version}
        for purpose, stamps in answers.items()
        for at, refused, method, version, said_us, _ in [max(stamps)]
        if refused or said_us >= consent_floor
    }
    return profile


def _last(stamps: dict[str, list[tuple[int, bytes, str, Any]]], floor: int) -> dict[str, Any]:
    found = {}
    for name, several in stamps.items():
        current = [stamp[:3] for stamp in several if stamp[0] >= floor]
        if current and (value := orjson.loads(max(current)[1])) is not None:
            found[name] = value
    return found
