"""A record of `outcomes` as every reader takes it. A user's no is heard also where the rest cannot be read."""

import hashlib
import re
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from schemas.codec import DecodeError, decode, is_at_home, require_home, validate
from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind

MAY_WITHHOLD = frozenset({OutcomeKind.COMPLAINED, OutcomeKind.UNSUBSCRIBED, OutcomeKind.BOUNCED})
"""The kinds after which an address, or a purpose of it, may get no more mail."""
_FIELD = re.compile(rb'"(kind|command_id|user_id)"\s*:\s*"([^"\\]{1,256})"')
_UNKNOWN = "unknown"


class OutcomeRecord(NamedTuple):
    """An outcome; where `error` is given, what could be heard of one that is otherwise unreadable or not at home."""

    outcome: Outcome
    error: DecodeError | None = None
    at_home: bool = True
    """Whether it lies where its user's records lie."""


def read_outcome(
    key: bytes | None, value: bytes | None, partition: int, partitions: int, at: datetime
) -> OutcomeRecord:
    """What a record says that was read from `partition` of `partitions`; raises DecodeError where it cannot be read
    and is not known to withhold mail. `at` stands for its time where that cannot be read."""
    try:
        outcome = decode(Outcome, value)
        require_home(key, outcome.user_id, partition, partitions)
    except DecodeError as error:
        heard = _heard(key, value or b"", at)
        if heard is None:
            raise
        return OutcomeRecord(heard, error, is_at_home(key, heard.user_id, partition, partitions))
    return OutcomeRecord(outcome)


def _heard(key: bytes | None, value: bytes, at: datetime) -> Outcome | None:
    """The outcome with what is wrong left out, or replaced where it must be there; None where it withholds nothing."""
    data = _fields(value)
    kind = str(data.get("kind")).strip().lower()
    if kind not in MAY_WITHHOLD:
        return None
    digest = hashlib.blake2b(value, digest_size=16).hexdigest()
    user_id = (key or b"").decode("utf-8", "replace")
    otherwise = {"id": digest, "command_id": _UNKNOWN, "user_id": user_id, "kind": kind, "time": at}
    data = {name: each for name, each in data.items() if name in Outcome.model_fields} | {"kind": kind}
    for _ in range(2):
        try:
            return decode(Outcome, orjson.dumps(otherwise | data))
        except DecodeError as error:
            data = {name: each for name, each in data.items() if name not in error.fields}
        except TypeError:  # nested deeper than orjson writes
            data = {name: each for name, each in data.items() if isinstance(each, str | int)}
    try:
        return validate(Outcome, otherwise)
    except DecodeError:
        return None


def _fields(value: bytes) -> dict[str, Any]:
    """The fields of a JSON object; of what is no JSON, such as one cut short, those that say who, what and why."""
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {name.decode(): text.decode("utf-8", "replace") for name, text in _FIELD.findall(value)}
    return data if isinstance(data, dict) else {}
