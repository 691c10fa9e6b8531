"""What is known of a user, with the time and the source of each value, and how two such states become one.

A patch, a whole profile that a backend publishes, and all that is kept of a user are states alike. `merge` takes the
later of each value, so patches may come in any order and any number of times. What is taken away is remembered with its
time, so that an older value cannot come back.

A whole profile says of each value that it does not name that there is none. It therefore raises a floor: values said
before count no more. A refusal of consent stays, whatever is said of other purposes; so does a pause, which backends
do not know of.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import orjson

from schemas.profile_records import UnreadableProfile
from schemas.profiles import Consent, Profile
from web.profiles.patches import ProfilePatch

PAUSE = "paused_until"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class Stamp(NamedTuple):
    """A value, and when and by which source it was said. None: it was taken away."""

    time_us: int
    source: str
    value: Any


class ConsentStamp(NamedTuple):
    """An answer to one purpose. Of two the greater one counts: the later one, and of the same time a no."""

    time_us: int
    refused: bool
    method: str
    text_version: str
    said_us: int
    """When it was last said. Later than the answer if a whole profile repeats it."""
    source: str


@dataclass(frozen=True, slots=True)
class ProfileState:
    """What is known of a user, or what one patch says of them."""

    values: Mapping[str, Stamp] = field(default_factory=dict)
    """The single fields of `Profile`, such as `address`."""
    attributes: Mapping[str, Stamp] = field(default_factory=dict)
    consent: Mapping[str, ConsentStamp] = field(default_factory=dict)
    floor_us: int = 0
    """Values and attributes said before this time count no more, but for a pause."""
    consent_floor_us: int = 0
    """Grants said before this time count no more; refusals do."""

    def grants(self, stamp: ConsentStamp) -> bool:
        """Whether an answer is a yes that still counts."""
        return not stamp.refused and stamp.said_us >= self.consent_floor_us


NOTHING = ProfileState()


def of_patch(patch: ProfilePatch) -> ProfileState:
    """What a patch says."""
    at, source = patch.time_us, patch.source
    return ProfileState(
        {name: Stamp(at, source, value) for name, value in patch.values.items()},
        {name: Stamp(at, source, value) for name, value in patch.attributes.items()},
        {purpose: _consent(answer, at, source) for purpose, answer in patch.consent.items()},
    )


def of_whole(profile: Profile, at_us: int, source: str) -> ProfileState:
    """What a whole profile says that was appended to the topic at this time. No answer in it is later than that."""
    whole = profile.model_dump(mode="json", exclude={"user_id", "attributes", "consent"}, exclude_none=True)
    return ProfileState(
        {name: Stamp(at_us, source, value) for name, value in whole.items()},
        {name: Stamp(at_us, source, value) for name, value in profile.attributes.items() if value is not None},
        {purpose: _consent(answer, at_us, source, at_us) for purpose, answer in profile.consent.items()},
        at_us,
        at_us,
    )


def of_unreadable(record: UnreadableProfile, user_id: str, at_us: int, source: str) -> ProfileState:
    """What a record says that cannot be read as a profile: nobody knows which consent it gives, so it takes back every
    grant; its refusals count, and so does the address if it is the user's own record."""
    refused = {
        purpose: ConsentStamp(
            at_us if time is None else min(microseconds(time), at_us), True, source, "", at_us, source
        )
        for purpose, time in record.refused.items()
    }
    says_address = record.says_address and user_id == record.owner
    values = {"address": Stamp(at_us, source, record.address)} if says_address else {}
    return ProfileState(values, consent=refused, consent_floor_us=at_us)


def merge(one: ProfileState, other: ProfileState) -> ProfileState:
    """Both as one. The order of the two, and of any number of merges, does not matter; nor does a repetition."""
    floor_us = max(one.floor_us, other.floor_us)
    return ProfileState(
        _later_stamps(one.values, other.values, floor_us, stays=PAUSE),
        _later_stamps(one.attributes, other.attributes, floor_us),
        _later_answers(one.consent, other.consent),
        floor_us,
        max(one.consent_floor_us, other.consent_floor_us),
    )


def published(user_id: str, state: ProfileState) -> bytes:
    """The whole profile as a record of the topic `profiles`. A pause that was taken away has ended then: a record that
    does not name a pause leaves it as it was."""
    values = {name: stamp.value for name, stamp in state.values.items() if stamp.value is not None}
    if PAUSE in state.values and PAUSE not in values:
        values[PAUSE] = moment(state.values[PAUSE].time_us)
    attributes = {name: stamp.value for name, stamp in state.attributes.items() if stamp.value is not None}
    consent = {
        purpose: {
            "granted": not stamp.refused,
            "time": moment(stamp.time_us),
            "method": stamp.method,
            "text_version": stamp.text_version,
        }
        for purpose, stamp in state.consent.items()
        if stamp.refused or state.grants(stamp)
    }
    return orjson.dumps({"user_id": user_id, **values, "attributes": attributes, "consent": consent})


def encode(state: ProfileState) -> str:
    """The state as JSON; the same text for the same state."""
    return orjson.dumps(
        {
            "values": {name: list(stamp) for name, stamp in state.values.items()},
            "attributes": {name: list(stamp) for name, stamp in state.attributes.items()},
            "consent": {purpose: list(stamp) for purpose, stamp in state.consent.items()},
            "floors": [state.floor_us, state.consent_floor_us],
        },
        option=orjson.OPT_SORT_KEYS,
    ).decode()


def decode(text: str) -> ProfileState:
    """The state that `encode` wrote."""
    data = orjson.loads(text)
    return ProfileState(
        {name: Stamp(*stamp) for name, stamp in data["values"].items()},
        {name: Stamp(*stamp) for name, stamp in data["attributes"].items()},
        {purpose: ConsentStamp(*stamp) for purpose, stamp in data["consent"].items()},
        *data["floors"],
    )


def moment(time_us: int) -> str:
    """A time as it stands in JSON."""
    return (_EPOCH + time_us * _MICROSECOND).isoformat().replace("+00:00", "Z")


def microseconds(time: datetime) -> int:
    """A time as microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def _consent(answer: Consent, said_us: int, source: str, latest_us: int | None = None) -> ConsentStamp:
    at_us = microseconds(answer.time)
    at_us = at_us if latest_us is None else min(at_us, latest_us)
    return ConsentStamp(at_us, not answer.granted, answer.method, answer.text_version, said_us, source)


def _later_stamps(
    one: Mapping[str, Stamp], other: Mapping[str, Stamp], floor_us: int, stays: str | None = None
) -> dict[str, Stamp]:
    found = {name: stamp for name, stamp in one.items() if stamp.time_us >= floor_us or name == stays}
    for name, stamp in other.items():
        if stamp.time_us >= floor_us or name == stays:
            known = found.get(name)
            found[name] = stamp if known is None else _later(known, stamp)
    return found


def _later(one: Stamp, other: Stamp) -> Stamp:
    """The later one. Of the same time, the one whose value and source are the greater text: any rule will do that
    does not ask which came first."""
    if one.time_us != other.time_us:
        return one if one.time_us > other.time_us else other
    return max(one, other, key=_text)


def _text(stamp: Stamp) -> tuple[bytes, str]:
    return orjson.dumps(stamp.value, option=orjson.OPT_SORT_KEYS), stamp.source


def _later_answers(one: Mapping[str, ConsentStamp], other: Mapping[str, ConsentStamp]) -> dict[str, ConsentStamp]:
    found = dict(one)
    for purpose, stamp in other.items():
        known = found.get(purpose)
        found[purpose] = stamp if known is None else max(known, stamp)
    return found
