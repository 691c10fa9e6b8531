"""Reads a record of `profiles`: a profile, the removal of a user, or an unreadable profile.

A refusal of consent counts even if the rest of the record cannot be read. An unreadable profile withdraws every consent
of its users until a readable one follows, because nobody knows what it says. Its refusals count, its grants do not.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.codec import DecodeError, decode, partition_for, require_own_partition
from schemas.profiles import Profile
from schemas.types import Address, Id, Instant, Name
from schemas.vocabulary import DeadLetterCause

T = TypeVar("T")

LARGEST = 200_000
"""The most bytes of a profile. A stream worker can keep little more of one user (streams/decisions/evaluate.py)."""
MOST_REFUSED = 100
"""The most refusals that are kept of an unreadable record, because a user's state is bounded too."""
_ID, _NAME, _ADDRESS = TypeAdapter[str](Id), TypeAdapter[str](Name), TypeAdapter[str](Address)
_INSTANT, _BOOL = TypeAdapter[datetime](Instant), TypeAdapter(bool)


@dataclass(frozen=True, slots=True)
class ProfileRemoval:
    """A record without a value, which removes its user. `at` is when it was appended, if the reader knows that."""

    user_id: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnreadableProfile:
    """A record that cannot be read as a profile, or is in the wrong partition for its user."""

    error: DecodeError
    users: tuple[str, ...]
    """The users that its key and its `user_id` name; possibly none. Their consent is withdrawn."""
    owner: str | None
    """The one of `users` to whom this key and this partition belong."""
    refused: Mapping[str, datetime | None] = field(default_factory=dict)
    """The purposes that it refuses, each with the time of the refusal if it says one."""
    says_address: bool = False
    address: str | None = None
    """The user's present address, if the record says one; otherwise the last known address stays in use."""


ProfileRecord = Profile | ProfileRemoval | UnreadableProfile


class _Pairs(list[tuple[str, Any]]):
    """The pairs of a JSON object, including names that occur twice."""


def read_profile(key: bytes | None, value: bytes | None, partition: int, partitions: int) -> ProfileRecord:
    """Reads a record of `partition`, one of `partitions`."""
    try:
        if value is None:
            user_id = _user_of(key) or ""
            require_own_partition(key, user_id, partition, partitions)
            return ProfileRemoval(user_id)
        if len(value) > LARGEST:
            raise DecodeError(DeadLetterCause.INVALID, f"record: {len(value)} bytes, and may have {LARGEST}")
        profile = decode(Profile, value)
        _require_one_answer(profile, value)
        require_own_partition(key, profile.user_id, partition, partitions)
    except DecodeError as error:
        return unreadable_profile(error, key, value, partition, partitions)
    return profile


def unreadable_profile(
    error: DecodeError, key: bytes | None, value: bytes | None, partition: int, partitions: int
) -> UnreadableProfile:
    """What can be read of a record that is no profile because of `error`."""
    data = _object(value)
    key_user, body_user = _user_of(key), _read(_ID, data.get("user_id"))
    owner = key_user if key is not None and partition_for(key, partitions) == partition else None
    says_address, address = _address(data) if owner is not None and body_user in (owner, None) else (False, None)
    users = tuple(dict.fromkeys(user for user in (key_user, body_user) if user is not None))
    return UnreadableProfile(error, users, owner, refusals_in(data.get("consent")), says_address, address)


def _require_one_answer(profile: Profile, value: bytes) -> None:
    """Raises DecodeError if consent has one name twice: a JSON reader keeps the last, which may not be the refusal."""
    if value.count(b'"consent"') < 2 and value.count(b'"granted"') <= len(profile.consent):
        return  # cheaper than parsing, and most profiles end here
    whole = json.loads(value, object_pairs_hook=_Pairs)
    consents = [written for name, written in whole if name == "consent"]
    objects = [each for each in consents if isinstance(each, _Pairs)]
    objects += [answer for consent in objects for _, answer in consent if isinstance(answer, _Pairs)]
    if len(consents) > 1 or any(len({name for name, _ in each}) < len(each) for each in objects):
        raise DecodeError(DeadLetterCause.INVALID, "consent: a name stands in it twice")


def _address(data: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Whether a record has an address field, and the address; null and blank mean none."""
    written = data.get("address", ...)
    if written is None or (isinstance(written, str) and not written.strip()):
        return True, None
    address = _read(_ADDRESS, written)
    return address is not None, address


def refusals_in(consent: Any) -> dict[str, datetime | None]:
    """The refusals in any recognisable form: also a bare `false`, also under a name with blanks around it.

    By purpose, each with its time if it says one. `consent` may be any JSON value.
    """
    found: dict[str, datetime | None] = {}
    for name, answer in consent.items() if isinstance(consent, dict) else ():
        if len(found) == MOST_REFUSED:
            break
        whole = isinstance(answer, dict)
        granted = answer.get("granted") if whole else answer
        purpose = _read(_NAME, name.strip())
        if purpose is not None and _read(_BOOL, granted.strip() if isinstance(granted, str) else granted) is False:
            found[purpose] = _read(_INSTANT, answer.get("time")) if whole else None
    return found


def _object(value: bytes | None) -> dict[str, Any]:
    """The JSON object in a value, also if it is nearly JSON; empty if it is none."""
    raw = value or b""
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError:
        data = _nearly_json(raw)
    return data if isinstance(data, dict) else {}


def _nearly_json(raw: bytes) -> Any:
    """What other writers produce: a byte order mark, NaN, numbers beyond a double, Latin-1, control characters."""
    try:
        return json.loads(raw.decode("utf-8-sig", "surrogateescape"), strict=False)
    except (ValueError, RecursionError):
        return None


def _user_of(key: bytes | None) -> str | None:
    """The user that a key names."""
    try:
        return None if key is None else _read(_ID, key.decode())
    except UnicodeDecodeError:
        return None


def _read(kind: TypeAdapter[T], value: Any) -> T | None:
    try:
        return kind.validate_python(value)
    except ValidationError:
        return None
