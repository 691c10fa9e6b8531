"""JSON on the wire by orjson, checked by the topic's model; and the partitioner that every writer shares."""

from collections.abc import Mapping
from functools import cache
from types import NoneType
from typing import Any, TypeVar, get_args

import orjson
from murmurhash2 import murmurhash2
from pydantic import BaseModel, ValidationError

from schemas.bounds import TOO_DEEP, problems
from schemas.mistakes import mistakes
from schemas.vocabulary import DeadLetterCause

M = TypeVar("M", bound=BaseModel)

PARTITIONER = "murmur2_random"
"""librdkafka's name for Java's default partitioner. Its own default differs, and would break co-partitioning."""
_SEED = 0x9747B28C


class DecodeError(ValueError):
    """A record that its topic's model does not accept. `cause` says whether it is JSON at all; `fields` names the wrong
    top-level fields."""

    def __init__(self, cause: DeadLetterCause, detail: str, fields: frozenset[str] = frozenset()) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail
        self.fields = fields


def encode(fact: BaseModel) -> bytes:
    """The fact as JSON bytes. Fields that are None are left out, except those that must be there."""
    data = fact.model_dump(mode="json", exclude_none=True)
    for name in _nullable(type(fact)):
        data.setdefault(name, None)
    return orjson.dumps(data)


@cache
def _nullable(model: type[BaseModel]) -> tuple[str, ...]:
    """The required fields that may be None."""
    fields = model.model_fields.items()
    return tuple(name for name, field in fields if field.is_required() and NoneType in get_args(field.annotation))


def decode(model: type[M], raw: bytes | None) -> M:
    """The fact that `raw` carries; raises DecodeError with every wrong field named and no value repeated."""
    return validate(model, parse_json(raw))


def parse_json(raw: bytes | None) -> Any:
    """The JSON value of `raw`. Raises DecodeError if it is invalid or beyond the limits of schemas/bounds.py."""
    if raw is None:
        raise DecodeError(DeadLetterCause.NOT_JSON, "no value")
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        if "depth limit" in error.msg:  # orjson stops at 1024 levels
            raise DecodeError(DeadLetterCause.INVALID, f"record: {TOO_DEEP}") from None
        raise DecodeError(DeadLetterCause.NOT_JSON, str(error)) from None
    if found := problems(data, raw):
        raise _invalid(found)
    return data


def validate(model: type[M], data: Any) -> M:
    """The fact in a JSON value. Raises DecodeError as `decode` does."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = mistakes(error)
    # Outside of `except`: as the context of a kept DecodeError, pydantic's error would keep the frames of all callers
    # for good, because the garbage collector cannot look into it.
    raise _invalid({place or "record": problem for place, problem in found.items()})


def _invalid(found: Mapping[str, str]) -> DecodeError:
    detail = "; ".join(f"{place}: {problem}" for place, problem in found.items())[:2048]
    return DecodeError(DeadLetterCause.INVALID, detail, frozenset(place.split(".")[0] for place in found))


def partition_for(key: bytes, partitions: int) -> int:
    """The partition in which Java's default partitioner puts `key`: by MurmurHash2 (Austin Appleby), 32 bit, seeded as
    org.apache.kafka.common.utils.Utils.murmur2."""
    return (murmurhash2(key, _SEED) & 0x7FFFFFFF) % partitions


def is_in_own_partition(key: bytes | None, user_id: str, partition: int, partitions: int) -> bool:
    """Whether a record's key is its user's id and its partition is the one that the shared partitioner chooses."""
    return key is not None and key == user_id.encode() and partition_for(key, partitions) == partition


def require_own_partition(key: bytes | None, user_id: str, partition: int, partitions: int) -> None:
    """Raises DecodeError if a record is not under its user's key and in its user's partition."""
    if is_in_own_partition(key, user_id, partition, partitions):
        return
    if key != user_id.encode():
        raise DecodeError(DeadLetterCause.MISROUTED, "the record's key is not its user_id")
    belongs = partition_for(key, partitions)
    raise DecodeError(
        DeadLetterCause.MISROUTED, f"belongs in partition {belongs}; publish with partitioner={PARTITIONER}"
    )
