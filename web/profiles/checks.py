"""What a patch and a link must be before they are kept: what `Profile` accepts, at a time that is not in the future."""

import re
from typing import NamedTuple

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.codec import DecodeError, decode
from schemas.profile_records import LARGEST
from schemas.profiles import Profile
from schemas.types import Id
from web.profiles.patches import IdentityLink, ProfilePatch
from web.profiles.profile_state import ProfileState, merge, microseconds, of_patch, published

AHEAD_US = 5 * 60 * 1_000_000
"""How far ahead of our clock a time may be. A value from the far future would win for ever."""
MOST_ATTRIBUTES = 1_000
MOST_PURPOSES = 100
VALUES = frozenset(Profile.model_fields) - {"user_id", "attributes", "consent"}
"""The fields of a profile that have one value."""
_LATEST_US = 253_402_300_799_999_999  # of the year 9999
_ID: TypeAdapter[str] = TypeAdapter(Id)
_ATTRIBUTE = re.compile(r"[^\x00-\x1f\x7f]{1,256}")


class InvalidPatch(ValueError):
    """A patch or a link that is not kept: the field, and what is wrong with it. Holds no value of it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


def state_of(patch: ProfilePatch, now_us: int) -> ProfileState:
    """What a patch says, with its values as `Profile` writes them. Raises InvalidPatch."""
    _require_time("time", patch.time_us, now_us)
    for answer in patch.consent.values():
        _require_time("consent", microseconds(answer.time), now_us)
        if answer.granted and not (answer.method and answer.text_version):
            raise InvalidPatch("consent", "a yes needs its method and the version of the text")
    for name in patch.values:
        if name not in VALUES:
            raise InvalidPatch(name[:64], f"not a field of a profile; known: {', '.join(sorted(VALUES))}")
    if not all(_ATTRIBUTE.fullmatch(name) for name in patch.attributes):
        raise InvalidPatch("attributes", "a name must have 1 to 256 characters, and no control characters")
    profile = _profile(patch)
    whole = profile.model_dump(mode="json", exclude={"consent"})
    plain = ProfilePatch(
        patch.user_id,
        patch.time_us,
        patch.source,
        {name: whole[name] for name in patch.values},
        {name: whole["attributes"].get(name) for name in patch.attributes},
        profile.consent,
    )
    return of_patch(plain)


class _Sizes(NamedTuple):
    """What is bounded of a profile."""

    attributes: int
    purposes: int
    size: int


_MOST = _Sizes(MOST_ATTRIBUTES, MOST_PURPOSES, LARGEST)


def bounded(user_id: str, known: ProfileState, said: ProfileState) -> ProfileState:
    """Both as one. Raises InvalidPatch if that is larger than a profile may be, and than it was.

    A backend may publish profiles that are too large already. Refusals of consent count for no bytes.
    """
    state = merge(known, said)
    try:
        _require_sizes(_sizes(user_id, state))
    except InvalidPatch:
        before = _sizes(user_id, merge(known, _refusals(said)))
        _require_sizes(_sizes(user_id, state), before._replace(purposes=len(known.consent)))
    return state


def with_refusals(user_id: str, known: ProfileState, said: ProfileState) -> ProfileState:
    """What is known, and the refusals of consent in a patch that is too large itself."""
    try:
        return bounded(user_id, known, _refusals(said))
    except InvalidPatch:
        return known


def _refusals(said: ProfileState) -> ProfileState:
    return ProfileState(consent={purpose: stamp for purpose, stamp in said.consent.items() if stamp.refused})


def _sizes(user_id: str, state: ProfileState) -> _Sizes:
    return _Sizes(len(state.attributes), len(state.consent), len(published(user_id, state)))


def _require_sizes(sizes: _Sizes, before: _Sizes = _MOST) -> None:
    """Raises InvalidPatch if one of the sizes is over its bound and larger than before."""
    if sizes.attributes > max(MOST_ATTRIBUTES, before.attributes):
        raise InvalidPatch("attributes", f"a profile keeps {MOST_ATTRIBUTES}, those taken away included")
    if sizes.purposes > max(MOST_PURPOSES, before.purposes):
        raise InvalidPatch("consent", f"a profile keeps {MOST_PURPOSES} purposes")
    if sizes.size > max(LARGEST, before.size):
        raise InvalidPatch("attributes", f"the profile would have {sizes.size} bytes, and may have {LARGEST}")


def require_link(link: IdentityLink, now_us: int) -> None:
    """Raises InvalidPatch unless a link joins two different ids."""
    _require_time("time", link.time_us, now_us)
    for field, value in (("anonymous_id", link.anonymous_id), ("user_id", link.user_id)):
        try:
            _ID.validate_python(value)
        except ValidationError:
            raise InvalidPatch(field, "must have 1 to 256 characters, and no control characters") from None
    if link.anonymous_id == link.user_id:
        raise InvalidPatch("anonymous_id", "is the user's own id")


def _require_time(field: str, time_us: int, now_us: int) -> None:
    if not 0 <= time_us <= _LATEST_US:
        raise InvalidPatch(field, "must be in the years 1970 to 9999")
    if time_us > now_us + AHEAD_US:
        raise InvalidPatch(field, "more than five minutes ahead of the server's clock")


def _profile(patch: ProfilePatch) -> Profile:
    """The patch as a profile, read as every reader of the topic reads it. Raises InvalidPatch."""
    data = {
        "user_id": patch.user_id,
        **{name: value for name, value in patch.values.items() if value is not None},
        "attributes": patch.attributes,
        "consent": {purpose: answer.model_dump(mode="json") for purpose, answer in patch.consent.items()},
    }
    try:
        raw = orjson.dumps(data)
        _require_sizes(_Sizes(len(patch.attributes), len(patch.consent), len(raw)))
        return decode(Profile, raw)
    except orjson.JSONEncodeError:
        raise InvalidPatch("attributes", "cannot be written as JSON: a number beyond 64 bits, or too deep") from None
    except DecodeError as error:
        field = min(error.fields, default="record")
        raise InvalidPatch(field, error.detail.removeprefix(f"{field}: ")) from None
