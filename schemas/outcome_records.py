"""Reads a record of `outcomes`. One that withholds mail counts even if the rest of it cannot be read."""

import hashlib
import re
from datetime import datetime
from typing import Any, NamedTuple

import orjson

from schemas.codec import DecodeError, decode, is_in_own_partition, require_own_partition, validate
from schemas.outcomes import Outcome
from schemas.vocabulary import OutcomeKind

MAY_WITHHOLD = frozenset({OutcomeKind.COMPLAINED, OutcomeKind.UNSUBSCRIBED, OutcomeKind.BOUNCED})
"""The kinds after which an address may get no more mail, of one purpose or at all."""
_FIELD = re.compile(rb'"(kind|command_id|user_id)"\s*:\s*"([^"\\]{1,256})"')
_UNKNOWN = "unknown"


class OutcomeRecord(NamedTuple):
    """An outcome. With an `error`, what could be read of one that is unreadable or in the wrong partition."""

    outcome: Outcome
    error: DecodeError | None = None
    in_own_partition: bool = True
    """Whether it is in its user's partition."""


def read_outcome(
    key: bytes | None, value: bytes | None, partition: int, partitions: int, at: datetime
) -> OutcomeRecord:
    """Reads a record of `partition`, one of `partitions`. `at` is used if its time cannot be read.

    Raises DecodeError if it cannot be read and is not known to withhold mail.
    """
    try:
        outcome = decode(Outcome, value)
        require_own_partition(key, outcome.user_id, partition, partitions)
    except DecodeError as error:
        partial = _withholding_part(key, value or b"", at)
        if partial is None:
            raise
        return OutcomeRecord(partial, error, is_in_own_partition(key, partial.user_id, partition, partitions))
    return OutcomeRecord(outcome)


def _withholding_part(key: bytes | None, value: bytes, at: datetime) -> Outcome | None:
    """The outcome without its wrong fields, those that it needs replaced; None if it withholds no mail."""
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
    """The fields of a JSON object. Of invalid JSON, such as a truncated record, those that say who, what and why."""
    try:
        data = orjson.loads(value)
    except orjson.JSONDecodeError:
        return {name.decode(): text.decode("utf-8", "replace") for name, text in _FIELD.findall(value)}
    return data if isinstance(data, dict) else {}
