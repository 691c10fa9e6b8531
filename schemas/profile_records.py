"""A record of `profiles` as every reader takes it: a profile, the removal of a user, or one that cannot be read.

A user's no is heard wherever it can be read, and apart from the rest. A newer profile that cannot be read takes every
yes back until one can be, for nobody knows what it says; the noes that it does say stand. None of its yeses count.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import orjson
from pydantic import TypeAdapter, ValidationError

from schemas.codec import DecodeError, decode, partition_for, require_home
from schemas.profiles import Profile
from schemas.types import Address, Id, Instant, Name
from schemas.vocabulary import DeadLetterCause

T = TypeVar("T")

LARGEST = 200_000
"""Bytes of a profile: what a stream worker can keep of one user is little more (streams/decisions/evaluate.py)."""
MOST_REFUSED = 100
"""Noes that are kept of a record that cannot be read, for the state of a user has its bounds too."""
_ID, _NAME, _ADDRESS = TypeAdapter[str](Id), TypeAdapter[str](Name), TypeAdapter[str](Address)
_INSTANT, _BOOL = TypeAdapter[datetime](Instant), TypeAdapter(bool)


@dataclass(frozen=True, slots=True)
class ProfileRemoval:
    """A record without value: the end of its user. `at` is when it was appended, where the reader says that."""

    user_id: str
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class UnreadableProfile:
    """A record that cannot be read as a profile, or does not lie where its user's records lie."""

    error: DecodeError
    users: tuple[str, ...]
    """Whom it names, by its key and by its `user_id`: none of them consents to anything any more. Maybe nobody."""
    home: str | None
    """The one of `users` whose records belong under this key and in this partition."""
    refused: Mapping[str, datetime | None] = field(default_factory=dict)
    """The purposes to which it says no, and since when, where it says that."""
    says_address: bool = False
    address: str | None = None
    """The user's address now, where the record says that; else the last known one stands."""


ProfileRecord = Profile | ProfileRemoval | UnreadableProfile


class _Pairs(list[tuple[str, Any]]):
    """The pairs of a JSON object, with names that stand in it twice."""


def read_profile(key: bytes | None, value: bytes | None, partition: int, partitions: int) -> ProfileRecord:
    """What a record says that was read from `partition` of `partitions`."""
    try:
        if value is None:
            user_id = _user_of(key) or ""
            require_home(key, user_id, partition, partitions)
            return ProfileRemoval(user_id)
        if len(value) > LARGEST:
            raise DecodeError(DeadLetterCause.INVALID, f"record: {len(value)} bytes, and may have {LARGEST}")
        profile = decode(Profile, value)
        _require_one_answer(profile, value)
        require_home(key, profile.user_id, partition, partitions)
    except DecodeError as error:
        return unreadable_profile(error, key, value, partition, partitions)
    return profile


def unreadable_profile(
    error: DecodeError, key: bytes | None, value: bytes | None, partition: int, partitions: int
) -> UnreadableProfile:
    """What can be heard of a record that `error` keeps from being taken as a profile."""
    data = _object(value)
    named, told = _user_of(key), _read(_ID, data.get("user_id"))
    home = named if key is not None and partition_for(key, partitions) == partition else None
    says_address, address = _address(data) if home is not None and told in (home, None) else (False, None)
    users = tuple(dict.fromkeys(user for user in (named, told) if user is not None))
    return UnreadableProfile(error, users, home, _refused(data.get("consent")), says_address, address)


def _require_one_answer(profile: Profile, value: bytes) -> None:
    """Raises DecodeError where consent is said twice under one name: a JSON reader keeps the last, maybe not the no."""
    if value.count(b'"consent"') < 2 and value.count(b'"granted"') <= len(profile.consent):
        return  # there is nothing to be found, which is cheaper to tell
    whole = json.loads(value, object_pairs_hook=_Pairs)
    consents = [said for name, said in whole if name == "consent"]
    objects = [each for each in consents if isinstance(each, _Pairs)]
    objects += [answer for consent in objects for _, answer in consent if isinstance(answer, _Pairs)]
    if len(consents) > 1 or any(len({name for name, _ in each}) < len(each) for each in objects):
        raise DecodeError(DeadLetterCause.INVALID, "consent: a name stands in it twice")


def _address(data: Mapping[str, Any]) -> tuple[bool, str | None]:
    """Whether a record says what the address is, and the address; null or blank is none."""
    said = data.get("address", ...)
    if said is None or (isinstance(said, str) and not said.strip()):
        return True, None
    address = _read(_ADDRESS, said)
    return address is not None, address


def _refused(consent: Any) -> dict[str, datetime | None]:
    """A no is one in any form that can be told: an answer without more than yes or no, a name with blanks beside it."""
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
    """The JSON object of a value, an empty one where it is none."""
    try:
        data = orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return {}
    return data if isinstance(data, dict) else {}


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
