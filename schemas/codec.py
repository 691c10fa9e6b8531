"""JSON on the wire by orjson, checked by the topic's model; and the partitioner that every writer shares."""

from typing import TypeVar

import orjson
from murmurhash2 import murmurhash2
from pydantic import BaseModel, ValidationError

from schemas.vocabulary import DeadLetterCause

M = TypeVar("M", bound=BaseModel)

PARTITIONER = "murmur2_random"
"""librdkafka's name for Java's default partitioner. Its own default differs, and would break co-partitioning."""
_SEED = 0x9747B28C


class DecodeError(ValueError):
    """A record that its topic's model does not accept; `cause` says whether it was not even JSON."""

    def __init__(self, cause: DeadLetterCause, detail: str) -> None:
        super().__init__(detail)
        self.cause = cause
        self.detail = detail


def encode(fact: BaseModel) -> bytes:
    """The fact as JSON bytes. Fields that are None are left out."""
    return orjson.dumps(fact.model_dump(mode="json", exclude_none=True))


def decode(model: type[M], raw: bytes | None) -> M:
    """The fact that `raw` carries; raises DecodeError with every wrong field named and no value repeated."""
    if raw is None:
        raise DecodeError(DeadLetterCause.NOT_JSON, "no value")
    try:
        data = orjson.loads(raw)
    except orjson.JSONDecodeError as error:
        raise DecodeError(DeadLetterCause.NOT_JSON, str(error)) from None
    try:
        return model.model_validate(data)
    except ValidationError as error:
        problems = (
            f"{'.'.join(map(str, p['loc'])) or 'record'}: {p['msg']}" for p in error.errors(include_input=False)
        )
        raise DecodeError(DeadLetterCause.INVALID, "; ".join(problems)[:2048]) from None


def partition_for(key: bytes, partitions: int) -> int:
    """The partition in which Java's default partitioner puts `key`: by MurmurHash2 (Austin Appleby), 32 bit, seeded as
    org.apache.kafka.common.utils.Utils.murmur2."""
    return (murmurhash2(key, _SEED) & 0x7FFFFFFF) % partitions


def is_at_home(key: bytes | None, user_id: str, partition: int, partitions: int) -> bool:
    """Whether a record's key is its user's, and it lies where the shared partitioner puts that key."""
    return key is not None and key == user_id.encode() and partition_for(key, partitions) == partition
